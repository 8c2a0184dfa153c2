"""The triggers of schedules of the Spark operator: in force, and the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_sparkml.hooks.kubernetes import Cluster, KubernetesApiHook
from airflow_provider_sparkml.resources.base import ResourceRef
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION
from airflow_provider_sparkml.resources.spark_scheduled import API, SCHEDULED_SPARK_APPLICATION
from airflow_provider_sparkml.triggers.job import JobTrigger
from airflow_provider_sparkml.triggers.sensor import JobSensorTrigger

if TYPE_CHECKING:
    from airflow_provider_sparkml.jobs.outcome import Outcome


class ScheduledSparkApplicationTrigger(JobTrigger):
    """Waits until the operator goes by a schedule, or has refused it."""

    resource = SCHEDULED_SPARK_APPLICATION


class ScheduledSparkApplicationSensorTrigger(JobSensorTrigger):
    """Waits until a run of a schedule has ended that began at or after a time.

    :param name: the schedule.
    :param since: ISO 8601 time.
    """

    resource = SPARK_APPLICATION

    def __init__(self, *, since: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.since = since

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that rebuild this trigger."""
        path, arguments = super().serialize()
        return path, {**arguments, "since": self.since}

    async def _wait(self) -> Outcome:
        gone = ""
        async with (
            KubernetesApiHook(self.kubernetes_conn_id).connect() as cluster,
            aclosing(cluster.hub.follow(API, self.namespace, self.name)) as changes,
        ):
            self.log.info("ScheduledSparkApplication %s/%s: waiting for a run", self.namespace, self.name)
            async for schedule in changes:
                run = run_since(schedule, self.since)
                if run and run != gone:
                    if (outcome := await self._end_of(cluster, run)) is not None:
                        return outcome
                    gone = run
        raise RuntimeError("the shared watch ended while it was followed")

    async def _end_of(self, cluster: Cluster, run: str) -> Outcome | None:
        """Wait for the end of a run; ``None`` when it was deleted before, as the policy ``Replace`` has it."""
        from airflow_provider_sparkml.jobs.outcome import Outcome
        from airflow_provider_sparkml.jobs.wait import describe

        told = ""
        async with aclosing(cluster.hub.follow(self.resource.api, self.namespace, run)) as changes:
            async for obj in changes:
                if obj is None:
                    self.log.info("The run %s was deleted: waiting for the next", run)
                    return None
                verdict = self.resource.read(obj)
                if (line := describe(verdict, obj)) != told:
                    told = line
                    self.log.info("Run %s: %s", run, line)
                if verdict.phase.is_terminal:
                    return Outcome(ResourceRef.of(obj), verdict)
        raise RuntimeError("the shared watch ended while it was followed")


def run_since(schedule: Mapping[str, Any] | None, since: str) -> str:
    """Return the name of a schedule's last run if it began at or after a time; empty otherwise.

    :param since: ISO 8601 time; fractions of a second are not in a status.
    """
    status = (schedule or {}).get("status") or {}
    last, name = status.get("lastRun"), status.get("lastRunName")
    if not last or not name:
        return ""
    began = datetime.fromisoformat(last)
    return str(name) if began >= datetime.fromisoformat(since).replace(microsecond=0) else ""


__all__ = ["ScheduledSparkApplicationSensorTrigger", "ScheduledSparkApplicationTrigger"]
