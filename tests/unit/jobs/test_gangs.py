"""Whether a gang scheduler holds a job's pods back, told by the pods."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.jobs.gangs import held_back_by, placed_at


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


def test_since_when_all_have_a_node() -> None:
    early, late = "2026-11-23T10:00:00Z", "2026-11-23T10:00:05Z"
    assert placed_at([pod(node="n", placed=early), pod(node="n", placed=late), pod()]) == late
    assert placed_at([pod("default-scheduler", "n", late), {"metadata": {}}]) == ""
