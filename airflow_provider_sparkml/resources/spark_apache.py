"""SparkApplication of the Apache Spark operator (``spark.apache.org/v1``): how its status is read.

The states and their meaning: ``ApplicationStateSummary``, ``ApplicationStatus`` and ``AppCleanUpStep`` of
apache/spark-kubernetes-operator 1.0. A state that ends an attempt is not the end: the operator restarts, or cleans up
and then writes ``ResourceReleased`` or ``TerminatedWithoutReleaseResources``, after success and failure alike. Which of
both it was is only in ``status.stateTransitionHistory``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from airflow_provider_sparkml.resources.base import (
    ApiResource,
    LogSource,
    Manifest,
    Phase,
    Resource,
    Verdict,
    register,
)
from airflow_provider_sparkml.resources.replicas import part_of
from airflow_provider_sparkml.resources.retries import refuse_retries
from airflow_provider_sparkml.resources.spark import DRIVER_CONTAINER, UI_PORT, may_succeed_next_time
from airflow_provider_sparkml.resources.spark_apache_builder import ApacheSparkApplication
from airflow_provider_sparkml.resources.spark_apache_check import CONTAINER_NAME, check, lint, normalize
from airflow_provider_sparkml.resources.spark_requests import requested

API = ApiResource("spark.apache.org", "v1", "sparkapplications", "SparkApplication")
APP_NAME = "spark.operator/spark-app-name"
"""Label of an application's pods."""
ENDS = ("ResourceReleased", "TerminatedWithoutReleaseResources")
"""The states that are never left (but the second for the first); neither is a success or a failure by itself."""

_PHASES = {
    "": Phase.PENDING,
    "Submitted": Phase.PENDING,
    "ScheduledToRestart": Phase.PENDING,
    "DriverRequested": Phase.PENDING,
    "SchedulingFailure": Phase.PENDING,
    "DriverStartTimedOut": Phase.PENDING,
    "DriverStarted": Phase.RUNNING,
    "DriverReady": Phase.RUNNING,
    "InitializedBelowThresholdExecutors": Phase.RUNNING,
    "RunningHealthy": Phase.RUNNING,
    "RunningWithPartialCapacity": Phase.RUNNING,
    "RunningWithBelowThresholdExecutors": Phase.RUNNING,
    "DriverReadyTimedOut": Phase.RUNNING,
    "ExecutorsStartTimedOut": Phase.RUNNING,
    "DriverEvicted": Phase.RUNNING,
    "Succeeded": Phase.RUNNING,
    "Failed": Phase.RUNNING,
}
FAILURES = (
    "DriverStartTimedOut", "ExecutorsStartTimedOut", "SchedulingFailure", "DriverEvicted", "Failed",
    "DriverReadyTimedOut",
)  # fmt: skip
_INFRASTRUCTURE = ("DriverStartTimedOut", "ExecutorsStartTimedOut", "DriverReadyTimedOut", "DriverEvicted")
# The driver pod was deleted by somebody else: DRIVER_UNEXPECTED_REMOVED_MESSAGE.
_DRIVER_REMOVED = "Driver removed."
_INITIAL = ("Submitted", "ScheduledToRestart")
_ID_LENGTH, _HASH_LENGTH = 46, 36
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def read(obj: Manifest) -> Verdict:
    """Return the verdict of a SparkApplication for every state the operator writes, and for those it may yet invent."""
    state, history = state_of(obj), history_of(obj)
    current: Mapping[str, Any] = (obj.get("status") or {}).get("currentState") or {}
    deciding = _before_the_end(history) if state in ENDS else current
    word = str(deciding.get("currentStateSummary") or "")
    phase = _ended(word) if state in ENDS else _PHASES.get(state, Phase.UNKNOWN)
    message = _message(obj, deciding, current)
    attempts = _attempt(obj) + 1 if state not in ("", *_INITIAL) else _attempt(obj)
    return Verdict(
        phase=phase,
        state=state,
        reason=_reason(obj, state, word, phase),
        message=message,
        attempt=attempts,
        submission_id=application_id(obj) if state not in ("", *_INITIAL) else "",
        retryable=phase is Phase.FAILED and _retryable(word, message),
        pending_since=_pending_since(obj, state, history) if phase is Phase.PENDING else "",
        started_at=_started_at(history),
        finished_at=str(deciding.get("lastTransitionTime") or "") if phase.is_terminal else "",
    )


def state_of(obj: Manifest) -> str:
    """Return ``status.currentState.currentStateSummary``; empty for a new application."""
    return str(((obj.get("status") or {}).get("currentState") or {}).get("currentStateSummary") or "")


def history_of(obj: Manifest) -> list[Mapping[str, Any]]:
    """Return the states so far, oldest first; their keys are numbers written as text."""
    history: Mapping[str, Mapping[str, Any]] = (obj.get("status") or {}).get("stateTransitionHistory") or {}
    return [history[key] for key in sorted(history, key=int)]


def application_id(obj: Manifest) -> str:
    """Return the Spark application id of the current attempt, by which its driver pod is named as well.

    ``SparkAppSubmissionWorker.generateSparkAppId``: ``<name>-<attempt>``, or a hash of both where that is too long.
    """
    stated = _conf(obj).get("spark.app.id")
    if stated:
        return str(stated)
    meta, attempt = obj["metadata"], _attempt(obj)
    preferred = f"{meta['name']}-{attempt}"
    if len(preferred) <= _ID_LENGTH:
        return preferred
    digest = hashlib.sha256("/".join((meta.get("namespace", ""), meta["name"], str(attempt))).encode()).digest()
    return f"{preferred[: _ID_LENGTH - _HASH_LENGTH - 1]}-{_base36(int.from_bytes(digest))[:_HASH_LENGTH]}"


def driver_pod(obj: Manifest) -> str:
    """Return the name of the current attempt's driver pod."""
    return str(_conf(obj).get("spark.kubernetes.driver.pod.name") or f"{application_id(obj)}-driver")


def driver_container(obj: Manifest) -> str:
    """Return the name of the driver's container; a submitted manifest states it where it is not Spark's own."""
    return str(_conf(obj).get(CONTAINER_NAME) or DRIVER_CONTAINER)


def log_source(obj: Manifest) -> LogSource | None:
    """Return the driver's container; ``None`` until the operator has asked for its pod."""
    if state_of(obj) in ("", *_INITIAL):
        return None
    return LogSource(driver_pod(obj), driver_container(obj), "driver")


def facts(obj: Manifest) -> dict[str, Any]:
    """Return what only a SparkApplication knows of itself, as the other operator's does; it knows of no UI address."""
    verdict = read(obj)
    started = bool(verdict.submission_id)
    spec = {"type": "Java" if part_of(obj, "spec").get("jars") else "Python", "sparkConf": _conf(obj)}
    times = {"lastSubmissionAttemptTime": verdict.started_at, "terminationTime": verdict.finished_at}
    return {
        "spark_application_id": application_id(obj) if started else "",
        "submission_id": verdict.submission_id,
        "driver_pod": driver_pod(obj) if started else "",
        "ui_url": "",
        "requested": requested({"spec": spec, "status": times}),
    }


def pod_selector(obj: Manifest) -> str:
    """Return the label selector of the application's driver and executors."""
    return f"{APP_NAME}={obj['metadata']['name']}"


def progress(obj: Manifest) -> tuple[str, int] | None:
    """Return the driver pod and the port of Spark's REST API; ``None`` while no driver runs or the UI is off."""
    conf = _conf(obj)
    if state_of(obj) in ("", *_INITIAL) or str(conf.get("spark.ui.enabled", "true")).lower() == "false":
        return None
    port = str(conf.get("spark.ui.port", UI_PORT))
    return driver_pod(obj), int(port) if port.isdigit() else UI_PORT


def with_env(manifest: Manifest, env: Mapping[str, str]) -> Manifest:
    """Return a copy in which driver and executors have these variables, by Spark's own properties for that."""
    spec = dict(manifest.get("spec") or {})
    conf = dict(spec.get("sparkConf") or {})
    for name, value in env.items():
        conf[f"spark.kubernetes.driverEnv.{name}"] = conf[f"spark.executorEnv.{name}"] = value
    return {**manifest, "spec": {**spec, "sparkConf": conf}}


def without_retries(manifest: Manifest) -> Manifest:
    """Return the manifest itself, which the operator tries once: that is its default.

    :raises InvalidManifestError: its restart policy asks for more.
    """
    config = part_of(manifest, "spec", "applicationTolerations", "restartConfig")
    refuse_retries(config.get("restartPolicy"), "Never", "spec.applicationTolerations.restartConfig.restartPolicy")
    return manifest


def _conf(obj: Manifest) -> dict[str, Any]:
    return part_of(obj, "spec", "sparkConf")


def _attempt(obj: Manifest) -> int:
    """Return the number of the current attempt, from 0."""
    return int(part_of(obj, "status", "currentAttemptSummary", "attemptInfo").get("id") or 0)


def _before_the_end(history: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the last state before the operator was done with the application; empty where its history has none."""
    return next((each for each in reversed(history) if each.get("currentStateSummary") not in ENDS), {})


def _ended(word: str) -> Phase:
    """Return how an application ended whose last state was this; one that was cancelled has not succeeded."""
    return Phase.SUCCEEDED if word == "Succeeded" else Phase.FAILED


def _reason(obj: Manifest, state: str, word: str, phase: Phase) -> str:
    """Return a CamelCase word for what the state alone does not say."""
    if obj["metadata"].get("deletionTimestamp"):
        return "BeingDeleted"
    if phase is Phase.UNKNOWN:
        return "UnknownState"
    if state not in ENDS:
        return ""
    return word if word in (*FAILURES, "Succeeded") else "Cancelled"


def _message(obj: Manifest, deciding: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    """Return what the operator says, with how the driver's container ended where it has noted that."""
    said = [str(deciding.get("message") or "")]
    if deciding.get("currentStateSummary") in FAILURES:
        wanted = driver_container(obj)
        for status in (deciding.get("lastObservedDriverStatus") or {}).get("containerStatuses") or ():
            ended = (status.get("state") or {}).get("terminated")
            if ended and status.get("name") == wanted:
                said.insert(
                    0,
                    f"driver container failed with ExitCode: {ended.get('exitCode')}, "
                    f"Reason: {ended.get('reason') or ''}",
                )
        # Why no further restart followed.
        said.append(str(current.get("message") or "") if current is not deciding else "")
    return " ".join(dict.fromkeys(part for part in said if part))


def _retryable(word: str, message: str) -> bool:
    """Whether the status alone shows that the cause lay outside of the application."""
    return word in _INFRASTRUCTURE or _DRIVER_REMOVED in message or may_succeed_next_time(message)


def _pending_since(obj: Manifest, state: str, history: list[Mapping[str, Any]]) -> str:
    """Return since when the application could have been starting; empty while the operator itself holds it back."""
    if state == "ScheduledToRestart":
        return ""
    if _attempt(obj) == 0:
        return str(obj["metadata"].get("creationTimestamp") or "")
    return _started_at(history)


def _started_at(history: list[Mapping[str, Any]]) -> str:
    """Return when the driver of the current attempt was asked for."""
    asked = [each for each in history if each.get("currentStateSummary") == "DriverRequested"]
    return str(asked[-1].get("lastTransitionTime") or "") if asked else ""


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
    return digits or "0"


APACHE_SPARK_APPLICATION = register(
    Resource(
        api=API,
        read=read,
        normalize=normalize,
        check=check,
        log_source=log_source,
        facts=facts,
        pod_selector=pod_selector,
        main_container=DRIVER_CONTAINER,
        without_retries=without_retries,
        with_env=with_env,
        lint=lint,
        progress=progress,
    )
)

__all__ = ["APACHE_SPARK_APPLICATION", "API", "ENDS", "ApacheSparkApplication", "application_id", "read"]
