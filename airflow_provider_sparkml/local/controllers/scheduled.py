"""The controller of ScheduledSparkApplications: makes a SparkApplication whenever a schedule falls due.

Follows kubeflow/spark-operator v2.5, ``internal/controller/scheduledsparkapplication/controller.go``. Beyond it, a run
is named after the time at which it was due, so that one that was made just before a restart is not made twice.
"""

from __future__ import annotations

import contextlib
import copy
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import AlreadyExistsError, InvalidManifestError
from airflow_provider_sparkml.local.controllers.objects import (
    delete,
    find,
    is_deleting,
    parse_time,
    utc_now,
    write_status,
)
from airflow_provider_sparkml.local.controllers.runtime import Controller, Source, owner_reference
from airflow_provider_sparkml.resources import cron
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.spark import API as SPARK_APPLICATION
from airflow_provider_sparkml.resources.spark_scheduled import API, RUN_LABEL

NAME = "scheduled-spark-application-controller"
_ENDED = ("COMPLETED", "FAILED")


def scheduled_controller(client: KubernetesClient) -> Controller:
    """Return the controller of all ScheduledSparkApplications."""
    return Controller(NAME, client, [Source(API)], _Schedules(client).reconcile)


class _Schedules:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Take a schedule one step on; see :data:`~.runtime.Reconcile`."""
        scheduled = await find(self._client, API, name, namespace)
        if scheduled is None or is_deleting(scheduled) or scheduled["spec"].get("suspend"):
            return None
        spec, status = scheduled["spec"], copy.deepcopy(scheduled.get("status") or {})
        try:
            schedule = cron.parse(spec["schedule"], spec.get("timeZone") or "")
        except InvalidManifestError as error:
            status |= {"scheduleState": "FailedValidation", "reason": str(error)}
            await write_status(self._client, API, scheduled, status)
            return None
        if status.get("scheduleState") == "FailedValidation":
            return None
        now = utc_now()
        if status.get("scheduleState") != "Scheduled" or not status.get("nextRun"):
            following = schedule.next(now)
            known = status.get("nextRun")
            if not known or following < parse_time(known):
                status["nextRun"] = _written(following)
            status["scheduleState"] = "Scheduled"
        elif parse_time(status["nextRun"]) <= now:
            if not await self._may_start(scheduled):
                return _seconds(schedule.next(now) - now)
            run = await self._start(scheduled, parse_time(status["nextRun"]))
            status |= {"lastRun": _written(now), "lastRunName": run, "nextRun": _written(schedule.next(now))}
            status |= await self._past_runs(scheduled)
        await write_status(self._client, API, scheduled, status)
        return _seconds(parse_time(status["nextRun"]) - utc_now())

    async def _runs(self, scheduled: Manifest) -> list[Manifest]:
        """Return the runs of a schedule, newest first."""
        meta = scheduled["metadata"]
        selector = f"{RUN_LABEL}={meta['name']}"
        found = (await self._client.list(SPARK_APPLICATION, meta["namespace"], label_selector=selector)).items
        return sorted(
            found, key=lambda run: (run["metadata"]["creationTimestamp"], run["metadata"]["name"]), reverse=True
        )

    async def _may_start(self, scheduled: Manifest) -> bool:
        runs, policy = await self._runs(scheduled), scheduled["spec"].get("concurrencyPolicy")
        if not runs or policy == "Allow":
            return True
        if policy == "Forbid":
            return _state(runs[0]) in _ENDED
        if policy == "Replace":
            if _state(runs[0]) not in _ENDED:
                await delete(self._client, SPARK_APPLICATION, runs[0])
            return True
        return False  # as upstream: without a policy, no run begins while one is there

    async def _start(self, scheduled: Manifest, due: datetime) -> str:
        """Create the run that is due, and return its name."""
        meta = scheduled["metadata"]
        name = f"{meta['name']}-{int(due.timestamp()) * 1_000_000_000}"
        reference = owner_reference(scheduled)
        del reference["controller"]  # as upstream
        run = {
            "metadata": {
                "name": name,
                "labels": {RUN_LABEL: meta["name"], **(meta.get("labels") or {})},
                "ownerReferences": [reference],
            },
            "spec": scheduled["spec"]["template"],
        }
        with contextlib.suppress(AlreadyExistsError):  # made before a restart
            await self._client.create(SPARK_APPLICATION, run, meta["namespace"])
        return name

    async def _past_runs(self, scheduled: Manifest) -> dict[str, Any]:
        """Return the names of the runs that have ended; delete those beyond the limits."""
        runs, names = await self._runs(scheduled), {}
        for state, field, limit in (
            ("COMPLETED", "pastSuccessfulRunNames", "successfulRunHistoryLimit"),
            ("FAILED", "pastFailedRunNames", "failedRunHistoryLimit"),
        ):
            ended = [run for run in runs if _state(run) == state]
            kept = int(scheduled["spec"].get(limit, 1))
            names[field] = [run["metadata"]["name"] for run in ended[:kept]]
            for run in ended[kept:]:
                await delete(self._client, SPARK_APPLICATION, run)
        return names


def _state(run: Manifest) -> str:
    return str(((run.get("status") or {}).get("applicationState") or {}).get("state") or "")


def _written(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(delay: timedelta) -> float:
    return max(0.05, delay.total_seconds())


__all__ = ["scheduled_controller"]
