"""Whether a gang scheduler holds back all pods of a job, which waits in that scheduler's queue then. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_sparkml.resources.base import Manifest

SCHEDULERS = ("volcano", "yunikorn")
"""They start all pods of a job together, or none; while they start none, the job's own status says nothing of it."""


def held_back_by(pods: Iterable[Manifest]) -> str:
    """Return the gang scheduler that has given none of a job's pods a node; empty where there is none."""
    alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    names = {str((pod.get("spec") or {}).get("schedulerName")) for pod in alive}
    placed = any((pod.get("spec") or {}).get("nodeName") for pod in alive)
    return "" if placed or len(names) != 1 or not names & set(SCHEDULERS) else names.pop()


def placed_at(pods: Iterable[Manifest]) -> str:
    """Return when a gang scheduler gave the last of a job's pods its node, RFC 3339; empty where none has."""
    times = [
        str(condition.get("lastTransitionTime") or "")
        for pod in pods
        if (pod.get("spec") or {}).get("schedulerName") in SCHEDULERS
        for condition in (pod.get("status") or {}).get("conditions") or ()
        if condition.get("type") == "PodScheduled" and condition.get("status") == "True"
    ]
    return max(times, default="")


__all__ = ["SCHEDULERS", "held_back_by", "placed_at"]
