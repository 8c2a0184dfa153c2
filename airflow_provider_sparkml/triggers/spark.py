"""The triggers of SparkApplications: one for the task that submitted it, one for a sensor that looks on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from airflow.sdk import conf
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_sparkml.hooks.kubernetes import KubernetesApiHook
from airflow_provider_sparkml.resources.base import Manifest, ResourceRef
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION
from airflow_provider_sparkml.triggers.deferral import event_of
from airflow_provider_sparkml.triggers.job import JobTrigger

if TYPE_CHECKING:
    from airflow_provider_sparkml.jobs.outcome import Outcome

UI_KEY = "_link_SparkUILink"
"""XCom key of the *Spark UI* link."""
HISTORY_KEY = "_link_SparkHistoryLink"
"""XCom key of the *Spark history* link."""


class SparkApplicationTrigger(JobTrigger):
    """Waits for the SparkApplication that its task has submitted."""

    resource = SPARK_APPLICATION

    @classmethod
    def links(cls, obj: Manifest) -> dict[str, str]:
        """Return *Spark UI* and *Spark history*."""
        return spark_links(SPARK_APPLICATION.facts(obj))


class SparkApplicationSensorTrigger(BaseTrigger):
    """Waits until a SparkApplication of a name exists and has ended, whoever created it; never touches it.

    :param name: its name.
    :param namespace: its namespace.
    :param kubernetes_conn_id: the Airflow connection to the cluster.
    """

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
            aclosing(cluster.hub.follow(SPARK_APPLICATION.api, self.namespace, self.name)) as changes,
        ):
            async for obj in changes:
                line = "does not exist" if obj is None else describe(SPARK_APPLICATION.read(obj), obj)
                if line != told:
                    told = line
                    self.log.info("SparkApplication %s/%s: %s", self.namespace, self.name, line)
                if obj is not None and (verdict := SPARK_APPLICATION.read(obj)).phase.is_terminal:
                    return Outcome(ResourceRef.of(obj), verdict)
        raise RuntimeError("the shared watch ended while it was followed")


def spark_links(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the links of a SparkApplication, as URLs by XCom key; an empty URL for none.

    :param facts: ``ui_url`` and ``spark_application_id`` of the application.
    """
    ui = str(facts.get("ui_url") or "")
    server = conf.get("sparkml", "history_server_url", fallback="").rstrip("/")
    application_id = facts.get("spark_application_id")
    return {
        # What a controller wrote must not become a script in the web page.
        UI_KEY: ui if ui.startswith(("http://", "https://")) else "",
        HISTORY_KEY: f"{server}/history/{application_id}" if server and application_id else "",
    }


__all__ = ["SparkApplicationSensorTrigger", "SparkApplicationTrigger"]
