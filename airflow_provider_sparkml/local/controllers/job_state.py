"""What is to be done next for a batch/v1 Job, and its status, from its pods. Pure.

Follows ``pkg/controller/job`` of kube-controller-manager v1.34: a pod that has ended is counted exactly once. Its UID
is noted in the status first, then its finalizer goes, and only then does it count for good; so neither a crash in
between nor somebody who deletes pods changes the numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_provider_sparkml.local.controllers.objects import (
    Note,
    find_condition,
    is_deleting,
    is_true,
    parse_time,
    put_condition,
)
from airflow_provider_sparkml.resources.base import Manifest

TRACKING = "batch.kubernetes.io/job-tracking"
"""Finalizer of a Job's pods that are not counted yet."""

INDEX = "batch.kubernetes.io/job-completion-index"
FIRST_BACK_OFF_SECONDS = 1.0
"""Ten on a cluster; whoever tries out something on a laptop waits for it."""

LAST_BACK_OFF_SECONDS = 360.0
IGNORED = ("podFailurePolicy", "successPolicy", "backoffLimitPerIndex", "maxFailedIndexes")
MESSAGES = {
    "BackoffLimitExceeded": "Job has reached the specified backoff limit",
    "DeadlineExceeded": "Job was active longer than specified deadline",
    "CompletionsReached": "Reached expected number of succeeded pods",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """The next step of a Job.

    :param status: what its status is now.
    :param create: a pod for each: its completion index, ``None`` for one without.
    :param delete: pods to delete.
    :param release: pods whose finalizer goes, once the status is stored.
    :param notes: events.
    :param again: seconds until the next look, though nothing may have changed by then.
    """

    status: dict[str, Any]
    create: tuple[int | None, ...] = ()
    delete: tuple[Manifest, ...] = ()
    release: tuple[Manifest, ...] = ()
    notes: tuple[Note, ...] = ()
    again: float | None = None


@dataclass(slots=True)
class Count:
    """A Job's pods, counted.

    :param succeeded: pods, or completion indexes, that succeeded.
    :param failed: pods that failed.
    :param completed: completion indexes that succeeded.
    :param running: pods that neither ended nor are being deleted.
    :param leaving: pods that are being deleted and have not ended.
    """

    succeeded: int = 0
    failed: int = 0
    completed: set[int] = field(default_factory=set)
    running: list[Manifest] = field(default_factory=list)
    leaving: list[Manifest] = field(default_factory=list)


def is_finished(job: Manifest) -> bool:
    """Whether a Job is complete or has failed."""
    status = job.get("status") or {}
    return is_true(status, "Complete") or is_true(status, "Failed")


def is_indexed(job: Manifest) -> bool:
    """Whether each of the Job's pods has a completion index."""
    return bool(job["spec"].get("completionMode") == "Indexed")


def is_tracked(pod: Manifest) -> bool:
    """Whether a pod has not been counted yet."""
    return TRACKING in (pod["metadata"].get("finalizers") or ())


def index_of(pod: Manifest) -> int | None:
    """Return a pod's completion index, ``None`` where it has none."""
    text = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
    return int(text) if text.isdigit() else None


def phase_of(pod: Manifest) -> str:
    """Return a pod's phase; a pod that goes without ever having run to an end has failed."""
    phase = (pod.get("status") or {}).get("phase", "Pending")
    if phase not in ("Succeeded", "Failed") and is_deleting(pod):
        meta = pod["metadata"]
        if not pod["spec"].get("nodeName") or meta.get("deletionGracePeriodSeconds") == 0:
            return "Failed"
    return str(phase)


def plan(job: Manifest, pods: Sequence[Manifest], now: datetime) -> Plan:
    """Return the next step of a Job that is neither finished nor being deleted.

    :param pods: those that it owns, counted or not.
    """
    status = copy.deepcopy(job.get("status") or {})
    notes: list[Note] = []
    suspended = bool(job["spec"].get("suspend"))
    _suspend_or_resume(status, suspended, now, notes)
    if not suspended:
        status.setdefault("startTime", _stamp(now))
    release = _track(job, status, pods)
    count = _count(job, status, pods)
    target = _target(job, status, count, now)
    if target:
        _aim(status, target, notes)
        if not (count.running or count.leaving or release):
            _finish(status, target, now, notes)
        step = _Step(delete=tuple(count.running))
    else:
        step = _Step(delete=tuple(count.running)) if suspended else _missing(job, status, count, pods, now)
        # Whoever is stopped for a while, or was one too many, has not failed: they are let go of uncounted.
        release = (*release, *filter(is_tracked, (*step.delete, *(count.leaving if suspended else ()))))
    _show(job, status, count)
    return Plan(status, step.create, step.delete, release, tuple(notes), step.again)


@dataclass(frozen=True, slots=True)
class _Step:
    create: tuple[int | None, ...] = ()
    delete: tuple[Manifest, ...] = ()
    again: float | None = None


def _suspend_or_resume(status: dict[str, Any], suspended: bool, now: datetime, notes: list[Note]) -> None:
    stamps = ("lastProbeTime",)
    if suspended:
        if put_condition(status, "Suspended", True, "JobSuspended", "Job suspended", stamps=stamps):
            notes.append(Note("Normal", "Suspended", "Job suspended"))
    elif is_true(status, "Suspended"):
        put_condition(status, "Suspended", False, "JobResumed", "Job resumed", stamps=stamps)
        notes.append(Note("Normal", "Resumed", "Job resumed"))
        status["startTime"] = _stamp(now)


def _track(job: Manifest, status: dict[str, Any], pods: Sequence[Manifest]) -> tuple[Manifest, ...]:
    """Take pods that ended into account; return those whose finalizer is to go."""
    waiting = status.pop("uncountedTerminatedPods", None) or {}
    tracked = {pod["metadata"]["uid"]: pod for pod in pods if is_tracked(pod)}
    completed = parse_indexes(status.get("completedIndexes", ""))
    uncounted: dict[str, list[str]] = {"succeeded": [], "failed": []}
    for kind, uids in uncounted.items():
        for uid in waiting.get(kind) or ():
            if uid in tracked:
                uids.append(uid)
            else:
                status[kind] = status.get(kind, 0) + 1
    release = []
    for uid, pod in tracked.items():
        phase = phase_of(pod)
        if phase not in ("Succeeded", "Failed"):
            continue
        release.append(pod)
        if is_indexed(job):
            index = index_of(pod)
            if phase == "Succeeded" and index is not None:
                completed.add(index)
            if phase == "Succeeded":
                continue  # completed indexes are counted, not pods
        if uid not in uncounted["succeeded"] and uid not in uncounted["failed"]:
            uncounted[phase.lower()].append(uid)
    if is_indexed(job):
        status["succeeded"] = len(completed)
        status["completedIndexes"] = format_indexes(completed)
    status["uncountedTerminatedPods"] = {kind: uids for kind, uids in uncounted.items() if uids}
    return tuple(release)


def _count(job: Manifest, status: dict[str, Any], pods: Sequence[Manifest]) -> Count:
    uncounted = status["uncountedTerminatedPods"]
    count = Count(
        succeeded=status.get("succeeded", 0) + len(uncounted.get("succeeded") or ()),
        failed=status.get("failed", 0) + len(uncounted.get("failed") or ()),
        completed=parse_indexes(status.get("completedIndexes", "")),
    )
    for pod in pods:
        if phase_of(pod) not in ("Succeeded", "Failed"):
            (count.leaving if is_deleting(pod) else count.running).append(pod)
    return count


def _target(job: Manifest, status: dict[str, Any], count: Count, now: datetime) -> str:
    """Return the reason for which the Job is to end, or an empty text."""
    for kind in ("FailureTarget", "SuccessCriteriaMet"):
        if is_true(status, kind):
            return str((find_condition(status, kind) or {})["reason"])
    spec = job["spec"]
    limit = spec.get("backoffLimit", 6)
    if count.failed > limit or _restarts_exhausted(job, count.running, limit):
        return "BackoffLimitExceeded"
    if (
        spec.get("activeDeadlineSeconds") is not None
        and not spec.get("suspend")
        and _deadline_in(job, status, now) <= 0
    ):
        return "DeadlineExceeded"
    completions = spec.get("completions")
    is_queue = completions is None  # of work: its pods know among themselves when there is nothing left
    met = count.succeeded > 0 and not count.running if is_queue else count.succeeded >= completions
    return "CompletionsReached" if met else ""


def _restarts_exhausted(job: Manifest, running: Iterable[Manifest], limit: int) -> bool:
    """Whether containers that restart in their pods have done so too often."""
    if job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    restarts = sum(
        status.get("restartCount", 0)
        for pod in running
        for kind in ("initContainerStatuses", "containerStatuses")
        for status in (pod.get("status") or {}).get(kind) or ()
    )
    return bool(restarts > 0 if limit == 0 else restarts >= limit)


def _deadline_in(job: Manifest, status: dict[str, Any], now: datetime) -> float:
    passed = (now - parse_time(status["startTime"])).total_seconds()
    return float(job["spec"]["activeDeadlineSeconds"]) - passed


def _aim(status: dict[str, Any], reason: str, notes: list[Note]) -> None:
    kind = "SuccessCriteriaMet" if reason == "CompletionsReached" else "FailureTarget"
    if (
        put_condition(status, kind, True, reason, MESSAGES[reason], stamps=("lastProbeTime",))
        and kind != "SuccessCriteriaMet"
    ):
        notes.append(Note("Warning", reason, MESSAGES[reason]))


def _finish(status: dict[str, Any], reason: str, now: datetime, notes: list[Note]) -> None:
    """Say that the Job has ended, once the last of its pods has."""
    succeeded = reason == "CompletionsReached"
    kind = "Complete" if succeeded else "Failed"
    put_condition(status, kind, True, reason, MESSAGES[reason], stamps=("lastProbeTime",))
    if succeeded:
        status["completionTime"] = _stamp(now)
        notes.append(Note("Normal", "Completed", "Job completed"))


def _missing(job: Manifest, status: dict[str, Any], count: Count, pods: Sequence[Manifest], now: datetime) -> _Step:
    """Return which pods are too few, or too many."""
    spec = job["spec"]
    again = _deadline_in(job, status, now) if spec.get("activeDeadlineSeconds") is not None else None
    wanted = int(spec.get("parallelism", 1))
    if spec.get("completions") is not None:
        wanted = min(wanted, spec["completions"] - count.succeeded)
    elif count.succeeded:
        wanted = len(count.running)  # the first success of a work queue: nobody new
    oldest = sorted(count.running, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))
    surplus = tuple(_duplicates(oldest) if is_indexed(job) else oldest[max(0, wanted) :])
    occupied = len(count.running) + (len(count.leaving) if spec.get("podReplacementPolicy") == "Failed" else 0)
    lacking = wanted - occupied
    if surplus or lacking <= 0:
        return _Step(delete=surplus, again=again)
    wait = _back_off_left(count.failed, pods, now)
    if wait > 0:
        return _Step(again=wait if again is None else min(wait, again))
    if not is_indexed(job):
        return _Step(create=(None,) * lacking, again=again)
    taken = count.completed | {index_of(pod) for pod in (*count.running, *count.leaving)}
    free = [index for index in range(spec["completions"]) if index not in taken]
    return _Step(create=tuple(free[:lacking]), again=again)


def _duplicates(pods: Iterable[Manifest]) -> Iterable[Manifest]:
    """Yield pods whose index an earlier one has: a controller that dies may have asked for one more than it knew."""
    seen: set[int | None] = set()
    for pod in pods:
        if index_of(pod) in seen:
            yield pod
        seen.add(index_of(pod))


def _back_off_left(failed: int, pods: Iterable[Manifest], now: datetime) -> float:
    """Return for how many seconds no pod takes the place of one that failed."""
    ends = [_ended_at(pod) for pod in pods if phase_of(pod) == "Failed"]
    if not ends or failed == 0:
        return 0.0
    pause = min(FIRST_BACK_OFF_SECONDS * 2.0 ** min(failed - 1, 20), LAST_BACK_OFF_SECONDS)
    return pause - (now - max(ends)).total_seconds()


def _ended_at(pod: Manifest) -> datetime:
    status = pod.get("status") or {}
    ends = [
        container["state"]["terminated"]["finishedAt"]
        for container in status.get("containerStatuses") or ()
        if (container.get("state") or {}).get("terminated", {}).get("finishedAt")
    ]
    meta = pod["metadata"]
    return parse_time(max(ends, default=meta.get("deletionTimestamp") or meta["creationTimestamp"]))


def _show(job: Manifest, status: dict[str, Any], count: Count) -> None:
    """Put the numbers of pods into the status, as the API writes them: no zeros but these three."""
    status["active"] = len(count.running)
    status["ready"] = sum(is_true(pod.get("status") or {}, "Ready") for pod in count.running)
    status["terminating"] = len(count.leaving)
    for name in ("active", "succeeded", "failed", "completedIndexes"):
        if not status.get(name):
            status.pop(name, None)


def _stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_indexes(text: str) -> set[int]:
    """Return the indexes that a text such as ``0,2-4`` names."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """Return indexes in the form that :func:`parse_indexes` reads."""
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
