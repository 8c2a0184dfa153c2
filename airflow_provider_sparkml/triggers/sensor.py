"""The trigger of every kind's sensor: looks on until a job has ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_sparkml.hooks.kubernetes import KubernetesApiHook
from airflow_provider_sparkml.resources.base import Resource, ResourceRef
from airflow_provider_sparkml.triggers.deferral import event_of

if TYPE_CHECKING:
    from airflow_provider_sparkml.jobs.outcome import Outcome


class JobSensorTrigger(BaseTrigger):
    """Waits until a job of a name exists and has ended, whoever created it; never touches it.

    :param name: its name.
    :param namespace: its namespace.
    :param kubernetes_conn_id: the Airflow connection to the cluster.
    """

    resource: Resource
    """The kind; set by each subclass."""

    def __init__(self, *, name: str, namespace: str, kubernetes_conn_id: str | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.name = name
        self.namespace = namespace
        self.kubernetes_conn_id = kubernetes_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that rebuild this trigger."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"name": self.name, "namespace": self.namespace, "kubernetes_conn_id": self.kubernetes_conn_id},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire once: ``{"outcome": …}``, or ``{"error": …}`` when the wait itself broke."""
        yield await event_of(self, self._wait())

    async def _wait(self) -> Outcome:
        from airflow_provider_sparkml.jobs.outcome import Outcome
        from airflow_provider_sparkml.jobs.wait import describe

        told = ""
        async with (
            KubernetesApiHook(self.kubernetes_conn_id).connect() as cluster,
            aclosing(cluster.hub.follow(self.resource.api, self.namespace, self.name)) as changes,
        ):
            async for obj in changes:
                line = "does not exist" if obj is None else describe(self.resource.read(obj), obj)
                if line != told:
                    told = line
                    self.log.info("%s %s/%s: %s", self.resource.api.kind, self.namespace, self.name, line)
                if obj is not None and (verdict := self.resource.read(obj)).phase.is_terminal:
                    return Outcome(ResourceRef.of(obj), verdict)
        raise RuntimeError("the shared watch ended while it was followed")


__all__ = ["JobSensorTrigger"]
