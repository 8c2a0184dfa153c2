"""Streams are ensured, upgraded, rolled back, stopped and let go; what died in the middle is gone on with."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from airflow_provider_sparkml import exceptions
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.jobs.outcome import Deadlines
from airflow_provider_sparkml.jobs.stream_course import _Stopping, conclude, conclude_stop, tend, until_stopped
from airflow_provider_sparkml.jobs.stream_health import Expected, observe
from airflow_provider_sparkml.jobs.streams import Plan, Wanted, amend, ask_to_stop, ensure, let_go, restore
from airflow_provider_sparkml.resources.base import Phase
from airflow_provider_sparkml.resources.core import POD
from airflow_provider_sparkml.resources.spark import API, SPARK_APPLICATION
from airflow_provider_sparkml.resources.spark_stream import START, STOP, Record, Version, prepare
from tests.integration.jobs.conftest import limited_client, now, pi

QUICK = Plan(min_uptime=0.05, startup_seconds=20)
NAME = "clicks"


def clicks(version: str = "1", *, policy: str = "OnFailure", location: str | None = "/data/clicks"):
    """Return the manifest of a version."""
    manifest = pi()
    manifest["metadata"] = {"name": NAME}
    manifest["spec"]["arguments"] = [version]
    manifest["spec"]["restartPolicy"] = {"type": policy} | ({"onFailureRetries": 99} if policy == "OnFailure" else {})
    return prepare(manifest, location)


class Stream:
    """A stream, the tasks that tend it, and the Spark operator that the test plays."""

    def __init__(self, airflow, hub, namespace, told, operator):
        self.airflow = airflow
        self.hub = hub
        self.namespace = namespace
        self.told = told
        self.operator = operator
        self.tasks = []
        self.ref = None

    async def ensure(self, version="1", by="chain-1", **options):
        manifest = clicks(version, **{key: options.pop(key) for key in ("policy", "location") if key in options})
        submission = await ensure(
            self.airflow, manifest, Wanted(by=by, **options), namespace=self.namespace, log=self.told
        )
        self.ref, self.version = submission.ref, Version.of(manifest).hash
        return submission

    async def restore(self, by="chain-3", **options):
        """Roll back by hand."""
        submission = await restore(self.airflow, NAME, self.namespace, Wanted(by=by, **options), self.told)
        record = Record.of(submission.obj)
        self.version = (record.following or record.current).hash
        return submission

    def tend(self, plan=QUICK, deadlines=None):
        plan = replace(plan, version=self.version)
        return self._begin(
            tend(
                self.airflow, self.hub, SPARK_APPLICATION, self.ref, deadlines or Deadlines(), log=self.told, plan=plan
            )
        )

    def stopping(self, deadlines=None):
        return self._begin(
            until_stopped(self.airflow, self.hub, SPARK_APPLICATION, self.ref, deadlines or Deadlines(), log=self.told)
        )

    def _begin(self, work):
        self.tasks.append(asyncio.create_task(work))
        return self.tasks[-1]

    async def conclude(self, outcome, by="chain-1", roll_back=True):
        return await conclude(self.airflow, outcome, by=by, roll_back=roll_back, log=self.told)

    async def get(self):
        return await self.operator.client.get(API, NAME, self.namespace)

    async def record(self):
        return Record.of(await self.get())

    async def runs(self, submission, attempt=1):
        """Let the operator bring it to RUNNING, with its executor."""
        pod = await self.operator.run(NAME, submission=submission, attempt=attempt)
        await self.operator.write(
            NAME, "RUNNING", driverInfo={"podName": pod["metadata"]["name"]}, submissionID=submission,
            executionAttempts=attempt, executorState={"clicks-exec-1": "RUNNING"},
        )  # fmt: skip

    async def healthy(self, version="1", submission="s1", **options):
        """Ensure a version, and let it become healthy."""
        await self.ensure(version, **options)
        task = self.tend()
        await self.runs(submission)
        return await self.conclude(await ended(task))

    async def asked(self, *, begun=None):
        """Wait until the driver's pod is asked to stop."""
        async with asyncio.timeout(20):
            while True:
                pod = await self.operator.client.get(POD, f"{NAME}-driver", self.namespace)
                if STOP in (pod["metadata"].get("annotations") or {}):
                    return pod
                assert begun is None or not begun.done()
                await asyncio.sleep(0.02)

    async def ends(self, submission="s1"):
        """Let the program end with exit code 0, and the operator take note."""
        await self.operator.client.delete(POD, f"{NAME}-driver", self.namespace, grace_seconds=0)
        await self.operator.write(NAME, "COMPLETED", terminationTime=now(), submissionID=submission)

    async def until_start(self, number):
        """Wait until the spec asks for another start."""
        async with asyncio.timeout(20):
            while True:
                obj = await self.get()
                if obj["spec"]["driver"]["annotations"][START] == str(number):
                    return obj
                await asyncio.sleep(0.02)


async def ended(task):
    return await asyncio.wait_for(asyncio.shield(task), 20)


@pytest.fixture
async def stream(airflow, hub, namespace, told, operator):
    stream = Stream(airflow, hub, namespace, told, operator)
    yield stream
    for task in stream.tasks:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


async def test_a_stream_is_created_and_healthy_when_it_has_run_with_its_executors_for_a_while(stream):
    submission = await stream.ensure()
    assert not submission.adopted
    task = stream.tend()
    await stream.operator.run(NAME)
    await stream.told.until("0 of 1 executors run")
    assert not task.done()
    await stream.runs("s1")
    result = await stream.conclude(await ended(task))
    assert (result["name"], result["restarts"], result["start"]) == (NAME, 0, 1)
    assert result["checkpoint_location"] == "/data/clicks"
    record = await stream.record()
    assert record.proven
    assert record.healthy == "s1"


async def test_the_same_version_again_changes_nothing_and_is_healthy_at_once(stream):
    await stream.healthy()
    before = await stream.get()
    assert (await stream.ensure(by="chain-2")).adopted
    # However long it would have to run: it is known to have.
    assert (await ended(stream.tend(Plan(min_uptime=600)))).verdict.phase is Phase.SUCCEEDED
    assert (await stream.get())["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_a_stream_that_was_restarted_since_has_to_prove_itself_anew(stream):
    await stream.healthy()
    await stream.runs("s2", attempt=7)
    await stream.ensure(by="chain-2")
    plan = Plan(min_uptime=0.3, max_restarts=0, attempts=6)
    assert (await ended(stream.tend(plan))).verdict.phase is Phase.SUCCEEDED
    assert (await stream.record()).healthy == "s2"


@pytest.mark.parametrize("labels", [{}, {"app.kubernetes.io/managed-by": "airflow-provider-sparkml"}])
async def test_somebody_elses_object_is_never_touched(stream, labels):
    foreign = pi()
    foreign["metadata"] = {"name": NAME, "labels": labels}
    before = await stream.operator.client.create(API, foreign, stream.namespace)
    for work in (
        stream.ensure(),
        ask_to_stop(stream.airflow, NAME, stream.namespace, 1, stream.told),
        restore(stream.airflow, NAME, stream.namespace, Wanted(by="c"), stream.told),
    ):
        with pytest.raises(exceptions.NameTakenError, match="no stream of this package"):
            await work
    assert await stream.get() == before


async def test_an_ended_stream_is_started_again_in_place(stream):
    await stream.healthy()
    uid = (await stream.get())["metadata"]["uid"]
    await stream.operator.write(
        NAME, "FAILED", "driver container failed with ExitCode: 1, Reason: Error", submissionID="s1"
    )
    await stream.ensure(by="chain-2")
    task = stream.tend()
    await stream.told.until("Restarting")  # its old end is not taken for the new one's
    assert not task.done()
    await stream.runs("s2")
    assert (await stream.conclude(await ended(task), "chain-2"))["start"] == 2
    assert (await stream.get())["metadata"]["uid"] == uid


async def test_an_upgrade_asks_the_version_before_to_stop_and_starts_the_new_one_when_it_has(stream):
    await stream.healthy()
    await stream.ensure("2", by="chain-2")
    assert (await stream.get())["spec"]["arguments"] == ["1"]
    task = stream.tend()
    await stream.asked(begun=task)
    assert (await stream.get())["spec"]["arguments"] == ["1"]
    await stream.ends()
    assert (await stream.until_start(2))["spec"]["arguments"] == ["2"]
    await stream.runs("s2")
    result = await stream.conclude(await ended(task), "chain-2")
    assert result["start"] == 2
    assert (await stream.record()).former.spec["arguments"] == ["1"]


async def test_an_upgrade_goes_on_wherever_its_process_died(stream, airflow, told):
    await stream.healthy()
    await stream.ensure("2", by="chain-2")
    first = stream.tend()
    await stream.asked(begun=first)
    first.cancel()
    await asyncio.wait([first])
    # A retry ensures again: nothing is asked for twice.
    before = (await stream.get())["metadata"]["resourceVersion"]
    await stream.ensure("2", by="chain-2")
    assert (await stream.get())["metadata"]["resourceVersion"] == before
    await stream.ends()
    second = stream.tend()
    await stream.until_start(2)
    second.cancel()
    await asyncio.wait([second])
    await stream.ensure("2", by="chain-2")
    hub = WatchHub(airflow)
    stream.hub = hub
    third = stream.tend()
    await stream.runs("s2")
    assert (await stream.conclude(await ended(third), "chain-2"))["start"] == 2
    await hub.close()


async def test_a_version_that_does_not_become_healthy_is_rolled_back(stream):
    await stream.healthy()
    await stream.ensure("2", by="chain-2")
    task = stream.tend(Plan(min_uptime=0.05, max_restarts=1))
    await stream.asked(begun=task)
    await stream.ends()
    await stream.until_start(2)
    said = "driver container failed with ExitCode: 1, Reason: Error"
    await stream.operator.write(NAME, "FAILING", said, submissionID="s2", executionAttempts=1)
    await stream.told.until("FAILING")
    await stream.operator.write(NAME, "FAILING", said, submissionID="s3", executionAttempts=2)
    assert (await stream.until_start(3))["spec"]["arguments"] == ["1"]
    await stream.runs("s4")
    outcome = await ended(task)
    with pytest.raises(exceptions.StreamRolledBackError, match="was rolled back: The driver") as caught:
        await stream.conclude(outcome, "chain-2")
    assert isinstance(caught.value, exceptions.PermanentError)
    # A retry of the same task does not disturb the stream again; a cleared one tries again.
    with pytest.raises(exceptions.StreamRolledBackError):
        await stream.ensure("2", by="chain-2")
    await stream.ensure("2", by="chain-3")
    assert (await stream.record()).following.spec["arguments"] == ["2"]


async def test_without_roll_back_the_new_version_stays_and_the_cause_is_told(stream):
    await stream.healthy()
    await stream.operator.write(NAME, "COMPLETED", submissionID="s1")
    await stream.ensure("2", by="chain-2")
    task = stream.tend(Plan(roll_back=False, max_restarts=0))
    await stream.operator.write(
        NAME, "FAILING", "driver container failed with ExitCode: 1, Reason: Error", submissionID="s2"
    )
    with pytest.raises(exceptions.ApplicationError):
        await stream.conclude(await ended(task), "chain-2", roll_back=False)
    assert (await stream.get())["spec"]["arguments"] == ["2"]


async def test_a_first_version_that_never_becomes_healthy_is_deleted(stream):
    await stream.ensure()
    task = stream.tend(Plan(max_restarts=0))
    await stream.operator.write(NAME, "SUCCEEDING", submissionID="s1")
    with pytest.raises(exceptions.ApplicationError, match="ended with exit code 0"):
        await stream.conclude(await ended(task))
    assert await stream.operator.live() == []


async def test_one_that_does_not_start_in_time_is_rolled_back_too(stream):
    await stream.healthy()
    await stream.operator.write(NAME, "COMPLETED", submissionID="s1")
    await stream.ensure("2", by="chain-2")
    task = stream.tend(Plan(startup_seconds=0.3, min_uptime=0.05))
    await stream.until_start(3)
    await stream.runs("s3")
    with pytest.raises(exceptions.StreamRolledBackError, match="startup_timeout"):
        await stream.conclude(await ended(task), "chain-2")


async def test_the_time_of_the_task_ends_the_task_and_not_the_stream(stream):
    await stream.ensure()
    outcome = await ended(stream.tend(deadlines=Deadlines(execute_until=0.0)))
    with pytest.raises(exceptions.ExecutionTimeoutError, match="not healthy within execution_timeout"):
        await stream.conclude(outcome)
    assert await stream.operator.live() == [NAME]


async def test_a_version_that_does_not_stop_is_ended_by_the_operator(stream):
    await stream.healthy()
    await stream.ensure("2", by="chain-2", stop_seconds=0.3)
    task = stream.tend()
    assert (await stream.until_start(2))["spec"]["arguments"] == ["2"]
    await stream.runs("s2")
    assert (await ended(task)).verdict.phase is Phase.SUCCEEDED
    assert "not stopped by itself" in stream.told.text


async def test_another_version_is_refused_where_that_is_wanted_or_where_the_checkpoint_does_not_fit(stream):
    await stream.healthy()
    before = await stream.get()
    for options, said in (
        ({"upgrade": False}, "differs in spec.arguments"),
        ({"location": "/data/elsewhere"}, "begins anew and repeats rows"),
        ({"compatible": False}, "does not fit its checkpoint"),
    ):
        with pytest.raises(exceptions.InvalidManifestError, match=said):
            await stream.ensure("2", by="chain-2", **options)
    assert await stream.get() == before


async def test_a_stop_asks_the_driver_and_the_object_stays(stream):
    await stream.healthy()
    await ask_to_stop(stream.airflow, NAME, stream.namespace, 20, stream.told)
    task = stream.stopping()
    await stream.asked(begun=task)
    await stream.ends()
    result = await conclude_stop(stream.airflow, await ended(task))
    assert result["stopped"] == "gracefully"
    assert await stream.operator.live() == [NAME]


async def test_one_that_is_always_restarted_is_suspended_when_it_ends(stream):
    await stream.healthy(policy="Always")
    await ask_to_stop(stream.airflow, NAME, stream.namespace, 20, stream.told)
    task = stream.stopping()
    await stream.asked(begun=task)
    assert "suspend" not in (await stream.get())["spec"]
    await stream.operator.write(NAME, "SUCCEEDING", submissionID="s1")
    async with asyncio.timeout(20):
        while not (await stream.get())["spec"].get("suspend"):
            await asyncio.sleep(0.02)
    assert not task.done()
    await stream.operator.write(NAME, "SUSPENDED", submissionID="s1")
    assert (await conclude_stop(stream.airflow, await ended(task)))["stopped"] == "gracefully"
    # Ensured again, it is no longer suspended.
    await stream.ensure(policy="Always", by="chain-2")
    assert "suspend" not in (await stream.until_start(2))["spec"]


async def test_a_stop_that_takes_too_long_deletes(stream):
    await stream.healthy()
    await ask_to_stop(stream.airflow, NAME, stream.namespace, 0.3, stream.told)
    assert (await conclude_stop(stream.airflow, await ended(stream.stopping())))["stopped"] == "deleted"
    assert await stream.operator.live() == []


async def test_a_driver_that_may_not_be_asked_is_ended_by_the_operator(stream, api_server, client, namespace):
    await stream.healthy()
    verbs = ["get", "list", "watch", "patch"]
    async with limited_client(api_server, client, namespace, verbs) as limited:
        stream.airflow, stream.hub = limited, WatchHub(limited)
        await ask_to_stop(limited, NAME, namespace, 20, stream.told)
        task = stream.stopping()
        async with asyncio.timeout(20):
            while not (await stream.get())["spec"].get("suspend"):
                await asyncio.sleep(0.02)
        assert "cannot be asked to stop" in stream.told.text
        assert "verb `patch` on pods" in stream.told.text
        await stream.operator.write(NAME, "SUSPENDED", submissionID="s1")
        assert (await ended(task)).verdict.phase is Phase.SUCCEEDED
        await stream.hub.close()


async def test_a_stream_that_has_been_there_for_long_has_its_time_from_when_the_task_came(stream):
    await stream.healthy()
    await stream.operator.write(NAME, "PENDING_RERUN", submissionID="s1", executionAttempts=3)
    record = await stream.record()
    late = Plan(startup_seconds=0.2, since=record.started_at + 3600, min_uptime=0.05, attempts=3)
    task = stream.tend(late)
    await asyncio.sleep(0.5)
    assert not task.done()
    await stream.runs("s2", attempt=4)
    assert (await ended(task)).verdict.phase is Phase.SUCCEEDED


async def test_ten_tasks_at_once_create_one_stream(stream):
    submissions = await asyncio.gather(*(stream.ensure(by=f"chain-{number}") for number in range(10)))
    assert len({submission.ref.uid for submission in submissions}) == 1
    assert sum(not submission.adopted for submission in submissions) == 1
    assert (await stream.record()).start == 1


async def test_a_decision_is_made_again_when_the_object_has_changed_since(stream):
    await stream.healthy()
    stale = await stream.get()
    await stream.runs("s2", attempt=2)
    seen = []

    def decide(obj, record):
        seen.append(obj["status"]["submissionID"])
        return record, None

    await amend(stream.airflow, stale, decide)
    assert seen == ["s1", "s2"]


async def test_there_is_nothing_to_stop_where_there_is_no_stream(stream):
    assert await ask_to_stop(stream.airflow, NAME, stream.namespace, 1, stream.told) is None


async def test_a_roll_back_by_hand_brings_back_what_was_healthy_before(stream):
    await stream.healthy()
    with pytest.raises(exceptions.InvalidManifestError, match="none to go back to"):
        await stream.restore("chain-2")
    await stream.operator.write(NAME, "COMPLETED", submissionID="s1")
    await stream.healthy("2", "s2", by="chain-3")
    await stream.restore("chain-4")
    task = stream.tend()
    await stream.asked(begun=task)
    await stream.ends("s2")
    # A retry does not go back once more.
    assert (await stream.until_start(3))["spec"]["arguments"] == ["1"]
    await stream.restore("chain-4")
    await stream.runs("s3")
    assert (await stream.conclude(await ended(task), "chain-4", roll_back=False))["start"] == 3


async def two_versions(stream):
    """Let a version be healthy after another."""
    await stream.healthy()
    await stream.operator.write(NAME, "COMPLETED", submissionID="s1")
    await stream.healthy("2", "s2", by="chain-3")


async def test_a_roll_back_by_hand_that_is_broken_off_begins_anew(stream):
    await two_versions(stream)
    await stream.restore("chain-4")
    await let_go(stream.airflow, stream.ref, delete=False, log=stream.told)
    await stream.runs("s3")
    await stream.restore("chain-4")
    task = stream.tend()
    await stream.asked(begun=task)
    await stream.ends("s3")
    assert (await stream.until_start(4))["spec"]["arguments"] == ["1"]
    await stream.runs("s4")
    assert (await stream.conclude(await ended(task), "chain-4", roll_back=False))["start"] == 4


async def test_a_roll_back_by_hand_that_somebody_calls_off_can_be_asked_for_again(stream):
    await two_versions(stream)
    await stream.restore("chain-4")
    await stream.ensure("2", by="chain-5")
    assert (await stream.record()).following is None
    await stream.restore("chain-6")
    assert (await stream.record()).following.spec["arguments"] == ["1"]


async def test_a_roll_back_from_a_version_that_was_never_healthy_leaves_none_behind_it(stream):
    await stream.healthy()
    await stream.ensure("2", by="chain-2", stop_seconds=0.0)
    await ended(stream.tend(Plan(startup_seconds=0.2, roll_back=False)))
    await stream.restore("chain-3", stop_seconds=0.0)
    task = stream.tend()
    await stream.until_start(3)
    await stream.runs("s3")
    await ended(task)
    with pytest.raises(exceptions.InvalidManifestError, match="none to go back to"):
        await stream.restore("chain-4")


async def test_an_upgrade_that_somebody_calls_off_is_no_success(stream):
    await stream.healthy()
    await stream.ensure("2", by="chain-2")
    task = stream.tend()
    await stream.asked(begun=task)
    await stream.ensure("1", by="chain-3")
    await stream.until_start(2)
    await stream.runs("s2")
    with pytest.raises(exceptions.ConflictError, match="another task has"):
        await stream.conclude(await ended(task), "chain-2")


@pytest.mark.parametrize("seconds", [(0.3, 0.3), (0.3, 20), (20, 0.3)], ids=str)
async def test_whoever_waits_for_the_same_upgrade_hears_that_it_was_rolled_back(stream, seconds):
    await stream.healthy()
    await stream.operator.write(NAME, "COMPLETED", submissionID="s1")
    await stream.ensure("2", by="chain-2")
    await stream.ensure("2", by="chain-3")
    tasks = [stream.tend(Plan(startup_seconds=each, min_uptime=0.05)) for each in seconds]
    await stream.until_start(3)
    await stream.runs("s3")
    for by, task in zip(("chain-2", "chain-3"), tasks, strict=True):
        with pytest.raises(exceptions.StreamRolledBackError, match="startup_timeout"):
            await stream.conclude(await ended(task), by)


async def test_a_start_is_waited_for_though_the_watch_has_yet_to_hear_of_it(stream, fall_behind):
    await stream.healthy()
    await stream.operator.write(NAME, "FAILED", submissionID="s1")
    fall_behind()
    await stream.ensure(by="chain-2")
    task = stream.tend()
    await stream.told.until("Restarting")
    assert not task.done()


async def test_a_stop_is_waited_for_though_the_watch_has_yet_to_hear_of_it(stream, fall_behind):
    await stream.healthy()
    fall_behind()
    await ask_to_stop(stream.airflow, NAME, stream.namespace, 20, stream.told)
    task = stream.stopping()
    await stream.asked(begun=task)
    assert not task.done()


async def test_the_sensor_takes_no_end_for_one_that_was_before_the_stream_was_started_again(
    stream, airflow, hub, namespace, told, fall_behind
):
    await stream.healthy()
    await stream.operator.write(NAME, "FAILED", submissionID="s1")
    await stream.ensure(by="chain-2")
    task = stream.tend()
    await stream.told.until("Restarting")
    fall_behind()
    await stream.runs("s2")
    health = await ended(stream._begin(observe(airflow, hub, namespace, NAME, Expected(window=0.1), log=told)))
    assert health.name == NAME
    assert (await ended(task)).verdict.phase is Phase.SUCCEEDED


async def test_a_stream_that_was_started_again_meanwhile_is_not_suspended(stream):
    await stream.healthy(policy="Always")
    await ask_to_stop(stream.airflow, NAME, stream.namespace, 20, stream.told)
    await stream.operator.write(NAME, "SUCCEEDING", submissionID="s1")
    stale = await stream.get()
    await stream.ensure(policy="Always", by="chain-2")
    await _Stopping(stream.airflow, stream.hub, stream.ref, stream.told)._act(stale)
    assert "suspend" not in (await stream.get())["spec"]


async def test_a_killed_task_leaves_the_stream_and_calls_its_upgrade_off(stream):
    await stream.healthy()
    before = await stream.get()
    await let_go(stream.airflow, stream.ref, delete=False, log=stream.told)
    assert await stream.get() == before
    await stream.ensure("2", by="chain-2")
    await let_go(stream.airflow, stream.ref, delete=False, log=stream.told)
    obj = await stream.until_start(2)  # perhaps it has stopped by now: it is started again
    assert obj["spec"]["arguments"] == ["1"]
    assert Record.of(obj).following is None
    await let_go(stream.airflow, stream.ref, delete=True, log=stream.told)
    assert await stream.operator.live() == []


async def test_one_task_that_changes_a_stream_under_another_ones_hands_is_told(stream):
    await stream.healthy()
    await stream.operator.write(NAME, "FAILED", submissionID="s1")
    await stream.ensure(by="chain-2")
    task = stream.tend()
    await stream.told.until("Restarting")
    await ask_to_stop(stream.airflow, NAME, stream.namespace, 20, stream.told)
    with pytest.raises(exceptions.ConflictError, match="another task"):
        await stream.conclude(await ended(task), "chain-2")


async def test_the_sensor_sees_a_healthy_stream_and_one_that_restarts(stream, airflow, hub, namespace, told):
    def look(**expected):
        return stream._begin(observe(airflow, hub, namespace, NAME, Expected(**expected), log=told))

    await stream.healthy()
    health = await ended(look(window=0.2))
    assert (health.name, health.restarts) == (NAME, 0)
    task = look(window=600)
    await told.until("RUNNING")
    await asyncio.sleep(0.1)
    await stream.runs("s2", attempt=2)
    with pytest.raises(exceptions.StreamUnhealthyError, match="was started again 1 times"):
        await ended(task)
    with pytest.raises(exceptions.StreamUnhealthyError, match="begun no batch for"):
        await ended(look(window=600, max_silence=0.2))
    await stream.operator.write(NAME, "FAILED", "driver container failed", submissionID="s2")
    with pytest.raises(exceptions.StreamUnhealthyError, match="has ended"):
        await ended(look(window=600))
