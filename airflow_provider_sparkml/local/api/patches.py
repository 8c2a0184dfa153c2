"""The three patches that change what is there: merge (RFC 7396), JSON (RFC 6902) and strategic merge."""

from __future__ import annotations

from typing import Any

import jsonpatch
import jsonpointer

from airflow_provider_sparkml.local.api.schema import child_schema
from airflow_provider_sparkml.local.api.status import StatusError, bad_request
from airflow_provider_sparkml.local.api.types import Schema
from airflow_provider_sparkml.resources.base import Manifest

_DIRECTIVE = "$patch"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_RETAIN = "$retainKeys"


def merge_patch(target: Any, patch: Any) -> Any:
    """Return the target with a merge patch applied; null deletes."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def json_patch(target: Manifest, operations: list[dict[str, Any]]) -> Manifest:
    """Return the target with the operations of a JSON patch applied.

    :raises StatusError: 422 when a path is not there or a test fails, 400 when an operation is none.
    """
    try:
        patched: Manifest = jsonpatch.apply_patch(target, operations)
    except (jsonpatch.InvalidJsonPatch, TypeError, KeyError, AttributeError) as error:
        raise bad_request(f"error decoding patch: {error}") from None
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException):
        message = "the server rejected our request due to an error in our request"
        raise StatusError(422, "Invalid", message, {}) from None
    return patched


def strategic_patch(target: Any, patch: Any, schema: Schema | None) -> Any:
    """Return the target with a strategic merge patch applied: lists with merge keys are merged item by item.

    :param schema: tells the merge keys (``x-kubernetes-patch-merge-key`` and ``-strategy``).
    """
    if not isinstance(patch, dict):
        return patch
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {name: value for name, value in patch.items() if name != _DIRECTIVE}
    if directive == "delete":
        return {}
    merged = dict(target) if isinstance(target, dict) else {}
    if _RETAIN in patch:
        merged = {name: value for name, value in merged.items() if name in patch[_RETAIN]}
    for name, value in patch.items():
        if name.startswith(_DELETE_FROM):
            key = name.removeprefix(_DELETE_FROM)
            merged[key] = [item for item in merged.get(key) or [] if item not in value]
        elif name.startswith("$"):
            continue
        elif value is None:
            merged.pop(name, None)
        else:
            order = patch.get(f"{_ORDER}{name}")
            merged[name] = _strategic_value(merged.get(name), value, child_schema(schema, name), order)
    return merged


def _strategic_value(target: Any, value: Any, schema: Schema | None, order: list[Any] | None) -> Any:
    if not isinstance(value, list):
        return strategic_patch(target, value, schema)
    schema = schema or {}
    if "merge" not in str(schema.get("x-kubernetes-patch-strategy", "")):
        return value
    key = schema.get("x-kubernetes-patch-merge-key")
    if key is None:  # a list of plain values is a set
        merged = list(target or [])
        merged += [item for item in value if item not in merged]
        return sorted(merged, key=order.index) if order and set(merged) <= set(order) else merged
    return _merge_items(target or [], value, str(key), schema, order)


def _merge_items(
    target: list[Any], patch: list[Any], key: str, schema: Schema, order: list[dict[str, Any]] | None
) -> list[Any]:
    """Merge a list of objects by the key that tells them apart."""
    if any(item.get(_DIRECTIVE) == "replace" for item in patch):
        return [item for item in patch if item.get(_DIRECTIVE) != "replace"]
    items = {item.get(key): item for item in target}
    for item in patch:
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        if item.get(_DIRECTIVE) == "delete":
            items.pop(item[key], None)
        else:
            items[item[key]] = strategic_patch(items.get(item[key], {}), item, schema.get("items"))
    if order:
        place = {item.get(key): index for index, item in enumerate(order)}
        return sorted(items.values(), key=lambda item: place.get(item.get(key), len(place)))
    return list(items.values())
