"""Deleting objects: preconditions, finalizers, what becomes of the objects they own, and a pod's last seconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_sparkml.local.api.call import Call
from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.metadata import now
from airflow_provider_sparkml.local.api.status import (
    Cause,
    StatusError,
    bad_request,
    conflict,
    not_found,
    not_supported,
    success,
)
from airflow_provider_sparkml.local.api.storing import destroy, is_finished, save
from airflow_provider_sparkml.local.api.types import ResourceType
from airflow_provider_sparkml.local.store import Record
from airflow_provider_sparkml.resources.base import Manifest

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_DEFAULT_GRACE_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Options:
    """How to delete.

    :param propagation: ``Foreground``, ``Background``, ``Orphan``, or empty for the type's default.
    :param grace_seconds: how long a pod has to end by itself; ``None`` leaves it to the pod.
    :param uid: delete only this object.
    :param version: delete only this version of it.
    """

    propagation: str = ""
    grace_seconds: int | None = None
    uid: str = ""
    version: str = ""
    dry_run: bool = False


def options_of(call: Call, body: dict[str, Any]) -> Options:
    """Return the options in a ``DeleteOptions`` body, or else in the query.

    :raises StatusError: 400 or 422 when they make no sense.
    """
    if body.get("kind") not in (None, "", "DeleteOptions"):
        raise bad_request(f"DeleteOptions expected, not {body['kind']}")
    propagation = body.get("propagationPolicy") or call.query.get("propagationPolicy") or ""
    if not propagation and "orphanDependents" in body:
        propagation = "Orphan" if body["orphanDependents"] else "Background"
    if propagation not in ("", "Foreground", "Background", "Orphan"):
        cause: Cause = not_supported("propagationPolicy", propagation, ["Foreground", "Background", "Orphan"])
        message = f'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: {cause.message}'
        raise StatusError(422, "Invalid", message, {"kind": "DeleteOptions", "causes": [cause.to_json()]})
    grace = body.get("gracePeriodSeconds")
    if grace is None:
        grace = call.number("gracePeriodSeconds")
    preconditions = body.get("preconditions") or {}
    return Options(
        propagation,
        max(int(grace), 0) if grace is not None else None,
        preconditions.get("uid") or "",
        preconditions.get("resourceVersion") or "",
        dry_run=call.dry_run or body.get("dryRun") == ["All"],
    )


def delete(cluster: Cluster, call: Call, kind: ResourceType, options: Options) -> Manifest:
    """Delete an object, or mark it for deletion when something has to be done first.

    :returns: the object while it stays, else a Status; some built-in types always answer with the object.
    :raises StatusError: it is absent, or not the one that the preconditions name.
    """
    target = call.target
    record = cluster.store.get(kind.storage, target.namespace if kind.api.namespaced else "", target.name)
    if record is None:
        raise not_found(kind.api, target.name)
    _check_preconditions(kind, record, options)
    obj, gone = delete_record(cluster, kind, record, options)
    if gone and not kind.returns_deleted:
        return success(kind.api, target.name, record.uid)
    return obj


def _check_preconditions(kind: ResourceType, record: Record, options: Options) -> None:
    if options.uid and options.uid != record.uid:
        raise conflict(
            kind.api,
            record.key[1],
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({record.uid}). The object "
            "might have been deleted and then recreated",
            by_kind=True,
        )
    if options.version and options.version != str(record.version):
        raise conflict(
            kind.api,
            record.key[1],
            f"the ResourceVersion in the precondition ({options.version}) does not match the ResourceVersion in record "
            f"({record.version}). The object might have been modified",
            by_kind=True,
        )


def delete_record(cluster: Cluster, kind: ResourceType, record: Record, options: Options) -> tuple[Manifest, bool]:
    """Delete one object; return its last state, and whether it is gone."""
    before = record.load()
    obj = record.load()
    meta = obj["metadata"]
    _set_finalizers(kind, meta, options.propagation)
    grace = _grace_seconds(kind, obj, options)
    if "deletionTimestamp" in meta:
        grace = min(grace, meta.get("deletionGracePeriodSeconds") or 0)  # it can only become shorter
    if meta.get("deletionGracePeriodSeconds") != grace or "deletionTimestamp" not in meta:
        meta["deletionTimestamp"] = _in_seconds(grace)
        meta["deletionGracePeriodSeconds"] = grace
        if "generation" in meta and before["metadata"].get("deletionTimestamp") is None:
            meta["generation"] += 1
    if kind.api.plural == "namespaces" and not kind.api.group:
        meta.pop("deletionGracePeriodSeconds", None)
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
    gone = is_finished(obj)
    if options.dry_run:
        return obj, gone
    if gone:
        destroy(cluster, kind, obj)
    elif obj != before:
        save(cluster, kind, obj)
    return obj, gone


def _set_finalizers(kind: ResourceType, meta: Manifest, propagation: str) -> None:
    """Have the garbage collector called first where the owned objects are to go first, or to stay.

    Events own nothing, so nobody is asked for them.
    """
    if kind.api.plural == "events":
        return
    finalizers = [each for each in meta.get("finalizers") or [] if each not in (FOREGROUND, ORPHAN)]
    if not propagation:
        # An object that is being deleted in one way already goes on so.
        former = [each for each in meta.get("finalizers") or [] if each in (FOREGROUND, ORPHAN)]
        by_default = [ORPHAN] if (kind.api.group, kind.api.plural) == ("batch", "jobs") else []
        finalizers += former or by_default
    elif propagation == "Foreground":
        finalizers.append(FOREGROUND)
    elif propagation == "Orphan":
        finalizers.append(ORPHAN)
    meta["finalizers"] = finalizers
    if not finalizers:
        del meta["finalizers"]


def _grace_seconds(kind: ResourceType, obj: Manifest, options: Options) -> int:
    """Return how long the object has until it is gone: nothing but a running pod has anything to do in that time."""
    if kind.api.plural != "pods" or kind.api.group:
        return 0
    spec, phase = obj.get("spec") or {}, (obj.get("status") or {}).get("phase")
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    if options.grace_seconds is not None:
        return options.grace_seconds
    wanted = spec.get("terminationGracePeriodSeconds")
    return int(wanted) if wanted is not None else _DEFAULT_GRACE_SECONDS


def _in_seconds(seconds: int) -> str:
    if not seconds:
        return now()
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
