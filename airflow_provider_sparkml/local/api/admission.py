"""What speaks against an object though it is valid: its namespace, its ServiceAccount, the namespace's quota."""

from __future__ import annotations

from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.quota import check_quota
from airflow_provider_sparkml.local.api.status import StatusError, forbidden, not_found
from airflow_provider_sparkml.local.api.types import ResourceType
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import NAMESPACE

_SERVICE_ACCOUNTS = "/serviceaccounts"


def admit_create(cluster: Cluster, kind: ResourceType, obj: Manifest, *, dry_run: bool) -> None:
    """Refuse a new object that may not be in its namespace.

    :raises StatusError: 404 for a missing namespace, 403 else.
    """
    if not kind.api.namespaced:
        return
    _check_namespace(cluster, kind.api, obj)
    if kind.api.plural == "pods" and not kind.api.group:
        _check_service_account(cluster, kind.api, obj)
    check_quota(cluster, kind, obj, None)


def admit_update(cluster: Cluster, kind: ResourceType, old: Manifest, new: Manifest) -> None:
    """Refuse a change that asks for more than the namespace's quota leaves.

    :raises StatusError: 403.
    """
    if kind.api.namespaced and old.get("spec") != new.get("spec"):
        check_quota(cluster, kind, new, old)


def _check_namespace(cluster: Cluster, api: ApiResource, obj: Manifest) -> None:
    """Refuse what would be made in a namespace that is not there, or is going."""
    meta = obj["metadata"]
    record = cluster.store.get("/namespaces", "", meta["namespace"])
    if record is None:
        raise not_found(NAMESPACE, meta["namespace"])
    if record.fields.get("status.phase") == "Terminating":
        what = f"unable to create new content in namespace {meta['namespace']} because it is being terminated"
        error = forbidden(api, meta["name"], what)
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {meta['namespace']} is being terminated",
            "field": "metadata.namespace",
        }
        raise StatusError(403, "Forbidden", error.message, (error.details or {}) | {"causes": [cause]})


def _check_service_account(cluster: Cluster, api: ApiResource, pod: Manifest) -> None:
    """Refuse a pod whose ServiceAccount is not there; ``default`` comes with every namespace, if a moment later."""
    meta, name = pod["metadata"], pod["spec"]["serviceAccountName"]
    if name != "default" and cluster.store.get(_SERVICE_ACCOUNTS, meta["namespace"], name) is None:
        what = f'error looking up service account {meta["namespace"]}/{name}: serviceaccount "{name}" not found'
        raise forbidden(api, meta["name"], what)
