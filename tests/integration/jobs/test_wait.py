"""A wait ends when its job does, is deleted, or a deadline passes; and tells what happens meanwhile."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.exceptions import (
    ApiUnavailableError,
    ForbiddenError,
    NotAdmittedError,
    ResourceTypeNotFoundError,
)
from airflow_provider_sparkml.jobs import rounds as rounds_module
from airflow_provider_sparkml.jobs import wait as module
from airflow_provider_sparkml.jobs.finish import finish
from airflow_provider_sparkml.jobs.kueue import WORKLOAD
from airflow_provider_sparkml.jobs.outcome import Deadlines, Outcome
from airflow_provider_sparkml.jobs.submit import submit
from airflow_provider_sparkml.jobs.wait import wait
from airflow_provider_sparkml.resources.base import Phase
from airflow_provider_sparkml.resources.core import POD
from airflow_provider_sparkml.resources.spark import API, SPARK_APPLICATION
from tests.integration.jobs.conftest import Operator, Told, identity, limited_client, now, pi


@pytest.fixture
async def waiting(airflow, hub, told):
    """Start waits that end with the test."""
    tasks = []

    def waiting(ref, deadlines=None, **options):
        options.setdefault("log", told)
        options.setdefault("hub", hub)
        tasks.append(
            asyncio.create_task(
                wait(
                    airflow, options.pop("hub"), options.pop("resource", SPARK_APPLICATION), ref,
                    deadlines or Deadlines(), **options,
                )
            )
        )  # fmt: skip
        return tasks[-1]

    yield waiting
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def ended(task):
    return await asyncio.wait_for(asyncio.shield(task), 20)


@pytest.mark.parametrize(("state", "phase"), [("COMPLETED", Phase.SUCCEEDED), ("FAILED", Phase.FAILED)])
async def test_it_ends_with_the_job(start, operator, waiting, told, state, phase):
    ref = (await start()).ref
    task = waiting(ref)
    for step in ("SUBMITTED", "RUNNING", "FAILING", "PENDING_RERUN", "UNKNOWN", "SUCCEEDING"):
        await operator.write(ref.name, step)
        await told.until(step)
        assert not task.done()
    await operator.write(ref.name, state, terminationTime=now())
    outcome = await ended(task)
    assert (outcome.ref, outcome.verdict.phase, outcome.expired, outcome.deleted) == (ref, phase, "", False)


async def test_a_job_that_ended_while_nobody_waited(start, operator, waiting):
    ref = (await start()).ref
    await operator.write(ref.name, "COMPLETED")
    assert (await ended(waiting(ref))).verdict.phase is Phase.SUCCEEDED


async def test_deleted_by_hand(start, operator, waiting, told, client, namespace):
    ref = (await start()).ref
    task = waiting(ref)
    await operator.write(ref.name, "RUNNING")
    await told.until("RUNNING")
    await client.delete(API, ref.name, namespace, propagation="Background")
    outcome = await ended(task)
    assert outcome.deleted
    assert outcome.verdict.phase is Phase.RUNNING


async def test_deleted_before_the_wait_began(start, waiting, client, namespace):
    ref = (await start()).ref
    await client.delete(API, ref.name, namespace, propagation="Background")
    assert (await ended(waiting(ref))).deleted


@pytest.mark.parametrize("healed", [True, False], ids=["for a moment", "for long"])
async def test_a_type_that_is_not_served_is_no_deletion(start, operator, waiting, airflow, monkeypatch, healed):
    """A server that has just started serves custom types a little later."""
    ref = (await start()).ref
    await operator.write(ref.name, "COMPLETED")
    monkeypatch.setattr(module, "_API_AWAY_SECONDS", 0.05)
    monkeypatch.setattr(module, "_TYPE_AWAY_SECONDS", 60.0 if healed else 0.1)
    refusals, get = iter(range(2 if healed else 1000)), airflow.get

    async def get_later(*args):
        if next(refusals, None) is not None:
            raise ResourceTypeNotFoundError("no such type", status=404)
        return await get(*args)

    class Unaware:
        async def follow(self, *args, **options):
            yield None

    monkeypatch.setattr(airflow, "get", get_later)
    task = waiting(ref, hub=Unaware())
    if healed:
        assert (await ended(task)).verdict.phase is Phase.SUCCEEDED
    else:
        with pytest.raises(ResourceTypeNotFoundError):
            await ended(task)


async def test_a_namesake_with_another_uid_is_not_our_job(start, waiting, client, namespace, operator):
    ref = (await start()).ref
    await client.delete(API, ref.name, namespace, propagation="Background")
    theirs = pi()
    theirs["metadata"]["name"] = ref.name
    await client.create(API, theirs, namespace)
    await operator.write(ref.name, "COMPLETED")
    outcome = await ended(waiting(ref))
    assert outcome.deleted


async def test_deleted_right_after_its_success_is_a_success(start, operator, waiting, told, client, namespace):
    """A time-to-live of zero."""
    ref = (await start()).ref
    task = waiting(ref)
    await told.until("PENDING")
    await operator.write(ref.name, "COMPLETED")
    await client.delete(API, ref.name, namespace, propagation="Background")
    assert (await ended(task)).verdict.phase is Phase.SUCCEEDED


async def test_a_job_that_is_being_deleted_is_waited_for_until_it_is_gone(start, waiting, told, client, namespace):
    ref = (await start()).ref
    await client.patch(API, ref.name, {"metadata": {"finalizers": ["test/hold"]}}, namespace)
    task = waiting(ref)
    await client.delete(API, ref.name, namespace, propagation="Background")
    await told.until("being deleted")
    assert not task.done()
    await client.patch(API, ref.name, {"metadata": {"finalizers": []}}, namespace)
    assert (await ended(task)).deleted


@pytest.mark.parametrize(
    ("state", "status", "deadlines", "expired"),
    [
        ("SUSPENDED", {}, {"queue_seconds": 0.3}, "queue"),
        ("SUBMITTED", {"lastSubmissionAttemptTime": now(-60)}, {"startup_seconds": 30.0}, "startup"),
        ("", {}, {"startup_seconds": 0.3}, "startup"),
        ("RUNNING", {}, {"execute_until": 0.3}, "execution"),
        ("SUSPENDED", {}, {"execute_until": 0.3}, "execution"),
    ],
)
async def test_each_deadline(start, operator, waiting, told, state, status, deadlines, expired):
    ref = (await start()).ref
    if state:
        await operator.write(ref.name, state, **status)
    absolute = {k: v if k.endswith("seconds") else time.time() + v for k, v in deadlines.items()}
    outcome = await ended(waiting(ref, Deadlines(**absolute)))
    assert outcome.expired == expired
    assert f"the {expired} deadline has passed" in told.text


@pytest.mark.parametrize("state", ["RUNNING", "SUSPENDED"])
async def test_a_phases_deadline_ends_with_the_phase(start, operator, waiting, told, state):
    ref = (await start()).ref
    await operator.write(ref.name, "SUBMITTED", lastSubmissionAttemptTime=now())
    task = waiting(ref, Deadlines(startup_seconds=2.0))
    await told.until("startup deadline")
    await operator.write(ref.name, state)
    await told.until(state)
    await asyncio.sleep(2.2)
    assert not task.done()


async def test_a_state_unknown_leaves_the_deadline_before_it_running(start, operator, waiting, told):
    ref = (await start()).ref
    await operator.write(ref.name, "SUBMITTED", lastSubmissionAttemptTime=now())
    task = waiting(ref, Deadlines(startup_seconds=2.0))
    await told.until("startup deadline")
    await operator.write(ref.name, "UNKNOWN", lastSubmissionAttemptTime=now())
    assert (await ended(task)).expired == "startup"


async def test_a_restarted_wait_resets_no_clock(start, operator, waiting):
    ref = (await start()).ref
    await operator.write(ref.name, "SUBMITTED", lastSubmissionAttemptTime=now(-100))
    first = waiting(ref, Deadlines(startup_seconds=101.5))
    await asyncio.sleep(0.2)
    first.cancel()
    began = time.monotonic()
    assert (await ended(waiting(ref, Deadlines(startup_seconds=101.5)))).expired == "startup"
    assert time.monotonic() - began < 3


async def test_an_end_that_was_reached_counts_though_the_deadline_has_passed(start, operator, waiting):
    ref = (await start()).ref
    await operator.write(ref.name, "COMPLETED")
    outcome = await ended(waiting(ref, Deadlines(execute_until=time.time() - 100)))
    assert outcome.verdict.phase is Phase.SUCCEEDED
    assert outcome.expired == ""


async def test_attempts_and_queueing_are_told(start, operator, waiting, told):
    manifest = pi()
    manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "team-queue"
    ref = (await start(manifest=manifest)).ref
    waiting(ref)
    await operator.write(ref.name, "SUSPENDED")
    await told.until("QUEUED (SUSPENDED): waiting for Kueue to admit it from queue team-queue")
    await operator.write(ref.name, "FAILING", "driver container failed with ExitCode: 1, Reason: Error")
    await told.until("(FAILING)")
    await operator.write(ref.name, "RUNNING", executionAttempts=2, submissionID="s2")
    await told.until("RUNNING attempt 2")


async def test_the_runs_of_its_operator_are_in_the_outcome(start, operator, waiting, told):
    ref = (await start()).ref
    wait_for_end = waiting(ref)
    said = "driver container failed with ExitCode: 1, Reason: Error"
    await operator.write(ref.name, "FAILING", said, executionAttempts=1, submissionID="s1")
    await told.until("(FAILING)")
    await operator.write(ref.name, "RUNNING", executionAttempts=2, submissionID="s2")
    await told.until("RUNNING attempt 2")
    await operator.write(ref.name, "COMPLETED", executionAttempts=2, submissionID="s2")
    outcome = await wait_for_end
    assert outcome.earlier == (f"run 1: {said}",)
    assert Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome


@pytest.fixture
async def workload(client, namespace, start, operator):
    """A suspended job, and the Workload that Kueue has made for it, waiting for quota."""
    ref = (await start()).ref
    await operator.write(ref.name, "SUSPENDED")
    waits = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": "no quota for cpu in flavor x"}
    manifest = {
        "metadata": {"name": f"sparkapplication-{ref.name}", "labels": {"kueue.x-k8s.io/job-uid": ref.uid}},
        "spec": {"active": True},
    }
    made = await client.create(WORKLOAD, manifest, namespace)
    status = {"status": {"conditions": [waits]}}
    return ref, await client.patch(WORKLOAD, made["metadata"]["name"], status, namespace, subresource="status")


async def test_a_workload_that_kueue_has_deactivated_ends_the_wait(
    workload, operator, client, airflow, namespace, waiting, told, monkeypatch
):
    monkeypatch.setattr(rounds_module, "INTERVAL", 0.1)
    ref, obj = workload
    task = waiting(ref)
    await told.until("Kueue: workload sparkapplication-")
    await told.until("no quota for cpu in flavor x")
    gone = {"type": "Evicted", "status": "True", "reason": "DeactivatedDueToRequeuingLimitExceeded", "message": "often"}
    name, status = obj["metadata"]["name"], {"status": {"conditions": [gone]}}
    await client.patch(WORKLOAD, name, {"spec": {"active": False}}, namespace)
    await client.patch(WORKLOAD, name, status, namespace, subresource="status")
    outcome = await ended(task)
    with pytest.raises(NotAdmittedError, match=r"^Kueue has deactivated the workload of .*LimitExceeded\): often"):
        await finish(airflow, SPARK_APPLICATION, outcome, on_finish="keep", log=told)
    # Nobody would be there to see it run, should somebody activate it again.
    assert await operator.live() == []


async def test_on_change_is_told_of_phases_runs_and_facts_and_of_the_end(start, operator, waiting, told):
    seen = []

    async def on_change(obj):
        status = obj.get("status") or {}
        seen.append(
            (status.get("applicationState", {}).get("state", ""), (status.get("driverInfo") or {}).get("podName"))
        )

    ref = (await start()).ref
    task = waiting(ref, on_change=on_change)
    await told.until("PENDING")
    await operator.write(ref.name, "RUNNING")
    await told.until("RUNNING")
    await operator.write(ref.name, "RUNNING", executorState={"e-1": "RUNNING"})
    await operator.write(ref.name, "RUNNING", driverInfo={"podName": "d"})
    async with asyncio.timeout(10):
        while ("RUNNING", "d") not in seen:
            await asyncio.sleep(0.01)
    await operator.write(ref.name, "COMPLETED", driverInfo={"podName": "d"})
    await ended(task)
    assert seen == [("", None), ("RUNNING", None), ("RUNNING", "d"), ("COMPLETED", "d")]


async def test_the_drivers_log_and_warning_events_are_in_the_tasks_log(start, operator, waiting, told):
    submission = await start()
    ref = submission.ref
    await operator.warn(submission.obj, "SparkApplicationSubmissionFailed", "webhook says no")
    task = waiting(ref)
    await told.until("SparkApplicationSubmissionFailed SparkApplication")
    pod = await operator.run(ref.name)
    operator.log(pod, "hello", "world")
    await told.until("[driver] world")
    operator.log(pod, "goodbye")
    await operator.end(ref.name)
    outcome = await ended(task)
    assert outcome.log_shown
    assert told.driver == ["hello", "world", "goodbye"]
    assert told.text.count("webhook says no") == 1


async def test_a_rerun_by_the_operator_switches_the_log(start, operator, waiting, told, client, namespace):
    ref = (await start()).ref
    waiting(ref)
    first = await operator.run(ref.name)
    operator.log(first, "first run")
    await told.until("[driver] first run")
    name = first["metadata"]["name"]
    await client.delete(POD, name, namespace, grace_seconds=0, propagation="Background")
    await operator.write(ref.name, "PENDING_RERUN", driverInfo={"podName": None}, submissionID=None)
    await told.until("(PENDING_RERUN)")
    second = await operator.run(ref.name, submission="s2", attempt=2)
    operator.log(second, "second run")
    await told.until("[driver] second run")
    assert told.driver == ["first run", "second run"]


async def test_no_status_for_long_says_who_should_have_acted(start, waiting, told, monkeypatch):
    monkeypatch.setattr(module, "UNTOUCHED_SECONDS", 0.0)
    waiting((await start()).ref)
    await told.until("no controller has touched it. Is the Spark operator running, does it watch namespace")


async def test_a_cancelled_wait_leaves_no_task_and_no_stream(start, operator, waiting, told):
    ref = (await start()).ref
    before = len(asyncio.all_tasks())
    task = waiting(ref)
    operator.log(await operator.run(ref.name), "hello")
    await told.until("[driver] hello")
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0.1)
    assert rounds_module.rounds().streams == 0
    # The shared watch lingers for the next wait; nothing else does.
    assert len(asyncio.all_tasks()) <= before + 1


async def test_api_server_stopped_while_waiting_and_back(start_api_server, told):
    server = start_api_server()
    port = server.port
    async with KubernetesClient(kubeconfig_file(server.kubeconfig)) as client:
        hub, operator = WatchHub(client), Operator(client, "default", server)
        ref = (await submit(client, SPARK_APPLICATION, pi(), identity(), namespace="default", log=told)).ref
        task = asyncio.create_task(wait(client, hub, SPARK_APPLICATION, ref, Deadlines(), log=told))
        await told.until("PENDING")
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(0.5)
        assert not task.done()
        operator.server = await asyncio.to_thread(start_api_server, port=port)
        await operator.write(ref.name, "RUNNING")
        await told.until("RUNNING")
        await operator.write(ref.name, "COMPLETED")
        assert (await ended(task)).verdict.phase is Phase.SUCCEEDED
        await hub.close()


async def test_a_thousand_waits_cost_next_to_no_requests(airflow, hub, operator, namespace, waiting, api_server):
    """All in one loop: one watch, and nothing that grows; each is told its own end at once."""
    refs, tolds = [], [Told() for _ in range(200)]
    for index, told in enumerate(tolds):
        submission = await submit(
            airflow, SPARK_APPLICATION, pi(), identity(run=f"run-{index}"), namespace=namespace, log=told
        )
        refs.append(submission.ref)
    requests = count_requests(airflow)
    tasks = [waiting(ref, Deadlines(startup_seconds=3600), log=told) for ref, told in zip(refs, tolds, strict=True)]
    for told in tolds:
        await told.until("PENDING")
    await asyncio.sleep(1)
    assert len(requests) <= 8
    await asyncio.gather(*(operator.write(ref.name, "COMPLETED") for ref in refs))
    outcomes = await asyncio.wait_for(asyncio.gather(*tasks), 20)
    assert {outcome.ref for outcome in outcomes} == set(refs)
    assert all(outcome.verdict.phase is Phase.SUCCEEDED for outcome in outcomes)


def count_requests(client):
    """Note every request that a client sends from now on."""
    seen = []
    transport = client._transport
    send, stream = transport.send, transport.stream

    def sending(request, *args, **kwargs):
        if request.method == "GET":
            seen.append(request)
        return send(request, *args, **kwargs)

    def streaming(request, *args, **kwargs):
        seen.append(request)
        return stream(request, *args, **kwargs)

    transport.send, transport.stream = sending, streaming
    return seen


async def test_without_the_right_to_watch_the_wait_ends_with_the_fix(start, api_server, client, namespace, told):
    ref = (await start()).ref
    async with limited_client(api_server, client, namespace, ["get"]) as limited:
        hub = WatchHub(limited)
        task = asyncio.create_task(wait(limited, hub, SPARK_APPLICATION, ref, Deadlines(), log=told))
        await asyncio.wait([task], timeout=20)
        await hub.close()
    with pytest.raises(ForbiddenError, match="kubectl auth can-i"):
        task.result()


async def gang_pod(client, ref, *, placed="", scheduler="volcano"):
    """Make a pod of the job as a gang scheduler sees it: without a node, or placed at a time."""
    condition = {"type": "PodScheduled", "status": "True" if placed else "False", "lastTransitionTime": placed or now()}
    name = f"{ref.name}-driver"
    if placed:
        binding = {"metadata": {"name": name}, "target": {"kind": "Node", "name": "node-1"}}
        await client.create(replace(POD, plural=f"pods/{name}/binding", kind="Binding"), binding, ref.namespace)
    else:
        labels = {"sparkoperator.k8s.io/app-name": ref.name}
        spec = {"schedulerName": scheduler, "containers": [{"name": "spark-kubernetes-driver", "image": "i:1"}]}
        await client.create(POD, {"metadata": {"name": name, "labels": labels}, "spec": spec}, ref.namespace)
    await client.patch(POD, name, {"status": {"conditions": [condition]}}, ref.namespace, subresource="status")


async def test_what_a_gang_scheduler_holds_back_is_in_its_queue(client, start, operator, waiting, told, monkeypatch):
    monkeypatch.setattr(rounds_module, "INTERVAL", 0.05)
    ref = (await start()).ref
    await operator.write(ref.name, "SUBMITTED", lastSubmissionAttemptTime=now(-60))
    await gang_pod(client, ref)
    task = waiting(ref, Deadlines(startup_seconds=2.0, queue_seconds=120))
    await told.until("its pods are in the queue of volcano, so queue_timeout counts")
    await asyncio.sleep(0.2)
    assert not task.done()
    # From when its pods have their nodes it starts up, and has the whole time for that.
    placed = time.time()
    await gang_pod(client, ref, placed=now())
    await told.until("volcano has let its pods go")
    assert (await ended(task)).expired == "startup"
    assert time.time() - placed > 0.9, "whole seconds, rounded down, of two"


@pytest.mark.parametrize("startup", [{}, {"startup_seconds": 2.0}, {"startup_seconds": 600.0}], ids=str)
async def test_nothing_waits_in_the_queue_of_a_gang_scheduler_for_longer_than_it_may(
    client, start, operator, waiting, startup
):
    ref = (await start()).ref
    await operator.write(ref.name, "SUBMITTED", lastSubmissionAttemptTime=now(-60))
    await gang_pod(client, ref)
    assert (await ended(waiting(ref, Deadlines(queue_seconds=1.5, **startup)))).expired == "queue"


async def test_pods_of_others_tell_nothing_of_a_job_that_has_no_selector_yet(client, start, operator, waiting, told):
    ref = (await start()).ref
    await operator.write(ref.name, "SUBMITTED", lastSubmissionAttemptTime=now(-60))
    await gang_pod(client, ref)
    kind = replace(SPARK_APPLICATION, pod_selector=lambda obj: "")
    task = waiting(ref, Deadlines(startup_seconds=1.0, queue_seconds=120), resource=kind)
    assert (await ended(task)).expired == "startup"
    assert "volcano" not in told.text


async def test_what_was_let_go_since_it_was_looked_at_is_not_in_the_queue_any_more(
    client, start, operator, waiting, told
):
    ref = (await start()).ref
    await operator.write(ref.name, "SUBMITTED", lastSubmissionAttemptTime=now(-60))
    await gang_pod(client, ref)
    task = waiting(ref, Deadlines(startup_seconds=1.0, queue_seconds=4.0))
    await told.until("its pods are in the queue of volcano")
    await gang_pod(client, ref, placed=now())
    assert (await ended(task)).expired == "startup"
    assert "volcano has let its pods go" in told.text


async def test_the_queue_of_a_job_that_ran_begins_when_it_is_taken_back(start, operator, waiting, told):
    ref = (await start()).ref
    submitted = {"lastSubmissionAttemptTime": now()}
    await operator.write(ref.name, "RUNNING", **submitted)
    task = waiting(ref, Deadlines(queue_seconds=1.0))
    await told.until("RUNNING")
    await asyncio.sleep(1.2)
    began = time.monotonic()
    await operator.write(ref.name, "SUSPENDED", **submitted)
    assert (await ended(task)).expired == "queue"
    assert time.monotonic() - began > 0.9


async def test_a_wait_whose_status_is_lost_at_its_deadline_sleeps(start, operator, waiting, told, hub):
    class Counting:
        follows = 0

        def follow(self, *args, **kwargs):
            self.follows += 1
            return hub.follow(*args, **kwargs)

    ref, counting = (await start()).ref, Counting()
    await operator.write(ref.name, "SUBMITTED", lastSubmissionAttemptTime=now())
    task = waiting(ref, Deadlines(queue_seconds=1.5), hub=counting)
    await told.until("PENDING")
    await operator.write(ref.name, "UNKNOWN", lastSubmissionAttemptTime=now())
    await told.until("UNKNOWN")
    await asyncio.sleep(2.0)
    assert counting.follows <= 3
    await operator.write(ref.name, "COMPLETED")
    assert (await ended(task)).verdict.phase is Phase.SUCCEEDED


async def test_pods_that_cannot_be_seen_at_a_deadline_are_looked_at_again(
    client, start, operator, waiting, airflow, monkeypatch
):
    ref = (await start()).ref
    await operator.write(ref.name, "SUBMITTED", lastSubmissionAttemptTime=now(-60))
    await gang_pod(client, ref)
    monkeypatch.setattr(module, "_API_AWAY_SECONDS", 0.2)
    listing, away = airflow.list, [True, True]

    async def flaky(*args, **kwargs):
        if away:
            away.pop()
            raise ApiUnavailableError("the API server is away")
        return await listing(*args, **kwargs)

    monkeypatch.setattr(airflow, "list", flaky)
    assert (await ended(waiting(ref, Deadlines(queue_seconds=1.5)))).expired == "queue"
    assert away == []


async def test_pods_that_were_made_late_and_such_as_have_run_have_their_time(client, start, operator, waiting, told):
    ref = (await start()).ref
    await operator.write(ref.name, "SUBMITTED", lastSubmissionAttemptTime=now(-60))
    began = time.monotonic()
    await gang_pod(client, ref, scheduler="default-scheduler")
    task = waiting(ref, Deadlines(startup_seconds=2.0))
    assert (await ended(task)).expired == "startup"
    assert time.monotonic() - began > 0.9, "whole seconds, rounded down, of two"
    ran = {"name": "spark-kubernetes-driver", "image": "i:1", "imageID": "", "ready": False, "restartCount": 1}
    status = {"containerStatuses": [ran | {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}
    await client.patch(POD, f"{ref.name}-driver", {"status": status}, ref.namespace, subresource="status")
    task = waiting(ref, Deadlines(startup_seconds=2.0))
    await asyncio.sleep(1.0)
    assert not task.done()


async def test_what_no_gang_scheduler_holds_back_is_in_no_queue(client, start, operator, waiting, airflow):
    ref = (await start()).ref
    await operator.write(ref.name, "SUBMITTED", lastSubmissionAttemptTime=now())
    await gang_pod(client, ref, scheduler="default-scheduler")
    requests = count_requests(airflow)
    task = waiting(ref, Deadlines(queue_seconds=0.5))
    await asyncio.sleep(1.5)
    assert not task.done()
    # It is asked once.
    assert len([each for each in requests if str(each.query.get("labelSelector")).startswith("sparkoperator")]) == 1
    await operator.write(ref.name, "COMPLETED")
    assert (await ended(task)).verdict.phase is Phase.SUCCEEDED
