"""The operator that creates an object of any kind and waits for its end, which conditions tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_sparkml.hooks.kubernetes import Cluster
from airflow_provider_sparkml.operators.job import JobOperator
from airflow_provider_sparkml.resources.base import Manifest, Resource
from airflow_provider_sparkml.resources.custom import Rules, checked_conditions, with_object
from airflow_provider_sparkml.triggers.custom_resource import CustomResourceTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_sparkml.jobs.outcome import Outcome


class CustomResourceOperator(JobOperator):
    """Creates an object of any kind exactly once, and waits until a condition says that it has succeeded or failed.

    It is for jobs whose kind has no operator of its own here: created once whatever dies meanwhile, deleted at its end
    by policy, deferred on the watch that all tasks share. For an object that is to stay, such as a database, see
    :class:`~airflow_provider_sparkml.operators.kubernetes.KubernetesApplyOperator`.

    Conditions are those of ``kubectl wait --for``: ``condition=Complete``, ``condition=Ready=false``,
    ``{.status.phase}=Succeeded``, or ``{.status.url}`` for a field to be there. Any one of several is enough. A failure
    counts more than a success.

    It returns ``name``, ``kind``, ``namespace``, ``uid``, ``phase``, ``finished_at`` and ``object``: the object as it
    was at its end, without ``managedFields``, and bounded in size.

    :param custom_resource: the manifest: a mapping, an object with ``to_manifest()``, a path to a YAML or JSON file
        (absolute, or below the DAG's folder or ``template_searchpath``), or YAML text. All of it is templated.
    :param success: the condition, or conditions, of success.
    :param failure: likewise of failure; ``()`` only for a kind that cannot fail: the wait would have no end.

    All other parameters: see :class:`~airflow_provider_sparkml.operators.job.JobOperator`.

    .. code-block:: python

        from airflow_provider_sparkml.operators.custom_resource import CustomResourceOperator

        backup = CustomResourceOperator(
            task_id="backup",
            custom_resource={
                "apiVersion": "postgresql.cnpg.io/v1",
                "kind": "Backup",
                "metadata": {"name": "nightly"},
                "spec": {"cluster": {"name": "features"}},
            },
            success="{.status.phase}=completed",
            failure="{.status.phase}=failed",
            startup_timeout=600,
        )
    """

    template_fields = ("custom_resource", *(field for field in JobOperator.template_fields if field != "job"))
    template_fields_renderers: ClassVar[dict[str, str]] = {"custom_resource": "yaml", "labels": "json"}
    manifest_field = "custom_resource"
    trigger_class = CustomResourceTrigger

    def __init__(
        self, *, custom_resource: Any, success: str | Sequence[str], failure: str | Sequence[str], **kwargs: Any
    ) -> None:
        super().__init__(job=custom_resource, **kwargs)
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
        self, context: Context, event: dict[str, Any], trigger: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Conclude what the trigger has waited for, by the rules that it went by."""
        if trigger is not None:
            self._rules = Rules.from_json(trigger["rules"])
        return super().execute_complete(context, event, trigger)

    async def prepare(self, cluster: Cluster) -> None:
        """Find the type of the manifest's kind."""
        from airflow_provider_sparkml.jobs.objects import find_type

        if self._rules is not None:
            return
        manifest = self.manifest()
        api = await find_type(cluster.client, manifest["apiVersion"], manifest["kind"])
        self._rules = Rules(api, self.success, self.failure)

    async def namespace_of(self, cluster: Cluster, manifest: Manifest) -> str:
        """Return where the object goes; empty for a cluster-wide kind."""
        return await super().namespace_of(cluster, manifest) if self._known_rules().api.namespaced else ""

    async def conclude(self, cluster: Cluster, context: Context, outcome: Outcome) -> dict[str, Any]:
        """Return the result dict, or raise why there is none; consume and clean up."""
        return with_object(await super().conclude(cluster, context, outcome), self.resource)

    def _known_rules(self) -> Rules:
        if self._rules is None:
            raise RuntimeError("the type is not known before prepare() has asked for it")
        return self._rules


__all__ = ["CustomResourceOperator"]
