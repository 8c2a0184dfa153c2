"""What every object has: names, labels, times, owners; the rules for them and the parts only the server sets."""

from __future__ import annotations

import re
import secrets
import uuid
from datetime import UTC, datetime
from typing import Any

from airflow_provider_sparkml.local.api.status import Cause, bad_value, field_forbidden, required
from airflow_provider_sparkml.resources.base import Manifest

SYSTEM_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
"""Parts of ``metadata`` that a client cannot change."""

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_ANNOTATIONS_BYTES = 256 * 1024
_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def now() -> str:
    """Return the time as Kubernetes writes it: RFC 3339, UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_uid() -> str:
    """Return a new UID."""
    return str(uuid.uuid4())


def generated_name(prefix: str) -> str:
    """Return a name that begins with a prefix, as ``generateName`` asks for."""
    return prefix[:58] + "".join(secrets.choice(_NAME_LETTERS) for _ in range(5))


def subdomain(field: str, name: str) -> list[Cause]:
    """Check a DNS-1123 subdomain, the rule for most names."""
    if _SUBDOMAIN.fullmatch(name) and len(name) <= 253:
        return []
    return [
        bad_value(
            field,
            name,
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
            "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
            "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            if len(name) <= 253
            else "must be no more than 253 bytes",
        )
    ]


def dns_label(field: str, name: str) -> list[Cause]:
    """Check a DNS-1123 label, the rule for namespaces."""
    if _LABEL.fullmatch(name) and len(name) <= 63:
        return []
    return [
        bad_value(
            field,
            name,
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
            "end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
            "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            if len(name) <= 63
            else "must be no more than 63 bytes",
        )
    ]


def dns_1035_label(field: str, name: str) -> list[Cause]:
    """Check a DNS-1035 label, the rule for services."""
    if _DNS_1035.fullmatch(name) and len(name) <= 63:
        return []
    return [
        bad_value(
            field,
            name,
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
            "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
            "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
            if len(name) <= 63
            else "must be no more than 63 bytes",
        )
    ]


def path_segment(field: str, name: str) -> list[Cause]:
    """Check a path segment, the rule for roles and their bindings."""
    if name in (".", "..") or "/" in name or "%" in name:
        return [bad_value(field, name, "may not be '.' or '..', nor contain '/' or '%'")]
    return []


def check_metadata(meta: Manifest, old: Manifest | None) -> list[Cause]:
    """Return what is wrong with labels, annotations, owners and finalizers.

    :param old: the metadata before an update.
    """
    causes: list[Cause] = []
    for key, value in (meta.get("labels") or {}).items():
        causes += qualified_name("metadata.labels", key)
        if not _LABEL_VALUE.fullmatch(value) or len(value) > 63:
            causes.append(
                bad_value(
                    "metadata.labels",
                    value,
                    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and "
                    "must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', "
                    "regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                    if len(value) <= 63
                    else "must be no more than 63 bytes",
                )
            )
    annotations = meta.get("annotations") or {}
    for key in annotations:
        causes += qualified_name("metadata.annotations", key.lower())
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > _ANNOTATIONS_BYTES:
        message = f"Too long: may not be more than {_ANNOTATIONS_BYTES} bytes"
        causes.append(Cause("FieldValueTooLong", "metadata.annotations", message))
    for index, owner in enumerate(meta.get("ownerReferences") or []):
        for part in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(part):
                field = f"metadata.ownerReferences[{index}].{part}"
                causes.append(bad_value(field, owner.get(part, ""), "must not be empty"))
    for finalizer in meta.get("finalizers") or []:
        causes += qualified_name("metadata.finalizers", finalizer)
    if old is not None and old.get("deletionTimestamp"):
        added = sorted(set(meta.get("finalizers") or []) - set(old.get("finalizers") or []))
        if added:
            detail = f"no new finalizers can be added if the object is being deleted, found new finalizers {added}"
            causes.append(field_forbidden("metadata.finalizers", detail))
    return causes


def qualified_name(field: str, key: str) -> list[Cause]:
    """Check a key of labels or annotations: a name with an optional DNS prefix."""
    prefix, slash, name = key.rpartition("/")
    if (not slash or _SUBDOMAIN.fullmatch(prefix)) and _QUALIFIED_NAME.fullmatch(name) and len(name) <= 63:
        return []
    return [
        bad_value(
            field,
            key,
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
            "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        )
    ]


def check_types(meta: Any) -> list[Cause]:
    """Return what in ``metadata`` is not even of the right JSON type; the other rules rely on these."""
    wanted: dict[str, tuple[type, str]] = {
        "name": (str, "string"),
        "generateName": (str, "string"),
        "namespace": (str, "string"),
        "uid": (str, "string"),
        "resourceVersion": (str, "string"),
        "labels": (dict, "map"),
        "annotations": (dict, "map"),
        "finalizers": (list, "array"),
        "ownerReferences": (list, "array"),
    }
    if not isinstance(meta, dict):
        return [required("metadata")]
    causes = [
        bad_value(f"metadata.{key}", meta[key], f"must be of type {name}")
        for key, (kind, name) in wanted.items()
        if meta.get(key) is not None and not isinstance(meta[key], kind)
    ]
    for part in ("labels", "annotations"):
        values = meta.get(part)
        if isinstance(values, dict):
            causes += [
                bad_value(f"metadata.{part}.{key}", value, "must be of type string")
                for key, value in values.items()
                if not isinstance(value, str)
            ]
    if isinstance(meta.get("finalizers"), list) and not all(isinstance(each, str) for each in meta["finalizers"]):
        causes.append(bad_value("metadata.finalizers", meta["finalizers"], "must be strings"))
    if isinstance(meta.get("ownerReferences"), list) and not all(
        isinstance(each, dict) for each in meta["ownerReferences"]
    ):
        causes.append(bad_value("metadata.ownerReferences", meta["ownerReferences"], "must be objects"))
    return causes


def drop_empty(meta: Manifest) -> None:
    """Drop what Kubernetes does not write when it is empty."""
    for part in ("labels", "annotations", "finalizers", "ownerReferences", "generateName", "managedFields"):
        if part in meta and not meta[part]:
            del meta[part]
    for part in ("labels", "annotations"):
        if part in meta:
            meta[part] = {key: "" if value is None else value for key, value in meta[part].items()}
