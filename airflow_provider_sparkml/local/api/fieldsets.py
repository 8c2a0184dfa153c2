"""Sets of fields as server-side apply has them: which an object has, which changed, and their ``FieldsV1`` form.

A path is a tuple of steps as ``FieldsV1`` writes them: ``f:name`` for a field, ``k:{…}`` for an item of a list by its
keys, ``v:…`` for an item of a set. The rules are those of structured-merge-diff: a list is one value unless its schema
says ``x-kubernetes-list-type: map`` or ``set``; an object is a map of fields unless ``x-kubernetes-map-type: atomic``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from airflow_provider_sparkml.local.api.schema import child_schema
from airflow_provider_sparkml.local.api.types import Schema
from airflow_provider_sparkml.resources.base import Manifest

Path = tuple[str, ...]
Fields = frozenset[Path]

_UNOWNED = frozenset(
    ("f:metadata", f"f:{name}")
    for name in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "selfLink",
        "managedFields",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ]
) | {("f:apiVersion",), ("f:kind",), ("f:metadata",)}
"""Fields that belong to nobody: identity, and what the server sets."""

_METADATA: Schema = {
    "properties": {
        "finalizers": {"x-kubernetes-list-type": "set"},
        "ownerReferences": {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uid"],
            "items": {"x-kubernetes-map-type": "atomic"},
        },
    }
}


def root_schema(schema: Schema | None) -> Schema:
    """Return an object's schema with the lists of its metadata described."""
    properties = (schema or {}).get("properties") or {}
    return {**(schema or {}), "properties": {**properties, "metadata": _METADATA}}


def is_map(value: Any, schema: Schema | None) -> bool:
    """Return whether a value is merged field by field."""
    return isinstance(value, dict) and (schema or {}).get("x-kubernetes-map-type") != "atomic"


def list_items(value: Any, schema: Schema | None) -> dict[str, Any] | None:
    """Return a list's items by their steps, or ``None`` when the list is one value."""
    kind = (schema or {}).get("x-kubernetes-list-type")
    if not isinstance(value, list) or kind not in ("map", "set"):
        return None
    if kind == "set":
        return {f"v:{_text(item)}": item for item in value}
    keys = (schema or {}).get("x-kubernetes-list-map-keys") or []
    if not all(isinstance(item, dict) for item in value):
        return None
    return {_key_step(item, keys, schema): item for item in value}


def _key_step(item: dict[str, Any], keys: list[str], schema: Schema | None) -> str:
    """Return the step of an item by its keys; a key that is left out has its default."""
    properties = ((schema or {}).get("items") or {}).get("properties") or {}
    values = {key: item.get(key, (properties.get(key) or {}).get("default")) for key in sorted(keys)}
    return f"k:{_text({key: value for key, value in values.items() if value is not None})}"


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def item_schema(schema: Schema | None) -> Schema | None:
    """Return the schema of a list's items."""
    items = (schema or {}).get("items")
    return items if isinstance(items, dict) else None


def fields_of(obj: Manifest, schema: Schema | None) -> Fields:
    """Return the fields that an applied object sets: its leaves, empty maps, and items of lists."""
    return frozenset(_leaves(obj, root_schema(schema), ())) - _UNOWNED


def _leaves(value: Any, schema: Schema | None, path: Path) -> Iterator[Path]:
    if is_map(value, schema) and value:
        for name, child in value.items():
            yield from _leaves(child, child_schema(schema, name), (*path, f"f:{name}"))
        return
    items = list_items(value, schema)
    if not items:
        yield path
        return
    for step, item in items.items():
        yield (*path, step)
        if isinstance(item, dict):
            yield from _leaves(item, item_schema(schema), (*path, step))


def changes(old: Manifest, new: Manifest, schema: Schema | None) -> tuple[Fields, Fields]:
    """Return which fields were set or altered, and which removed."""
    compared = _Comparison()
    compared.walk(old, new, root_schema(schema), ())
    return frozenset(compared.changed) - _UNOWNED, frozenset(compared.removed) - _UNOWNED


class _Comparison:
    """A walk through two objects side by side, and the differences met."""

    def __init__(self) -> None:
        self.changed: set[Path] = set()
        self.removed: set[Path] = set()

    def walk(self, old: Any, new: Any, schema: Schema | None, path: Path) -> None:
        if old == new:
            return
        if is_map(old, schema) and is_map(new, schema):
            steps = {f"f:{name}": child_schema(schema, name) for name in (*old, *new)}
            before, after = ({f"f:{name}": child for name, child in side.items()} for side in (old, new))
        else:
            old_items, new_items = list_items(old, schema), list_items(new, schema)
            if old_items is None or new_items is None:
                self.changed.add(path)
                return
            steps = dict.fromkeys((*old_items, *new_items), item_schema(schema))
            before, after = old_items, new_items
        for step, child in steps.items():
            here = (*path, step)
            if step not in before:
                self.changed.update(_nodes(after[step], child, here))
            elif step not in after:
                self.removed.update(_nodes(before[step], child, here))
            else:
                self.walk(before[step], after[step], child, here)


def _nodes(value: Any, schema: Schema | None, path: Path) -> Iterator[Path]:
    """Yield a value's own path and those of everything in it."""
    yield path
    if is_map(value, schema):
        for name, child in value.items():
            yield from _nodes(child, child_schema(schema, name), (*path, f"f:{name}"))
    elif items := list_items(value, schema):
        for step, item in items.items():
            yield from _nodes(item, item_schema(schema), (*path, step))


def encode_fields(fields: Iterable[Path]) -> dict[str, Any]:
    """Return fields as ``FieldsV1``; ``.`` marks a node that is itself in the set."""
    tree: dict[str, Any] = {}
    for path in sorted(fields):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        node["."] = {}
    return _without_leaf_dots(tree)


def _without_leaf_dots(node: dict[str, Any]) -> dict[str, Any]:
    if node.keys() == {"."}:
        return {}
    return {step: _without_leaf_dots(child) if step != "." else {} for step, child in node.items()}


def decode_fields(tree: dict[str, Any]) -> Fields:
    """Return the set that a ``FieldsV1`` means; the inverse of :func:`encode_fields`."""
    return frozenset(_decode(tree, ()))


def _decode(node: dict[str, Any], path: Path) -> Iterator[Path]:
    if not node and path:
        yield path
    for step, child in node.items():
        if step == ".":
            yield path
        else:
            yield from _decode(child, (*path, step))


def text_of(path: Path) -> str:
    """Return a path as messages write it: ``.spec.containers[name="main"].image``."""
    parts = []
    for step in path:
        kind, _, rest = step.partition(":")
        if kind == "f":
            parts.append(f".{rest}")
        elif kind == "k":
            pairs = ",".join(f"{key}={_text(value)}" for key, value in json.loads(rest).items())
            parts.append(f"[{pairs}]")
        else:
            parts.append(f"[={rest}]")
    return "".join(parts)
