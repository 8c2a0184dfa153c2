"""Objects against their OpenAPI schema: unknown fields out, defaults in, values checked, by Kubernetes' own rules.

The rules are those of structural schemas (apiextensions-apiserver ``schema/pruning``, ``schema/defaulting`` and
kube-openapi ``validation``), which plain JSON Schema does not know: ``x-kubernetes-int-or-string``,
``x-kubernetes-preserve-unknown-fields``, ``x-kubernetes-embedded-resource``, ``nullable``. CEL rules
(``x-kubernetes-validations``) are not evaluated.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from airflow_provider_sparkml.local.api.status import Cause, duplicate, not_supported, required
from airflow_provider_sparkml.local.api.types import Schema
from airflow_provider_sparkml.resources.base import Manifest

_TYPE_FIELDS = frozenset({"apiVersion", "kind", "metadata"})
_METADATA_FIELDS = frozenset(
    {
        "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
        "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
        "managedFields",
    }
)  # fmt: skip
_INT32 = 2**31


@dataclass(slots=True)
class _Findings:
    """What a walk through an object found.

    :param custom: whether null is a value, as in custom resources, or the same as absent, as in built-in types.
    """

    custom: bool
    unknown: list[str] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)


def apply_schema(
    obj: Manifest, schema: Schema | None, *, custom: bool, part: str = ""
) -> tuple[list[str], list[Cause]]:
    """Bring an object into the shape of its schema.

    :param obj: is changed: unknown fields go, defaults come.
    :param schema: ``None`` takes anything.
    :param custom: whether a CRD defines the type; built-in types take null for absent.
    :param part: the one field that may have changed, when the rest is known to be right.
    :returns: paths of the unknown fields, and what is wrong with the known ones.
    """
    found = _Findings(custom)
    if part:
        known = child_schema(schema, part)
        if known is not None and part in obj:
            obj[part] = _walk(obj[part], known, part, found)
        return found.unknown, found.causes
    meta = obj["metadata"]
    for key in [key for key in meta if key not in _METADATA_FIELDS]:
        found.unknown.append(f"metadata.{key}")
        del meta[key]
    if schema is not None:
        _walk_object(obj, schema, "", found, embedded=True)
    return found.unknown, found.causes


def _walk(value: Any, schema: Schema, path: str, found: _Findings) -> Any:
    """Prune, default and check one value; return it."""
    if not _check_type(value, schema, path, found):
        return value
    if schema.get("format") == "quantity" and not isinstance(value, str):
        return str(value)
    if isinstance(value, dict):
        _walk_object(value, schema, path, found, embedded=bool(schema.get("x-kubernetes-embedded-resource")))
    elif isinstance(value, list):
        _walk_list(value, schema, path, found)
    found.causes += _check_value(value, schema, path)
    found.causes += _check_combinations(value, schema, path)
    return value


def _walk_object(obj: dict[str, Any], schema: Schema, path: str, found: _Findings, *, embedded: bool) -> None:
    """Prune, default and check the fields of an object."""
    properties: dict[str, Schema] = schema.get("properties") or {}
    others = schema.get("additionalProperties")
    preserve = schema.get("x-kubernetes-preserve-unknown-fields") or (not properties and others is None and not path)
    for name in list(obj):
        here = f"{path}.{name}" if path else name
        if embedded and name in _TYPE_FIELDS:
            continue
        known = properties.get(name)
        if known is None and isinstance(others, dict):
            known = others
            here = f"{path}.{name}"
        if known is None:
            if not preserve and others is not True:
                found.unknown.append(here)
                del obj[name]
        elif obj[name] is None and not known.get("nullable") and ("default" in known or not found.custom):
            del obj[name]
        else:
            obj[name] = _walk(obj[name], known, here, found)
    for name, known in properties.items():
        if name not in obj and "default" in known:
            obj[name] = _walk(copy.deepcopy(known["default"]), known, f"{path}.{name}" if path else name, found)
    for name in (schema.get("required") or ()) if found.custom else ():  # built-in types' own rules know better
        if name not in obj and not (embedded and name in _TYPE_FIELDS):
            found.causes.append(required(f"{path}.{name}" if path else name))


def _walk_list(items: list[Any], schema: Schema, path: str, found: _Findings) -> None:
    """Prune, default and check the items of a list, and that those of a set or map differ."""
    item_schema = schema.get("items")
    if isinstance(item_schema, dict):
        for index, item in enumerate(items):
            items[index] = _walk(item, item_schema, f"{path}[{index}]", found)
    kind = schema.get("x-kubernetes-list-type")
    if kind not in ("set", "map") or not found.custom:
        return
    seen: set[str] = set()
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    for index, item in enumerate(items):
        identity = {key: item.get(key) for key in keys} if kind == "map" and isinstance(item, dict) else item
        text = json.dumps(identity, sort_keys=True)
        if text in seen:
            found.causes.append(duplicate(f"{path}[{index}]", identity))
        seen.add(text)


_JSON_TYPES: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
"""What a parser of JSON or YAML gives → the type's name in OpenAPI."""


def _check_type(value: Any, schema: Schema, path: str, found: _Findings) -> bool:
    """Check a value's type; return whether it is worth looking into."""
    actual = _JSON_TYPES[type(value)]
    if value is None and schema.get("nullable"):
        return False
    if schema.get("x-kubernetes-int-or-string"):
        wanted, fits = "integer,string", actual in ("integer", "string")
    else:
        wanted = schema.get("type") or actual
        fits = (
            actual == wanted
            or (value is None and not schema.get("type") and not found.custom)
            or (wanted == "number" and actual == "integer")
            or (wanted == "integer" and isinstance(value, float) and value.is_integer())
        )
    if not fits:
        message = f'Invalid value: "{actual}": {path} in body must be of type {wanted}: "{actual}"'
        found.causes.append(Cause("FieldValueTypeInvalid", path, message))
    return fits


def _invalid(path: str, value: Any, detail: str) -> Cause:
    return Cause("FieldValueInvalid", path, f"Invalid value: {json.dumps(value)}: {path} in body {detail}")


def _check_value(value: Any, schema: Schema, path: str) -> Iterator[Cause]:
    """Yield what is wrong with a value of the right type."""
    if "enum" in schema and value not in schema["enum"]:
        yield not_supported(path, value, schema["enum"])
    if isinstance(value, str):
        yield from _check_string(value, schema, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _check_number(value, schema, path)
    elif isinstance(value, list):
        low, high = schema.get("minItems"), schema.get("maxItems")
        if low is not None and len(value) < low:
            yield _invalid(path, len(value), f"should have at least {low} items")
        if high is not None and len(value) > high:
            message = f"Too many: {len(value)}: must have at most {high} items"
            yield Cause("FieldValueTooMany", path, message)
    elif isinstance(value, dict):
        low, high = schema.get("minProperties"), schema.get("maxProperties")
        if low is not None and len(value) < low:
            yield _invalid(path, len(value), f"should have at least {low} properties")
        if high is not None and len(value) > high:
            message = f"Too many: {len(value)}: must have at most {high} items"
            yield Cause("FieldValueTooMany", path, message)


def _check_string(value: str, schema: Schema, path: str) -> Iterator[Cause]:
    low, high, pattern = schema.get("minLength"), schema.get("maxLength"), schema.get("pattern")
    if low is not None and len(value) < low:
        yield _invalid(path, value, f"should be at least {low} chars long")
    if high is not None and len(value) > high:
        yield Cause("FieldValueTooLong", path, f"Too long: may not be more than {high} bytes")
    if pattern is not None and not _compiled(pattern).search(value):
        yield _invalid(path, value, f"should match '{pattern}'")
    if schema.get("format") == "date-time" and not _is_date_time(value):
        yield _invalid(path, value, f'must be of type date-time: "{value}"')


def _check_number(value: float, schema: Schema, path: str) -> Iterator[Cause]:
    low, high, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if low is not None and (value < low or (value == low and schema.get("exclusiveMinimum"))):
        yield _invalid(
            path, value, f"should be greater than {'' if schema.get('exclusiveMinimum') else 'or equal to '}{low}"
        )
    if high is not None and (value > high or (value == high and schema.get("exclusiveMaximum"))):
        yield _invalid(
            path, value, f"should be less than {'' if schema.get('exclusiveMaximum') else 'or equal to '}{high}"
        )
    if step and value % step:
        yield _invalid(path, value, f"should be a multiple of {step}")
    if schema.get("format") == "int32" and not -_INT32 <= value < _INT32:
        yield _invalid(path, value, "should be a 32-bit integer")


def _check_combinations(value: Any, schema: Schema, path: str) -> Iterator[Cause]:
    """Yield what ``allOf``, ``anyOf``, ``oneOf`` and ``not`` object to."""
    if schema.get("x-kubernetes-int-or-string"):
        return
    for part in schema.get("allOf") or ():
        yield from _objections(value, part, path)
    choices = schema.get("anyOf")
    if choices and all(_objections(value, part, path) for part in choices):
        yield _invalid(path, value, "must validate at least one schema (anyOf)")
    choices = schema.get("oneOf")
    if choices and sum(not _objections(value, part, path) for part in choices) != 1:
        yield _invalid(path, value, "must validate one and only one schema (oneOf)")
    if "not" in schema and not _objections(value, schema["not"], path):
        yield _invalid(path, value, "must not validate the schema (not)")


def _objections(value: Any, schema: Schema, path: str) -> list[Cause]:
    """Return what a schema objects to, without changing the value."""
    found = _Findings(custom=True)
    _walk(copy.deepcopy(value), {"x-kubernetes-preserve-unknown-fields": True, **schema}, path, found)
    return found.causes


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern compiled; where Go's ``\\z`` means the very end, so does Python's ``\\Z``."""
    try:
        return re.compile(pattern.replace(r"\z", r"\Z"))
    except re.error:
        return re.compile("")  # a pattern only Go understands checks nothing


def _is_date_time(value: str) -> bool:
    """Return whether a string is an RFC 3339 time with an offset."""
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def child_schema(schema: Schema | None, name: str) -> Schema | None:
    """Return the schema of an object's field, or ``None`` when it has none of its own."""
    if not schema:
        return None
    known = (schema.get("properties") or {}).get(name)
    if isinstance(known, dict):
        return known
    others = schema.get("additionalProperties")
    return others if isinstance(others, dict) else None
