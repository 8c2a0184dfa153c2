"""Phase and conditions follow from what the containers did."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.local.pods.status import (
    ContainerStatus,
    merge_conditions,
    pod_conditions,
    pod_phase,
    running,
    terminated,
    waiting,
)


def container(state: str | int, *, ready: bool = False, crashed: bool = False) -> ContainerStatus:
    status = ContainerStatus("c", "image", ready=ready)
    if isinstance(state, int):
        status.state = terminated(state, "Completed" if state == 0 else "Error", started_at=None)
    else:
        status.state = running() if state == "running" else waiting("ContainerCreating")
    if crashed:
        status.last_state = terminated(1, "Error", started_at=None)
    return status


@pytest.mark.parametrize(
    ("policy", "inits", "containers", "phase"),
    [
        ("Never", [], ["waiting"], "Pending"),
        ("Never", [], ["running"], "Running"),
        ("Never", [], ["running", "waiting"], "Pending"),
        ("Never", [], ["running", 1], "Running"),
        ("Never", [], [0, 0], "Succeeded"),
        ("Never", [], [0, 3], "Failed"),
        ("OnFailure", [], [0, 0], "Succeeded"),
        ("OnFailure", [], [0, 3], "Running"),
        ("Always", [], [0], "Running"),
        ("Never", ["running"], ["waiting"], "Pending"),
        ("Never", [1], ["waiting"], "Failed"),
        ("OnFailure", [1], ["waiting"], "Pending"),
        ("Never", [0], ["running"], "Running"),
    ],
)
def test_phase(policy: str, inits: list[Any], containers: list[Any], phase: str) -> None:
    assert pod_phase(policy, [container(i) for i in inits], [container(c) for c in containers]) == phase


def test_a_container_that_waits_for_its_restart_runs() -> None:
    assert pod_phase("Always", [], [container("waiting", crashed=True)]) == "Running"


def conditions(phase: str, *containers: ContainerStatus) -> dict[str, Any]:
    return {each["type"]: each for each in pod_conditions(phase, [], containers, [])}


def test_conditions_of_a_ready_pod() -> None:
    found = conditions("Running", container("running", ready=True))
    assert {kind: each["status"] for kind, each in found.items()} == {
        "PodScheduled": "True",
        "Initialized": "True",
        "ContainersReady": "True",
        "Ready": "True",
    }


def test_conditions_of_others() -> None:
    unready = conditions("Running", container("running"))["Ready"]
    assert (unready["status"], unready["reason"]) == ("False", "ContainersNotReady")
    assert conditions("Succeeded", container(0))["Ready"]["reason"] == "PodCompleted"


def test_a_condition_that_stays_keeps_its_time() -> None:
    old = "2020-01-01T00:00:00Z"
    before = [
        {"type": "A", "status": "True", "lastTransitionTime": old},
        {"type": "B", "status": "True", "lastTransitionTime": old},
        {"type": "C", "status": "True", "lastTransitionTime": old},
    ]
    after = merge_conditions(before, {"A": {"status": "True", "reason": "R"}, "B": {"status": "False"}})
    times = {each["type"]: each["lastTransitionTime"] for each in after}
    assert times["A"] == old
    assert times["B"] > old
    assert times["C"] == old


def test_status_survives_a_restart_of_the_kubelet() -> None:
    status = container("running", ready=True, crashed=True)
    status.restart_count = 2
    assert ContainerStatus.from_json(status.to_json()) == status
