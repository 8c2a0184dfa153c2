"""The status of the training operator's jobs, from their pods. Pure.

Follows kubeflow/training-operator v1.9: ``ReconcilePods`` and ``ReconcileJobs`` of ``pkg/controller.v1/common``,
``UpdateJobStatus`` of each kind, ``pkg/core/job.go`` and ``pkg/util/status.go``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_provider_sparkml.local.controllers.kubeflow_conditions import ENDS, add_condition
from airflow_provider_sparkml.local.controllers.kubeflow_v1_pods import REPLICA_TYPE, Kind, labels, replicas
from airflow_provider_sparkml.local.controllers.objects import (
    Note,
    find_condition,
    is_deleting,
    is_true,
    parse_time,
    selector_of,
)
from airflow_provider_sparkml.local.controllers.runtime import now
from airflow_provider_sparkml.resources.base import Manifest

OVER = ("Running",)
RETRYABLE_EXIT_CODES = range(128, 256)
"""A container that a signal ended may do better next time; what it exits with by itself is permanent."""

Pods = Mapping[str, Sequence[Manifest]]
"""Replica type → its pods, by index."""


def by_type(kind: Kind, job: Manifest, pods: Iterable[Manifest]) -> Pods:
    """Sort a job's pods."""
    found: dict[str, list[Manifest]] = {name: [] for name, _ in replicas(kind, job)}
    names = {name.lower(): name for name in found}
    for pod in pods:
        name = names.get((pod["metadata"].get("labels") or {}).get(REPLICA_TYPE, ""))
        if name:
            found[name].append(pod)
    return found


def phase(pod: Manifest) -> str:
    """Return a pod's phase."""
    return str((pod.get("status") or {}).get("phase", "Pending"))


def exit_code(kind: Kind, pod: Manifest) -> int | None:
    """Return the exit code of the container that trains, ``None`` while it has none."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        ended = (status.get("state") or {}).get("terminated")
        if status["name"] == kind.container and ended:
            return int(ended["exitCode"])
    return None


def put(
    kind: Kind,
    status: dict[str, Any],
    notes: list[Note],
    word: str,
    message: str,
    *,
    value: bool = True,
    note: str = "",
) -> None:
    """Put a condition whose reason is the kind and a word, unless the job has failed: then nothing changes any more.

    :param note: ``Normal`` or ``Warning`` for an event as well.
    """
    if is_true(status, "Failed"):
        return
    condition = "Suspended" if word == "Resumed" else word
    reason = f"{kind.api.kind}{word}"
    if add_condition(status, condition, reason, message, value=value, ends=OVER if word in ENDS else ()) and note:
        notes.append(Note("Warning" if note == "Warning" else "Normal", reason, message))


def restart_or_fail(kind: Kind, job: Manifest, pods: Pods, status: dict[str, Any], notes: list[Note]) -> list[Manifest]:
    """Return the pods that failed and are to be made anew; a failure that is permanent goes into the status."""
    again = []
    for name, replica in replicas(kind, job):
        policy = replica["restartPolicy"]
        for pod in pods[name]:
            if phase(pod) != "Failed" or is_deleting(pod):
                continue
            code = exit_code(kind, pod)
            retryable = code in RETRYABLE_EXIT_CODES
            if policy in ("OnFailure", "Always") or (policy == "ExitCode" and retryable):
                again.append(pod)
                text = f"job {job['metadata']['name']} is restarting because {name} replica(s) failed."
                put(kind, status, notes, "Restarting", text, note="Warning")
            elif policy == "ExitCode":
                text = f'job "{job["metadata"]["name"]}" is failing because "{name}" replica(s) failed.'
                put(kind, status, notes, "Failed", text, note="Warning")
    return again


def count(kind: Kind, job: Manifest, pods: Pods, status: dict[str, Any]) -> None:
    """Bring ``replicaStatuses`` up to date."""
    found = {}
    for name, _ in replicas(kind, job):
        running = [pod for pod in pods[name] if phase(pod) == "Running"]
        counts = {
            "active": sum(not is_deleting(pod) for pod in running),
            "succeeded": sum(phase(pod) == "Succeeded" for pod in pods[name]),
            "failed": sum(phase(pod) == "Failed" for pod in pods[name]) + sum(map(is_deleting, running)),
        }
        selector = selector_of({**labels(kind, job), REPLICA_TYPE: name.lower()})
        found[name] = {key: value for key, value in counts.items() if value} | {"selector": selector}
    status["replicaStatuses"] = found


def limit_exceeded(kind: Kind, job: Manifest, pods: Pods, status: dict[str, Any], at: datetime) -> str:
    """Return why the job has to end though its replicas would go on, or an empty text."""
    policy, name = job["spec"]["runPolicy"], job["metadata"]["name"]
    limit = policy.get("backoffLimit")
    if limit is not None:
        everybody = [pod for each in pods.values() for pod in each]
        failed = sum(phase(pod) == "Failed" for pod in everybody)
        known = sum(each.get("failed", 0) for each in (status.get("replicaStatuses") or {}).values())
        if (limit == 0 and failed > known) or _restarts_exhausted(kind, job, pods, limit):
            return f"Job {name} has failed because it has reached the specified backoff limit"
    left = deadline_in(job, status, at)
    if left is not None and left <= 0:
        return f"Job {name} has failed because it was active longer than specified deadline"
    return ""


def _restarts_exhausted(kind: Kind, job: Manifest, pods: Pods, limit: int) -> bool:
    restarts = sum(
        container.get("restartCount", 0)
        for name, replica in replicas(kind, job)
        if replica["restartPolicy"] in ("OnFailure", "Always")
        for pod in pods[name]
        if phase(pod) in ("Running", "Pending")
        for field in ("initContainerStatuses", "containerStatuses")
        for container in (pod.get("status") or {}).get(field) or ()
    )
    return bool(restarts > 0 if limit == 0 else restarts >= limit)


def deadline_in(job: Manifest, status: Mapping[str, Any], at: datetime) -> float | None:
    """Return the seconds left to the job's deadline, ``None`` for a job without, or not yet started."""
    limit = job["spec"]["runPolicy"].get("activeDeadlineSeconds")
    if limit is None or not status.get("startTime"):
        return None
    return float(limit) - (at - parse_time(status["startTime"])).total_seconds()


def read(kind: Kind, job: Manifest, pods: Pods, status: dict[str, Any], notes: list[Note]) -> None:
    """Bring the conditions up to what the replicas' numbers say."""
    status.setdefault("startTime", now())
    full_name = job["metadata"]["name"]
    if kind.api.kind == "TFJob" or (kind.api.kind == "PyTorchJob" and "Master" not in job["spec"][kind.field]):
        full_name = f"{job['metadata']['namespace']}/{full_name}"
    restarting = find_condition(status, "Restarting")
    leader = next((name for name in ("Chief", "Master") if name in job["spec"][kind.field]), "Worker")
    for name, replica in replicas(kind, job):
        counts = status["replicaStatuses"][name]
        if name == leader:
            if counts.get("active"):
                put(kind, status, notes, "Running", f"{kind.api.kind} {full_name} is running.")
            if _has_succeeded(kind, job, name, pods, counts):
                verb = "successfully completed." if "/" in full_name else "is successfully completed."
                status.setdefault("completionTime", now())
                put(kind, status, notes, "Succeeded", f"{kind.api.kind} {full_name} {verb}", note="Normal")
                return
        if text := _failure(kind, job, name, counts):
            if _goes_on(kind, replica, restarting=restarting is not None):
                if kind.api.kind != "TFJob":
                    put(kind, status, notes, "Restarting", text.format("is restarting"), note="Warning")
                elif restarting is not None:  # said when its pods were looked at; Running has taken its place meanwhile
                    put(kind, status, notes, "Restarting", restarting["message"])
                continue
            status.setdefault("completionTime", now())
            put(kind, status, notes, "Failed", text.format("is failed"), note="Normal")


def _has_succeeded(kind: Kind, job: Manifest, name: str, pods: Pods, counts: Mapping[str, int]) -> bool:
    wanted = int(job["spec"][kind.field][name]["replicas"])
    if counts.get("succeeded", 0) >= wanted:
        return True
    if name != "Worker":
        return False
    if kind.api.kind == "PyTorchJob":
        return job["spec"].get("elasticPolicy") is not None and counts.get("succeeded", 0) > 0
    first = next((pod for pod in pods[name] if pod["metadata"]["name"].endswith("-worker-0")), None)
    is_done = first is not None and phase(first) == "Succeeded" and exit_code(kind, first) == 0
    return is_done and job["spec"].get("successPolicy") != "AllWorkers"


def _failure(kind: Kind, job: Manifest, name: str, counts: Mapping[str, int]) -> str:
    """Return what there is to say of failed replicas of a type, with a place for what follows; empty: nothing."""
    failed, wanted = counts.get("failed", 0), int(job["spec"][kind.field][name]["replicas"])
    missing = wanted > counts.get("succeeded", 0) + counts.get("active", 0)
    if not failed or (kind.api.kind == "PyTorchJob" and not missing):
        return ""
    if kind.api.kind != "TFJob":
        return f"{kind.api.kind} {job['metadata']['name']} {{}} because {failed} {name} replica(s) failed."
    if name == "Worker" and job["spec"].get("enableDynamicWorker"):
        return ""
    meta = job["metadata"]
    return f"TFJob {meta['namespace']}/{meta['name']} has failed because {failed} {name} replica(s) failed."


def _goes_on(kind: Kind, replica: Mapping[str, Any], *, restarting: bool) -> bool:
    """Whether a job goes on although replicas of a type have failed."""
    if kind.api.kind == "PyTorchJob":
        return bool(replica["restartPolicy"] != "Never")
    if kind.api.kind == "XGBoostJob":
        return bool(replica["restartPolicy"] == "ExitCode")
    return restarting
