"""The operator that deploys an InferenceService of KServe."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_sparkml.exceptions import NotFoundError
from airflow_provider_sparkml.hooks.kubernetes import Cluster
from airflow_provider_sparkml.operators.base import task_identity
from airflow_provider_sparkml.operators.deferring import DeferringOperator
from airflow_provider_sparkml.resources.base import Phase, ResourceRef
from airflow_provider_sparkml.resources.serving import INFERENCE_SERVICE
from airflow_provider_sparkml.triggers.serving import InferenceServiceTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_sparkml.jobs.outcome import Deadlines, Outcome
    from airflow_provider_sparkml.jobs.submit import Submission


class InferenceServiceOperator(DeferringOperator):
    """Deploys an InferenceService (``serving.kserve.io/v1beta1``), or changes the one of that name, until it serves.

    It waits for the version that it has applied, not for the one that served before. The same manifest again changes
    nothing. When the model cannot be served, the task fails at once with the reason, and a service that this task has
    created is removed; one that was there before is left.

    It returns ``name``, ``namespace``, ``uid``, ``url`` (outside of the cluster), ``address`` (inside),
    ``deployment_mode`` and ``model_state``. To take the service down again, see
    :class:`~airflow_provider_sparkml.operators.kubernetes.KubernetesDeleteOperator`.

    :param inference_service: the manifest: an ``InferenceService`` builder's object, a mapping, a path to a YAML or
        JSON file (absolute, or below the DAG's folder or ``template_searchpath``), or YAML text. All of it is
        templated.
    :param namespace: the Kubernetes namespace; by default the manifest's, else the connection's, else ``default``.
        Templated.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``. Templated.
    :param deferrable: wait in the triggerer. Default: ``AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE`` if it is set, else
        ``True``.
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
        from airflow_provider_sparkml.resources.profiles import apply_profile

        manifest = apply_profile(self.manifest(), await self.profile())
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
        from airflow_provider_sparkml.jobs.deploy import finish_deploy

        created_by = task_identity(context).key
        return await finish_deploy(cluster.client, INFERENCE_SERVICE, outcome, created_by=created_by, log=self.log)

    def deadlines(self, context: Context, submission: Submission) -> Deadlines:
        """Return when to give up. The object does not say since when its newest version has been starting."""
        deadlines = super().deadlines(context, submission)
        until = None if self.startup_timeout is None else time.time() + self.startup_timeout
        return replace(deadlines, startup_seconds=None, startup_until=until)

    async def abandon(self, cluster: Cluster, context: Context) -> None:
        """Delete the service if this task has created it and it does not serve yet."""
        from airflow_provider_sparkml.jobs.cleanup import kill
        from airflow_provider_sparkml.jobs.deploy import has_created

        manifest = self.manifest()
        namespace = await self.namespace_of(cluster, manifest)
        try:
            obj = await cluster.client.get(INFERENCE_SERVICE.api, manifest["metadata"]["name"], namespace)
        except NotFoundError:
            return
        if has_created(obj, task_identity(context).key) and INFERENCE_SERVICE.read(obj).phase is not Phase.SUCCEEDED:
            await kill(cluster.client, INFERENCE_SERVICE.api, ResourceRef.of(obj), log=self.log)


__all__ = ["InferenceServiceOperator"]
