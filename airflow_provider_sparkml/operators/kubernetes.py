"""The operators of single Kubernetes objects of any kind: applied, read, and deleted, as kubectl does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_sparkml.exceptions import (
    InvalidManifestError,
    NamespaceNotFoundError,
    ResourceTypeNotFoundError,
)
from airflow_provider_sparkml.hooks.kubernetes import Cluster
from airflow_provider_sparkml.operators.base import ClusterOperator, ManifestOperator, task_identity
from airflow_provider_sparkml.resources import naming
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.manifests import load_manifests
from airflow_provider_sparkml.resources.secret_values import HIDDEN, hidden, is_secret, values_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class KubernetesApplyOperator(ManifestOperator):
    """Applies objects of any kind on the server's side, as ``kubectl apply --server-side``: again changes nothing.

    It waits for nothing. For an object that has to become ready, a
    :class:`~airflow_provider_sparkml.sensors.custom_resource.CustomResourceSensor` follows; for a job, see
    :class:`~airflow_provider_sparkml.operators.custom_resource.CustomResourceOperator`.

    It returns ``name``, ``kind``, ``namespace``, ``uid`` and ``object``: the object as stored, without
    ``managedFields``, without a Secret's values, and bounded in size. Of several objects, a list of these.

    :param manifests: one object: a mapping, an object with ``to_manifest()``, a path to a YAML or JSON file (absolute,
        or below the DAG's folder or ``template_searchpath``), or YAML text. A file or text may hold several documents;
        they are applied in order. All of it is templated.
    :param field_manager: who owns the applied fields. Two tasks that apply different parts of one object need one each.
    :param force_conflicts: take over fields that others own; else the task fails, naming each field and its owner.
    :param namespace: the Kubernetes namespace; by default the manifest's, else the connection's, else ``default``.
        Templated.
    :param labels: labels to add to each manifest's. Templated.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``. Templated.

    .. code-block:: python

        from airflow_provider_sparkml.operators.kubernetes import KubernetesApplyOperator

        settings = KubernetesApplyOperator(
            task_id="settings",
            manifests={
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "settings"},
                "data": {"date": "{{ ds }}"},
            },
        )
    """

    template_fields = ("manifests", "namespace", "labels", "kubernetes_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"manifests": "yaml", "labels": "json"}
    manifest_field = "manifests"

    def __init__(
        self,
        *,
        manifests: Any,
        field_manager: str = naming.PREFIX,
        force_conflicts: bool = False,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(namespace=namespace, labels=labels, **kwargs)
        if not field_manager or len(field_manager) > 128:
            raise InvalidManifestError(f"field_manager is {field_manager!r}: give a name of 1 to 128 characters")
        self.manifests = self.plain(manifests)
        self._rendered: Any = None
        self.field_manager = field_manager
        self.force_conflicts = force_conflicts
        self.only_a_path_is_a_file()

    def _do_render_template_fields(self, parent: Any, *args: Any, **kwargs: Any) -> None:
        """Render as Airflow does, for a mapped task too; then hide the values of Secrets.

        *Rendered Template* shows the field as it is now, so what is to be applied is kept beside it.
        """
        super()._do_render_template_fields(parent, *args, **kwargs)
        if parent is not self:
            return
        self._rendered, self.manifests = self.manifests, _shown(self.manifests)

    def execute(self, context: Context) -> dict[str, Any] | list[dict[str, Any]]:
        """Apply them.

        :return: what is told of the object; of several, a list.
        """
        rendered = self.manifests if self._rendered is None else self._rendered
        applied = self.run_async(self._apply([self.labelled(each) for each in load_manifests(rendered)]))
        return applied[0] if len(applied) == 1 else applied

    async def _apply(self, manifests: list[Manifest]) -> list[dict[str, Any]]:
        from airflow_provider_sparkml.jobs.objects import apply_object, described, find_type

        applied = []
        async with self.hook.connect() as cluster:
            # All that can be known to be wrong is, before the first object is applied.
            types = [await find_type(cluster.client, each["apiVersion"], each["kind"]) for each in manifests]
            places = [await self._place(cluster, api, each) for api, each in zip(types, manifests, strict=True)]
            for api, manifest, namespace in zip(types, manifests, places, strict=True):
                obj = await apply_object(
                    cluster.client, api, manifest, namespace,
                    field_manager=self.field_manager, force=self.force_conflicts,
                )  # fmt: skip
                applied.append(described({"apiVersion": api.api_version, "kind": api.kind, **obj}))
                self.log.info("Applied %s %s (uid %s)", api.kind, obj["metadata"]["name"], obj["metadata"]["uid"])
        return applied

    async def _place(self, cluster: Cluster, api: ApiResource, manifest: Manifest) -> str:
        """Return the namespace of an object, empty for a cluster-wide kind.

        :raises InvalidManifestError: the manifest has no name, or names another namespace than the task.
        """
        metadata = manifest.get("metadata") or {}
        if not metadata.get("name"):
            raise InvalidManifestError(
                f"metadata.name of the {api.kind} is {metadata.get('name')!r}: give a name; nothing is applied without"
            )
        if not api.namespaced:
            return ""
        stated = metadata.get("namespace")
        if self.namespace and stated and stated != self.namespace:
            raise InvalidManifestError(
                f"metadata.namespace of {api.kind} {metadata['name']} is {stated!r}, but the task's namespace is "
                f"{self.namespace!r}: leave one of them out"
            )
        return await self.namespace_of(cluster, manifest)


def _shown(source: Any) -> Any:
    """Return what may be shown of rendered manifests, and tell Airflow's masker the values of Secrets among them."""
    from airflow.sdk.log import mask_secret

    if not _may_hold_secret(source):
        return source
    if not isinstance(source, (Mapping, str)):
        return HIDDEN  # a list of manifests: execute() says that it takes none
    try:
        manifests = load_manifests(source)
    except InvalidManifestError:
        return HIDDEN  # bad input, of which execute() says what is wrong; there may be values in it all the same
    values = [value for each in manifests for value in values_of(each)]
    for value in values:
        mask_secret(value)
    if any(_may_hold_secret(each) and not is_secret(each) for each in manifests):
        return HIDDEN  # within another object, such as a List
    shown = [hidden(each) for each in manifests]
    return shown[0] if isinstance(source, Mapping) else shown


def _may_hold_secret(value: Any) -> bool:
    """Whether a Secret may be in a value: a text that mentions one, or a mapping of that kind at any depth."""
    if isinstance(value, str):
        return "Secret" in value
    if isinstance(value, Mapping):
        return is_secret(value) or any(_may_hold_secret(each) for each in value.values() if not isinstance(each, str))
    return isinstance(value, (list, tuple)) and any(_may_hold_secret(each) for each in value)


class KubernetesGetOperator(ClusterOperator):
    """Reads one object of any kind.

    It returns ``name``, ``kind``, ``namespace``, ``uid`` and ``object``, without ``managedFields``, without a Secret's
    values, and bounded in size.

    :param kind: ``kind`` of the object, for example ``ConfigMap``.
    :param api_version: its ``apiVersion``.
    :param name: its name. Templated.
    :param namespace: its namespace; by default the connection's, else ``default``. Templated.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``. Templated.

    .. code-block:: python

        from airflow_provider_sparkml.operators.kubernetes import KubernetesGetOperator

        settings = KubernetesGetOperator(task_id="settings", kind="ConfigMap", api_version="v1", name="settings")
    """

    template_fields = ("name", "namespace", "kubernetes_conn_id")

    def __init__(self, *, kind: str, api_version: str, name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind = kind
        self.api_version = api_version
        self.name = name

    def execute(self, context: Context) -> dict[str, Any]:
        """Read it.

        :raises NotFoundError: there is no such object.
        """
        return self.run_async(self._get())

    async def _get(self) -> dict[str, Any]:
        from airflow_provider_sparkml.jobs.advice import explained
        from airflow_provider_sparkml.jobs.objects import described, find_type

        async with self.hook.connect() as cluster:
            namespace = self.namespace or await cluster.default_namespace()
            api = await find_type(cluster.client, self.api_version, self.kind)
            with explained("get", api, namespace):
                return described(await cluster.client.get(api, self.name, namespace))


class KubernetesDeleteOperator(ClusterOperator):
    """Deletes objects of one kind in the foreground, and with them all that they own; made for teardowns.

    It deletes the object of a name, those that a label selector selects, or, with neither, those that tasks of this
    DAG run have made. What is absent is fine, be it the object, its namespace or its CRD: it may run again and again.

    :param kind: ``kind`` of the objects, for example ``SparkApplication``.
    :param api_version: their ``apiVersion``.
    :param name: name of the one object. Templated.
    :param label_selector: Kubernetes label selector. Templated.
    :param namespace: their namespace; by default the connection's, else ``default``. Templated.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``. Templated.

    .. code-block:: python

        from airflow.sdk import TriggerRule
        from airflow_provider_sparkml.operators.kubernetes import KubernetesDeleteOperator

        teardown = KubernetesDeleteOperator(
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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if name is not None and label_selector is not None:
            raise InvalidManifestError(f"name={name!r} and label_selector={label_selector!r}: give one of them only")
        self.kind = kind
        self.api_version = api_version
        self.name = name
        self.label_selector = label_selector

    def execute(self, context: Context) -> list[str]:
        """Delete them.

        :return: the names of those that there were.
        """
        for field in ("name", "label_selector"):
            # Rendered to nothing, it must not come to mean everything.
            if getattr(self, field) is not None and not str(getattr(self, field)).strip():
                raise InvalidManifestError(f"{field} is empty after rendering: give a value, or leave {field} out")
        return self.run_async(self._delete(context))

    async def _delete(self, context: Context) -> list[str]:
        from airflow_provider_sparkml.jobs.advice import explained
        from airflow_provider_sparkml.jobs.objects import find_type

        deleted = []
        async with self.hook.connect() as cluster:
            namespace = self.namespace or await cluster.default_namespace()
            try:
                api = await find_type(cluster.client, self.api_version, self.kind)
                for name, uid in await self._targets(cluster, api, namespace, context):
                    with explained("delete", api, namespace):
                        gone = await cluster.client.delete(api, name, namespace, propagation="Foreground", uid=uid)
                    if gone:
                        deleted.append(name)
                        self.log.info("Deleted %s %s/%s", api.kind, namespace, name)
            except (ResourceTypeNotFoundError, NamespaceNotFoundError) as error:
                self.log.info("There is nothing to delete: %s", error)
        if not deleted:
            self.log.info("No %s was there to delete", self.kind)
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


__all__ = ["KubernetesApplyOperator", "KubernetesDeleteOperator", "KubernetesGetOperator"]
