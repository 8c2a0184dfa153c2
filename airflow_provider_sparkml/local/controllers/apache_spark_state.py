"""The states of the Apache Spark operator's SparkApplication and what leads from one to the next. Pure.

Follows ``AppInitStep``, ``AppRunningStep``, the driver's observers and ``ApplicationStatus`` of
apache/spark-kubernetes-operator 1.0; states and texts are the operator's.
"""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Any

from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.replicas import part_of
from airflow_provider_sparkml.resources.spark_apache import FAILURES, driver_container, state_of

NEW = ""
INITIAL = ("Submitted", "ScheduledToRestart")
STOPPING = (*FAILURES, "Succeeded")
INFRASTRUCTURE = ("DriverStartTimedOut", "ExecutorsStartTimedOut", "SchedulingFailure")
DEFAULT_TIMEOUT_MILLIS = 300_000
MAX_RESTARTS = 3
BACKOFF_MILLIS = 30_000

MESSAGES = {
    "Submitted": "Spark application has been created on Kubernetes Cluster.",
    "DriverRequested": "Requested driver from resource scheduler.",
    "DriverStarted": "Driver has started running.",
    "DriverReady": "Driver has reached ready state.",
    "RunningHealthy": "Application is running healthy.",
    "InitializedBelowThresholdExecutors": (
        "The application is running with less than minimal number of requested initial executors."
    ),
    "Succeeded": "Spark application completed successfully.",
    "ScheduledToRestart": "",
    "ResourceReleased": "",
    "TerminatedWithoutReleaseResources": "Application is terminated without releasing resources as configured.",
}
FAILED_MESSAGE = "Driver has one or more failed critical container(s), refer last observed status for details."
REMOVED_MESSAGE = (
    "Driver removed. This could caused by 'exit' called in driver process with non-zero code, involuntary disruptions "
    "or unintentional destroy behavior, check Kubernetes events for more details."
)
LATE_MESSAGE = (
    "The driver has not responded to the initial health check request within the allotted start-up time. This can be "
    "configured by setting .spec.applicationTolerations.applicationTimeoutConfig."
)
NO_EXECUTORS_MESSAGE = "The Spark application failed to get enough executors in the given time threshold."
Status = dict[str, Any]

# State → field of the time-out in it, what follows, and its message.
_TIMEOUTS = {
    "DriverRequested": ("driverStartTimeoutMillis", "DriverStartTimedOut", LATE_MESSAGE),
    "DriverStarted": ("driverReadyTimeoutMillis", "DriverReadyTimedOut", LATE_MESSAGE),
    "DriverReady": ("executorStartTimeoutMillis", "ExecutorsStartTimedOut", NO_EXECUTORS_MESSAGE),
    "InitializedBelowThresholdExecutors": (
        "executorStartTimeoutMillis",
        "ExecutorsStartTimedOut",
        NO_EXECUTORS_MESSAGE,
    ),
}


def enter(app: Manifest, state: str, moment: datetime, message: str = "", pod: Manifest | None = None) -> Status:
    """Return the status of an application that enters a state.

    :param pod: the driver pod whose status is noted with it.
    """
    status: Status = copy.deepcopy(app.get("status") or {})
    status.setdefault("currentAttemptSummary", {"attemptInfo": {"id": 0, "restartCounter": 0}})
    entered: Status = {
        "currentStateSummary": state,
        "lastTransitionTime": moment.isoformat().replace("+00:00", "Z"),
        "message": message or MESSAGES.get(state, ""),
    }
    if pod is not None:
        entered["lastObservedDriverStatus"] = pod.get("status") or {}
    history = status.setdefault("stateTransitionHistory", {})
    history[str(max(map(int, history), default=-1) + 1)] = entered
    status["currentState"] = entered
    return status


def observe(app: Manifest, pod: Manifest | None, ready_executors: int, moment: datetime) -> Status | None:
    """Return the next status of an application whose driver was asked for; ``None`` while nothing has changed."""
    state = state_of(app)
    if pod is None:
        return enter(app, "Failed", moment, REMOVED_MESSAGE)
    if state == "DriverRequested" and _container(app, pod).get("ready"):
        return enter(app, "DriverStarted", moment)
    if state == "DriverStarted" and _is_ready(pod):
        return enter(app, "DriverReady", moment)
    return _ended(app, pod, moment) or _started(app, ready_executors, moment) or _late(app, pod, moment)


def _started(app: Manifest, ready_executors: int, moment: datetime) -> Status | None:
    """Return the status of an application whose executors are there; ``None`` while they are not, or it runs."""
    state = state_of(app)
    wanted = int(part_of(app, "spec", "applicationTolerations", "instanceConfig").get("initExecutors") or 0)
    if state in ("DriverReady", "InitializedBelowThresholdExecutors"):
        if ready_executors >= wanted:
            return enter(app, "RunningHealthy", moment)
        if ready_executors and state == "DriverReady":
            return enter(app, "InitializedBelowThresholdExecutors", moment)
    return None


def _late(app: Manifest, pod: Manifest, moment: datetime) -> Status | None:
    """Return the status of an application whose state has lasted too long."""
    left = seconds_left(app, moment)
    if left is not None and left <= 0:
        _, late, message = _TIMEOUTS[state_of(app)]
        return enter(app, late, moment, message, pod)
    return None


def seconds_left(app: Manifest, moment: datetime) -> float | None:
    """Return how long the state may still last; ``None``: for ever."""
    state = state_of(app)
    if state not in _TIMEOUTS:
        return None
    config = part_of(app, "spec", "applicationTolerations", "applicationTimeoutConfig")
    millis = config.get(_TIMEOUTS[state][0], DEFAULT_TIMEOUT_MILLIS)
    return float(millis) / 1000 - _seconds_in_state(app, moment) if millis > 0 else None


def seconds_to_restart(app: Manifest, moment: datetime) -> float:
    """Return how long an application that is to be restarted still waits."""
    if state_of(app) != "ScheduledToRestart":
        return 0.0
    config = part_of(app, "spec", "applicationTolerations", "restartConfig")
    return float(config.get("restartBackoffMillis", BACKOFF_MILLIS)) / 1000 - _seconds_in_state(app, moment)


def seconds_to_live(app: Manifest, moment: datetime) -> float | None:
    """Return how long an ended application still lives; ``None``: for ever."""
    millis = int(part_of(app, "spec", "applicationTolerations").get("ttlAfterStopMillis", -1))
    return None if millis < 0 else millis / 1000 - _seconds_in_state(app, moment)


def conclude(app: Manifest, moment: datetime) -> tuple[Status, bool]:
    """Return the status after a run that has stopped, and whether its driver pod is deleted."""
    state, tolerations = state_of(app), part_of(app, "spec", "applicationTolerations")
    config, retain = part_of(tolerations, "restartConfig"), tolerations.get("resourceRetainPolicy", "Never")
    policy = config.get("restartPolicy", "Never")
    kept = retain == "Always" or (retain == "OnFailure" and state in FAILURES)
    end = "TerminatedWithoutReleaseResources" if kept else "ResourceReleased"
    if not _restarts(policy, state):
        # With any restart policy the driver is released, whatever is to be retained.
        return enter(app, end, moment), not kept or policy != "Never"
    info = part_of(app, "status", "currentAttemptSummary", "attemptInfo")
    most, restarts = config.get("maxRestartAttempts", MAX_RESTARTS), int(info.get("restartCounter") or 0) + 1
    if restarts > most:
        return enter(app, end, moment, f"The maximum number of restart attempts ({most}) has been exceeded."), True
    status = enter(app, "ScheduledToRestart", moment)
    status["previousAttemptSummary"] = status["currentAttemptSummary"]
    attempt = {"id": int(info.get("id") or 0) + 1, "restartCounter": restarts}
    status["currentAttemptSummary"] = {"attemptInfo": attempt}
    return status, True


def _restarts(policy: str, state: str) -> bool:
    if policy == "OnFailure":
        return state in FAILURES
    return policy == "Always" or (policy == "OnInfrastructureFailure" and state in INFRASTRUCTURE)


def _ended(app: Manifest, pod: Manifest, moment: datetime) -> Status | None:
    """Return the status of an application whose driver has ended."""
    status = pod.get("status") or {}
    if status.get("phase") == "Failed":
        state = "DriverEvicted" if status.get("reason") == "Evicted" else "Failed"
        return enter(app, state, moment, FAILED_MESSAGE, pod)
    terminated = (_container(app, pod).get("state") or {}).get("terminated")
    if status.get("phase") != "Succeeded" and terminated is None:
        return None
    if terminated is not None and terminated["exitCode"] != 0:
        return enter(app, "Failed", moment, FAILED_MESSAGE, pod)
    if state_of(app) == "DriverRequested" and not (terminated or {}).get("startedAt"):
        text = "Driver container is terminated without SparkContext / SparkSession initialization."
        return enter(app, "Failed", moment, text, pod)
    return enter(app, "Succeeded", moment)


def _container(app: Manifest, pod: Manifest) -> Manifest:
    """Return the status of the driver's container, empty while there is none."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    wanted = driver_container(app)
    return next((each for each in statuses if each.get("name") == wanted), {})


def _is_ready(pod: Manifest) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _seconds_in_state(app: Manifest, moment: datetime) -> float:
    return (moment - datetime.fromisoformat(app["status"]["currentState"]["lastTransitionTime"])).total_seconds()


__all__ = ["STOPPING", "conclude", "enter", "observe", "state_of"]
