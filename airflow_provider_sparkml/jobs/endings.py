"""How a pod and its main container ended, read from the pod's status; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_provider_sparkml.resources.base import Manifest

EVICTED = frozenset(
    {"Evicted", "Preempting", "Preempted", "EvictionByEvictionAPI", "PreemptionByScheduler", "TerminationByKubelet"}
)
NODE_LOST = frozenset(
    {
        "NodeLost",
        "NodeShutdown",
        "Shutdown",
        "Terminated",
        "DeletionByTaintManager",
        "DeletionByPodGC",
        "TaintManagerEviction",
        "NodeNotReady",
    }
)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended.

    :param code: exit code.
    :param reason: the kubelet's word for it: ``OOMKilled``, ``Error`` …, or empty.
    """

    code: int
    reason: str = ""


def container_state(pod: Manifest | None, container: str) -> dict[str, Any]:
    """Return the ``state`` of a container in a pod's status; without a name, of its first. Empty when there is none.

    Sidecars have statuses too, so the container is found by name, never by position (airflow#67934).
    """
    statuses = ((pod or {}).get("status") or {}).get("containerStatuses") or []
    for status in statuses:
        if not container or status.get("name") == container:
            state: dict[str, Any] = status.get("state") or {}
            return state
    return {}


def container_exit(pod: Manifest | None, container: str) -> Exit | None:
    """Return how a container ended, ``None`` while it has not."""
    ended = container_state(pod, container).get("terminated")
    return Exit(int(ended.get("exitCode", 0)), str(ended.get("reason", ""))) if ended else None


def main_container(pod: Manifest, wanted: str) -> str:
    """Return the name of a pod's main container: the wanted one, or its first where it has none of that name."""
    names = [str(each.get("name", "")) for each in (pod.get("spec") or {}).get("containers") or []]
    return wanted if wanted in names or not names else names[0]


def disruptions(pod: Manifest | None) -> list[tuple[str, str]]:
    """Return ``(reason, message)`` of what took a pod off its node: by its status, or by its DisruptionTarget."""
    status: dict[str, Any] = (pod or {}).get("status") or {}
    found = [(str(status.get("reason", "")), str(status.get("message", "")))]
    for condition in status.get("conditions") or []:
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            found.append((str(condition.get("reason", "")), str(condition.get("message", ""))))
    return [(word, one_line(text)) for word, text in found if word in EVICTED | NODE_LOST]


def one_line(text: str) -> str:
    """Return a text without line breaks, at most 500 characters of it."""
    return " ".join(text.split())[:500]


__all__ = [
    "EVICTED",
    "NODE_LOST",
    "Exit",
    "container_exit",
    "container_state",
    "disruptions",
    "main_container",
    "one_line",
]
