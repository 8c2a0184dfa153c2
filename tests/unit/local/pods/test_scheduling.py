"""What fits on the node, in the scheduler's words."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.local.pods.scheduling import is_ours_to_schedule, obstacle

NODE: dict[str, Any] = {
    "metadata": {"labels": {"kubernetes.io/os": "linux", "size": "3"}},
    "status": {"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "3"}},
}


def pod(phase: str = "Running", inits: list[dict[str, str]] | None = None, **requests: str) -> dict[str, Any]:
    return {
        "spec": {
            "containers": [{"name": "c", "resources": {"requests": requests}}],
            "initContainers": [{"name": "i", "resources": {"limits": limits}} for limits in inits or []],
        },
        "status": {"phase": phase},
    }


def test_room() -> None:
    assert obstacle(pod(cpu="1", memory="2Gi"), NODE, [pod(cpu="3", memory="2Gi")]) == ""
    assert obstacle(pod(cpu="1"), NODE, [pod(cpu="3500m")]) == "0/1 nodes are available: 1 Insufficient cpu."


def test_every_reason_is_told() -> None:
    problem = obstacle(pod(cpu="5", memory="5Gi", **{"nvidia.com/gpu": "1"}), NODE, [])
    assert problem == (
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 Insufficient nvidia.com/gpu."
    )


def test_finished_pods_need_no_room() -> None:
    assert obstacle(pod(cpu="4"), NODE, [pod("Succeeded", cpu="4"), pod("Failed", cpu="4")]) == ""


def test_an_init_container_may_need_more_than_the_containers() -> None:
    assert "Insufficient memory" in obstacle(pod(memory="1Gi", inits=[{"memory": "5Gi"}]), NODE, [])
    assert obstacle(pod(memory="3Gi", inits=[{"memory": "3Gi"}]), NODE, []) == ""


def test_number_of_pods() -> None:
    assert obstacle(pod(), NODE, [pod(), pod(), pod()]) == "0/1 nodes are available: 1 Too many pods."


@pytest.mark.parametrize(
    ("key", "operator", "values", "fits"),
    [
        ("kubernetes.io/os", "In", ["linux"], True),
        ("kubernetes.io/os", "NotIn", ["linux"], False),
        ("absent", "NotIn", ["x"], True),
        ("absent", "Exists", [], False),
        ("absent", "DoesNotExist", [], True),
        ("size", "Gt", ["2"], True),
        ("size", "Lt", ["2"], False),
        ("size", "Odd", [], False),
    ],
)
def test_node_affinity(key: str, operator: str, values: list[str], fits: bool) -> None:
    wanted = pod()
    term = {"matchExpressions": [{"key": key, "operator": operator, "values": values}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    wanted["spec"]["affinity"] = {"nodeAffinity": required}
    assert (obstacle(wanted, NODE, []) == "") == fits


def test_node_selector() -> None:
    wanted = pod()
    wanted["spec"]["nodeSelector"] = {"kubernetes.io/os": "plan9"}
    assert obstacle(wanted, NODE, []) == (
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    )


@pytest.mark.parametrize(
    ("spec", "ours"),
    [
        ({}, True),
        ({"schedulerName": "default-scheduler"}, True),
        ({"schedulerName": "volcano"}, False),
        ({"nodeName": "local"}, False),
    ],
)
def test_whose_pod_it_is(spec: dict[str, str], ours: bool) -> None:
    assert is_ours_to_schedule({"spec": spec}) == ours
