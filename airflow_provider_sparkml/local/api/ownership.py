"""Who owns which fields: ``metadata.managedFields`` kept up to date, and server-side apply with its conflicts.

The algorithm is that of structured-merge-diff's ``merge.Updater``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_sparkml.local.api.call import Call
from airflow_provider_sparkml.local.api.fieldsets import (
    Fields,
    changes,
    decode_fields,
    encode_fields,
    fields_of,
    is_map,
    item_schema,
    list_items,
    root_schema,
    text_of,
)
from airflow_provider_sparkml.local.api.metadata import now
from airflow_provider_sparkml.local.api.schema import child_schema
from airflow_provider_sparkml.local.api.status import StatusError
from airflow_provider_sparkml.local.api.types import Schema
from airflow_provider_sparkml.resources.base import Manifest


@dataclass(frozen=True, slots=True)
class Manager:
    """Who sets fields, and how: the same program is another manager for each of these."""

    name: str
    operation: str
    subresource: str = ""


Owners = dict[Manager, Fields]


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply found out.

    :param owners: who owns what afterwards.
    :param changed: whether applying changed any field, were it only to an empty map.
    """

    owners: Owners
    changed: bool


def owners_of(obj: Manifest) -> Owners:
    """Return who owns what of an object."""
    return {
        Manager(entry["manager"], entry["operation"], entry.get("subresource", "")): decode_fields(entry["fieldsV1"])
        for entry in obj["metadata"].get("managedFields") or []
    }


def created(obj: Manifest, call: Call, schema: Schema | None, applied: Fields | None) -> None:
    """Make the creator owner of all that it set.

    :param applied: what it set, when it was an apply; else that is all of the object.
    """
    if applied is not None:
        owners = {Manager(call.manager, "Apply"): applied}
    else:
        owners = {Manager(call.manager, "Update"): changes({"metadata": {}}, obj, schema)[0]}
    _write(obj, {}, owners, None)


def updated(old: Manifest, new: Manifest, call: Call, schema: Schema | None, applied: Applied | None) -> None:
    """Put ``managedFields`` into a changed object.

    :param old: the object before.
    :param new: the object after, without ``managedFields``.
    :param applied: the owners, when it was an apply; else the caller takes over what it changed.
    """
    before = owners_of(old)
    after = applied.owners if applied else _owners_after_update(before, old, new, call, schema)
    _write(new, before, after, old)


def _owners_after_update(before: Owners, old: Manifest, new: Manifest, call: Call, schema: Schema | None) -> Owners:
    """Return the owners after an update: what changed is the caller's, and nobody else's."""
    changed, removed = changes(_owned_part(old, call), _owned_part(new, call), schema)
    if not changed and not removed:
        return before
    me = Manager(call.manager, "Update", call.target.subresource)
    after = {manager: fields - changed - removed for manager, fields in before.items()}
    after[me] = (before.get(me, frozenset()) | changed) - removed
    return after


def _owned_part(obj: Manifest, call: Call) -> Manifest:
    """Return what a request can own: a status's writer only the status."""
    if call.target.subresource == "status":
        return {"metadata": {}} | ({"status": obj["status"]} if "status" in obj else {})
    return obj


def _write(obj: Manifest, before: Owners, after: Owners, old: Manifest | None) -> None:
    """Write the owners into an object; an entry that stays the same keeps its time."""
    former = {
        Manager(entry["manager"], entry["operation"], entry.get("subresource", "")): entry
        for entry in (old or {"metadata": {}})["metadata"].get("managedFields") or []
    }
    entries: list[dict[str, Any]] = []
    for manager, fields in after.items():
        if not fields:
            continue
        if before.get(manager) == fields and manager in former:
            entries.append(former[manager])
            continue
        entry = {
            "apiVersion": obj["apiVersion"],
            "fieldsType": "FieldsV1",
            "fieldsV1": encode_fields(fields),
            "manager": manager.name,
            "operation": manager.operation,
            "time": now(),
        }
        entries.append(entry | ({"subresource": manager.subresource} if manager.subresource else {}))
    entries.sort(key=lambda entry: entry["operation"] != "Apply")
    obj["metadata"].pop("managedFields", None)
    if entries:
        obj["metadata"]["managedFields"] = entries


def apply(
    live: Manifest, config: Manifest, schema: Schema | None, call: Call, *, force: bool
) -> tuple[Manifest, Applied]:
    """Merge an applied object into the live one.

    :param live: the object as it is; for a new one, its metadata alone.
    :param config: what is applied.
    :param force: take over fields that others own with another value.
    :returns: the merged object, and who owns what of it.
    :raises StatusError: 409 when others own a field with another value.
    """
    me = Manager(call.manager, "Apply", call.target.subresource)
    owners = owners_of(live)
    wanted = fields_of(config, schema)
    merged = _merge(live, config, root_schema(schema))
    others = frozenset().union(*(fields for manager, fields in owners.items() if manager != me))
    given_up = owners.get(me, frozenset()) - wanted
    kept = _with_parents(others | wanted)
    merged = _remove(merged, given_up - kept, kept, root_schema(schema), ())
    changed, removed = changes(live, merged, schema)
    conflicts = {manager: fields & changed for manager, fields in owners.items() if manager != me and fields & changed}
    if conflicts and not force:
        raise _conflict(conflicts)
    after = {manager: fields - changed - removed for manager, fields in owners.items() if manager != me}
    after[me] = wanted
    return merged, Applied(after, bool(changed or removed))


def _with_parents(fields: Fields) -> Fields:
    """Return fields with all that they lie in: none of it may be removed."""
    return frozenset(path[:length] for path in fields for length in range(1, len(path) + 1))


def _merge(live: Any, config: Any, schema: Schema | None) -> Any:
    """Return a live value with a configured one laid over it."""
    if is_map(live, schema) and is_map(config, schema):
        merged = dict(live)
        for name, value in config.items():
            merged[name] = _merge(live.get(name), value, child_schema(schema, name))
        return merged
    items, configured = list_items(live, schema), list_items(config, schema)
    if items is None or configured is None:
        return copy.deepcopy(config)
    merged_items = dict(items)
    for step, item in configured.items():
        merged_items[step] = _merge(items.get(step), item, item_schema(schema))
    return list(merged_items.values())


def _remove(value: Any, fields: Fields, keep: Fields, schema: Schema | None, path: tuple[str, ...]) -> Any:
    """Return a value without some of its fields and items, nor the maps that are empty for it.

    :param keep: what somebody owns, were it empty.
    """
    if is_map(value, schema):
        kept = {}
        for name, child in value.items():
            here = (*path, f"f:{name}")
            if here in fields:
                continue
            left = _remove(child, fields, keep, child_schema(schema, name), here)
            if left or not child or here in keep:
                kept[name] = left
        return kept
    items = list_items(value, schema)
    if items is None:
        return value
    return [
        _remove(item, fields, keep, item_schema(schema), (*path, step))
        for step, item in items.items()
        if (*path, step) not in fields
    ]


def _conflict(conflicts: Mapping[Manager, Fields]) -> StatusError:
    """Return the answer that names every owner and field in the way."""
    causes, lines = [], []
    for manager, fields in conflicts.items():
        who = f'"{manager.name}"' + (f' with subresource "{manager.subresource}"' if manager.subresource else "")
        paths = [text_of(path) for path in sorted(fields)]
        causes += [{"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": p} for p in paths]
        lines.append(f"conflicts with {who}:\n" + "\n".join(f"- {path}" for path in paths))
    count = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        message = f"Apply failed with {count}: " + "\n".join(lines)
    return StatusError(409, "Conflict", message, {"causes": causes})
