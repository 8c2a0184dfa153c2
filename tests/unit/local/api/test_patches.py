"""The three patches: RFC 7396, RFC 6902, and kubernetes' strategic merge."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.local.api.patches import json_patch, merge_patch, strategic_patch
from airflow_provider_sparkml.local.api.status import StatusError

SCHEMA: dict[str, Any] = {
    "properties": {
        "containers": {
            "items": {
                "properties": {
                    "env": {
                        "items": {"properties": {}},
                        "x-kubernetes-patch-merge-key": "name",
                        "x-kubernetes-patch-strategy": "merge",
                    }
                }
            },
            "x-kubernetes-patch-merge-key": "name",
            "x-kubernetes-patch-strategy": "merge",
        },
        "finalizers": {"x-kubernetes-patch-strategy": "merge"},
        "args": {"type": "array"},
    }
}


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ("x", {"a": 1}, {"a": 1}),
    ],
)
def test_merge_patch_as_the_rfc_has_it(target: Any, patch: Any, expected: Any) -> None:
    assert merge_patch(target, patch) == expected


def test_a_merge_patch_leaves_its_target_alone() -> None:
    target = {"a": {"b": 1}}
    merge_patch(target, {"a": {"b": 2}})
    assert target == {"a": {"b": 1}}


def test_json_patch() -> None:
    operations = [{"op": "add", "path": "/a/-", "value": 2}, {"op": "replace", "path": "/b", "value": "x"}]
    assert json_patch({"a": [1], "b": "y"}, operations) == {"a": [1, 2], "b": "x"}


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        ([{"op": "remove", "path": "/absent"}], 422),
        ([{"op": "test", "path": "/a", "value": 2}], 422),
        ([{"op": "remove", "path": "/list/7"}], 422),
        ([{"op": "fly", "path": "/a"}], 400),
        ([{"path": "/a"}], 400),
        (["nonsense"], 400),
    ],
)
def test_a_json_patch_that_does_not_fit_is_refused(operations: list[Any], code: int) -> None:
    with pytest.raises(StatusError) as caught:
        json_patch({"a": 1, "list": []}, operations)
    assert caught.value.code == code


def test_strategic_patch_merges_items_by_key() -> None:
    target = {"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]}
    patch = {"containers": [{"name": "a", "env": [{"name": "Y", "value": "2"}]}, {"name": "c"}]}
    assert strategic_patch(target, patch, SCHEMA) == {
        "containers": [
            {"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
            {"name": "b"},
            {"name": "c"},
        ]
    }


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"containers": [{"name": "a", "$patch": "delete"}]}, {"containers": [{"name": "b"}]}),
        ({"containers": [{"name": "z"}, {"$patch": "replace"}]}, {"containers": [{"name": "z"}]}),
        ({"$patch": "replace", "x": 1}, {"x": 1}),
        (
            {
                "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
                "containers": [{"name": "a", "image": "2"}],
            },
            {"containers": [{"name": "b"}, {"name": "a", "image": "2"}]},
        ),
        ({"containers": None}, {}),
        ({"$retainKeys": ["x"], "x": 1}, {"x": 1}),
    ],
)
def test_strategic_directives(patch: Any, expected: Any) -> None:
    assert strategic_patch({"containers": [{"name": "a"}, {"name": "b"}]}, patch, SCHEMA) == expected


def test_strategic_patch_of_plain_lists() -> None:
    target = {"finalizers": ["a", "b"], "args": ["1"]}
    assert strategic_patch(target, {"finalizers": ["c"], "args": ["2"]}, SCHEMA) == {
        "finalizers": ["a", "b", "c"],
        "args": ["2"],
    }
    assert strategic_patch(target, {"$deleteFromPrimitiveList/finalizers": ["a"]}, SCHEMA)["finalizers"] == ["b"]


def test_an_item_without_its_key_is_refused() -> None:
    with pytest.raises(StatusError, match="does not contain declared merge key: name"):
        strategic_patch({"containers": [{"name": "a"}]}, {"containers": [{"image": "x"}]}, SCHEMA)
