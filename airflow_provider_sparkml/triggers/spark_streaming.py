"""The triggers of streams: one that brings a stream to be healthy, one that stops it, one that looks on."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_sparkml.hooks.kubernetes import KubernetesApiHook
from airflow_provider_sparkml.resources.base import Manifest, ResourceRef
from airflow_provider_sparkml.resources.spark_stream import SPARK_STREAM
from airflow_provider_sparkml.triggers.deferral import event_of
from airflow_provider_sparkml.triggers.job import JobTrigger, Waiter
from airflow_provider_sparkml.triggers.spark import spark_links

if TYPE_CHECKING:
    from airflow_provider_sparkml.jobs.stream_health import Health


class SparkStreamingApplicationTrigger(JobTrigger):
    """Brings a stream to be healthy: stops the version before, starts the new one, and rolls back if it must be.

    :param plan: when it is healthy, as ``Plan.to_json`` gives it.
    """

    resource = SPARK_STREAM

    def __init__(self, *, plan: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that rebuild this trigger."""
        path, arguments = super().serialize()
        return path, {**arguments, "plan": self.plan}

    @classmethod
    def links(cls, obj: Manifest) -> dict[str, str]:
        """Return *Spark UI* and *Spark history*."""
        return spark_links(SPARK_STREAM.facts(obj))

    def waiter(self) -> Waiter:
        """Return the course of a stream."""
        from airflow_provider_sparkml.jobs.stream_course import tend
        from airflow_provider_sparkml.jobs.streams import Plan

        return functools.partial(tend, plan=Plan(**self.plan))

    async def on_kill(self) -> None:
        """Leave the stream running, because a person has marked or cleared the deferred task; or delete it, if asked.

        An upgrade that had begun is called off. Airflow also calls this when a trigger merely moves
        (apache/airflow#73454).
        """
        from airflow_provider_sparkml.jobs.streams import let_go

        if await self._task_state() == "deferred":
            return
        async with KubernetesApiHook(self.kubernetes_conn_id).connect() as cluster:
            await let_go(cluster.client, ResourceRef(**self.ref), delete=self.may_delete, log=self.log)


class SparkStreamingStopTrigger(JobTrigger):
    """Waits until a stream has stopped, and sees to it that it does. A kill changes nothing: the stop was asked for."""

    resource = SPARK_STREAM

    def waiter(self) -> Waiter:
        """Return the wait for the stop."""
        from airflow_provider_sparkml.jobs.stream_course import until_stopped

        return until_stopped

    async def on_kill(self) -> None:
        """Leave the stream as it is."""


class SparkStreamingSensorTrigger(BaseTrigger):
    """Looks on until a stream has been healthy for as long as is asked, or is not.

    :param name: its name.
    :param namespace: its namespace.
    :param kubernetes_conn_id: the Airflow connection to the cluster.
    :param expected: what is asked of it, as ``Expected.to_json`` gives it.
    """

    def __init__(
        self, *, name: str, namespace: str, kubernetes_conn_id: str | None, expected: Mapping[str, Any]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name = name
        self.namespace = namespace
        self.kubernetes_conn_id = kubernetes_conn_id
        self.expected = dict(expected)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that rebuild this trigger."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "name": self.name,
                "namespace": self.namespace,
                "kubernetes_conn_id": self.kubernetes_conn_id,
                "expected": self.expected,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look on, and fire once: ``{"outcome": …}``, or ``{"error": …}``."""
        yield await event_of(self, self.observe())

    async def observe(self) -> Health:
        """Look on; the triggerer and a task that does not defer both await this."""
        from airflow_provider_sparkml.jobs.stream_health import Expected, observe

        async with KubernetesApiHook(self.kubernetes_conn_id).connect() as cluster:
            return await observe(
                cluster.client, cluster.hub, self.namespace, self.name, Expected(**self.expected), log=self.log
            )


__all__ = ["SparkStreamingApplicationTrigger", "SparkStreamingSensorTrigger", "SparkStreamingStopTrigger"]
