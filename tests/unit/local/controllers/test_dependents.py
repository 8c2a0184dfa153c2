"""The graph of owners and dependents."""

from __future__ import annotations

from typing import Any

from airflow_provider_sparkml.local.controllers.dependents import Graph, Node
from airflow_provider_sparkml.resources.core import CONFIG_MAP, POD


def node(uid: str, *owners: str, blocking: bool = True, **meta: Any) -> Node:
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": owner, "blockOwnerDeletion": blocking}
        for owner in owners
    ]
    obj = {"metadata": {"name": uid, "namespace": "x", "uid": uid, "ownerReferences": references, **meta}}
    return Node.of(CONFIG_MAP, obj)


def uids(nodes: list[Node]) -> set[str]:
    return {each.uid for each in nodes}


def test_dependents_are_found_whoever_came_first() -> None:
    graph = Graph()
    graph.put(node("child", "owner"))
    assert uids(graph.dependents("owner")) == {"child"}
    graph.put(node("owner"))
    assert uids(graph.dependents("owner")) == {"child"}
    assert graph.dependents("child") == []


def test_a_change_that_does_not_matter_concerns_nobody() -> None:
    graph = Graph()
    assert graph.put(node("child", "owner")) == {"child", "owner"}
    assert graph.put(node("child", "owner", resourceVersion="2")) == set()


def test_an_object_on_its_way_out_concerns_its_dependents() -> None:
    graph = Graph()
    graph.put(node("owner"))
    graph.put(node("child", "owner"))
    assert "child" in graph.put(node("owner", deletionTimestamp="now", finalizers=["foregroundDeletion"]))


def test_a_dependent_that_goes_or_is_disowned_concerns_its_owner() -> None:
    graph = Graph()
    graph.put(node("owner"))
    graph.put(node("child", "owner"))
    assert "owner" in graph.put(node("child"))
    assert graph.dependents("owner") == []
    graph.put(node("child", "owner"))
    assert "owner" in graph.drop("child")
    assert graph.get("child") is None


def test_only_those_who_block_are_waited_for() -> None:
    graph = Graph()
    graph.put(node("loose", "owner", blocking=False))
    graph.put(node("firm", "owner"))
    assert uids(graph.blocking_dependents("owner")) == {"firm"}
    assert uids(graph.dependents("owner")) == {"firm", "loose"}


def test_what_waits_for_what() -> None:
    going = {"deletionTimestamp": "now"}
    assert node("a", finalizers=["foregroundDeletion"], **going).waits_for_dependents
    assert node("a", finalizers=["orphan"], **going).lets_dependents_go
    assert not node("a", finalizers=["foregroundDeletion", "orphan"]).waits_for_dependents
    assert not node("a", **going).waits_for_dependents


def test_objects_of_a_type() -> None:
    graph = Graph()
    graph.put(node("a"))
    assert graph.of_type(CONFIG_MAP) == {"a"}
    assert graph.of_type(POD) == set()
