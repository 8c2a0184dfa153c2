"""Field ownership and server-side apply, by structured-merge-diff's rules."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.local.api import ownership
from airflow_provider_sparkml.local.api.call import ANONYMOUS, Call, Target
from airflow_provider_sparkml.local.api.fieldsets import changes, decode_fields, encode_fields, fields_of, text_of
from airflow_provider_sparkml.local.api.status import StatusError

Object = dict[str, Any]
CONTAINER = {"type": "object", "properties": {"ports": {"type": "array"}}}
SCHEMA: Object = {
    "properties": {
        "spec": {
            "properties": {
                "containers": {
                    "items": CONTAINER,
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                },
                "tags": {"x-kubernetes-list-type": "set"},
                "selector": {"x-kubernetes-map-type": "atomic"},
            }
        }
    }
}


def call(manager: str, subresource: str = "") -> Call:
    return Call("patch", Target("g", "v1", "xs", "default", "x", subresource), ANONYMOUS, manager=manager)


def thing(**spec: Any) -> Object:
    return {"apiVersion": "g/v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec}


def create(manager: str, obj: Object, *, applied: bool = False) -> Object:
    obj = copy.deepcopy(obj)
    ownership.created(obj, call(manager), SCHEMA, fields_of(obj, SCHEMA) if applied else None)
    return obj


def update(manager: str, old: Object, new: Object, subresource: str = "") -> Object:
    new = copy.deepcopy(new)
    new["metadata"].pop("managedFields", None)
    ownership.updated(old, new, call(manager, subresource), SCHEMA, None)
    return new


def apply(manager: str, live: Object, config: Object, *, force: bool = False) -> Object:
    merged, applied = ownership.apply(live, config, SCHEMA, call(manager), force=force)
    merged["metadata"] = {k: v for k, v in merged["metadata"].items() if k != "managedFields"}
    ownership.updated(live, merged, call(manager), SCHEMA, applied)
    return merged


def owners(obj: Object) -> dict[tuple[str, str], set[str]]:
    """Return who owns which fields, as text."""
    return {
        (manager.name, manager.operation): {text_of(path) for path in fields}
        for manager, fields in ownership.owners_of(obj).items()
    }


def test_the_creator_owns_what_it_set() -> None:
    obj = create("kubectl", thing(image="x", driver={"cores": 1}))
    assert owners(obj) == {("kubectl", "Update"): {".spec", ".spec.image", ".spec.driver", ".spec.driver.cores"}}


def test_who_changes_a_field_takes_it_over() -> None:
    obj = create("a", thing(image="x", mode="m"))
    changed = update("b", obj, thing(image="y", mode="m", more=1))
    assert owners(changed)[("b", "Update")] == {".spec.image", ".spec.more"}
    assert ".spec.image" not in owners(changed)[("a", "Update")]
    removed = update("c", changed, thing(mode="m"))
    assert ("b", "Update") not in owners(removed)


def test_a_status_is_owned_apart() -> None:
    obj = create("a", thing(image="x"))
    changed = update("a", obj, obj | {"status": {"phase": "Running"}}, "status")
    managers = ownership.owners_of(changed)
    assert {text_of(path) for path in managers[ownership.Manager("a", "Update", "status")]} == {
        ".status",
        ".status.phase",
    }


def test_an_applied_field_that_is_given_up_goes() -> None:
    obj = create("a", thing(image="x", mode="m"), applied=True)
    changed = apply("a", obj, thing(image="x"))
    assert changed["spec"] == {"image": "x"}


def test_a_field_that_others_apply_as_well_stays() -> None:
    obj = apply("b", create("a", thing(image="x", mode="m"), applied=True), thing(mode="m"))
    changed = apply("a", obj, thing(image="x"))
    assert changed["spec"] == {"image": "x", "mode": "m"}


def test_another_value_for_an_owned_field_is_a_conflict_that_names_owner_and_field() -> None:
    obj = create("a", thing(image="x"), applied=True)
    with pytest.raises(StatusError, match=r'Apply failed with 1 conflict: conflict with "a": \.spec\.image') as caught:
        apply("b", obj, thing(image="y"))
    assert caught.value.code == 409
    assert (caught.value.details or {})["causes"][0]["reason"] == "FieldManagerConflict"


def test_the_same_value_is_no_conflict_and_is_shared() -> None:
    obj = apply("b", create("a", thing(image="x"), applied=True), thing(image="x"))
    assert owners(obj) == {("a", "Apply"): {".spec.image"}, ("b", "Apply"): {".spec.image"}}


def test_force_takes_over() -> None:
    obj = apply("b", create("a", thing(image="x", mode="m"), applied=True), thing(image="y"), force=True)
    assert obj["spec"] == {"image": "y", "mode": "m"}
    assert owners(obj) == {("a", "Apply"): {".spec.mode"}, ("b", "Apply"): {".spec.image"}}


def test_items_of_a_keyed_list_are_owned_one_by_one() -> None:
    obj = create("a", thing(containers=[{"name": "main", "image": "x"}]), applied=True)
    obj = apply("b", obj, thing(containers=[{"name": "side", "image": "y"}]))
    assert [each["name"] for each in obj["spec"]["containers"]] == ["main", "side"]
    obj = apply("b", obj, thing())
    assert obj["spec"]["containers"] == [{"name": "main", "image": "x"}]
    with pytest.raises(StatusError, match=r'\.spec\.containers\[name="main"\]\.image'):
        apply("b", obj, thing(containers=[{"name": "main", "image": "z"}]))


def test_a_list_without_keys_and_an_atomic_object_are_one_value() -> None:
    obj = create("a", thing(args=["1", "2"], selector={"x": "1"}), applied=True)
    assert owners(obj)[("a", "Apply")] == {".spec.args", ".spec.selector"}
    obj = apply("a", obj, thing(args=["3"], selector={"y": "2"}))
    assert obj["spec"] == {"args": ["3"], "selector": {"y": "2"}}


def test_a_set_is_merged_by_its_values() -> None:
    obj = apply("b", create("a", thing(tags=["x"]), applied=True), thing(tags=["y"]))
    assert obj["spec"]["tags"] == ["x", "y"]
    assert apply("a", obj, thing())["spec"]["tags"] == ["y"]


def test_an_empty_map_counts_as_a_change() -> None:
    live = create("a", thing(image="x"), applied=True)
    config = thing(image="x")
    config["metadata"]["labels"] = {}
    _, applied = ownership.apply(live, config, SCHEMA, call("a"), force=False)
    assert applied.changed


KEY = st.text("abc", min_size=1, max_size=2)
VALUE = st.recursive(st.integers(0, 3) | KEY, lambda inner: st.dictionaries(KEY, inner, max_size=3), max_leaves=8)
SPEC = st.dictionaries(KEY, VALUE, max_size=4)


@given(SPEC, SPEC)
def test_fields_survive_their_written_form(old: Object, new: Object) -> None:
    for fields in (fields_of(thing(**new), SCHEMA), *changes(thing(**old), thing(**new), SCHEMA)):
        assert decode_fields(encode_fields(fields)) == fields


@given(SPEC)
def test_applying_twice_changes_nothing(spec: Object) -> None:
    first = create("a", thing(**spec), applied=True)
    merged, applied = ownership.apply(first, thing(**spec), SCHEMA, call("a"), force=False)
    assert merged["spec"] == first["spec"]
    assert not applied.changed


@given(SPEC, SPEC)
def test_the_only_applier_gets_exactly_what_it_applies(before: Object, after: Object) -> None:
    live = create("a", thing(**before), applied=True)
    assert apply("a", live, thing(**after))["spec"] == after
