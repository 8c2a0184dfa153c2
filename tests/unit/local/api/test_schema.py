"""Structural schemas: what is pruned, filled in and refused, as apiextensions-apiserver does it."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.local.api.schema import apply_schema

Object = dict[str, Any]


def applied(spec: Any, schema: Object, *, custom: bool = True) -> tuple[Any, list[str], list[tuple[str, str]]]:
    """Return the spec as it became, unknown fields, and reason and field of each cause."""
    obj = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec}
    whole = {"type": "object", "properties": {"spec": schema}}
    unknown, causes = apply_schema(obj, whole, custom=custom)
    return obj.get("spec"), unknown, [(cause.reason, cause.field) for cause in causes]


STRING = {"type": "string"}
INTEGER = {"type": "integer"}


def structure(**properties: Object) -> Object:
    return {"type": "object", "properties": properties}


def test_unknown_fields_go_and_are_named() -> None:
    spec, unknown, causes = applied(
        {"a": "x", "typo": 1, "items": [{"n": 1, "m": 2}]},
        structure(a=STRING, items={"type": "array", "items": structure(n=INTEGER)}),
    )
    assert spec == {"a": "x", "items": [{"n": 1}]}
    assert unknown == ["spec.typo", "spec.items[0].m"]
    assert causes == []


def test_unknown_fields_of_metadata_go_as_well() -> None:
    obj = {"metadata": {"name": "x", "label": {}}, "spec": {}}
    unknown, _ = apply_schema(obj, structure(spec={"type": "object"}), custom=True)
    assert unknown == ["metadata.label"]
    assert obj["metadata"] == {"name": "x"}


def test_unknown_fields_stay_where_they_are_preserved() -> None:
    schema = structure(a=structure(known=INTEGER) | {"x-kubernetes-preserve-unknown-fields": True})
    spec, unknown, causes = applied({"a": {"b": {"c": 1}, "known": "x"}}, schema)
    assert spec == {"a": {"b": {"c": 1}, "known": "x"}}
    assert (unknown, causes) == ([], [("FieldValueTypeInvalid", "spec.a.known")])


def test_an_embedded_object_keeps_its_type() -> None:
    schema = structure(template=structure(spec={"type": "object"}) | {"x-kubernetes-embedded-resource": True})
    template = {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": "b"}}, "spec": {}}
    assert applied({"template": dict(template)}, schema)[0] == {"template": template}


def test_defaults_come_also_inside_of_defaults_and_for_null() -> None:
    inner = structure(n={**INTEGER, "default": 3}) | {"default": {}}
    schema = structure(inner=inner, text={**STRING, "default": "hello"})
    assert applied({"text": None}, schema)[0] == {"inner": {"n": 3}, "text": "hello"}


def test_a_default_is_not_shared_between_objects() -> None:
    schema = structure(list={"type": "array", "items": STRING, "default": []})
    first, _, _ = applied({}, schema)
    first["list"].append("x")
    assert applied({}, schema)[0] == {"list": []}


@pytest.mark.parametrize(
    ("value", "schema", "reason"),
    [
        ("one", INTEGER, "FieldValueTypeInvalid"),
        (1.5, INTEGER, "FieldValueTypeInvalid"),
        (True, INTEGER, "FieldValueTypeInvalid"),
        (None, STRING, "FieldValueTypeInvalid"),
        ([], {"type": "object"}, "FieldValueTypeInvalid"),
        (1.5, {"x-kubernetes-int-or-string": True}, "FieldValueTypeInvalid"),
        ("c", {**STRING, "enum": ["a", "b"]}, "FieldValueNotSupported"),
        ("Ab", {**STRING, "pattern": "^[a-z]+$"}, "FieldValueInvalid"),
        ("abc", {**STRING, "maxLength": 2}, "FieldValueTooLong"),
        ("", {**STRING, "minLength": 1}, "FieldValueInvalid"),
        (0, {**INTEGER, "minimum": 1}, "FieldValueInvalid"),
        (1, {**INTEGER, "minimum": 1, "exclusiveMinimum": True}, "FieldValueInvalid"),
        (9, {**INTEGER, "maximum": 8}, "FieldValueInvalid"),
        (7, {**INTEGER, "multipleOf": 2}, "FieldValueInvalid"),
        (2**31, {**INTEGER, "format": "int32"}, "FieldValueInvalid"),
        ("yesterday", {**STRING, "format": "date-time"}, "FieldValueInvalid"),
        ([1, 2], {"type": "array", "maxItems": 1}, "FieldValueTooMany"),
        ([], {"type": "array", "minItems": 1}, "FieldValueInvalid"),
        ({}, {"type": "object", "minProperties": 1}, "FieldValueInvalid"),
        (
            {"a": 1, "b": 2},
            {"type": "object", "maxProperties": 1, "additionalProperties": INTEGER},
            "FieldValueTooMany",
        ),
        (3, {"anyOf": [{"maximum": 2}, {"minimum": 4}]}, "FieldValueInvalid"),
        (3, {"oneOf": [{"minimum": 2}, {"minimum": 1}]}, "FieldValueInvalid"),
        (3, {"not": {"minimum": 2}}, "FieldValueInvalid"),
        (3, {"allOf": [{"maximum": 2}]}, "FieldValueInvalid"),
    ],
)
def test_a_wrong_value_is_refused(value: Any, schema: Object, reason: str) -> None:
    assert applied({"a": value}, structure(a=schema))[2] == [(reason, "spec.a")]


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (1.0, INTEGER),
        (1, {"type": "number"}),
        (None, {**STRING, "nullable": True}),
        (1, {"x-kubernetes-int-or-string": True}),
        ("1", {"x-kubernetes-int-or-string": True, "anyOf": [INTEGER, STRING]}),
        ("2026-11-22T10:42:59Z", {**STRING, "format": "date-time"}),
        (3, {"anyOf": [{"maximum": 2}, {"minimum": 3}]}),
        ("anything", {"x-kubernetes-preserve-unknown-fields": True}),
    ],
)
def test_a_right_value_is_taken(value: Any, schema: Object) -> None:
    assert applied({"a": value}, structure(a=schema)) == ({"a": value}, [], [])


def test_required_fields_are_missed_in_order() -> None:
    schema = structure(driver={"type": "object"}, executor={"type": "object"}) | {"required": ["driver", "executor"]}
    assert applied({}, schema)[2] == [("FieldValueRequired", "spec.driver"), ("FieldValueRequired", "spec.executor")]


def test_items_of_maps_and_sets_must_differ() -> None:
    keyed = {
        "type": "array",
        "items": structure(name=STRING, n=INTEGER),
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    }
    unique = {"type": "array", "items": STRING, "x-kubernetes-list-type": "set"}
    spec = {"keyed": [{"name": "a", "n": 1}, {"name": "a", "n": 2}], "unique": ["x", "y", "x"]}
    causes = applied(spec, structure(keyed=keyed, unique=unique))[2]
    assert causes == [("FieldValueDuplicate", "spec.keyed[1]"), ("FieldValueDuplicate", "spec.unique[2]")]


def test_built_in_types_take_null_for_absent_and_have_rules_of_their_own() -> None:
    schema = structure(a=STRING, b=structure(c=STRING) | {"required": ["c"]})
    assert applied({"a": None, "b": {}}, schema, custom=False) == ({"b": {}}, [], [])


def test_a_quantity_is_text_even_if_it_was_a_number() -> None:
    schema = structure(cpu={"x-kubernetes-int-or-string": True, "format": "quantity"})
    assert applied({"cpu": 2}, schema)[0] == {"cpu": "2"}


def test_only_the_part_that_may_have_changed_is_looked_at() -> None:
    obj = {"metadata": {"name": "x"}, "spec": {"typo": 1}, "status": {"phase": 1, "typo": 2}}
    schema = structure(spec=structure(), status=structure(phase=STRING))
    unknown, causes = apply_schema(obj, schema, custom=True, part="status")
    assert unknown == ["status.typo"]
    assert [cause.field for cause in causes] == ["status.phase"]


def test_a_pattern_only_go_understands_checks_nothing() -> None:
    assert applied({"a": "x"}, structure(a={**STRING, "pattern": r"^\p{Lu}+$"}))[2] == []
