"""The next step of a batch/v1 Job, from its pods."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.local.controllers import job_state
from airflow_provider_sparkml.local.controllers.job_state import TRACKING, format_indexes, parse_indexes, plan
from airflow_provider_sparkml.resources.base import Manifest

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def stamp(seconds: float = 0) -> str:
    return (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def job(status: dict[str, Any] | None = None, *, policy: str = "Never", **spec: Any) -> Manifest:
    given = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "template": {"spec": {"restartPolicy": policy}}}
    return {"metadata": {"name": "j", "uid": "u"}, "spec": {**given, **spec}, "status": status or {}}


def pod(uid: str, phase: str = "Running", *, index: int | None = None, tracked: bool = True, **meta: Any) -> Manifest:
    annotations = {} if index is None else {job_state.INDEX: str(index)}
    return {
        "metadata": {
            "uid": uid,
            "name": uid,
            "creationTimestamp": stamp(-60),
            "annotations": annotations,
            "finalizers": [TRACKING] if tracked else [],
            **meta,
        },
        "spec": {"nodeName": "local"},
        "status": {"phase": phase},
    }


def true_conditions(status: dict[str, Any]) -> dict[str, str]:
    return {each["type"]: each["reason"] for each in status.get("conditions", ()) if each["status"] == "True"}


def names(pods: tuple[Manifest, ...]) -> list[str]:
    return [each["metadata"]["uid"] for each in pods]


def test_a_new_job_gets_its_pods() -> None:
    step = plan(job(parallelism=3, completions=2), [], NOW)
    assert step.create == (None, None)
    assert step.status["startTime"] == stamp()
    indexed = plan(job(parallelism=2, completions=3, completionMode="Indexed"), [pod("a", index=0)], NOW)
    assert indexed.create == (1,)
    assert (indexed.status["active"], indexed.status["ready"]) == (1, 0)


def test_a_pod_that_ended_is_counted_exactly_once() -> None:
    # Noted first, with its finalizer still on it; a crash here repeats the same step.
    first = plan(job(), [pod("a", "Failed")], NOW)
    again = plan(job(first.status), [pod("a", "Failed")], NOW)
    for step in (first, again):
        assert step.status["uncountedTerminatedPods"] == {"failed": ["a"]}
        assert "failed" not in step.status
        assert names(step.release) == ["a"]
    # Its finalizer is gone, and perhaps the pod itself.
    for pods in ([pod("a", "Failed", tracked=False)], []):
        after = plan(job(first.status), pods, NOW)
        assert (after.status["failed"], after.status["uncountedTerminatedPods"]) == (1, {})
        later = plan(job(after.status), pods, NOW)
        assert later.status["failed"] == 1


def test_success_is_told_when_the_last_pod_is_counted() -> None:
    step = plan(job(), [pod("a", "Succeeded")], NOW)
    assert true_conditions(step.status) == {"SuccessCriteriaMet": "CompletionsReached"}
    done = plan(job(step.status), [pod("a", "Succeeded", tracked=False)], NOW)
    assert true_conditions(done.status) == dict.fromkeys(("SuccessCriteriaMet", "Complete"), "CompletionsReached")
    assert (done.status["succeeded"], done.status["completionTime"]) == (1, stamp())
    assert [note.reason for note in done.notes] == ["Completed"]


def test_failures_beyond_the_limit_end_the_job_and_its_other_pods() -> None:
    spec = {"backoffLimit": 0, "parallelism": 2, "completions": 2}
    step = plan(job(**spec), [pod("a", "Failed"), pod("b")], NOW)
    assert true_conditions(step.status) == {"FailureTarget": "BackoffLimitExceeded"}
    assert names(step.delete) == ["b"]
    assert step.create == ()
    gone = plan(job(step.status, **spec), [], NOW)
    assert true_conditions(gone.status)["Failed"] == "BackoffLimitExceeded"
    assert "completionTime" not in gone.status


@pytest.mark.parametrize(("limit", "restarts", "ends"), [(0, 0, False), (0, 1, True), (2, 1, False), (2, 2, True)])
def test_restarts_within_a_pod_count_too(limit: int, restarts: int, ends: bool) -> None:
    running = pod("a")
    running["status"]["containerStatuses"] = [{"restartCount": restarts}]
    step = plan(job(policy="OnFailure", backoffLimit=limit), [running], NOW)
    assert ("FailureTarget" in true_conditions(step.status)) == ends


def test_a_deadline_ends_the_job() -> None:
    status = {"startTime": stamp(-9)}
    early = plan(job(status, activeDeadlineSeconds=10), [pod("a")], NOW)
    assert early.again == 1.0
    late = plan(job(status, activeDeadlineSeconds=9), [pod("a")], NOW)
    assert true_conditions(late.status) == {"FailureTarget": "DeadlineExceeded"}
    assert names(late.delete) == ["a"]


def test_a_failed_pod_is_replaced_after_a_pause_that_grows() -> None:
    ended = pod("a", "Failed", tracked=False)
    ended["status"]["containerStatuses"] = [{"state": {"terminated": {"finishedAt": stamp(-1)}}}]
    assert plan(job({"failed": 1}), [ended], NOW).create == (None,)
    step = plan(job({"failed": 3}), [ended], NOW)
    assert (step.create, step.again) == ((), 3.0)


def test_whoever_is_suspended_has_not_failed() -> None:
    step = plan(job(suspend=True), [pod("a"), pod("b", deletionTimestamp=stamp())], NOW)
    assert true_conditions(step.status) == {"Suspended": "JobSuspended"}
    assert names(step.delete) == ["a"]
    assert sorted(names(step.release)) == ["a", "b"]
    assert "startTime" not in step.status
    # The pods ended uncounted, then the job goes on.
    resumed = plan(job(step.status, backoffLimit=0), [pod("a", "Failed", tracked=False)], NOW)
    assert "failed" not in resumed.status
    assert resumed.status["startTime"] == stamp()
    assert [each["reason"] for each in resumed.status["conditions"]] == ["JobResumed"]


def test_a_pod_deleted_by_somebody_has_failed_and_its_place_is_filled() -> None:
    leaving = pod("a", deletionTimestamp=stamp(), deletionGracePeriodSeconds=30)
    assert plan(job(), [leaving], NOW).create == (None,)
    assert plan(job(podReplacementPolicy="Failed"), [leaving], NOW).create == ()
    never_ran = pod("a", "Pending", deletionTimestamp=stamp(-5))
    never_ran["spec"] = {}
    assert plan(job(), [never_ran], NOW).status["uncountedTerminatedPods"] == {"failed": ["a"]}


def test_indexes_made_twice_are_one_too_many() -> None:
    twice = [pod("a", index=0), pod("b", index=0, creationTimestamp=stamp(-1)), pod("c", index=1)]
    step = plan(job(parallelism=2, completions=2, completionMode="Indexed"), twice, NOW)
    assert (names(step.delete), names(step.release), step.create) == (["b"], ["b"], ())


def test_a_work_queue_ends_with_its_last_pod() -> None:
    queue = job(parallelism=2)
    del queue["spec"]["completions"]
    step = plan(queue, [pod("a", "Succeeded"), pod("b")], NOW)
    assert (step.create, step.delete) == ((), ())
    assert "SuccessCriteriaMet" in true_conditions(plan(queue, [pod("a", "Succeeded")], NOW).status)


@given(st.sets(st.integers(0, 60)))
def test_indexes_survive_being_written(indexes: set[int]) -> None:
    assert parse_indexes(format_indexes(indexes)) == indexes


def test_indexes_are_written_as_kubernetes_writes_them() -> None:
    assert format_indexes([5, 1, 3, 4, 0]) == "0-1,3-5"
