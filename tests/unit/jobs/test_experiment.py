"""When an Experiment whose trials are in Kueue's queue counts as queued, and when its trials wait in vain."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.jobs.experiment import queued
from airflow_provider_sparkml.resources.base import Phase, Verdict

RUNNING = Verdict(Phase.RUNNING, state="Running", message="0 of 4 trials succeeded")
CREATED = "2026-11-23T10:00:00Z"


def experiment(*running: str, pending: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"status": {"runningTrialList": list(running), "pendingTrialList": list(pending)}}


def workload(*conditions: tuple[str, str, str, str], active: bool = True, created: str = CREATED) -> dict[str, Any]:
    written = [
        {"type": kind, "status": status, "reason": reason, "message": "no room", "lastTransitionTime": at}
        for kind, status, reason, at in conditions
    ]
    return {"metadata": {"creationTimestamp": created}, "spec": {"active": active}, "status": {"conditions": written}}


WAITING = workload(("QuotaReserved", "False", "Pending", CREATED))
ADMITTED = workload(("QuotaReserved", "True", "QuotaReserved", CREATED), ("Admitted", "True", "Admitted", CREATED))
REFUSED = workload(("Evicted", "True", "DeactivatedDueToRequeuingLimitExceeded", CREATED))


@pytest.mark.parametrize(
    ("obj", "workloads"),
    [
        (experiment(), {}),
        (experiment("a"), {}),
        (experiment("a", "b"), {"a": WAITING}),
        (experiment("a", "b"), {"a": WAITING, "b": ADMITTED}),
        (experiment("a", pending=("b",)), {"a": REFUSED, "b": ADMITTED}),
        (experiment("b"), {"a": WAITING, "b": ADMITTED}),
    ],
    ids=["no trial yet", "no workload yet", "one is not seen yet", "one runs", "one is refused", "one has ended"],
)
def test_it_runs(obj: dict[str, Any], workloads: dict[str, Any]) -> None:
    assert queued(obj, RUNNING, workloads) is RUNNING


def test_it_is_queued_while_all_trials_are_and_says_what_for() -> None:
    found = queued(experiment("a", pending=("b",)), RUNNING, {"a": WAITING, "b": workload()})
    assert (found.phase, found.reason) == (Phase.QUEUED, "")
    assert found.message == "0 of 4 trials succeeded; trial a: no room; trial b: waits for Kueue"


def test_of_many_trials_only_some_are_told() -> None:
    found = queued(experiment(*"abcdef"), RUNNING, dict.fromkeys("abcdef", WAITING))
    assert found.message.count("trial ") == 3
    assert found.message.endswith("; …")


def test_the_clock_begins_when_the_last_one_was_held_back() -> None:
    taken_back = workload(("Admitted", "False", "Preempted", "2026-11-23T10:20:00Z"))
    later = workload(created="2026-11-23T10:10:00Z")
    assert queued(experiment("a", "b"), RUNNING, {"a": WAITING, "b": later}).queued_since == "2026-11-23T10:10:00Z"
    assert queued(experiment("a", "b"), RUNNING, {"a": taken_back, "b": later}).queued_since == "2026-11-23T10:20:00Z"


def test_with_one_that_waits_the_others_may_be_refused() -> None:
    found = queued(experiment("a", "b"), RUNNING, {"a": REFUSED, "b": WAITING})
    assert (found.phase, found.reason) == (Phase.QUEUED, "")
    assert "trial a: its workload is deactivated (DeactivatedDueToRequeuingLimitExceeded): no room" in found.message


def test_it_waits_in_vain_when_all_are_refused() -> None:
    found = queued(experiment("a", "b"), RUNNING, {"a": REFUSED, "b": workload(active=False)})
    assert (found.phase, found.reason) == (Phase.QUEUED, "DeactivatedDueToRequeuingLimitExceeded")


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.SUCCEEDED, Phase.FAILED, Phase.UNKNOWN])
def test_only_what_runs_can_be_queued(phase: Phase) -> None:
    verdict = Verdict(phase)
    assert queued(experiment("a"), verdict, {"a": WAITING}) is verdict
