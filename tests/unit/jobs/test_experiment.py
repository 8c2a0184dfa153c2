"""When an Experiment whose trials are in Kueue's queue counts as queued, and when its trials wait in vain."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.jobs.experiment import Held, held, queued
from airflow_provider_sparkml.jobs.kueue import read_admission
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
FINISHED = workload(
    ("Admitted", "True", "Admitted", CREATED), ("Finished", "True", "Succeeded", "2026-11-23T10:30:00Z")
)
REFUSED = workload(("Evicted", "True", "DeactivatedDueToRequeuingLimitExceeded", CREATED), active=False)


def judged(obj: dict[str, Any], workloads: dict[str, Any], *, ran: bool = False) -> Verdict:
    """Return the verdict on an Experiment that runs, each of whose trials has one Workload."""
    return queued(obj, RUNNING, {name: held([each], name) for name, each in workloads.items()}, ran=ran)


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
    assert judged(obj, workloads) is RUNNING


def test_it_is_queued_while_all_trials_are_and_says_what_for() -> None:
    found = judged(experiment("a", pending=("b",)), {"a": WAITING, "b": workload()})
    assert (found.phase, found.reason) == (Phase.QUEUED, "")
    assert found.message == "0 of 4 trials succeeded; trial a: no room; trial b: waits for Kueue"


def test_of_many_trials_only_some_are_told() -> None:
    found = judged(experiment(*"abcdef"), dict.fromkeys("abcdef", WAITING))
    assert found.message.count("trial ") == 3
    assert found.message.endswith("; …")


def test_the_clock_begins_when_the_last_one_was_held_back() -> None:
    taken_back = workload(("Admitted", "False", "Preempted", "2026-11-23T10:20:00Z"))
    later = workload(created="2026-11-23T10:10:00Z")
    assert judged(experiment("a", "b"), {"a": WAITING, "b": later}).queued_since == "2026-11-23T10:10:00Z"
    assert judged(experiment("a", "b"), {"a": taken_back, "b": later}).queued_since == "2026-11-23T10:20:00Z"


def test_with_one_that_waits_the_others_may_be_refused() -> None:
    found = judged(experiment("a", "b"), {"a": REFUSED, "b": WAITING})
    assert (found.phase, found.reason) == (Phase.QUEUED, "")
    assert "trial a: its workload is deactivated (DeactivatedDueToRequeuingLimitExceeded): no room" in found.message


def test_it_waits_in_vain_when_all_are_refused() -> None:
    found = judged(experiment("a", "b"), {"a": REFUSED, "b": workload(active=False)})
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
    found = judged(experiment("a", parallel=2, **status), {"a": REFUSED})
    assert found.phase is Phase.QUEUED
    assert bool(found.reason) is refused


def test_katib_runs_three_trials_at_once_where_nothing_is_said() -> None:
    search = experiment("a", "b", most=None)
    del search["spec"]
    assert judged(search, dict.fromkeys("ab", REFUSED)).reason == ""
    search["status"]["runningTrialList"].append("c")
    assert judged(search, dict.fromkeys("abc", REFUSED)).reason == "DeactivatedDueToRequeuingLimitExceeded"


@pytest.mark.parametrize(("trials", "since"), [(1, CREATED), (2, "")], ids=["none has ended", "one has ended"])
def test_while_another_trial_ran_the_clock_of_those_that_wait_did_not_run(trials: int, since: str) -> None:
    assert judged(experiment("a", parallel=2, trials=trials), {"a": WAITING}).queued_since == since


def test_the_newest_of_as_many_as_may_run_was_made_after_the_last_end() -> None:
    found = judged(experiment("a", "b", trials=3), {"a": WAITING, "b": WAITING})
    assert found.queued_since == CREATED


def test_while_this_wait_saw_a_trial_run_the_others_clock_did_not() -> None:
    obj = experiment("a", "b")
    assert judged(obj, {"a": WAITING, "b": WAITING}, ran=True).queued_since == ""


LATER, LAST = "2026-11-23T10:01:00Z", "2026-11-23T10:30:00Z"
SLICE = workload(created=LATER)
"""The second Workload of an elastic job."""
ANEW = workload(created=LATER, job="job-made-anew")
PREEMPTED = workload(("Admitted", "False", "Preempted", LAST))
DELETED = {**REFUSED, "metadata": {**REFUSED["metadata"], "deletionTimestamp": LATER}}


@pytest.mark.parametrize(
    ("workloads", "counts", "since"),
    [
        ([WAITING], WAITING, CREATED),
        ([ADMITTED], None, CREATED),
        ([FINISHED], None, LAST),
        ([DELETED], None, CREATED),
        ([ADMITTED, SLICE], None, LATER),
        ([SLICE, ADMITTED], None, LATER),
        ([FINISHED, SLICE], SLICE, LAST),
        ([PREEMPTED, SLICE], SLICE, LAST),
        ([REFUSED, SLICE], SLICE, LATER),
        ([ADMITTED, ANEW], ANEW, LATER),
        ([ANEW, FINISHED], ANEW, LATER),
        ([DELETED, ANEW], ANEW, LATER),
    ],
    ids=[
        "waits", "admitted", "finished", "deleted", "slices", "slices the other way", "a slice instead of another",
        "a slice while the other is taken back", "a slice after a refusal", "made anew", "made anew after its end",
        "made anew while the other goes",
    ],
)  # fmt: skip
def test_of_several_workloads_of_a_trial_those_of_its_newest_job_count(
    workloads: list[dict[str, Any]], counts: dict[str, Any] | None, since: str
) -> None:
    assert held(workloads, "a") == Held(counts and read_admission(counts), since)


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.SUCCEEDED, Phase.FAILED, Phase.UNKNOWN])
def test_only_what_runs_can_be_judged(phase: Phase) -> None:
    verdict = Verdict(phase)
    assert queued(experiment("a"), verdict, {"a": Held(read_admission(WAITING), CREATED)}) is verdict
