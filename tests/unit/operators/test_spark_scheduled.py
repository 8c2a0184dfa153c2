"""Schedules on a real API server: ensured, suspended, resumed and run now; the test plays the Spark operator."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_sparkml.exceptions import (
    ForbiddenError,
    InvalidManifestError,
    JobDeletedError,
    NameTakenError,
    NotFoundError,
    SubmissionFailedError,
)
from airflow_provider_sparkml.operators.spark_scheduled import (
    ScheduledSparkApplicationOperator,
    ScheduledSparkApplicationResumeOperator,
    ScheduledSparkApplicationRunOperator,
    ScheduledSparkApplicationSuspendOperator,
)
from airflow_provider_sparkml.resources.naming import MANAGED_BY, PREFIX
from airflow_provider_sparkml.resources.spark import SparkApplication
from airflow_provider_sparkml.resources.spark_scheduled import ScheduledSparkApplication
from tests.shipped_roles import take_away, to_add

pytestmark = pytest.mark.usefixtures("connection", "supervisor")

SCHEDULES = "scheduledsparkapplications"


def manifest(schedule: str = "0 3 * * *", **changes: Any) -> ScheduledSparkApplication:
    template = SparkApplication(
        image="i", main_application_file="local:///opt/sparkml/pi.py", arguments=changes.pop("arguments", ["1"])
    )
    return ScheduledSparkApplication(name="nightly", schedule=schedule, template=template, **changes)


def operator(*args: Any, **changes: Any) -> ScheduledSparkApplicationOperator:
    return ScheduledSparkApplicationOperator(task_id="t", scheduled_application=manifest(*args, **changes))


def ensure(context: Any, *args: Any, **changes: Any) -> Any:
    """Ensure until it defers, and return the trigger."""
    with pytest.raises(TaskDeferred) as deferred:
        operator(*args, **changes).execute(context)
    return deferred.value.trigger


def accept(schedules: Any, next_run: str = "2026-11-24T03:00:00Z") -> None:
    schedules.set_status("nightly", scheduleState="Scheduled", nextRun=next_run)


async def fire(trigger: Any) -> dict[str, Any]:
    (event,) = [event async for event in trigger.run()]
    payload: dict[str, Any] = event.payload
    return payload


async def test_it_is_in_force_when_the_operator_says_so(schedules: Any, task_context: Any) -> None:
    context = task_context()
    waiting = asyncio.create_task(fire(await asyncio.to_thread(ensure, context)))
    await asyncio.to_thread(accept, schedules)
    event = await asyncio.wait_for(waiting, 20)
    result = await asyncio.to_thread(operator().execute_complete, context, event)
    assert (result["name"], result["schedule"], result["suspended"]) == ("nightly", "0 3 * * *", False)
    assert result["next_run"] == "2026-11-24T03:00:00Z"
    assert schedules.one()["spec"]["concurrencyPolicy"] == "Forbid"


def test_the_same_again_changes_nothing(schedules: Any, task_context: Any) -> None:
    ensure(task_context())
    accept(schedules)
    before = schedules.one()
    ensure(task_context(run_id="other"))
    assert schedules.one() == before


def test_another_time_counts_at_once(schedules: Any, task_context: Any) -> None:
    ensure(task_context(), "0 3 1 1 *")
    accept(schedules, "2027-01-01T03:00:00Z")
    ensure(task_context(run_id="other"), "0 3 * * *")
    assert not schedules.one()["status"].get("nextRun")
    assert not schedules.one()["status"].get("scheduleState")


def test_another_template_leaves_the_next_run_where_it_is(schedules: Any, task_context: Any) -> None:
    ensure(task_context())
    accept(schedules)
    ensure(task_context(run_id="other"), arguments=["2"])
    assert schedules.one()["spec"]["template"]["arguments"] == ["2"]
    assert schedules.one()["status"]["nextRun"] == "2026-11-24T03:00:00Z"


def test_what_a_try_that_died_has_not_cleared_the_next_one_clears(schedules: Any, task_context: Any) -> None:
    ensure(task_context())
    accept(schedules)
    name = f"{schedules.path}/nightly"
    lost = {"metadata": {"annotations": {f"{PREFIX}/schedule": "UTC 0 4 * * *"}}}
    schedules.api_server.request("PATCH", name, lost, content_type="application/merge-patch+json")
    ensure(task_context(run_id="other"))
    assert not schedules.one()["status"].get("nextRun")


async def test_a_refusal_tells_the_operators_reason_and_leaves_nothing(schedules: Any, task_context: Any) -> None:
    context = task_context()
    trigger = await asyncio.to_thread(ensure, context)
    schedules.set_status("nightly", scheduleState="FailedValidation", reason="unknown time zone UTC")
    event = await asyncio.wait_for(fire(trigger), 20)
    with pytest.raises(SubmissionFailedError, match="unknown time zone UTC"):
        await asyncio.to_thread(operator().execute_complete, context, event)
    assert schedules.all() == []


async def test_one_that_was_there_before_stays_when_it_is_refused(schedules: Any, task_context: Any) -> None:
    await asyncio.to_thread(ensure, task_context())
    context = task_context(run_id="other")
    trigger = await asyncio.to_thread(ensure, context, "0 4 * * *")
    schedules.set_status("nightly", scheduleState="FailedValidation", reason="no")
    event = await asyncio.wait_for(fire(trigger), 20)
    with pytest.raises(SubmissionFailedError, match="no run begins until then"):
        await asyncio.to_thread(operator().execute_complete, context, event)
    assert schedules.one()


async def test_one_that_is_deleted_meanwhile(schedules: Any, task_context: Any) -> None:
    context = task_context()
    trigger = await asyncio.to_thread(ensure, context)
    waiting = asyncio.create_task(fire(trigger))
    await asyncio.to_thread(schedules.delete, "nightly")
    event = await asyncio.wait_for(waiting, 20)
    with pytest.raises(JobDeletedError):
        await asyncio.to_thread(operator().execute_complete, context, event)


async def test_a_kill_removes_only_what_was_created(schedules: Any, task_context: Any) -> None:
    created = await asyncio.to_thread(ensure, task_context())
    changed = await asyncio.to_thread(ensure, task_context(run_id="other"), "0 4 * * *")
    await changed.on_kill()
    assert schedules.one()
    await created.on_kill()
    assert schedules.all() == []


def test_production_refuses_a_template_whose_image_can_change(
    schedules: Any, task_context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_SPARKML_PROFILE", "production")
    with pytest.raises(InvalidManifestError, match=r"spec.template.image is 'i', which can be another image tomorrow"):
        operator().execute(task_context())
    assert schedules.all() == []


def test_somebody_elses_is_not_touched(schedules: Any, task_context: Any) -> None:
    before = schedules.create(manifest().to_manifest())
    for task in (
        operator("0 4 * * *"),
        ScheduledSparkApplicationSuspendOperator(task_id="t", schedule_name="nightly"),
        ScheduledSparkApplicationRunOperator(task_id="t", schedule_name="nightly"),
    ):
        with pytest.raises(NameTakenError):
            task.execute(task_context())
    assert schedules.one() == before


def test_suspended_and_resumed_and_an_ensure_leaves_it_so(schedules: Any, task_context: Any) -> None:
    ensure(task_context())
    accept(schedules)
    for _ in range(2):
        told = ScheduledSparkApplicationSuspendOperator(task_id="t", schedule_name="nightly").execute(task_context())
        assert told["suspended"] is True
    ensure(task_context(run_id="other"))
    assert schedules.one()["spec"]["suspend"] is True
    told = ScheduledSparkApplicationResumeOperator(task_id="t", schedule_name="nightly").execute(task_context())
    assert told["suspended"] is False
    assert schedules.one()["spec"]["suspend"] is False


def test_what_is_not_there_cannot_be_suspended_or_run(schedules: Any, task_context: Any) -> None:
    for cls in (ScheduledSparkApplicationSuspendOperator, ScheduledSparkApplicationRunOperator):
        with pytest.raises(NotFoundError, match="there is no ScheduledSparkApplication"):
            cls(task_id="t", schedule_name="nightly").execute(task_context())


async def test_run_now_runs_a_copy_once_and_returns_its_result(
    schedules: Any, applications: Any, task_context: Any
) -> None:
    schedules.create(
        manifest(suspend=True, labels={MANAGED_BY: PREFIX}).to_manifest(),
    )
    task = ScheduledSparkApplicationRunOperator(task_id="t", schedule_name="nightly", on_finish="keep")

    def start(try_number: int) -> Any:
        with pytest.raises(TaskDeferred) as deferred:
            task.execute(task_context(try_number=try_number, max_tries=1))
        return deferred.value.trigger

    trigger = await asyncio.to_thread(start, 1)
    assert (await asyncio.to_thread(start, 2)).ref == trigger.ref, "a retry goes on with the live one"
    run = applications.one()
    assert run["metadata"]["name"].startswith("nightly-")
    assert "ownerReferences" not in run["metadata"]
    assert not any("scheduled-app-name" in label for label in run["metadata"]["labels"])
    assert run["spec"]["arguments"] == ["1"]
    applications.set_state(run["metadata"]["name"], "COMPLETED", sparkApplicationId="spark-1")
    event = await asyncio.wait_for(fire(trigger), 20)
    context = task_context(try_number=2, max_tries=1)
    result = await asyncio.to_thread(task.execute_complete, context, event, trigger.serialize()[1])
    assert result["spark_application_id"] == "spark-1"


@pytest.mark.parametrize(
    ("resource", "verb"),
    [(SCHEDULES, verb) for verb in ("create", "get", "list", "patch")] + [(f"{SCHEDULES}/status", "patch")],
)
async def test_without_one_right(
    resource: str, verb: str, schedules: Any, api_server: Any, namespace: str, task_context: Any
) -> None:
    missing = ("sparkoperator.k8s.io", resource, verb)
    context = task_context()
    await asyncio.to_thread(take_away, api_server, namespace, "spark_scheduled", missing)

    async def run() -> None:
        waiting = asyncio.create_task(fire(await asyncio.to_thread(ensure, context)))
        await asyncio.to_thread(accept, schedules)
        event = await asyncio.wait_for(waiting, 20)
        await asyncio.to_thread(operator().execute_complete, context, event)
        # Another time makes the former next run void, which is in the status.
        await asyncio.to_thread(ensure, task_context(run_id="other"), "0 4 * * *")

    with pytest.raises(ForbiddenError, match=re.escape(to_add(missing))):
        await run()
