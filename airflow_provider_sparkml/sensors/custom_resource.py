"""The sensor that waits until an object of any kind meets a condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_sparkml.hooks.kubernetes import Cluster
from airflow_provider_sparkml.resources.base import Manifest, Resource
from airflow_provider_sparkml.resources.custom import Rules, checked_conditions, with_object
from airflow_provider_sparkml.sensors.job import JobSensor
from airflow_provider_sparkml.triggers.custom_resource import CustomResourceSensorTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_sparkml.jobs.outcome import Outcome


class CustomResourceSensor(JobSensor):
    """Waits until a condition says that an object has succeeded or failed; it never changes or deletes the object.

    An object that does not exist yet, or not any more, is waited for, up to the sensor's ``timeout``. Conditions: see
    :class:`~airflow_provider_sparkml.operators.custom_resource.CustomResourceOperator`. A failure raises
    ``JobFailedError``; with ``soft_fail`` the task is skipped.

    It returns ``name``, ``kind``, ``namespace``, ``uid``, ``phase``, ``finished_at`` and ``object``.

    :param kind: ``kind`` of the object.
    :param api_version: its ``apiVersion``.
    :param name: its name. Templated.
    :param success: the condition, or conditions, to wait for.
    :param failure: those that end the wait in failure.
    :param namespace: its namespace; by default the connection's, else ``default``. Templated.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``. Templated.
    :param deferrable: wait in the triggerer, by the watch that all share there; otherwise ``mode`` and
        ``poke_interval`` count. Default: ``AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE`` if it is set, else ``True``.

    .. code-block:: python

        from airflow_provider_sparkml.sensors.custom_resource import CustomResourceSensor

        database = CustomResourceSensor(
            task_id="database",
            kind="Cluster",
            api_version="postgresql.cnpg.io/v1",
            name="features",
            success="condition=Ready",
            failure="{.status.phase}=Failed",
            timeout=1800,
        )
    """

    template_fields = ("name", *(field for field in JobSensor.template_fields if field != "job_name"))
    trigger_class = CustomResourceSensorTrigger
    name_field = "name"

    def __init__(
        self,
        *,
        kind: str,
        api_version: str,
        name: str,
        success: str | Sequence[str],
        failure: str | Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(job_name=name, **kwargs)
        self.kind = kind
        self.api_version = api_version
        self.success, self.failure = checked_conditions(success, failure)
        self._rules: Rules | None = None

    @property
    def resource(self) -> Resource:
        """The kind, as the conditions describe it."""
        return self._known_rules().resource()

    def trigger_arguments(self) -> dict[str, Any]:
        """Return the rules, for the triggerer to read the object by."""
        return {"rules": self._known_rules().to_json()}

    def execute_complete(
        self, context: Context, event: dict[str, Any], trigger: dict[str, Any] | None = None, until: float | None = None
    ) -> dict[str, Any]:
        """Conclude what the trigger has waited for, by the rules that it went by."""
        if trigger is not None:
            self._rules = Rules.from_json(trigger["rules"])
        return super().execute_complete(context, event, trigger, until)

    async def prepare(self, cluster: Cluster) -> None:
        """Find the type of the kind."""
        from airflow_provider_sparkml.jobs.objects import find_type

        if self._rules is None:
            api = await find_type(cluster.client, self.api_version, self.kind)
            self._rules = Rules(api, self.success, self.failure)

    async def namespace_in(self, cluster: Cluster) -> str:
        """Return where the object is; empty for a cluster-wide kind."""
        return await super().namespace_in(cluster) if self._known_rules().api.namespaced else ""

    async def judge(self, cluster: Cluster, outcome: Outcome, obj: Manifest | None) -> dict[str, Any]:
        """Return the result of an object that has met a condition, or raise why there is none."""
        return with_object(await super().judge(cluster, outcome, obj), self.resource)

    def _known_rules(self) -> Rules:
        if self._rules is None:
            raise RuntimeError("the type is not known before prepare() has asked for it")
        return self._rules


__all__ = ["CustomResourceSensor"]
