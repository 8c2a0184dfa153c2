"""The verdict of a SparkApplication in every state that the operator writes, and what else is read from its status."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.client.reflector import essentials
from airflow_provider_sparkml.resources.base import LogSource, Phase, Verdict, resource_for
from airflow_provider_sparkml.resources.spark import DRIVER_CONTAINER, SPARK_APPLICATION, read, ui_url

CREATED, SUBMITTED, ENDED = "2026-11-22T10:00:00Z", "2026-11-22T10:05:00Z", "2026-11-22T10:09:00Z"


def application(
    state: str | None, message: str = "", spec: dict[str, Any] | None = None, **status: Any
) -> dict[str, Any]:
    obj: dict[str, Any] = {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "metadata": {"name": "pi", "namespace": "ns", "uid": "u", "creationTimestamp": CREATED},
        "spec": spec or {},
    }
    if state is not None:
        obj["status"] = {"applicationState": {"state": state, "errorMessage": message}, **status}
    return obj


@pytest.mark.parametrize(
    ("state", "phase", "pending_since"),
    [
        (None, Phase.PENDING, CREATED),
        ("", Phase.PENDING, CREATED),
        ("SUBMITTED", Phase.PENDING, SUBMITTED),
        ("SUBMISSION_FAILED", Phase.PENDING, SUBMITTED),
        ("PENDING_RERUN", Phase.PENDING, ""),
        ("INVALIDATING", Phase.PENDING, ""),
        ("RUNNING", Phase.RUNNING, ""),
        ("SUCCEEDING", Phase.RUNNING, ""),
        ("FAILING", Phase.RUNNING, ""),
        ("COMPLETED", Phase.SUCCEEDED, ""),
        ("FAILED", Phase.FAILED, ""),
        ("SUSPENDING", Phase.QUEUED, ""),
        ("SUSPENDED", Phase.QUEUED, ""),
        ("RESUMING", Phase.QUEUED, ""),
        ("UNKNOWN", Phase.UNKNOWN, ""),
        ("HIBERNATING", Phase.UNKNOWN, ""),
    ],
)
def test_every_state_has_its_phase_and_its_start_up_clock(state: str | None, phase: Phase, pending_since: str) -> None:
    verdict = read(application(state, lastSubmissionAttemptTime=SUBMITTED if state else None))
    assert (verdict.phase, verdict.pending_since) == (phase, pending_since)
    assert verdict.state == (state or "")


@given(st.text(max_size=30))
def test_only_completed_and_failed_are_terminal(state: str) -> None:
    assert read(application(state)).phase.is_terminal == (state in ("COMPLETED", "FAILED"))


def test_a_state_nobody_knows_is_named() -> None:
    assert read(application("HIBERNATING")).reason == "UnknownState"


def test_created_suspended_is_queued_before_any_controller_says_so() -> None:
    assert read(application(None, spec={"suspend": True})).phase is Phase.QUEUED


def test_being_deleted_is_said_and_does_not_change_the_phase() -> None:
    obj = application("RUNNING")
    obj["metadata"]["deletionTimestamp"] = ENDED
    assert (read(obj).phase, read(obj).reason) == (Phase.RUNNING, "BeingDeleted")
    ended = application("COMPLETED")
    ended["metadata"]["deletionTimestamp"] = ENDED
    assert read(ended).phase is Phase.SUCCEEDED


def test_null_fields_as_the_operator_writes_them_are_absent() -> None:
    obj = application(
        "SUBMITTED", driverInfo=None, executionAttempts=None, submissionID=None, lastSubmissionAttemptTime=None
    )
    assert read(obj) == Verdict(Phase.PENDING, state="SUBMITTED", pending_since=CREATED)
    obj["status"]["applicationState"] = None
    assert read(obj).phase is Phase.PENDING


def test_an_attempt_is_an_accepted_submission() -> None:
    verdict = read(
        application(
            "RUNNING",
            executionAttempts=2,
            submissionAttempts=4,
            submissionID="s-4",
            lastSubmissionAttemptTime=SUBMITTED,
        )
    )
    assert (verdict.attempt, verdict.submission_id, verdict.started_at) == (2, "s-4", SUBMITTED)


@pytest.mark.parametrize(
    ("message", "reason", "retryable"),
    [
        ("driver container failed with ExitCode: 1, Reason: Error", "Error", False),
        ("driver container failed with ExitCode: 137, Reason: OOMKilled", "OOMKilled", False),
        ("driver container failed with ExitCode: 143, Reason: Error", "Error", True),
        ("driver container failed with ExitCode: 139, Reason: Error", "Error", False),
        ('failed to run spark-submit: pods "pi-driver" is forbidden: exceeded quota: small', "", True),
        ("driver pod not found", "", True),
        ("driver container status missing", "", True),
        ("failed to submit spark application: failed to run spark-submit: boom", "", False),
        ("", "", False),
    ],
)
def test_a_failure_says_whether_the_same_job_may_succeed_next_time(message: str, reason: str, retryable: bool) -> None:
    verdict = read(application("FAILED", message, terminationTime=ENDED))
    assert (verdict.message, verdict.reason, verdict.retryable) == (message, reason, retryable)
    assert verdict.finished_at == ENDED


def test_only_a_failure_is_retryable() -> None:
    assert not read(application("FAILING", "driver pod not found")).retryable


@pytest.mark.parametrize(
    ("state", "policy", "counters", "told"),
    [
        # "Failing retry iff executionAttempts <= onFailureRetries": one more run than retries.
        ("FAILING", {"type": "OnFailure", "onFailureRetries": 2}, (1, 1), "run 2 of 3 follows"),
        ("FAILING", {"type": "OnFailure", "onFailureRetries": 2}, (2, 2), "run 3 of 3 follows"),
        ("FAILING", {"type": "OnFailure", "onFailureRetries": 2}, (3, 3), ""),
        ("FAILING", {"type": "OnFailure"}, (1, 1), ""),
        ("FAILING", {"type": "Never", "onFailureRetries": 2}, (1, 1), ""),
        ("FAILING", {"type": "Always"}, (7, 9), "run 8 follows"),
        ("FAILING", None, (1, 1), ""),
        # Earlier runs use up the submission's retries.
        (
            "SUBMISSION_FAILED",
            {"type": "OnFailure", "onSubmissionFailureRetries": 3},
            (0, 1),
            "submission 2 of 4 follows",
        ),
        ("SUBMISSION_FAILED", {"type": "OnFailure", "onSubmissionFailureRetries": 3}, (2, 4), ""),
        ("SUBMISSION_FAILED", {"type": "OnFailure", "onFailureRetries": 3}, (0, 1), ""),
        ("FAILED", {"type": "OnFailure", "onFailureRetries": 9}, (1, 1), ""),
        ("RUNNING", {"type": "Always"}, (1, 1), ""),
    ],
)
def test_while_the_operator_will_try_again_the_message_says_so(
    state: str, policy: dict[str, Any] | None, counters: tuple[int, int], told: str
) -> None:
    obj = application(
        state,
        "why",
        spec={"restartPolicy": policy},
        executionAttempts=counters[0],
        submissionAttempts=counters[1],
    )
    assert read(obj).message == (f"{told}: why" if told else "why")
    assert read(obj).phase.is_terminal == (state == "FAILED")


def test_a_retry_is_told_of_from_the_shared_watch_too() -> None:
    """It keeps only parts of the spec."""
    policy = {"type": "OnFailure", "onFailureRetries": 1}
    obj = application("FAILING", "why", spec={"restartPolicy": policy, "driver": {}}, executionAttempts=1)
    assert read(essentials(obj)) == read(obj)
    obj["spec"] |= {"sparkConf": {"spark.ui.port": "4050"}, "suspend": True}
    obj["status"] = {"driverInfo": {"podName": "pi-driver"}}
    kept = essentials(obj)
    assert (read(kept), SPARK_APPLICATION.progress(kept)) == (read(obj), ("pi-driver", 4050))


def test_a_verdict_survives_json() -> None:
    verdict = read(application("FAILED", "driver pod not found", executionAttempts=3))
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_the_log_is_the_drivers_and_follows_a_rerun() -> None:
    assert SPARK_APPLICATION.log_source(application("SUBMITTED")) is None
    assert SPARK_APPLICATION.log_source(application("PENDING_RERUN", driverInfo={})) is None
    running = application("RUNNING", driverInfo={"podName": "pi-driver"})
    assert SPARK_APPLICATION.log_source(running) == LogSource("pi-driver", DRIVER_CONTAINER, "driver")


def test_facts_are_all_there_even_when_nothing_is_known() -> None:
    assert SPARK_APPLICATION.facts(application(None)) == {
        "spark_application_id": "",
        "submission_id": "",
        "driver_pod": "",
        "ui_url": "",
        "requested": None,
    }


@pytest.mark.parametrize(
    ("info", "url"),
    [
        ({}, ""),
        ({"webUIAddress": "10.0.0.1:4040"}, ""),
        ({"webUIIngressAddress": "spark.example.com/pi"}, "http://spark.example.com/pi"),
        ({"webUIIngressAddress": "https://spark.example.com/pi"}, "https://spark.example.com/pi"),
    ],
)
def test_the_ui_is_linked_only_where_a_browser_can_reach_it(info: dict[str, str], url: str) -> None:
    assert ui_url(application("RUNNING", driverInfo=info)) == url


@pytest.mark.parametrize(
    ("conf", "port"),
    [
        ({}, 4040),
        ({"spark.ui.port": "4050"}, 4050),
        ({"spark.ui.enabled": "false"}, None),
        ({"spark.ui.port": "x"}, 4040),
    ],
)
def test_progress_is_read_from_the_drivers_ui(conf: dict[str, str], port: int | None) -> None:
    obj = application("RUNNING", spec={"sparkConf": conf}, driverInfo={"podName": "pi-driver"})
    assert SPARK_APPLICATION.progress(obj) == (None if port is None else ("pi-driver", port))
    assert SPARK_APPLICATION.progress(application("SUBMITTED")) is None


def test_the_kind_is_found_by_its_name() -> None:
    assert resource_for("sparkoperator.k8s.io/v1beta2", "SparkApplication") is SPARK_APPLICATION
    assert SPARK_APPLICATION.api.path("ns", "pi", "status") == (
        "/apis/sparkoperator.k8s.io/v1beta2/namespaces/ns/sparkapplications/pi/status"
    )
