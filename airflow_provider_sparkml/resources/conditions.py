"""Conditions, as most controllers write them: which of them hold, since when, and what they say about a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_sparkml.resources.base import Manifest, Phase, Verdict

Conditions = Mapping[str, Mapping[str, Any]]
"""Conditions of an object by their type."""

# A pod's own reason behind a Job's: what ended it came from outside, so the same job may succeed next time.
_OUTSIDE = frozenset({"Evicted", "MPIJobEvicted", "Preempting", "Preempted", "NodeLost", "NodeShutdown", "Shutdown"})


def conditions_of(obj: Manifest) -> Conditions:
    """Return the conditions in an object's status by their type; of one type the last counts."""
    found = (obj.get("status") or {}).get("conditions") or []
    return {str(each.get("type") or ""): each for each in found if each}


def holds(conditions: Conditions, name: str) -> bool:
    """Whether a condition is there, and true."""
    return (conditions.get(name) or {}).get("status") == "True"


def changed_at(conditions: Conditions, name: str) -> str:
    """Return the RFC 3339 time at which a condition took its status; empty when it does not say."""
    return (conditions.get(name) or {}).get("lastTransitionTime") or ""


def is_suspended(obj: Manifest) -> bool:
    """Whether the spec asks for the job to wait: Kueue's webhook sets this before any controller sees the job."""
    spec = obj.get("spec") or {}
    return bool(spec.get("suspend") or (spec.get("runPolicy") or {}).get("suspend"))


def read_conditions(
    obj: Manifest,
    *,
    succeeded: str = "Succeeded",
    failed: str = "Failed",
    running: bool | None = None,
    needs_completion_time: bool = False,
    progress: str = "",
) -> Verdict:
    """Return the verdict of a job that tells by conditions how it stands.

    :param obj: the job.
    :param succeeded: the condition that is its success.
    :param failed: the condition that is its failure.
    :param running: whether it runs, for kinds without conditions ``Running`` and ``Restarting``.
    :param needs_completion_time: whether an end without ``status.completionTime`` may yet be taken back.
    :param progress: how far it has come, to be told while it runs.
    """
    found, status = conditions_of(obj), obj.get("status") or {}
    created = obj["metadata"].get("creationTimestamp") or ""
    started, completed = status.get("startTime") or "", status.get("completionTime") or ""
    for name, phase in ((succeeded, Phase.SUCCEEDED), (failed, Phase.FAILED)):
        if holds(found, name) and (completed or not needs_completion_time):
            reason = found[name].get("reason") or ""
            return Verdict(
                phase,
                state=name,
                reason=reason,
                message=found[name].get("message") or "",
                attempt=1,
                retryable=phase is Phase.FAILED and reason.rpartition("/")[2] in _OUTSIDE,
                started_at=started or created,
                finished_at=completed or changed_at(found, name),
            )
    if is_suspended(obj) or holds(found, "Suspended"):
        # Kueue takes a job back as it lets it in, by its suspension: an eviction is no failure.
        return Verdict(Phase.QUEUED, state="Suspended" if "Suspended" in found else "", queued_since=_queued_since(obj))
    if holds(found, failed):
        # What the controller may yet take back: it goes on meanwhile.
        return Verdict(
            Phase.RUNNING,
            state=failed,
            reason=found[failed].get("reason") or "",
            message=found[failed].get("message") or "",
            attempt=1,
            started_at=started or created,
        )
    if holds(found, "Restarting"):
        again = found["Restarting"]
        return Verdict(
            Phase.RUNNING,
            state="Restarting",
            reason=again.get("reason") or "",
            message=again.get("message") or "",
            attempt=1,
            started_at=started or created,
        )
    # A success without its completionTime is none yet, but it has run.
    if running or holds(found, "Running") or holds(found, succeeded):
        return Verdict(Phase.RUNNING, state="Running", message=progress, attempt=1, started_at=started or created)
    resumed = changed_at(found, "Suspended")
    return Verdict(
        Phase.PENDING,
        state="Resumed" if resumed else "Created" if status else "",
        pending_since=resumed or started or created,
        started_at=started,
    )


def _queued_since(obj: Manifest) -> str:
    """Return since when a job is suspended: since its creation, or since a queue took it back.

    Empty in the moment after that, until its controller has taken note.
    """
    found = conditions_of(obj)
    if holds(found, "Suspended"):
        return changed_at(found, "Suspended")
    has_run = changed_at(found, "Suspended") or (obj.get("status") or {}).get("startTime")
    return "" if has_run else obj["metadata"].get("creationTimestamp") or ""


__all__ = ["Conditions", "changed_at", "conditions_of", "holds", "is_suspended", "read_conditions"]
