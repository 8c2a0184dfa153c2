"""What pods tell of a job's start-up: a gang scheduler that holds them back, since when they start, whether it is over.

Pure. The pods are asked only when a deadline has passed, since a job's own status may not tell.
"""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_sparkml.resources.base import Manifest

SCHEDULERS = ("volcano", "yunikorn")
"""They start all pods of a job together, or none; while they start none, the job's own status says nothing of it."""


def held_back_by(pods: Iterable[Manifest]) -> str:
    """Return the gang scheduler that has given none of a job's pods a node; empty where there is none."""
    alive = _alive(pods)
    names = {str((pod.get("spec") or {}).get("schedulerName")) for pod in alive}
    placed = any((pod.get("spec") or {}).get("nodeName") for pod in alive)
    return "" if placed or len(names) != 1 or not names & set(SCHEDULERS) else names.pop()


def began_at(pods: Iterable[Manifest]) -> str:
    """Return since when a job's pods could start, RFC 3339; empty where there are none.

    That is since the first of those that are there was made: those of a run before, or of an initializer, are gone or
    have ended. What a gang scheduler has placed begins when the last one was.
    """
    alive = _alive(pods)
    made = min((str(pod["metadata"].get("creationTimestamp") or "") for pod in alive), default="")
    placed = (
        str(condition.get("lastTransitionTime") or "")
        for pod in alive
        if (pod.get("spec") or {}).get("schedulerName") in SCHEDULERS
        for condition in (pod.get("status") or {}).get("conditions") or ()
        if condition.get("type") == "PodScheduled" and condition.get("status") == "True"
    )
    return max([made, *placed])


def is_over(pods: Iterable[Manifest]) -> bool:
    """Whether all containers of all pods have run: what waits now is no start-up, but a run that has lost something."""
    alive = _alive(pods)
    return bool(alive) and all(map(_has_run, alive))


def _has_run(pod: Manifest) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return bool(statuses) and all(
        each.get("restartCount") or not {"running", "terminated"}.isdisjoint(each.get("state") or {})
        for each in statuses
    )


def _alive(pods: Iterable[Manifest]) -> list[Manifest]:
    """Return the pods that have not ended, and are not about to."""
    return [
        pod
        for pod in pods
        if not pod["metadata"].get("deletionTimestamp")
        and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    ]


__all__ = ["SCHEDULERS", "began_at", "held_back_by", "is_over"]
