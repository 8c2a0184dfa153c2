"""Which state of an Apache Spark operator's application follows which, for what its pods and its clocks say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.local.controllers import apache_spark_state as states
from airflow_provider_sparkml.local.controllers.apache_spark import (
    pod_template,
    submission_arguments,
    submission_properties,
)
from airflow_provider_sparkml.local.controllers.spark_properties import Target
from airflow_provider_sparkml.resources.base import Manifest, Phase
from airflow_provider_sparkml.resources.spark import DRIVER_CONTAINER
from airflow_provider_sparkml.resources.spark_apache import FAILURES, history_of, read, state_of

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
TARGET = Target("http://127.0.0.1:1")


def application(*path: str, **tolerations: Any) -> Manifest:
    """Return an application that went through these states."""
    app: Manifest = {
        "apiVersion": "spark.apache.org/v1",
        "kind": "SparkApplication",
        "metadata": {"name": "pi", "namespace": "ns", "uid": "u"},
        "spec": {
            "pyFiles": "local:///a.py",
            "runtimeVersions": {"sparkVersion": "4.3.0"},
            "applicationTolerations": tolerations,
        },
    }
    for state in path:
        app["status"] = states.enter(app, state, NOW)
    return app


def pod(phase: str = "Running", code: int | None = None, *, ready: bool = True, reason: str = "") -> Manifest:
    state = {"running": {}} if code is None else {"terminated": {"exitCode": code, "startedAt": "2026"}}
    container = {"name": DRIVER_CONTAINER, "ready": ready and code is None, "state": state}
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {"status": {"phase": phase, "reason": reason, "conditions": conditions, "containerStatuses": [container]}}


def after(app: Manifest, driver: Manifest | None, executors: int = 0, seconds: float = 0) -> str:
    """Return the state that follows; empty when none does."""
    status = states.observe(app, driver, executors, NOW + timedelta(seconds=seconds))
    return "" if status is None else str(status["currentState"]["currentStateSummary"])


@pytest.mark.parametrize(
    ("state", "driver", "executors", "following"),
    [
        ("DriverRequested", pod("Pending", ready=False), 0, ""),
        ("DriverRequested", pod(), 0, "DriverStarted"),
        ("DriverStarted", pod(), 0, "DriverReady"),
        ("DriverReady", pod(), 0, ""),
        ("DriverReady", pod(), 1, "InitializedBelowThresholdExecutors"),
        ("DriverReady", pod(), 2, "RunningHealthy"),
        ("InitializedBelowThresholdExecutors", pod(), 1, ""),
        ("InitializedBelowThresholdExecutors", pod(), 2, "RunningHealthy"),
        ("RunningHealthy", pod(), 0, ""),
        ("RunningHealthy", pod("Succeeded", 0), 0, "Succeeded"),
        ("RunningHealthy", pod("Running", 0), 0, "Succeeded"),  # a side-car goes on
        ("RunningHealthy", pod("Running", 1), 0, "Failed"),
        ("RunningHealthy", pod("Failed", 1), 0, "Failed"),
        ("RunningHealthy", pod("Failed", reason="Evicted"), 0, "DriverEvicted"),
        ("RunningHealthy", None, 0, "Failed"),
        ("DriverRequested", pod("Failed", 1), 0, "Failed"),
    ],
)
def test_what_the_pods_say(state: str, driver: Manifest | None, executors: int, following: str) -> None:
    assert after(application("Submitted", state, instanceConfig={"initExecutors": 2}), driver, executors) == following


@pytest.mark.parametrize(
    ("state", "field", "following"),
    [
        ("DriverRequested", "driverStartTimeoutMillis", "DriverStartTimedOut"),
        ("DriverStarted", "driverReadyTimeoutMillis", "DriverReadyTimedOut"),
        ("DriverReady", "executorStartTimeoutMillis", "ExecutorsStartTimedOut"),
    ],
)
def test_what_lasts_too_long(state: str, field: str, following: str) -> None:
    late = {"applicationTimeoutConfig": {field: 5000}, "instanceConfig": {"initExecutors": 2}}
    app = application("Submitted", state, **late)
    waiting = pod("Pending", ready=False)
    assert after(app, waiting, seconds=4) == ""
    assert states.seconds_left(app, NOW + timedelta(seconds=4)) == 1
    assert after(app, waiting, seconds=6) == following
    assert states.seconds_left(application("Submitted", state), NOW) == 300
    off = application("Submitted", state, applicationTimeoutConfig={field: 0})
    assert states.seconds_left(off, NOW) is None


@pytest.mark.parametrize(
    ("policy", "retain", "state", "following", "released"),
    [
        ("Never", "Never", "Succeeded", "ResourceReleased", True),
        ("Never", "Always", "Succeeded", "TerminatedWithoutReleaseResources", False),
        ("Never", "OnFailure", "Succeeded", "ResourceReleased", True),
        ("Never", "OnFailure", "Failed", "TerminatedWithoutReleaseResources", False),
        ("OnFailure", "Always", "Succeeded", "TerminatedWithoutReleaseResources", True),
        ("OnFailure", "Always", "Failed", "ScheduledToRestart", True),
        ("OnInfrastructureFailure", "Never", "Failed", "ResourceReleased", True),
        ("OnInfrastructureFailure", "Never", "DriverStartTimedOut", "ScheduledToRestart", True),
        ("Always", "Never", "Succeeded", "ScheduledToRestart", True),
    ],
)
def test_what_follows_a_stop(policy: str, retain: str, state: str, following: str, released: bool) -> None:
    restart = {"restartPolicy": policy}
    app = application("Submitted", "RunningHealthy", state, resourceRetainPolicy=retain, restartConfig=restart)
    status, gone = states.conclude(app, NOW)
    assert (status["currentState"]["currentStateSummary"], gone) == (following, released)


def test_restarts_are_counted_and_wait() -> None:
    restart = {"restartPolicy": "OnFailure", "maxRestartAttempts": 2, "restartBackoffMillis": 5000}
    app = application(restartConfig=restart)
    attempts = []
    for _ in range(3):
        for state in ("DriverRequested", "Failed"):
            app["status"] = states.enter(app, state, NOW)
        app["status"], _ = states.conclude(app, NOW)
        attempts.append((state_of(app), read(app).attempt))
    assert attempts == [("ScheduledToRestart", 1), ("ScheduledToRestart", 2), ("ResourceReleased", 3)]
    assert read(app).phase is Phase.FAILED
    assert "The maximum number of restart attempts (2) has been exceeded." in read(app).message
    waiting = application("Submitted", "Failed", "ScheduledToRestart", restartConfig=restart)
    assert states.seconds_to_restart(waiting, NOW + timedelta(seconds=1)) == 4


@pytest.mark.parametrize("failure", FAILURES)
def test_what_is_written_is_read_as_it_is_meant(failure: str) -> None:
    for state, phase in ((failure, Phase.FAILED), ("Succeeded", Phase.SUCCEEDED)):
        app = application("Submitted", "DriverRequested", state)
        app["status"], _ = states.conclude(app, NOW)
        assert read(app).phase is phase
        assert len(history_of(app)) == 4


def test_the_time_to_live_is_counted_from_the_end() -> None:
    assert states.seconds_to_live(application("ResourceReleased"), NOW) is None
    app = application("ResourceReleased", ttlAfterStopMillis=60_000)
    assert states.seconds_to_live(app, NOW + timedelta(seconds=50)) == 10


def test_what_spark_submit_is_told() -> None:
    app = application("Submitted")
    app["spec"] |= {
        "sparkConf": {"spark.kubernetes.container.image": "spark:{{SPARK_VERSION}}", "spark.kubernetes.namespace": "x"},
        "driverArgs": ["1"],
        "files": "local:///c",
    }
    properties = submission_properties(app, TARGET, {"driver": Path("d"), "executor": Path("e")})
    assert properties["spark.kubernetes.container.image"] == "spark:4.3.0"
    assert properties["spark.kubernetes.namespace"] == "ns"
    assert properties["spark.kubernetes.driver.pod.name"] == "pi-0-driver"
    assert properties["spark.kubernetes.executor.label.spark.operator/spark-app-name"] == "pi"
    arguments = submission_arguments(app, Path("p"), TARGET)
    assert arguments[-4:] == ["--files", "local:///c", "local:///a.py", "1"]
    app["spec"] |= {"mainClass": "org.apache.spark.deploy.PythonRunner", "pyFiles": "local:///a.py,local:///b.py"}
    arguments = submission_arguments(app, Path("p"), TARGET)
    assert "--class" not in arguments
    assert arguments[arguments.index("--py-files") + 1] == "local:///b.py"
    app["spec"] |= {"mainClass": "M", "jars": "local:///a.jar"}
    arguments = submission_arguments(app, Path("p"), TARGET)
    assert arguments[arguments.index("--class") + 1] == "M"
    assert arguments[-2] == "local:///a.jar"


def test_the_driver_belongs_to_its_application() -> None:
    app = application("Submitted")
    template = pod_template(app, "driver")
    assert template["metadata"]["ownerReferences"][0]["uid"] == "u"
    assert [each["name"] for each in template["spec"]["containers"]] == [DRIVER_CONTAINER]
    assert "ownerReferences" not in pod_template(app, "executor")["metadata"]
    assert "driverSpec" not in app["spec"]


def test_another_master_is_refused_rather_than_passed_over() -> None:
    app = application()
    app["spec"]["sparkConf"] = {"spark.master": "spark://c-master-svc:7077"}
    with pytest.raises(InvalidManifestError, match=r"spark\.master'\] is 'spark://c-master-svc:7077'"):
        submission_properties(app, TARGET, {"driver": Path("d"), "executor": Path("e")})
