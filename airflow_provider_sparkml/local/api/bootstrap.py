"""What a cluster has from its first start on: namespaces, roles, definitions."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_sparkml.local.api import definitions, quota
from airflow_provider_sparkml.local.api.auth import ADMIN
from airflow_provider_sparkml.local.api.call import Call, Target
from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.expiry import expire_events
from airflow_provider_sparkml.local.api.types import ResourceType
from airflow_provider_sparkml.local.api.writes import create
from airflow_provider_sparkml.resources.base import Manifest

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")

_ALL = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update", *_READ]
_APPS = {
    "apiGroups": [
        "apps", "batch", "networking.k8s.io", "policy",
        "sparkoperator.k8s.io", "serving.kserve.io", "kubeflow.org", "trainer.kubeflow.org",
    ],
    "resources": ["*"],
}  # fmt: skip
_SEEN = {
    "apiGroups": [""],
    "resources": [
        "configmaps", "endpoints", "events", "limitranges", "namespaces", "namespaces/status", "persistentvolumeclaims",
        "persistentvolumeclaims/status", "pods", "pods/log", "pods/status", "resourcequotas", "resourcequotas/status",
        "serviceaccounts", "services", "services/status",
    ],
}  # fmt: skip
_CHANGED = {
    "apiGroups": [""],
    "resources": [
        "configmaps", "endpoints", "events", "persistentvolumeclaims", "pods", "pods/eviction", "pods/proxy", "secrets",
        "serviceaccounts", "serviceaccounts/token", "services", "services/proxy",
    ],
}  # fmt: skip
_VIEW = [{**_SEEN, "verbs": _READ}, {**_APPS, "verbs": _READ}]
_EDIT = [*_VIEW, {**_CHANGED, "verbs": _WRITE}, {**_APPS, "verbs": _WRITE}]

CLUSTER_ROLES: dict[str, list[Manifest]] = {
    "cluster-admin": [_ALL, {"nonResourceURLs": ["*"], "verbs": ["*"]}],
    "admin": [
        *_EDIT,
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": _WRITE},
    ],
    "edit": _EDIT,
    "view": _VIEW,
}
"""As on any cluster, so far as it goes: who may view reads no Secret, who may edit changes no quota."""


async def bootstrap(cluster: Cluster, builtin: Iterable[ResourceType], bundled: Iterable[Manifest]) -> None:
    """Make the types known, and create what every cluster has and this one does not have yet."""
    for kind in builtin:
        cluster.registry.add(kind)
    for record in cluster.store.select(definitions.STORAGE, None):
        definitions.register(cluster, record.load(), deleted=False)
    cluster.after_write.append(lambda kind, obj, deleted: definitions.follow(cluster, kind, obj, deleted))
    cluster.after_write.append(quota.show_usage(cluster))
    cluster.after_write.append(expire_events(cluster))
    for name in NAMESPACES:
        _ensure(cluster, "", "namespaces", {"metadata": {"name": name}})
    for name, rules in CLUSTER_ROLES.items():
        _ensure(cluster, "rbac.authorization.k8s.io", "clusterroles", {"metadata": {"name": name}, "rules": rules})
    for definition in bundled:
        _ensure(cluster, "apiextensions.k8s.io", "customresourcedefinitions", definition)
    await cluster.store.durable()


def _ensure(cluster: Cluster, group: str, plural: str, obj: Manifest) -> None:
    """Create an object unless there is one of its name."""
    kind = cluster.registry.find(group, "v1", plural)
    name = obj["metadata"]["name"]
    if kind is not None and cluster.store.get(kind.storage, "", name) is None:
        call = Call("create", Target(group, "v1", plural), ADMIN, manager="sparkml")
        create(cluster, call, kind, None, obj)
