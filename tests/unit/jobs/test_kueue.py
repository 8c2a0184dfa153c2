"""What a Workload's conditions mean for a job that waits."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.jobs.kueue import read_admission


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


GIVEN_UP = condition("Evicted", "True", "DeactivatedDueToRequeuingLimitExceeded", "too often")
NO_ROOM = condition("QuotaReserved", "False", "Pending", "no room")


@pytest.mark.parametrize(
    ("conditions", "line"),
    [
        ([], ""),
        ([condition("QuotaReserved", "True", "QuotaReserved", "fine")], ""),
        ([NO_ROOM], "no room"),
        (
            [NO_ROOM, condition("Evicted", "True", "Preempted", "to accommodate another")],
            "evicted (Preempted): to accommodate another; it queues again; no room",
        ),
        ([condition("Evicted", "False", "Preempted", "was")], ""),
        ([condition("Evicted", "False", "Deactivated", "was")], ""),
        ([GIVEN_UP, condition("Requeued", "True", "Reactivated", "The workload was reactivated"), NO_ROOM], "no room"),
    ],
)
def test_why_it_waits(conditions: list[dict[str, str]], line: str) -> None:
    found = read_admission({"spec": {"active": True}, "status": {"conditions": conditions}})
    assert (found.line, found.deactivated) == (line, "")


def test_kueue_may_deactivate_it() -> None:
    found = read_admission({"spec": {"active": False}, "status": {"conditions": [GIVEN_UP]}})
    assert (found.deactivated, found.message) == ("DeactivatedDueToRequeuingLimitExceeded", "too often")


@pytest.mark.parametrize(("spec", "deactivated"), [({"active": False}, "Deactivated"), ({}, ""), (None, "")])
def test_somebody_may_deactivate_it(spec: Any, deactivated: str) -> None:
    assert read_admission({"spec": spec}).deactivated == deactivated
