"""The operator that deploys an InferenceService of KServe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_sparkml.exceptions import NotFoundError
from airflow_provider_sparkml.hooks.kubernetes import Cluster
from airflow_provider_sparkml.operators.base import task_identity
from airflow_provider_sparkml.operators.deferring import DeferringOperator
from airflow_provider_sparkml.resources.base import Manifest, Phase, ResourceRef
from airflow_provider_sparkml.resources.serving import INFERENCE_SERVICE
from airflow_provider_sparkml.triggers.serving import InferenceServiceTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_sparkml.jobs.outcome import Outcome
    from airflow_provider_sparkml.jobs.submit import Submission


class InferenceServiceOperator(DeferringOperator):
    """Deploys an InferenceService (``serving.kserve.io/v1beta1``), or changes the one of that name, until it serves.

    It waits for the version that it has applied, not for the one that served before. The same manifest again changes
    nothing. When the model cannot be served, the task fails at once with the reason, and a service that this task has
    created is removed; one that was there before is left.

    It returns ``name``, ``namespace``, ``uid``, ``url`` (outside of the cluster), ``address`` (inside),
    ``deployment_mode`` and ``model_state``. To take the service down again, see
    :class:`~airflow_provider_sparkml.operators.kubernetes.DeleteResourceOperator`.

    :param inference_service: the manifest: an ``InferenceService`` builder's object, a mapping, a path to a YAML or
        JSON file (absolute, or below the DAG's folder or ``template_searchpath``), or YAML text. All of it is
        templated.
    :param namespace: the Kubernetes namespace; by default the manifest's, else the connection's, else ``default``.
        Templated.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``. Templated.
    :param deferrable: wait in the triggerer. Default: ``[operators] default_deferrable`` where somebody has set it,
        else ``True``.
    :param startup_timeout: how long it may take until it serves; a ``timedelta`` or seconds. ``None``: for ever.
    :param labels: labels to add to the manifest's. Templated.

    .. code-block:: python

        from datetime import timedelta

        from airflow_provider_sparkml.operators.serving import InferenceServiceOperator
        from airflow_provider_sparkml.resources.serving import InferenceService

        deploy = InferenceServiceOperator(
            task_id="deploy",
            inference_service=InferenceService(
                name="flights", model_format="onnx", storage_uri="pvc://sparkml-data/models/{{ run_id }}"
            ),
            startup_timeout=timedelta(minutes=10),
        )
    """

    template_fields = ("inference_service", "namespace", "labels", "kubernetes_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"inference_service": "yaml", "labels": "json"}
    manifest_field = "inference_service"
    trigger_class = InferenceServiceTrigger
    owns_adopted = False

    def __init__(
        self,
        *,
        inference_service: Any,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(namespace=namespace, labels=labels, **kwargs)
        self.inference_service = self.plain(inference_service)
        self.only_a_path_is_a_file()

    async def start(self, cluster: Cluster, context: Context) -> Submission:
        """Apply the manifest."""
        from airflow_provider_sparkml.jobs.deploy import deploy

        manifest = self.manifest()
        return await deploy(
            cluster.client,
            INFERENCE_SERVICE,
            manifest,
            namespace=await self.namespace_of(cluster, manifest),
            log=self.log,
            created_by=task_identity(context).key,
        )

    async def conclude(self, cluster: Cluster, context: Context, outcome: Outcome) -> dict[str, Any]:
        """Return where the model is served, or raise why it is not."""
        from airflow_provider_sparkml.jobs.cleanup import delete_job
        from airflow_provider_sparkml.jobs.finish import explain, reread

        ref = outcome.ref
        obj = await reread(cluster.client, INFERENCE_SERVICE, ref)
        if outcome.verdict.phase is Phase.SUCCEEDED and obj is not None:
            return {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid, **INFERENCE_SERVICE.facts(obj)}
        ours = obj is not None and self._has_created(obj, context)
        error = await explain(cluster.client, INFERENCE_SERVICE, outcome, obj, kept=not ours)
        if ours:
            await delete_job(cluster.client, INFERENCE_SERVICE, ref, self.log)
        raise error

    async def abandon(self, cluster: Cluster, context: Context) -> None:
        """Delete the service if this task has created it and it does not serve yet."""
        from airflow_provider_sparkml.jobs.cleanup import kill

        manifest = self.manifest()
        namespace = await self.namespace_of(cluster, manifest)
        try:
            obj = await cluster.client.get(INFERENCE_SERVICE.api, manifest["metadata"]["name"], namespace)
        except NotFoundError:
            return
        if self._has_created(obj, context) and INFERENCE_SERVICE.read(obj).phase is not Phase.SUCCEEDED:
            await kill(cluster.client, ResourceRef.of(obj), log=self.log)

    def _has_created(self, obj: Manifest, context: Context) -> bool:
        """Return whether this chain of attempts has created the service, and not only changed it."""
        from airflow_provider_sparkml.jobs.deploy import CREATED_BY

        return (obj["metadata"].get("annotations") or {}).get(CREATED_BY) == task_identity(context).key


__all__ = ["InferenceServiceOperator"]
