"""SparkApplication of the Kubeflow Spark operator (``sparkoperator.k8s.io/v1beta2``): how its status is read.

The states and their meaning: ``api/v1beta2/sparkapplication_types.go`` and
``internal/controller/sparkapplication/controller.go`` of kubeflow/spark-operator v2.5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_sparkml.resources.base import (
    ApiResource,
    LogSource,
    Manifest,
    Phase,
    Resource,
    Verdict,
    merge_env,
    register,
)
from airflow_provider_sparkml.resources.spark_builders import (
    BatchScheduler,
    Dependencies,
    Driver,
    DynamicAllocation,
    Executor,
    RestartPolicy,
    Secret,
    SparkApplication,
)
from airflow_provider_sparkml.resources.spark_check import check
from airflow_provider_sparkml.resources.spark_lint import lint
from airflow_provider_sparkml.resources.spark_normalize import normalize
from airflow_provider_sparkml.resources.spark_requests import requested
from airflow_provider_sparkml.resources.spark_retries import next_retry, without_retries
from airflow_provider_sparkml.resources.spark_volumes import Volume

API = ApiResource("sparkoperator.k8s.io", "v1beta2", "sparkapplications", "SparkApplication")
DRIVER_CONTAINER = "spark-kubernetes-driver"
UI_PORT = 4040

# FAILING and SUCCEEDING are not the end: a retry may follow. PENDING_RERUN and INVALIDATING wait for the old driver to
# go; no time in the status says since when, so no start-up clock runs in them.
_PHASES = {
    "": Phase.PENDING,
    "SUBMITTED": Phase.PENDING,
    "SUBMISSION_FAILED": Phase.PENDING,
    "PENDING_RERUN": Phase.PENDING,
    "INVALIDATING": Phase.PENDING,
    "RUNNING": Phase.RUNNING,
    "SUCCEEDING": Phase.RUNNING,
    "FAILING": Phase.RUNNING,
    "COMPLETED": Phase.SUCCEEDED,
    "FAILED": Phase.FAILED,
    "SUSPENDING": Phase.QUEUED,
    "SUSPENDED": Phase.QUEUED,
    "RESUMING": Phase.QUEUED,
    "UNKNOWN": Phase.UNKNOWN,
}
_STARTING = ("SUBMITTED", "SUBMISSION_FAILED")
_EXIT = re.compile(r"ExitCode: (\d+), Reason: (\w*)")
# Causes that lie outside of the application: a driver that was lost, and a namespace that has no room now.
_OUTSIDE = ("driver pod not found", "driver container status missing", "driver pod already exist", "exceeded quota")
# SIGILL, SIGABRT, SIGBUS, SIGFPE and SIGSEGV as exit codes: native code crashed, and would do so again.
_CRASHES = (132, 134, 135, 136, 139)


def read(obj: Manifest) -> Verdict:
    """Return the verdict of a SparkApplication for every state the operator writes, and for those it may yet invent."""
    status: Mapping[str, Any] = obj.get("status") or {}
    application: Mapping[str, Any] = status.get("applicationState") or {}
    state = application.get("state") or ""
    submitted = status.get("lastSubmissionAttemptTime") or ""
    message = application.get("errorMessage") or ""
    retry = next_retry(obj)
    phase = _PHASES.get(state, Phase.UNKNOWN)
    if state == "" and (obj.get("spec") or {}).get("suspend"):
        phase = Phase.QUEUED
    return Verdict(
        phase=phase,
        state=state,
        reason=_reason(obj, state),
        message=f"{retry}: {message}" if retry else message,
        attempt=int(status.get("executionAttempts") or 0),
        submission_id=status.get("submissionID") or "",
        retryable=phase is Phase.FAILED and may_succeed_next_time(message),
        # Of one that a queue took back the status does not tell when.
        queued_since="" if submitted or phase is not Phase.QUEUED else obj["metadata"].get("creationTimestamp") or "",
        pending_since=_pending_since(obj, state, submitted) if phase is Phase.PENDING else "",
        started_at=submitted,
        finished_at=status.get("terminationTime") or "",
    )


def log_source(obj: Manifest) -> LogSource | None:
    """Return the driver's container; ``None`` until the operator has written the pod's name.

    A rerun clears the name, so this is to be read anew after every change of ``submissionID``.
    """
    pod = _driver_info(obj).get("podName") or ""
    return LogSource(pod, DRIVER_CONTAINER, "driver") if pod else None


def facts(obj: Manifest) -> dict[str, Any]:
    """Return what only a SparkApplication knows of itself: ids, driver pod, UI address, and what it requested."""
    status, info = obj.get("status") or {}, _driver_info(obj)
    return {
        "spark_application_id": status.get("sparkApplicationId") or "",
        "submission_id": status.get("submissionID") or "",
        "driver_pod": info.get("podName") or "",
        "ui_url": ui_url(obj),
        "requested": requested(obj),
    }


def ui_url(obj: Manifest) -> str:
    """Return the address of the Spark UI that a browser can reach: the ingress's, or empty.

    ``webUIAddress`` is a cluster-internal address and of no use outside of the cluster.
    """
    address = _driver_info(obj).get("webUIIngressAddress") or ""
    if not address or "://" in address:
        return address
    return f"http://{address}"


def pod_selector(obj: Manifest) -> str:
    """Return the label selector of the application's driver and executors."""
    return f"sparkoperator.k8s.io/app-name={obj['metadata']['name']}"


def progress(obj: Manifest) -> tuple[str, int] | None:
    """Return the driver pod and the port of Spark's REST API; ``None`` while no driver runs or the UI is off."""
    conf = (obj.get("spec") or {}).get("sparkConf") or {}
    pod = _driver_info(obj).get("podName") or ""
    if not pod or str(conf.get("spark.ui.enabled", "true")).lower() == "false":
        return None
    port = str(conf.get("spark.ui.port", UI_PORT))
    return pod, int(port) if port.isdigit() else UI_PORT


def with_env(manifest: Manifest, env: Mapping[str, str]) -> Manifest:
    """Return a copy in which driver and executors have these variables."""
    spec = dict(manifest.get("spec") or {})
    for role in ("driver", "executor"):
        own = dict(spec.get(role) or {})
        own["env"] = merge_env(own.get("env"), env)
        spec[role] = own
    return {**manifest, "spec": spec}


def _driver_info(obj: Manifest) -> Mapping[str, Any]:
    """Return ``status.driverInfo``, empty when absent."""
    info: Mapping[str, Any] = (obj.get("status") or {}).get("driverInfo") or {}
    return info


def _reason(obj: Manifest, state: str) -> str:
    """Return a CamelCase word for what the state alone does not say."""
    if obj["metadata"].get("deletionTimestamp"):
        return "BeingDeleted"
    if state not in _PHASES:
        return "UnknownState"
    if state == "SUBMISSION_FAILED":
        return "SubmissionFailed"
    exited = _EXIT.search(((obj.get("status") or {}).get("applicationState") or {}).get("errorMessage") or "")
    return exited[2] if exited else ""


def _pending_since(obj: Manifest, state: str, submitted: str) -> str:
    """Return since when the application could have been starting; empty when its status does not say."""
    if state in _STARTING and submitted:
        return submitted
    if state in ("", *_STARTING):
        created: str = obj["metadata"].get("creationTimestamp") or ""
        return created
    return ""


def may_succeed_next_time(message: str) -> bool:
    """Whether the operator's message alone shows that the cause lay outside of the application."""
    if any(text in message for text in _OUTSIDE):
        return True
    exited = _EXIT.search(message)
    # 128+n: ended by signal n. The kernel's OOM killer uses SIGKILL too, and would do so again.
    return exited is not None and int(exited[1]) > 128 and int(exited[1]) not in _CRASHES and exited[2] != "OOMKilled"


SPARK_APPLICATION = register(
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

__all__ = [
    "API",
    "DRIVER_CONTAINER",
    "SPARK_APPLICATION",
    "BatchScheduler",
    "Dependencies",
    "Driver",
    "DynamicAllocation",
    "Executor",
    "RestartPolicy",
    "Secret",
    "SparkApplication",
    "Volume",
    "may_succeed_next_time",
    "read",
    "ui_url",
]
