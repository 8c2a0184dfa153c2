"""The operator that deletes Kubernetes objects: one by name, or all that a DAG run has made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_sparkml.exceptions import (
    InvalidManifestError,
    NamespaceNotFoundError,
    ResourceTypeNotFoundError,
    UnknownResourceError,
)
from airflow_provider_sparkml.hooks.kubernetes import Cluster
from airflow_provider_sparkml.operators.base import ClusterOperator, task_identity
from airflow_provider_sparkml.resources import core, naming
from airflow_provider_sparkml.resources.base import ApiResource, resource_for

if TYPE_CHECKING:
    from airflow.sdk import Context


class DeleteResourceOperator(ClusterOperator):
    """Deletes objects of one kind in the foreground, and with them all that they own; made for teardowns.

    It deletes the object of a name, those that a label selector selects, or, with neither, those that tasks of this
    DAG run have made. What is absent is fine, be it the object, its namespace or its CRD: it may run again and again.

    :param kind: ``kind`` of the objects, for example ``SparkApplication``.
    :param api_version: their ``apiVersion``.
    :param name: name of the one object. Templated.
    :param label_selector: Kubernetes label selector. Templated.
    :param plural: the type's plural name in URLs; needed only for types that this package does not know.
    :param namespace: their namespace; by default the connection's, else ``default``. Templated.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``. Templated.

    .. code-block:: python

        from airflow.sdk import TriggerRule
        from airflow_provider_sparkml.operators.kubernetes import DeleteResourceOperator

        teardown = DeleteResourceOperator(
            task_id="teardown",
            kind="SparkApplication",
            api_version="sparkoperator.k8s.io/v1beta2",
        ).as_teardown()
    """

    template_fields = ("name", "label_selector", "namespace", "kubernetes_conn_id")

    def __init__(
        self,
        *,
        kind: str,
        api_version: str,
        name: str | None = None,
        label_selector: str | None = None,
        plural: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if name is not None and label_selector is not None:
            raise InvalidManifestError(f"name={name!r} and label_selector={label_selector!r}: give one of them only")
        self.kind = kind
        self.api_version = api_version
        self.name = name
        self.label_selector = label_selector
        self.plural = plural

    def execute(self, context: Context) -> list[str]:
        """Delete them.

        :return: the names of those that there were.
        """
        for field in ("name", "label_selector"):
            # Rendered to nothing, it must not come to mean everything.
            if getattr(self, field) is not None and not str(getattr(self, field)).strip():
                raise InvalidManifestError(f"{field} is empty after rendering: give a value, or leave {field} out")
        api = _api_resource(self.api_version, self.kind, self.plural)
        return self.run_async(self._delete(api, context))

    async def _delete(self, api: ApiResource, context: Context) -> list[str]:
        deleted = []
        async with self.hook.connect() as cluster:
            namespace = self.namespace or await cluster.default_namespace()
            try:
                for name, uid in await self._targets(cluster, api, namespace, context):
                    if await cluster.client.delete(api, name, namespace, propagation="Foreground", uid=uid):
                        deleted.append(name)
                        self.log.info("Deleted %s %s/%s", api.kind, namespace, name)
            except (ResourceTypeNotFoundError, NamespaceNotFoundError) as error:
                self.log.info("There is nothing to delete: %s", error)
        if not deleted:
            self.log.info("No %s was there to delete", api.kind)
        return deleted

    async def _targets(
        self, cluster: Cluster, api: ApiResource, namespace: str, context: Context
    ) -> list[tuple[str, str | None]]:
        """Return name and UID of what to delete; no UID where the name alone says it."""
        if self.name:
            return [(self.name, None)]
        selector = self.label_selector or run_selector(context)
        return [
            (item["metadata"]["name"], item["metadata"]["uid"])
            for item in (await cluster.client.list(api, namespace, label_selector=selector)).items
            if self.label_selector or made_by_run(item, context)
        ]


def run_selector(context: Context) -> str:
    """Return the label selector of what this package has made for tasks of this DAG run."""
    labels = naming.job_labels(task_identity(context), 1)
    return ",".join(f"{key}={labels[key]}" for key in (naming.MANAGED_BY, "dag_id", "run_id"))


def made_by_run(item: dict[str, Any], context: Context) -> bool:
    """Return whether an object was made for this run of this Airflow; a label alone may be a shortened one."""
    wanted = naming.job_annotations(task_identity(context))
    annotations = item["metadata"].get("annotations") or {}
    keys = [f"{naming.PREFIX}/{part}" for part in ("tenant", "dag-id", "run-id")]
    return all(annotations.get(key) == wanted[key] for key in keys)


def _api_resource(api_version: str, kind: str, plural: str | None) -> ApiResource:
    """Return the address of a type.

    :raises InvalidManifestError: its plural name is neither given nor known.
    """
    if plural:
        group, _, version = api_version.rpartition("/")
        return ApiResource(group, version, plural, kind)
    for known in vars(core).values():
        if isinstance(known, ApiResource) and (known.api_version, known.kind) == (api_version, kind):
            return known
    try:
        return resource_for(api_version, kind).api
    except UnknownResourceError as error:
        raise InvalidManifestError(f"plural is needed to find objects of kind {kind!r}: {error}") from None


__all__ = ["DeleteResourceOperator"]
