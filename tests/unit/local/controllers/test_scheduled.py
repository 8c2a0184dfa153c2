"""The controller of ScheduledSparkApplications on a real API server; the test plays that of SparkApplications."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.local.controllers.scheduled import scheduled_controller
from airflow_provider_sparkml.resources.spark import SparkApplication
from airflow_provider_sparkml.resources.spark_scheduled import RUN_LABEL, ScheduledSparkApplication, application_of

PAST = "2026-11-23T03:00:00Z"
FIRST_RUN = "nightly-1795402800000000000"


def scheduled(schedule: str = "0 0 1 1 *", **changes: Any) -> dict[str, Any]:
    template = SparkApplication(image="i", main_application_file="local:///opt/sparkml/pi.py")
    return ScheduledSparkApplication(name="nightly", schedule=schedule, template=template, **changes).to_manifest()


def run(name: str) -> dict[str, Any]:
    """Return a run of the schedule."""
    return application_of(scheduled()) | {"metadata": {"name": name, "labels": {RUN_LABEL: "nightly"}}}


@asynccontextmanager
async def running(api_server: Any) -> AsyncIterator[None]:
    async with KubernetesClient(kubeconfig_file(api_server.kubeconfig)) as client:
        work = asyncio.create_task(scheduled_controller(client).run())
        try:
            yield
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


async def until(holds: Callable[[], Any]) -> Any:
    """Return what a look at the API server finds, as soon as it finds something."""
    async with asyncio.timeout(20):
        while not (found := await asyncio.to_thread(holds)):
            await asyncio.sleep(0.05)
    return found


def status(schedules: Any) -> dict[str, Any]:
    found: dict[str, Any] = schedules.one().get("status") or {}
    return found


def due(schedules: Any, **more: Any) -> None:
    """Let a run fall due."""
    schedules.set_status("nightly", scheduleState="Scheduled", nextRun=PAST, **more)


async def test_a_run_that_falls_due_is_made_once_even_by_two_controllers(
    api_server: Any, schedules: Any, applications: Any
) -> None:
    schedules.create(scheduled(labels={"team": "a"}))
    async with running(api_server):
        await until(lambda: status(schedules).get("scheduleState") == "Scheduled")
        assert status(schedules)["nextRun"].endswith("-01-01T00:00:00Z")
        due(schedules)
        await until(lambda: status(schedules).get("lastRunName") == FIRST_RUN)
    run = applications.one()
    assert run["metadata"]["labels"] == {RUN_LABEL: "nightly", "team": "a"}
    assert run["metadata"]["ownerReferences"][0]["uid"] == schedules.one()["metadata"]["uid"]
    # A controller that died between the run and the status finds the run made.
    due(schedules, lastRunName=None)
    applications.set_state(FIRST_RUN, "COMPLETED")
    async with running(api_server):
        await until(lambda: status(schedules).get("lastRunName") == FIRST_RUN)
    assert len(applications.all()) == 1


@pytest.mark.parametrize(
    ("policy", "old", "runs"),
    [
        ("Forbid", "RUNNING", ["old"]),
        ("Forbid", "COMPLETED", [FIRST_RUN, "old"]),
        ("Allow", "RUNNING", [FIRST_RUN, "old"]),
        ("Replace", "RUNNING", [FIRST_RUN]),
        ("Replace", "FAILED", [FIRST_RUN, "old"]),
    ],
)
async def test_the_policy_while_another_run_is_there(
    api_server: Any, schedules: Any, applications: Any, policy: Any, old: str, runs: list[str]
) -> None:
    schedules.create(scheduled(concurrency_policy=policy))
    applications.create(run("old"))
    applications.set_state("old", old)
    due(schedules)
    async with running(api_server):
        if len(runs) == 1 and runs == ["old"]:
            # The status is not written then: another schedule, reconciled after it, tells that its turn is over.
            other = scheduled() | {"metadata": {"name": "other"}}
            schedules.create(other)
            await until(lambda: all(each.get("status", {}).get("nextRun") for each in schedules.all()))
        else:
            await until(lambda: status(schedules).get("lastRunName"))
    assert sorted(each["metadata"]["name"] for each in applications.all()) == sorted(runs)


async def test_history_is_kept_up_to_its_limits(api_server: Any, schedules: Any, applications: Any) -> None:
    schedules.create(scheduled(successful_run_history_limit=2, failed_run_history_limit=0))
    for name, state in (("a", "COMPLETED"), ("b", "COMPLETED"), ("c", "COMPLETED"), ("f", "FAILED")):
        applications.create(run(name))
        applications.set_state(name, state)
    due(schedules)
    async with running(api_server):
        await until(lambda: status(schedules).get("lastRunName"))
    assert len(status(schedules)["pastSuccessfulRunNames"]) == 2
    assert not status(schedules).get("pastFailedRunNames")
    names = {each["metadata"]["name"] for each in applications.all()}
    assert names == {FIRST_RUN, *status(schedules)["pastSuccessfulRunNames"]}


async def test_a_refusal_stays_until_the_status_is_cleared(api_server: Any, schedules: Any) -> None:
    schedules.create(scheduled("nonsense"))
    patch = {"spec": {"schedule": "@daily"}}
    async with running(api_server):
        await until(lambda: status(schedules).get("scheduleState") == "FailedValidation")
        assert "nonsense" in status(schedules)["reason"]
        path = f"{schedules.path}/nightly"
        schedules.api_server.request("PATCH", path, patch, content_type="application/merge-patch+json")
        schedules.set_status("nightly", scheduleState="")
        await until(lambda: status(schedules).get("scheduleState") == "Scheduled")


async def test_a_suspended_schedule_is_not_looked_at(api_server: Any, schedules: Any, applications: Any) -> None:
    schedules.create(scheduled(suspend=True))
    due(schedules)
    async with running(api_server):
        schedules.create(scheduled() | {"metadata": {"name": "other"}})
        await until(lambda: all(each.get("status") for each in schedules.all()))
        assert applications.all() == []
        patch = {"spec": {"suspend": False}}
        path = f"{schedules.path}/nightly"
        schedules.api_server.request("PATCH", path, patch, content_type="application/merge-patch+json")
        await until(applications.all)
