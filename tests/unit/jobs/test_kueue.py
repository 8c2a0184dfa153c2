"""What a Workload's conditions mean for a job that waits."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.jobs.kueue import read_admission


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


@pytest.mark.parametrize(
    ("conditions", "line", "deactivated"),
    [
        ([], "", ""),
        ([condition("QuotaReserved", "True", "QuotaReserved", "fine")], "", ""),
        (
            [condition("QuotaReserved", "False", "Pending", "insufficient quota for cpu")],
            "insufficient quota for cpu",
            "",
        ),
        (
            [
                condition("QuotaReserved", "False", "Pending", "no room"),
                condition("Evicted", "True", "Preempted", "to accommodate another"),
            ],
            "evicted (Preempted): to accommodate another; it queues again; no room",
            "",
        ),
        ([condition("Evicted", "False", "Preempted", "was")], "", ""),
        ([condition("Evicted", "False", "Deactivated", "was")], "", ""),
        (
            [condition("Evicted", "True", "DeactivatedDueToRequeuingLimitExceeded", "too often")],
            "",
            "DeactivatedDueToRequeuingLimitExceeded",
        ),
    ],
)
def test_read_admission(conditions: list[dict[str, str]], line: str, deactivated: str) -> None:
    found = read_admission({"spec": {"active": True}, "status": {"conditions": conditions}})
    assert (found.line, found.deactivated) == (line, deactivated)


@pytest.mark.parametrize(("spec", "deactivated"), [({"active": False}, "Deactivated"), ({}, ""), (None, "")])
def test_somebody_may_deactivate_it(spec: Any, deactivated: str) -> None:
    assert read_admission({"spec": spec}).deactivated == deactivated
