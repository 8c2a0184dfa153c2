"""What is known about a job that did not succeed: gathered from the cluster once, then only read."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_sparkml.exceptions import ApiError, NotFoundError
from airflow_provider_sparkml.jobs.warning_events import warnings_of
from airflow_provider_sparkml.resources.base import LogSource, Manifest, Resource, ResourceRef, Verdict
from airflow_provider_sparkml.resources.core import POD

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient

TAIL_LINES = 200
TAIL_BYTES = 256 * 1024
_FEWEST_LINES = 5
_PODS_WITH_EVENTS = 5
EXIT = re.compile(r"ExitCode: (\d+)(?:, Reason: (\w+))?")
"""How the operator's messages and events tell an exit."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Exit:
    """How the main container ended.

    :param code: exit code.
    :param reason: the kubelet's word for it: ``OOMKilled``, ``Error`` …, or empty.
    """

    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known about a job, from which the cause is told.

    :param ref: the job.
    :param obj: its object, as last read.
    :param verdict: what the object said.
    :param container: name of the main container.
    :param pod: the main pod, ``None`` when there is none any more, or none yet.
    :param others: the job's other pods.
    :param events: warning events of the job and its pods, oldest first.
    :param log: the last lines of the main container's log.
    :param unread: what could not be read, and why.
    """

    ref: ResourceRef
    obj: Manifest
    verdict: Verdict
    container: str = ""
    pod: Manifest | None = None
    others: tuple[Manifest, ...] = ()
    events: tuple[Manifest, ...] = ()
    log: tuple[str, ...] = ()
    unread: tuple[str, ...] = field(default=())

    @property
    def role(self) -> str:
        """What to call the main container in a sentence."""
        return "driver" if "driver" in self.container else self.container or "main container"

    @property
    def container_state(self) -> dict[str, Any]:
        """The ``state`` of the main container; empty when there is none."""
        return container_state(self.pod, self.container)

    @property
    def exit(self) -> Exit | None:
        """How the main container ended, read from its pod, or from the controller's message when the pod is gone."""
        ended = self.container_state.get("terminated")
        if ended:
            return Exit(int(ended.get("exitCode", 0)), str(ended.get("reason", "")))
        found = EXIT.search(self.verdict.message)
        return Exit(int(found[1]), found[2] or "") if found else None


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


async def gather(
    client: KubernetesClient, resource: Resource, ref: ResourceRef, obj: Manifest, verdict: Verdict
) -> Evidence:
    """Read everything about a job that tells why it failed.

    What cannot be read is noted and left out: half an answer beats none.
    """
    unread: list[str] = []
    selector, source = resource.pod_selector(obj), resource.log_source(obj)
    pods = await _tolerant(_pods(client, ref.namespace, selector, source), [], "pods", unread)
    main = _main_pod(pods, source, resource.main_container)
    others = [pod for pod in pods if pod is not main]
    if source is None and main is not None:
        source = LogSource(main["metadata"]["name"], resource.main_container)
    about = [ref.uid, *(pod["metadata"]["uid"] for pod in [main, *others[:_PODS_WITH_EVENTS]] if pod is not None)]
    events = await _tolerant(_warnings(client, ref.namespace, about), [], "events", unread)
    log = await _tolerant(tail(client, ref.namespace, source), [], "log", unread)
    return Evidence(
        ref, obj, verdict, resource.main_container, main, tuple(others), tuple(events), tuple(log), tuple(unread)
    )


async def tail(
    client: KubernetesClient, namespace: str, source: LogSource | None, lines: int = TAIL_LINES
) -> list[str]:
    """Return the last lines of a log, fewer where they are very long; empty when there is none."""
    if source is None:
        return []
    while True:
        stream = client.pod_log(
            namespace, source.pod, container=source.container, tail_lines=lines, limit_bytes=TAIL_BYTES
        )
        async with aclosing(stream):
            found = [line async for line in stream]
        if lines <= _FEWEST_LINES or sum(len(line.encode()) + 1 for line in found) < TAIL_BYTES:
            return [line.replace("\0", "").rstrip() for line in found]
        # The limit cuts off the end, which is what matters: so ask for fewer lines.
        lines //= 6


async def read_pod(client: KubernetesClient, namespace: str, name: str) -> Manifest | None:
    """Return a pod, or ``None`` when there is none."""
    try:
        return await client.get(POD, name, namespace)
    except NotFoundError:
        return None


async def _pods(client: KubernetesClient, namespace: str, selector: str, source: LogSource | None) -> list[Manifest]:
    """Return the job's pods: all by selector where the kind has one, else the main one."""
    if selector:
        return (await client.list(POD, namespace, label_selector=selector)).items
    pod = await read_pod(client, namespace, source.pod) if source else None
    return [pod] if pod else []


async def _warnings(client: KubernetesClient, namespace: str, uids: list[str]) -> list[Manifest]:
    """Return the warning events of several objects, oldest first."""
    found = [event for uid in uids for event in warnings_of(await client.events(namespace, uid))]
    return sorted(found, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")


async def _tolerant(read: Awaitable[T], default: T, what: str, unread: list[str]) -> T:
    """Await a read; note a refusal and go on without."""
    try:
        return await read
    except NotFoundError:
        return default
    except ApiError as error:
        unread.append(f"{what}: {str(error).splitlines()[0]}")
        return default


def _main_pod(pods: list[Manifest], source: LogSource | None, container: str) -> Manifest | None:
    """Return the pod that the job's object names, or else the one with the main container."""
    for pod in pods:
        if source is not None and pod["metadata"]["name"] == source.pod:
            return pod
    # Of several, as while a new version is rolled out, the newest.
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True):
        if container and any(c.get("name") == container for c in (pod.get("spec") or {}).get("containers") or []):
            return pod
    return None


__all__ = ["EXIT", "Evidence", "Exit", "container_state", "gather", "read_pod", "tail"]
