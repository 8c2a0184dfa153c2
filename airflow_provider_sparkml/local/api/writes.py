"""Creating and changing objects: the order of checks, what the server sets itself, what a change may touch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_sparkml.local.api import ownership
from airflow_provider_sparkml.local.api.admission import admit_create, admit_update
from airflow_provider_sparkml.local.api.call import Call
from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.escalation import check_escalation
from airflow_provider_sparkml.local.api.fieldsets import fields_of
from airflow_provider_sparkml.local.api.metadata import (
    SYSTEM_FIELDS,
    check_metadata,
    check_types,
    drop_empty,
    generated_name,
    new_uid,
    now,
)
from airflow_provider_sparkml.local.api.queueing import hold_back
from airflow_provider_sparkml.local.api.schema import apply_schema
from airflow_provider_sparkml.local.api.status import (
    StatusError,
    already_exists,
    bad_request,
    bad_value,
    conflict,
    invalid,
    modified,
    not_found,
    required,
)
from airflow_provider_sparkml.local.api.storing import destroy, is_finished, save
from airflow_provider_sparkml.local.api.types import ResourceType, Schema
from airflow_provider_sparkml.local.store import encode
from airflow_provider_sparkml.resources.base import Manifest

_NAME_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a write.

    :param obj: the object as it is now.
    :param created: whether it is new.
    :param warnings: for the ``Warning`` header.
    """

    obj: Manifest
    created: bool = False
    warnings: tuple[str, ...] = ()


def check_identity(kind: ResourceType, obj: Manifest, call: Call) -> None:
    """Refuse an object that is not of the type, the namespace or the name that the URL says.

    :raises StatusError: 400.
    """
    api = kind.api
    version, name = obj.get("apiVersion"), obj.get("kind")
    if kind.custom and not name:
        raise bad_request(f"Object 'Kind' is missing in '{encode(obj).decode()[:200]}'")
    if version not in (None, "", api.api_version):
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({api.api_version})"
        )
    if name not in (None, "", api.kind):
        raise bad_request(
            f'{name} in version "{api.version}" cannot be handled as a {api.kind}: no kind "{name}" is registered '
            f'for version "{api.api_version}"'
        )
    obj["apiVersion"], obj["kind"] = api.api_version, api.kind
    causes = check_types(obj.setdefault("metadata", {}))
    if causes:
        raise invalid(api, "", causes)
    meta = obj["metadata"]
    if api.namespaced:
        if meta.get("namespace") not in (None, "", call.target.namespace):
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        meta["namespace"] = call.target.namespace
    else:
        meta.pop("namespace", None)


def create(
    cluster: Cluster, call: Call, kind: ResourceType, schema: Schema | None, obj: Manifest, *, applied: bool = False
) -> Written:
    """Create an object.

    :param obj: what the client sent; is changed.
    :param applied: whether it comes by a server-side apply.
    :raises StatusError: the client's mistake, or somebody else was first.
    """
    check_identity(kind, obj, call)
    meta = obj["metadata"]
    if meta.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    if not meta.get("name"):
        if not meta.get("generateName"):
            raise invalid(kind.api, "", [required("metadata.name", "name or generateName is required")])
        meta["name"] = _free_name(cluster, kind, meta)
    for part in (*SYSTEM_FIELDS, "managedFields", "selfLink"):
        meta.pop(part, None)
    if kind.status:
        obj.pop("status", None)
    applied_fields = fields_of(obj, schema) if applied else None
    obj = kind.absorb(obj)
    meta = obj["metadata"]
    meta |= {"uid": new_uid(), "creationTimestamp": now()}
    if kind.generation:
        meta["generation"] = 1
    drop_empty(meta)
    warnings = _complete(kind, schema, obj, None, call)
    hold_back(kind.api, obj)
    check_escalation(cluster, kind, call.user, obj, None)
    admit_create(cluster, kind, obj, dry_run=call.dry_run)
    if cluster.store.get(kind.storage, meta.get("namespace", ""), meta["name"]) is not None:
        raise already_exists(kind.api, meta["name"])
    ownership.created(obj, call, schema, applied_fields)
    if not call.dry_run:
        save(cluster, kind, obj)
    return Written(obj, created=True, warnings=warnings)


def _free_name(cluster: Cluster, kind: ResourceType, meta: Manifest) -> str:
    """Return a made-up name that nothing has yet."""
    for _ in range(_NAME_ATTEMPTS):
        name = generated_name(meta["generateName"])
        if cluster.store.get(kind.storage, meta.get("namespace", ""), name) is None:
            return name
    raise already_exists(kind.api, name)


def _complete(
    kind: ResourceType, schema: Schema | None, obj: Manifest, old: Manifest | None, call: Call
) -> tuple[str, ...]:
    """Put in defaults, take out unknown fields, and check everything; return warnings.

    :raises StatusError: 400 for unknown fields when validation is strict, 422 for invalid values.
    """
    part = "status" if call.target.subresource == "status" else ""
    unknown, causes = apply_schema(obj, schema, custom=kind.custom, part=part)
    if unknown and call.field_validation == "Strict":
        found = ", ".join(f'unknown field "{path}"' for path in unknown)
        api = kind.api
        raise bad_request(
            f'{api.kind} in version "{api.version}" cannot be handled as a {api.kind}: strict decoding error: {found}'
        )
    mistyped = next((cause for cause in causes if cause.reason == "FieldValueTypeInvalid"), None)
    if mistyped and not kind.custom:  # a real server fails to decode it
        name = kind.api.kind
        raise bad_request(f'{name} in version "{kind.api.version}" cannot be handled as a {name}: {mistyped.message}')
    if not causes:  # the type's own rules rely on a right shape
        kind.fill(obj)
        name = obj["metadata"]["name"]
        causes = [] if old is not None else kind.name_rule("metadata.name", name)
        causes += check_metadata(obj["metadata"], old["metadata"] if old else None)
        causes += kind.check(obj, old)
    if causes:
        raise invalid(kind.api, obj["metadata"].get("name", ""), causes)
    if call.field_validation == "Warn":
        return tuple(f'unknown field "{path}"' for path in unknown)
    return ()


def update(
    cluster: Cluster,
    call: Call,
    kind: ResourceType,
    schema: Schema | None,
    change: Callable[[Manifest], Manifest],
    *,
    applied: Callable[[], ownership.Applied] | None = None,
    must_have_version: bool = False,
) -> Written:
    """Change an object.

    :param change: the object as it is, in the version of the request → as it shall be.
    :param applied: tells, after ``change``, what a server-side apply found out about fields and their owners.
    :param must_have_version: whether the new object must name the version that it replaces.
    :raises StatusError: it is absent, has changed meanwhile, or may not become so.
    """
    api, target = kind.api, call.target
    namespace = target.namespace if api.namespaced else ""
    record = cluster.store.get(kind.storage, namespace, target.name)
    if record is None:
        raise not_found(api, target.name)
    old = record.load()
    new = change(kind.present(record.load()) if kind.present else record.load())
    check_identity(kind, new, call)
    new = kind.absorb(new)
    _check_same(kind, old, new, must_have_version=must_have_version)
    _keep_what_is_not_addressed(kind, call.target.subresource, old, new)
    warnings = _complete(kind, schema, new, old, call)
    check_escalation(cluster, kind, call.user, new, old)
    admit_update(cluster, kind, old, new)
    outcome = applied() if applied else None
    ownership.updated(old, new, call, schema, outcome)
    if _equal(old, new) and not (outcome and (outcome.changed or outcome.owners != ownership.owners_of(old))):
        return Written(old, warnings=warnings)
    if kind.generation and call.target.subresource != "status" and _spec_changed(kind, old, new):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
    if is_finished(new):
        # The last finalizer went: the object is deleted with this change, and the answer shows its last version.
        if not call.dry_run:
            destroy(cluster, kind, new)
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
    elif not call.dry_run:
        save(cluster, kind, new)
    return Written(new, warnings=warnings)


def _check_same(kind: ResourceType, old: Manifest, new: Manifest, *, must_have_version: bool) -> None:
    """Refuse an update of another object, or of another version, than the present one."""
    was, meta = old["metadata"], new["metadata"]
    if meta.setdefault("name", was["name"]) != was["name"]:
        raise bad_request(f"the name of the object ({meta['name']}) does not match the name on the URL ({was['name']})")
    if meta.get("uid") not in (None, "", was["uid"]):
        what = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {was['uid']}"
        raise conflict(kind.api, was["name"], what)
    version = meta.get("resourceVersion") or ""
    if not version:
        if must_have_version and not kind.unconditional_update:
            message = "must be specified for an update"
            causes = [bad_value("metadata.resourceVersion", 0, message)]
            raise invalid(kind.api, was["name"], causes, by_plural=True)
    elif version != was["resourceVersion"]:
        raise modified(kind.api, was["name"])


def _keep_what_is_not_addressed(kind: ResourceType, subresource: str, old: Manifest, new: Manifest) -> None:
    """Undo what a request may not change: the server's fields, and the status or all but the status."""
    meta, was = new["metadata"], old["metadata"]
    if subresource == "status":
        status = new.get("status")
        new.clear()
        new |= {key: value for key, value in old.items() if key not in ("status", "metadata")}
        new["metadata"] = dict(was)
        if status is not None:
            new["status"] = status
    else:
        for part in (*SYSTEM_FIELDS, "generateName"):
            meta.pop(part, None)
            if part in was:
                meta[part] = was[part]
        if kind.status:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
        drop_empty(meta)
    new["metadata"].pop("managedFields", None)
    new["metadata"]["resourceVersion"] = was["resourceVersion"]


def _equal(old: Manifest, new: Manifest) -> bool:
    """Return whether nothing changed; owners and their times alone are no change."""
    return _without_owners(old) == _without_owners(new)


def _without_owners(obj: Manifest) -> Manifest:
    """Return the object without ``managedFields``."""
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return obj | {"metadata": meta}


def _spec_changed(kind: ResourceType, old: Manifest, new: Manifest) -> bool:
    """Return whether anything but metadata, and status where it is apart, changed."""
    aside = {"metadata", "status"} if kind.status else {"metadata"}
    return {k: v for k, v in old.items() if k not in aside} != {k: v for k, v in new.items() if k not in aside}


def refuse(error: OSError) -> StatusError:
    """Return the answer when the disk does not take a change."""
    return StatusError(500, "InternalError", str(error), {})
