"""What pods tell: whether a gang scheduler holds them back, since when they could start, whether they have run."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.jobs.startup import began_at, held_back_by, is_over


def pod(scheduler: str = "volcano", node: str = "", placed: str = "", **metadata: Any) -> dict[str, Any]:
    condition = {
        "type": "PodScheduled",
        "status": "True" if placed else "False",
        "lastTransitionTime": placed or "2026",
    }
    spec = {"schedulerName": scheduler, **({"nodeName": node} if node else {})}
    return {"metadata": metadata, "spec": spec, "status": {"conditions": [condition]}}


@pytest.mark.parametrize(
    ("pods", "scheduler"),
    [
        ([], ""),
        ([pod(), pod()], "volcano"),
        ([pod("yunikorn")], "yunikorn"),
        ([pod("default-scheduler")], ""),
        ([pod(), pod("default-scheduler")], ""),
        ([pod(), pod(node="n")], ""),
        ([pod(), pod(node="n", deletionTimestamp="2026")], "volcano"),
        ([{"metadata": {}}], ""),
    ],
)
def test_held_back(pods: list[dict[str, Any]], scheduler: str) -> None:
    assert held_back_by(pods) == scheduler


EARLY, LATE, LATEST = "2026-11-23T10:00:00Z", "2026-11-23T10:00:05Z", "2026-11-23T10:00:09Z"


def test_since_when_pods_could_start() -> None:
    assert began_at([]) == ""
    assert began_at([pod("default-scheduler", creationTimestamp=LATE), pod(creationTimestamp=EARLY)]) == EARLY
    # Not counted from a placement by the usual scheduler, which places one after the other.
    assert began_at([pod("default-scheduler", "n", LATE, creationTimestamp=EARLY)]) == EARLY
    ended = pod(creationTimestamp=EARLY) | {"status": {"phase": "Succeeded"}}
    assert began_at([ended, pod(creationTimestamp=LATE)]) == LATE
    gang = [pod(node="n", placed=LATE, creationTimestamp=EARLY), pod(node="n", placed=LATEST, creationTimestamp=EARLY)]
    assert began_at([*gang, pod(creationTimestamp=EARLY)]) == LATEST
    assert began_at([{"metadata": {}}]) == ""


def with_containers(*states: dict[str, Any], **status: Any) -> dict[str, Any]:
    return {"metadata": {}, "status": {"containerStatuses": list(states), **status}}


RUNS, WAITS = {"state": {"running": {}}}, {"state": {"waiting": {"reason": "ImagePullBackOff"}}}
FELL = WAITS | {"restartCount": 2}


@pytest.mark.parametrize(
    ("pods", "over"),
    [
        ([], False),
        ([{"metadata": {}}], False),
        ([with_containers(RUNS), with_containers(RUNS)], True),
        ([with_containers(RUNS), with_containers(FELL)], True),
        ([with_containers(RUNS), with_containers(WAITS)], False),
        ([with_containers(RUNS), with_containers()], False),
        ([with_containers(RUNS, WAITS)], False),  # a sidecar is no program
        ([with_containers(RUNS), with_containers({"state": {}})], False),
        ([with_containers(RUNS), with_containers(WAITS, phase="Failed")], True),
        ([with_containers({"state": {"terminated": {}}}), with_containers(RUNS)], True),
    ],
)
def test_what_has_run_once_does_not_start_up(pods: list[dict[str, Any]], over: bool) -> None:
    assert is_over(pods) is over
