"""When an Experiment whose trials are in Kueue's queue counts as queued, and when its trials wait in vain."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.jobs.experiment import current, queued
from airflow_provider_sparkml.resources.base import Phase, Verdict

RUNNING = Verdict(Phase.RUNNING, state="Running", message="0 of 4 trials succeeded")
CREATED = "2026-11-23T10:00:00Z"


def experiment(
    *running: str, pending: tuple[str, ...] = (), most: int | None = 4, parallel: int | None = None, **status: Any
) -> dict[str, Any]:
    """Return an Experiment whose parallel trials are all there, unless ``parallel`` says that more may be."""
    trials = {"runningTrialList": list(running), "pendingTrialList": list(pending)}
    spec = {"parallelTrialCount": parallel or len([*running, *pending]), "maxTrialCount": most}
    return {"spec": spec, "status": {**trials, **status}}


def workload(
    *conditions: tuple[str, str, str, str], active: bool = True, created: str = CREATED, job: str = "job"
) -> dict[str, Any]:
    written = [
        {"type": kind, "status": status, "reason": reason, "message": "no room", "lastTransitionTime": at}
        for kind, status, reason, at in conditions
    ]
    metadata = {"creationTimestamp": created, "ownerReferences": [{"name": "a", "uid": job}]}
    return {"metadata": metadata, "spec": {"active": active}, "status": {"conditions": written}}


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


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        ({"most": 4, "trials": 1}, False),
        ({"most": 4, "trials": 2, "trialsSucceeded": 1}, False),
        ({"most": 4, "trials": 3, "trialsSucceeded": 1, "trialMetricsUnavailable": 1}, False),
        ({"most": 4, "trials": 4, "trialsSucceeded": 1, "trialsFailed": 1, "trialsEarlyStopped": 1}, True),
        ({"most": 2, "trials": 2, "trialsKilled": 1}, True),
        ({"most": None, "trials": 2, "trialsSucceeded": 1}, False),
    ],
    ids=str,
)
def test_it_does_not_wait_in_vain_while_another_trial_is_about_to_be_made(
    status: dict[str, Any], refused: bool
) -> None:
    found = queued(experiment("a", parallel=2, **status), RUNNING, {"a": REFUSED})
    assert found.phase is Phase.QUEUED
    assert bool(found.reason) is refused


def test_katib_runs_three_trials_at_once_where_nothing_is_said() -> None:
    search = experiment("a", "b", most=None)
    del search["spec"]
    assert queued(search, RUNNING, dict.fromkeys("ab", REFUSED)).reason == ""
    search["status"]["runningTrialList"].append("c")
    assert queued(search, RUNNING, dict.fromkeys("abc", REFUSED)).reason == "DeactivatedDueToRequeuingLimitExceeded"


@pytest.mark.parametrize(("trials", "since"), [(1, CREATED), (2, "")], ids=["none has ended", "one has ended"])
def test_while_another_trial_ran_the_clock_of_those_that_wait_did_not_run(trials: int, since: str) -> None:
    assert queued(experiment("a", parallel=2, trials=trials), RUNNING, {"a": WAITING}).queued_since == since


def test_the_newest_of_as_many_as_may_run_was_made_after_the_last_end() -> None:
    found = queued(experiment("a", "b", trials=3), RUNNING, {"a": WAITING, "b": WAITING})
    assert found.queued_since == CREATED


LATER = "2026-11-23T10:01:00Z"
SLICE = workload(created=LATER)
"""The second Workload of an elastic job."""
ANEW = workload(created=LATER, job="job-made-anew")


@pytest.mark.parametrize(
    ("workloads", "expected"),
    [
        ([WAITING], WAITING),
        ([ADMITTED, SLICE], ADMITTED),
        ([SLICE, ADMITTED], ADMITTED),
        ([REFUSED, SLICE], SLICE),
        ([ADMITTED, ANEW], ANEW),
        ([ANEW, ADMITTED], ANEW),
    ],
    ids=["one", "slices", "slices the other way", "a slice after a refusal", "made anew", "made anew, told before"],
)
def test_of_several_workloads_of_a_trial_the_one_counts_that_its_newest_job_may_run_by(
    workloads: list[dict[str, Any]], expected: dict[str, Any]
) -> None:
    assert current(workloads, "a") is expected


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.SUCCEEDED, Phase.FAILED, Phase.UNKNOWN])
def test_only_what_runs_can_be_queued(phase: Phase) -> None:
    verdict = Verdict(phase)
    assert queued(experiment("a"), verdict, {"a": WAITING}) is verdict
