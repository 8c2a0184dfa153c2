"""The sensor of a schedule's runs, on a real API server; the test plays the Spark operator."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_sparkml.exceptions import InvalidManifestError, JobFailedError
from airflow_provider_sparkml.resources.spark import SparkApplication
from airflow_provider_sparkml.resources.spark_scheduled import ScheduledSparkApplication
from airflow_provider_sparkml.sensors.spark_scheduled import ScheduledSparkApplicationSensor

pytestmark = pytest.mark.usefixtures("connection", "supervisor")

APPLICATION = SparkApplication(image="i", main_application_file="local:///opt/sparkml/pi.py")
STARTED = datetime(2026, 11, 23, 3, 0, 0, 500_000, tzinfo=UTC)


@pytest.fixture
def nightly(schedules: Any) -> Any:
    schedules.create(
        ScheduledSparkApplication(name="nightly", schedule="0 3 * * *", template=APPLICATION).to_manifest()
    )
    return schedules


def context(make: Any) -> Any:
    return {**make(), "dag_run": SimpleNamespace(start_date=STARTED)}


def sensor(**kwargs: Any) -> ScheduledSparkApplicationSensor:
    return ScheduledSparkApplicationSensor(task_id="t", schedule_name="nightly", **kwargs)


def begin(schedules: Any, applications: Any, name: str, at: str) -> None:
    applications.create({**APPLICATION.to_manifest(), "metadata": {"name": name}})
    schedules.set_status("nightly", scheduleState="Scheduled", lastRun=at, lastRunName=name)


def deferred(task: Any, context: Any) -> Any:
    with pytest.raises(TaskDeferred) as raised:
        task.execute(context)
    return raised.value.trigger


async def fire(trigger: Any) -> dict[str, Any]:
    (event,) = [event async for event in trigger.run()]
    payload: dict[str, Any] = event.payload
    return payload


async def test_it_waits_for_a_run_that_begins_after_the_dag_run(
    nightly: Any, applications: Any, task_context: Any
) -> None:
    begin(nightly, applications, "nightly-1", "2026-11-22T03:00:00Z")
    applications.set_state("nightly-1", "COMPLETED")
    now = context(task_context)
    trigger = await asyncio.to_thread(deferred, sensor(), now)
    _, arguments = trigger.serialize()
    assert arguments["since"] == STARTED.isoformat()
    waiting = asyncio.create_task(fire(type(trigger)(**arguments)))
    await asyncio.to_thread(begin, nightly, applications, "nightly-2", "2026-11-23T03:00:00Z")
    await asyncio.to_thread(applications.set_state, "nightly-2", "COMPLETED", sparkApplicationId="spark-2")
    event = await asyncio.wait_for(waiting, 20)
    # What comes later changes nothing of what was seen.
    await asyncio.to_thread(begin, nightly, applications, "nightly-3", "2026-11-24T03:00:00Z")
    result = await asyncio.to_thread(sensor().execute_complete, now, event, arguments)
    assert (result["name"], result["spark_application_id"]) == ("nightly-2", "spark-2")


async def test_a_run_that_is_replaced_is_passed_over(nightly: Any, applications: Any, task_context: Any) -> None:
    begin(nightly, applications, "nightly-2", "2026-11-23T03:00:00Z")
    trigger = await asyncio.to_thread(deferred, sensor(), context(task_context))
    waiting = asyncio.create_task(fire(trigger))
    await asyncio.to_thread(applications.delete, "nightly-2")
    await asyncio.to_thread(begin, nightly, applications, "nightly-3", "2026-11-24T03:00:00Z")
    await asyncio.to_thread(applications.set_state, "nightly-3", "COMPLETED")
    event = await asyncio.wait_for(waiting, 20)
    assert event["outcome"]["ref"]["name"] == "nightly-3"


def test_a_failed_run_fails_the_sensor(nightly: Any, applications: Any, task_context: Any) -> None:
    begin(nightly, applications, "nightly-2", "2026-11-23T03:00:00Z")
    applications.set_state("nightly-2", "FAILED", error="driver container failed with ExitCode: 3, Reason: Error")
    with pytest.raises(JobFailedError, match="3"):
        sensor().execute(context(task_context))


def test_it_pokes_until_there_is_a_run(schedules: Any, applications: Any, task_context: Any) -> None:
    task = sensor(deferrable=False, since="2026-11-23T03:00:00")
    assert not task.poke(context(task_context)).is_done
    schedules.create(
        ScheduledSparkApplication(name="nightly", schedule="0 3 * * *", template=APPLICATION).to_manifest()
    )
    assert not task.poke(context(task_context)).is_done
    begin(schedules, applications, "nightly-2", "2026-11-23T03:00:00Z")
    assert not task.poke(context(task_context)).is_done
    applications.set_state("nightly-2", "COMPLETED")
    assert task.poke(context(task_context)).is_done


def test_a_time_that_is_none(task_context: Any) -> None:
    with pytest.raises(InvalidManifestError, match="since is 'yesterday'"):
        sensor(since="yesterday").execute(context(task_context))
