"""Putting objects into the store and taking them out: their versions, and what the server does in consequence."""

from __future__ import annotations

from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.status import not_found
from airflow_provider_sparkml.local.api.types import ResourceType
from airflow_provider_sparkml.local.store import Record, encode
from airflow_provider_sparkml.resources.base import Manifest


def is_finished(obj: Manifest) -> bool:
    """Return whether an object that is being deleted has nothing left to wait for."""
    meta = obj["metadata"]
    if "deletionTimestamp" not in meta or meta.get("finalizers") or meta.get("deletionGracePeriodSeconds"):
        return False
    return not (obj["kind"] == "Namespace" and (obj.get("spec") or {}).get("finalizers"))


def save(cluster: Cluster, kind: ResourceType, obj: Manifest) -> Record:
    """Store an object as its newest version."""
    version = cluster.store.next_version()
    obj["metadata"]["resourceVersion"] = str(version)
    record = _record(kind, obj, version)
    cluster.store.put(kind.storage, record)
    for hook in cluster.after_write:
        hook(kind, obj, False)
    return record


def destroy(cluster: Cluster, kind: ResourceType, obj: Manifest) -> None:
    """Remove an object for good; watches see the last state that was stored.

    :param obj: the object as the answer shows it; gets the version of the deletion.
    """
    meta = obj["metadata"]
    stored = cluster.store.get(kind.storage, meta.get("namespace", ""), meta["name"])
    if stored is None:
        raise not_found(kind.api, meta["name"])
    version = cluster.store.next_version()
    meta["resourceVersion"] = str(version)
    last = stored.load()
    last["metadata"]["resourceVersion"] = str(version)
    cluster.store.remove(kind.storage, _record(kind, last, version))
    for hook in cluster.after_write:
        hook(kind, obj, True)


def _record(kind: ResourceType, obj: Manifest, version: int) -> Record:
    meta = obj["metadata"]
    key = (meta.get("namespace", ""), meta["name"])
    return Record(key, meta["uid"], version, encode(obj), meta.get("labels") or {}, kind.fields_of(obj))
