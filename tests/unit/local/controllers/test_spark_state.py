"""What the operator's states, texts and times follow from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_sparkml.local.controllers import spark_state as states
from airflow_provider_sparkml.resources.spark_retries import Retry

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def app(state: str = "", spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "pi", "namespace": "ns", "uid": "u"},
        "spec": {"image": "spark", **(spec or {})},
        "status": {"applicationState": {"state": state}, "driverInfo": {}, **status},
    }


def pod(
    phase: str, exit_code: int | None = None, reason: str = "Error", *, name: str = "pi-driver", **labels: str
) -> Any:
    state = {"running": {}} if exit_code is None else {"terminated": {"exitCode": exit_code, "reason": reason}}
    return {
        "metadata": {"name": name, "labels": {"spark-app-selector": "spark-1", **labels}},
        "status": {"phase": phase, "containerStatuses": [{"name": "spark-kubernetes-driver", "state": state}]},
    }


@pytest.mark.parametrize(("due", "left"), [(None, 0), (-2, -2), (7, 7)])
def test_how_long_a_retry_still_waits(due: int | None, left: float) -> None:
    retry = Retry("run", 2, 3, None if due is None else NOW + timedelta(seconds=due))
    assert states.seconds_until(retry, NOW) == left


@pytest.mark.parametrize(
    ("ttl", "ended", "left"), [(None, 5, None), (60, 5, 55), (0, 5, -5), (60, 61, -1), (60, None, None)]
)
def test_expiry(ttl: int | None, ended: int | None, left: float | None) -> None:
    subject = app("COMPLETED", {"timeToLiveSeconds": ttl}, terminationTime=ended and ago(ended))
    assert states.seconds_until_expiry(subject, NOW) == left


@pytest.mark.parametrize(
    ("driver", "state", "message"),
    [
        (pod("Pending"), "SUBMITTED", None),
        (pod("Running"), "RUNNING", None),
        (pod("Running", 0), "SUCCEEDING", None),
        (pod("Running", 2), "FAILING", "driver container failed with ExitCode: 2, Reason: Error"),
        (pod("Succeeded", 0), "SUCCEEDING", None),
        (pod("Failed", 137, "OOMKilled"), "FAILING", "driver container failed with ExitCode: 137, Reason: OOMKilled"),
        (pod("Failed", 0), "SUCCEEDING", None),
        (pod("Failed") | {"status": {"phase": "Failed"}}, "FAILING", "driver container status missing"),
        (pod("Unknown"), "UNKNOWN", None),
        (None, "FAILING", "driver pod not found"),
    ],
)
def test_what_the_driver_pod_says(driver: Any, state: str, message: str | None) -> None:
    subject = app("SUBMITTED")
    status = states.copy_status(subject)
    list(states.read_driver(subject, status, driver, NOW))
    assert status["applicationState"].get("state") == state
    assert status["applicationState"].get("errorMessage") == message
    assert ("terminationTime" in status) == (state in ("SUCCEEDING", "FAILING"))


def test_events_of_the_driver_only_when_the_state_changes() -> None:
    running = app("RUNNING")
    assert list(states.read_driver(running, states.copy_status(running), pod("Running"), NOW)) == []
    notes = list(states.read_driver(running, states.copy_status(running), pod("Failed", 1), NOW))
    assert [(note.kind, note.reason) for note in notes] == [("Warning", "SparkDriverFailed")]
    notes = list(states.read_driver(running, states.copy_status(running), None, NOW))
    assert [note.reason for note in notes] == ["SparkDriverNotFound"]


def test_time_of_the_end_is_noted_once() -> None:
    subject = app("RUNNING", terminationTime=ago(9))
    status = states.copy_status(subject)
    list(states.read_driver(subject, status, pod("Failed", 1), NOW))
    assert status["terminationTime"] == ago(9)


def executor(name: str, phase: str, number: str = "1") -> Any:
    return pod(phase, 1 if phase == "Failed" else None, name=name, **{"spark-exec-id": number})


def test_executors() -> None:
    status = states.copy_status(app("RUNNING", executorState={"a": "RUNNING", "b": "RUNNING", "c": "FAILED"}))
    pods = [executor("a", "Failed"), executor("d", "Pending", "1000"), executor("e", "Pending", "1001")]
    notes = list(states.read_executors(status, pods))
    assert status["executorState"] == {"a": "FAILED", "b": "UNKNOWN", "c": "FAILED", "d": "PENDING"}
    assert status["sparkApplicationId"] == "spark-1"
    assert [(note.kind, note.reason) for note in notes] == [
        ("Warning", "SparkExecutorFailed"),
        ("Normal", "SparkExecutorPending"),
    ]
    assert "ExitCode: 1, Reason: Error" in notes[0].message


@pytest.mark.parametrize(("state", "expected"), [("COMPLETED", "COMPLETED"), ("FAILED", "FAILED")])
def test_executors_that_went_with_the_driver(state: str, expected: str) -> None:
    status = states.copy_status(app(state, executorState={"a": "RUNNING", "b": "UNKNOWN"}))
    list(states.read_executors(status, []))
    states.end_executors(status)
    assert status["executorState"] == {"a": expected, "b": expected}


def test_reset() -> None:
    full = {
        "sparkApplicationId": "x",
        "terminationTime": ago(1),
        "executorState": {"a": "FAILED"},
        "submissionID": "s",
        "submissionAttempts": 2,
        "executionAttempts": 2,
        "lastSubmissionAttemptTime": ago(9),
    }
    status = states.copy_status(app("FAILING", **full))
    status["applicationState"]["errorMessage"] = "m"
    status["driverInfo"] = {"podName": "p"}
    states.reset(status)
    kept = {
        key: full[key]
        for key in ("submissionID", "submissionAttempts", "executionAttempts", "lastSubmissionAttemptTime")
    }
    assert status == {"applicationState": {"state": "FAILING"}, "driverInfo": {}, **kept}
    states.reset(status, counters=True)
    assert (status["submissionAttempts"], status["executionAttempts"]) == (0, 0)


def test_spec_hash_is_blind_to_suspend_and_ttl() -> None:
    before = states.spec_hash(app(spec={"suspend": True, "timeToLiveSeconds": 5}))
    assert before == states.spec_hash(app(spec={"suspend": False}))
    assert before != states.spec_hash(app(spec={"image": "other"}))


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ({}, "pi-driver"),
        ({"driver": {"podName": "mine"}}, "mine"),
        ({"sparkConf": {"spark.kubernetes.driver.pod.name": "conf"}}, "conf"),
    ],
)
def test_driver_pod_name(spec: dict[str, Any], name: str) -> None:
    assert states.driver_pod_name(app(spec=spec)) == name
