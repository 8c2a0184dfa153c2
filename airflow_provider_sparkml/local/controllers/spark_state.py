"""The states of a SparkApplication and what leads from one to the next. Pure.

Follows kubeflow/spark-operator v2.5: ``internal/controller/sparkapplication/controller.go`` and
``pkg/util/sparkapplication.go``.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.spark import DRIVER_CONTAINER
from airflow_provider_sparkml.resources.spark_retries import Retry

NEW = ""
TERMINAL = ("COMPLETED", "FAILED")
GRACE_SECONDS = 10.0
"""How long after a submission a missing driver pod is not yet missed."""

MAX_TRACKED_EXECUTORS = 1000
EXECUTOR_ENDED = ("COMPLETED", "FAILED")
Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Note:
    """An event to record about the application."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


def state_of(app: Manifest) -> str:
    """Return ``status.applicationState.state``, empty for a new application."""
    return str(((app.get("status") or {}).get("applicationState") or {}).get("state") or NEW)


def copy_status(app: Manifest) -> Status:
    """Return a copy of the status that may be changed; ``driverInfo`` is there, since its schema requires it."""
    status: Status = copy.deepcopy(app.get("status") or {})
    status.setdefault("driverInfo", {})
    status.setdefault("applicationState", {"state": NEW})
    return status


def set_state(status: Status, state: str, message: str | None = None) -> None:
    """Change the state; an error message that is not given stays."""
    status["applicationState"]["state"] = state
    if message is not None:
        status["applicationState"]["errorMessage"] = message


def reset(status: Status, *, counters: bool = False) -> None:
    """Forget the last run.

    :param counters: count attempts from zero again.
    """
    for key in ("sparkApplicationId", "terminationTime", "executorState"):
        status.pop(key, None)
    status["driverInfo"] = {}
    status["applicationState"].pop("errorMessage", None)
    if counters:
        status["submissionAttempts"] = status["executionAttempts"] = 0
        status.pop("lastSubmissionAttemptTime", None)


def spec_hash(app: Manifest) -> str:
    """Return a hash of all of the spec that a running application depends on."""
    spec = {key: value for key, value in app["spec"].items() if key not in ("suspend", "timeToLiveSeconds")}
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:32]


# --- clocks ----------------------------------------------------------------------------------------------------------


def seconds_until(retry: Retry, now: datetime) -> float:
    """Return how long the back-off before a retry still lasts; 0 or less: it is over."""
    return 0.0 if retry.due is None else (retry.due - now).total_seconds()


def seconds_until_expiry(app: Manifest, now: datetime) -> float | None:
    """Return how long a terminated application still lives, ``None`` for ever."""
    ttl, ended = app["spec"].get("timeToLiveSeconds"), app["status"].get("terminationTime")
    if ttl is None or not ended:
        return None
    return float(ttl) - _seconds_since(ended, now)


def grace_left(app: Manifest, now: datetime) -> float:
    """Return for how long a driver pod that is not there is not yet missed."""
    return GRACE_SECONDS - _seconds_since(app["status"].get("lastSubmissionAttemptTime"), now)


def _seconds_since(time: str | None, now: datetime) -> float:
    return (now - datetime.fromisoformat(time)).total_seconds() if time else float("inf")


# --- what the pods say -----------------------------------------------------------------------------------------------


def driver_pod_name(app: Manifest) -> str:
    """Return the name of the application's driver pod."""
    spec = app["spec"]
    name = (spec.get("driver") or {}).get("podName") or (spec.get("sparkConf") or {}).get(
        "spark.kubernetes.driver.pod.name"
    )
    return str(name or f"{app['metadata']['name']}-driver")


def driver_state(pod: Manifest) -> str:
    """Return PENDING, RUNNING, COMPLETED, FAILED or UNKNOWN: the driver container decides, not its side-cars."""
    ended = _terminated(pod, DRIVER_CONTAINER)
    match (pod.get("status") or {}).get("phase", "Pending"):
        case "Pending":
            return "PENDING"
        case "Running":
            if ended is None:
                return "RUNNING"
            return "COMPLETED" if ended["exitCode"] == 0 else "FAILED"
        case "Succeeded":
            return "COMPLETED"
        case "Failed":
            return "COMPLETED" if ended is not None and ended["exitCode"] == 0 else "FAILED"
    return "UNKNOWN"


def executor_state(pod: Manifest) -> str:
    """Return the same words for an executor."""
    match (pod.get("status") or {}).get("phase", "Pending"):
        case "Pending":
            return "PENDING"
        case "Running":
            return "RUNNING"
        case "Succeeded":
            return "COMPLETED"
        case "Failed":
            return "FAILED"
    return "UNKNOWN"


def read_driver(app: Manifest, status: Status, pod: Manifest | None, now: datetime) -> Iterable[Note]:
    """Bring the status up to what the driver pod says; the caller has let the grace period pass for a missing one."""
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    before = state_of(app)
    if pod is None:
        set_state(status, "FAILING", "driver pod not found")
        status["terminationTime"] = stamp
        name = status["driverInfo"].get("podName") or driver_pod_name(app)
        yield Note("Warning", "SparkDriverNotFound", f"Driver pod {name} not found, marking application as Failing")
        return
    status["sparkApplicationId"] = (pod["metadata"].get("labels") or {}).get("spark-app-selector", "")
    state = driver_state(pod)
    if state in ("COMPLETED", "FAILED"):
        status.setdefault("terminationTime", stamp)
    if state == "FAILED":
        ended = _terminated(pod, DRIVER_CONTAINER)
        message = "driver container status missing"
        if ended is not None:
            message = f"driver container failed with ExitCode: {ended['exitCode']}, Reason: {ended.get('reason', '')}"
        status["applicationState"]["errorMessage"] = message
    after = {"PENDING": "SUBMITTED", "RUNNING": "RUNNING", "COMPLETED": "SUCCEEDING", "FAILED": "FAILING"}.get(
        state, "UNKNOWN"
    )
    if after != before:
        status["applicationState"]["state"] = after
        yield _pod_note("SparkDriver", state, f"Driver {pod['metadata']['name']}")


def read_executors(status: Status, pods: Iterable[Manifest]) -> Iterable[Note]:
    """Bring ``executorState`` up to what the executor pods say."""
    known: dict[str, str] = status.get("executorState") or {}
    found = {}
    for pod in pods:
        labels, name = pod["metadata"].get("labels") or {}, pod["metadata"]["name"]
        number = str(labels.get("spark-exec-id", "0"))
        if number.isdigit() and int(number) > MAX_TRACKED_EXECUTORS:
            continue
        state = found[name] = executor_state(pod)
        if known.get(name) != state:
            yield _executor_note(pod, state)
        if application := labels.get("spark-app-selector"):
            status["sparkApplicationId"] = application
    state = status["applicationState"]["state"]
    missing = "UNKNOWN" if state == "RUNNING" else "COMPLETED" if state in ("COMPLETED", "SUCCEEDING") else "FAILED"
    gone = {name: missing for name, old in known.items() if name not in found and old not in EXECUTOR_ENDED}
    if known or found:
        status["executorState"] = {**known, **found, **gone}


def end_executors(status: Status) -> None:
    """Settle the executors whose pods went with the driver, now that the application has ended."""
    state = "COMPLETED" if status["applicationState"]["state"] == "COMPLETED" else "FAILED"
    for name, known in (status.get("executorState") or {}).items():
        if known == "UNKNOWN":
            status["executorState"][name] = state


def _executor_note(pod: Manifest, state: str) -> Note:
    name = pod["metadata"]["name"]
    if state != "FAILED":
        return _pod_note("SparkExecutor", state, f"Executor {name}")
    statuses = (pod.get("status") or {}).get("containerStatuses") or [{}]
    ended = (statuses[0].get("state") or {}).get("terminated") or {}
    code, reason = ended.get("exitCode", -1), ended.get("reason", "Unknown (Container not Found)")
    message = (pod.get("status") or {}).get("message") or ""
    text = f"Executor {name} failed with ExitCode: {code}, Reason: {reason}, Pod Message: {message}"
    return Note("Warning", "SparkExecutorFailed", text)


def _pod_note(prefix: str, state: str, what: str) -> Note:
    words = {"PENDING": "is pending", "RUNNING": "is running", "COMPLETED": "completed", "FAILED": "failed"}
    kind: Literal["Normal", "Warning"] = "Warning" if state in ("FAILED", "UNKNOWN") else "Normal"
    return Note(kind, prefix + state.capitalize(), f"{what} {words.get(state, 'in unknown state')}")


def _terminated(pod: Manifest, container: str) -> Manifest | None:
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if status["name"] == container:
            ended: Manifest | None = (status.get("state") or {}).get("terminated")
            return ended
    return None


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)
