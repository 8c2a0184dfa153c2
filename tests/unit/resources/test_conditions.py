"""The verdict that conditions give: of every kind, in every combination that its controller writes, and in others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.client.reflector import essentials
from airflow_provider_sparkml.resources.base import Manifest, Phase
from tests.unit.resources.kinds import BY_ID, ENDED, KINDS, Kind, conditions

CREATED, STARTED, RESUMED = "2026-11-23T10:00:00Z", "2026-11-23T10:01:00Z", "2026-11-23T10:02:00Z"
TYPES = ("Created", "Running", "Restarting", "Succeeded", "Complete", "Failed", "Suspended", "SuccessCriteriaMet", "X")
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)


def job(kind: Kind, status: dict[str, Any] | None = None, **spec: Any) -> Manifest:
    manifest = kind.manifest
    metadata = {"name": "j", "namespace": "ns", "uid": "u", "creationTimestamp": CREATED}
    return manifest | {"metadata": metadata, "spec": manifest["spec"] | spec, "status": status or {}}


def suspended(kind: Kind, status: dict[str, Any] | None = None) -> Manifest:
    """Return a job that Kueue's webhook has suspended, in the field of its kind."""
    spec = {"runPolicy": {"suspend": True}} if "runPolicy" in kind.manifest["spec"] else {"suspend": True}
    return job(kind, status, **spec)


@each_kind
def test_no_status_is_pending_since_its_creation(kind: Kind) -> None:
    verdict = kind.resource.read(job(kind))
    assert (verdict.phase, verdict.state, verdict.pending_since) == (Phase.PENDING, "", CREATED)


@each_kind
def test_null_and_empty_are_absent(kind: Kind) -> None:
    for status in (None, {}, {"conditions": None}, {"conditions": [], "startTime": None, "completionTime": None}):
        assert kind.resource.read(job(kind) | {"status": status}).phase is Phase.PENDING


@each_kind
def test_created_starts_where_the_controller_did(kind: Kind) -> None:
    verdict = kind.resource.read(job(kind, {"conditions": conditions(Created="True"), "startTime": STARTED}))
    assert (verdict.phase, verdict.state, verdict.pending_since) == (Phase.PENDING, "Created", STARTED)


@each_kind
def test_success_and_failure(kind: Kind) -> None:
    verdict = kind.resource.read(job(kind, kind.ended(Running="False")))
    assert (verdict.phase, verdict.state, verdict.finished_at) == (Phase.SUCCEEDED, kind.succeeded, ENDED)
    verdict = kind.resource.read(job(kind, kind.ended("Failed", reason="DeadlineExceeded", message="too long")))
    assert (verdict.phase, verdict.state, verdict.finished_at) == (Phase.FAILED, "Failed", ENDED)
    assert (verdict.reason, verdict.message, verdict.retryable) == ("DeadlineExceeded", "too long", False)


@each_kind
def test_a_condition_that_is_false_again_says_nothing(kind: Kind) -> None:
    status = {"conditions": conditions(Failed="False", **{kind.succeeded: "False"}), "completionTime": ENDED}
    assert not kind.resource.read(job(kind, status)).phase.is_terminal
    status = {"conditions": conditions(Failed="False", **{kind.succeeded: "True"}), "completionTime": ENDED}
    assert kind.resource.read(job(kind, status | kind.status)).phase is Phase.SUCCEEDED


@each_kind
@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_only_what_is_true_ends_it(kind: Kind, status: str) -> None:
    found = conditions(**{kind.succeeded: status, "Failed": status})
    assert not kind.resource.read(job(kind, {"conditions": found, "completionTime": ENDED})).phase.is_terminal


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.id != "Experiment"], ids=lambda kind: kind.id)
def test_queued_is_neither_pending_nor_a_failure(kind: Kind) -> None:
    before = kind.resource.read(suspended(kind))
    assert (before.phase, before.pending_since, before.message) == (Phase.QUEUED, "", "")
    seen = {"conditions": conditions(Created="True", Suspended="True")}
    assert kind.resource.read(suspended(kind, seen)).phase is Phase.QUEUED
    assert kind.resource.read(job(kind, seen)).phase is Phase.QUEUED, "let in just now, and not yet noticed"
    running = {"conditions": conditions(Created="True", Running="True"), "startTime": STARTED}
    assert kind.resource.read(suspended(kind, running)).phase is Phase.QUEUED, "evicted by Kueue"


@each_kind
def test_let_in_the_clock_of_its_start_begins(kind: Kind) -> None:
    found = conditions(Created="True", Suspended="False", reason="Resumed")
    found[1]["lastTransitionTime"] = RESUMED
    verdict = kind.resource.read(job(kind, {"conditions": found, "startTime": STARTED}))
    assert (verdict.phase, verdict.state, verdict.pending_since) == (Phase.PENDING, "Resumed", RESUMED)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.succeeded == "Succeeded"], ids=lambda kind: kind.id)
@pytest.mark.parametrize("state", ["Running", "Restarting"])
def test_running_and_restarting(kind: Kind, state: str) -> None:
    status = {"conditions": conditions(Created="True", **{state: "True"}), "startTime": STARTED}
    verdict = kind.resource.read(job(kind, status))
    assert (verdict.phase, verdict.state, verdict.started_at) == (Phase.RUNNING, state, STARTED)
    assert verdict.reason == ("Because" if state == "Restarting" else "")


# --- MPIJob ---------------------------------------------------------------------------------------------------------

MPI = BY_ID["MPIJob"]


def test_an_evicted_worker_is_not_the_end_of_an_mpijob() -> None:
    evicted = conditions(Created="True", Running="False", Failed="True", reason="MPIJobEvicted", message="1/2 workers")
    verdict = MPI.resource.read(job(MPI, {"conditions": evicted, "startTime": STARTED}))
    assert (verdict.phase, verdict.state) == (Phase.RUNNING, "Failed")
    assert (verdict.reason, verdict.message) == ("MPIJobEvicted", "1/2 workers")
    ended = MPI.resource.read(job(MPI, {"conditions": evicted, "startTime": STARTED, "completionTime": ENDED}))
    assert (ended.phase, ended.retryable) == (Phase.FAILED, True)


def test_a_launcher_that_succeeds_after_all_has_succeeded() -> None:
    found = conditions(Created="True", Running="False", Failed="False", Succeeded="True")
    status = {"conditions": found, "completionTime": ENDED, "replicaStatuses": {"Launcher": {"failed": 3}}}
    assert MPI.resource.read(job(MPI, status)).phase is Phase.SUCCEEDED


@pytest.mark.parametrize("found", [{"Running": "True"}, {"Created": "True"}])
def test_failed_pods_of_an_mpijob_are_no_failure(found: dict[str, str]) -> None:
    status = {
        "conditions": conditions(**found),
        "replicaStatuses": {"Launcher": {"failed": 2}, "Worker": {"failed": 1}},
    }
    assert not MPI.resource.read(job(MPI, status)).phase.is_terminal


@pytest.mark.parametrize(
    ("reason", "retryable"), [("BackoffLimitExceeded/Evicted", True), ("BackoffLimitExceeded/", False)]
)
def test_a_pods_own_reason_behind_the_jobs_tells_whether_to_try_again(reason: str, retryable: bool) -> None:
    assert MPI.resource.read(job(MPI, MPI.ended("Failed", reason=reason))).retryable is retryable


# --- TrainJob -------------------------------------------------------------------------------------------------------

TRAIN = BY_ID["TrainJob"]
NONE = {"ready": 0, "succeeded": 0, "failed": 0, "active": 0, "suspended": 0}


@pytest.mark.parametrize(
    ("counts", "phase"),
    [
        ({}, Phase.PENDING),
        ({"active": 1}, Phase.PENDING),  # its pods are there, but not all of them run
        ({"active": 1, "ready": 1}, Phase.RUNNING),
        ({"succeeded": 1}, Phase.RUNNING),
        ({"failed": 1}, Phase.RUNNING),
        ({"suspended": 1}, Phase.PENDING),
    ],
)
def test_a_trainjob_runs_when_its_jobs_do(counts: dict[str, int], phase: Phase) -> None:
    status = {"jobsStatus": [{"name": "node"} | NONE | counts]}
    assert TRAIN.resource.read(job(TRAIN, status)).phase is phase


@pytest.mark.parametrize(
    ("initializer", "node", "phase", "message", "since"),
    [
        ({"ready": 1}, {}, Phase.RUNNING, "dataset-initializer first", ""),
        ({"failed": 1}, {}, Phase.RUNNING, "dataset-initializer first", ""),
        ({"active": 1}, {}, Phase.PENDING, "", STARTED),
        ({"succeeded": 1}, {"active": 1}, Phase.PENDING, "", STARTED),
        ({"succeeded": 1}, {"ready": 1}, Phase.RUNNING, "", ""),
    ],
)
def test_a_trainjob_first_runs_its_initializers(
    initializer: dict[str, int], node: dict[str, int], phase: Phase, message: str, since: str
) -> None:
    jobs = [{"name": "dataset-initializer"} | NONE | initializer, {"name": "node"} | NONE | node]
    verdict = TRAIN.resource.read(job(TRAIN, {"jobsStatus": jobs, "startTime": STARTED}))
    assert (verdict.phase, verdict.message, verdict.pending_since) == (phase, message, since)


def test_a_trainjob_tells_its_progress_and_metrics() -> None:
    reported = {
        "progressPercentage": 40,
        "estimatedRemainingSeconds": 90,
        "metrics": [{"name": "loss", "value": "0.31"}, {"name": "note", "value": "n/a"}],
        "lastUpdatedTime": ENDED,
    }
    obj = job(TRAIN, {"jobsStatus": [{"name": "node"} | NONE | {"active": 1}], "trainerStatus": reported})
    assert TRAIN.resource.read(obj).message == "40 %, loss=0.31, note=n/a, about 90 s left"
    assert TRAIN.resource.read(obj).phase is Phase.RUNNING, "it has run already, if a pod is missing now"
    assert TRAIN.resource.facts(obj) == {"metrics": {"loss": 0.31, "note": "n/a"}}
    obj["status"]["conditions"] = conditions(Suspended="False")
    assert TRAIN.resource.read(obj).phase is Phase.RUNNING
    reported["lastUpdatedTime"] = "2026-01-01T00:00:00Z"
    assert TRAIN.resource.read(obj).phase is Phase.PENDING, "that was before a queue took it back"


def test_a_success_that_is_not_complete_runs_yet() -> None:
    obj = job(BY_ID["MPIJob"], {"conditions": conditions(Succeeded="True")})
    assert BY_ID["MPIJob"].resource.read(obj).phase is Phase.RUNNING


@pytest.mark.parametrize("kind", ["MPIJob", "PyTorchJob", "TrainJob", "TrainingPods"])
def test_a_queues_clock_begins_when_the_job_is_suspended(kind: str) -> None:
    found = BY_ID[kind]
    assert found.resource.read(suspended(found, {})).queued_since == CREATED
    taken_back = {"conditions": conditions(Suspended="True"), "startTime": STARTED}
    assert (
        found.resource.read(suspended(found, taken_back)).queued_since
        == taken_back["conditions"][0]["lastTransitionTime"]
    )
    # Its controller has not taken note yet.
    assert found.resource.read(suspended(found, {"startTime": STARTED})).queued_since == ""
    assert found.resource.read(suspended(found, {"conditions": conditions(Suspended="False")})).queued_since == ""


# --- Job ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ({"active": 2}, Phase.PENDING),
        ({"active": 2, "ready": 1}, Phase.PENDING),  # the other may have no node yet
        ({"active": 2, "ready": 2}, Phase.RUNNING),
        ({"active": 1, "ready": 0, "succeeded": 1}, Phase.RUNNING),
        ({"active": 0, "failed": 1, "conditions": conditions(FailureTarget="True")}, Phase.RUNNING),
        ({"succeeded": 2, "conditions": conditions(SuccessCriteriaMet="True")}, Phase.RUNNING),
    ],
)
def test_plain_pods_run_once_all_are_ready(status: dict[str, Any], phase: Phase) -> None:
    assert BY_ID["TrainingPods"].resource.read(job(BY_ID["TrainingPods"], status)).phase is phase


# --- Experiment -----------------------------------------------------------------------------------------------------

SEARCH = BY_ID["Experiment"]


def test_an_experiment_tells_how_far_it_is() -> None:
    best = {
        "bestTrialName": "a",
        "observation": {"metrics": [{"name": "loss", "min": "0.31", "max": "1", "latest": "1"}]},
    }
    status = {"conditions": conditions(Running="True"), "trials": 5, "trialsSucceeded": 3, "trialsFailed": 1}
    message = SEARCH.resource.read(job(SEARCH, status | {"currentOptimalTrial": best})).message
    assert message == "3 of 8 trials succeeded, 1 failed, best loss=0.31"


@pytest.mark.parametrize("best", [None, {}, {"bestTrialName": ""}, {"observation": {"metrics": None}}])
def test_an_experiment_without_a_best_trial_has_failed(best: Any) -> None:
    status = {
        "conditions": conditions(Running="False", Succeeded="True", reason="ExperimentMaxTrialsReached"),
        "completionTime": ENDED,
        "trialMetricsUnavailable": 8,
        "currentOptimalTrial": best,
    }
    verdict = SEARCH.resource.read(job(SEARCH, status))
    assert (verdict.phase, verdict.reason) == (Phase.FAILED, "NoBestTrial")
    assert "8 without metrics" in verdict.message
    assert "print loss=<number>" in verdict.message
    assert SEARCH.resource.result(job(SEARCH, status)) is None


# --- any of them ----------------------------------------------------------------------------------------------------

anything = st.one_of(st.none(), st.text(max_size=12), st.sampled_from([CREATED, STARTED, ENDED]))
condition = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES), "status": st.sampled_from(["True", "False", "Unknown"])},
    optional={"reason": anything, "message": anything, "lastTransitionTime": anything},
)
counts = st.dictionaries(
    st.sampled_from(["ready", "active", "failed", "succeeded", "suspended"]), st.integers(0, 3), max_size=5
)
jobs_of_trainjobs = st.sampled_from(["node", "launcher", "model-initializer"])
statuses = st.fixed_dictionaries(
    {},
    optional={
        "conditions": st.lists(condition, max_size=6),
        "startTime": anything,
        "completionTime": st.sampled_from([None, ENDED]),
        "jobsStatus": st.lists(
            st.builds(
                lambda name, found: {"name": name} | found, st.sampled_from(["node", "model-initializer"]), counts
            ),
            max_size=2,
        ),
        "trainerStatus": st.sampled_from([None, {}, {"progressPercentage": 5}, {"metrics": None}]),
        "currentOptimalTrial": st.sampled_from([None, {}, {"bestTrialName": "a"}]),
        "replicaStatuses": st.dictionaries(st.sampled_from(["Launcher", "Worker", "Master"]), counts, max_size=2),
    },
)


@each_kind
@given(status=statuses, suspend=st.booleans())
def test_any_status_has_a_verdict_and_only_an_end_is_the_end(kind: Kind, status: dict[str, Any], suspend: bool) -> None:
    obj = suspended(kind, status) if suspend else job(kind, status)
    verdict = kind.resource.read(obj)
    last = {each["type"]: each["status"] for each in status.get("conditions") or []}
    ends = {name for name in (kind.succeeded, "Failed") if last.get(name) == "True"}
    if kind.resource.api.version == "v2beta1" and not status.get("completionTime"):
        ends = set()
    assert verdict.phase.is_terminal is bool(ends)
    if ends == {"Failed"}:
        assert verdict.phase is Phase.FAILED
    assert (verdict.phase is Phase.QUEUED) <= (suspend or last.get("Suspended") == "True")
    assert bool(verdict.pending_since) <= (verdict.phase is Phase.PENDING)
    assert all(isinstance(text, str) for text in (verdict.state, verdict.reason, verdict.message, verdict.finished_at))


@each_kind
@pytest.mark.parametrize("function", ["read", "log_source", "facts", "pod_selector"])
def test_what_the_shared_watch_keeps_is_all_that_a_wait_reads(kind: Kind, function: str) -> None:
    read = getattr(kind.resource, function)
    replicas = {"replicaStatuses": {name: {} for name in ("Master", "Chief", "Worker", "Launcher")}}
    for status in (
        kind.ended() | replicas,
        replicas | {"conditions": conditions(Running="True"), "trialsSucceeded": 1},
    ):
        for obj in (job(kind, status), suspended(kind, status)):
            if kind.id in ("XGBoostJob", "PyTorchJob"):
                obj["status"]["replicaStatuses"].pop("Chief", None)
            assert read(essentials(obj)) == read(obj)
