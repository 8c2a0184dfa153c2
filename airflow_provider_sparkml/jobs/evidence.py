"""What is known about a job that did not succeed: gathered from the cluster once, then only read."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_sparkml.exceptions import ApiError, NotFoundError
from airflow_provider_sparkml.jobs.endings import Exit, container_exit, container_state, main_container
from airflow_provider_sparkml.jobs.pods import locate, newest, resolve
from airflow_provider_sparkml.jobs.ranks import Rank, first_to_fail
from airflow_provider_sparkml.jobs.warning_events import warnings_of
from airflow_provider_sparkml.resources.base import LogSource, Manifest, Resource, ResourceRef, Verdict
from airflow_provider_sparkml.resources.core import POD

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient

TAIL_LINES = 200
TAIL_BYTES = 256 * 1024
_FEWEST_LINES = 5
_PODS_WITH_EVENTS = 5
_RANKS = 16
"""Of how many ranks the log is read when a job has failed."""
EXIT = re.compile(r"ExitCode: (\d+)(?:, Reason: (\w+))?")
"""How the operator's messages and events tell an exit."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known about a job, from which the cause is told.

    :param ref: the job.
    :param obj: its object, as last read.
    :param verdict: what the object said.
    :param container: name of the main container.
    :param pod: the main pod, ``None`` when there is none any more, or none yet. Of ranks it is the one that failed
        first.
    :param rank: what to call the main pod where the kind has ranks.
    :param others: the job's other pods.
    :param events: warning events of the job and its pods, oldest first.
    :param log: the last lines of the main container's log.
    :param ranks: the ranks of a distributed job, with their logs.
    :param unread: what could not be read, and why.
    """

    ref: ResourceRef
    obj: Manifest
    verdict: Verdict
    container: str = ""
    pod: Manifest | None = None
    rank: str = ""
    others: tuple[Manifest, ...] = ()
    events: tuple[Manifest, ...] = ()
    log: tuple[str, ...] = ()
    ranks: tuple[Rank, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def role(self) -> str:
        """What to call the main container in a sentence."""
        return self.rank or ("driver" if "driver" in self.container else self.container or "main container")

    @property
    def subject(self) -> str:
        """How a sentence about the main container begins."""
        return self.rank or f"The {self.role}"

    @property
    def is_spark(self) -> bool:
        """Whether the main container is a Spark driver: some exit codes and sentences mean something there only."""
        return self.role == "driver"

    @property
    def container_state(self) -> dict[str, Any]:
        """The ``state`` of the main container; empty when there is none."""
        return container_state(self.pod, self.container)

    @property
    def exit(self) -> Exit | None:
        """How the main container ended, read from its pod, or from the controller's message when the pod is gone."""
        ended = container_exit(self.pod, self.container)
        if ended is not None:
            return ended
        found = EXIT.search(self.verdict.message)
        return Exit(int(found[1]), found[2] or "") if found else None


async def gather(
    client: KubernetesClient, resource: Resource, ref: ResourceRef, obj: Manifest, verdict: Verdict
) -> Evidence:
    """Read everything about a job that tells why it failed.

    What cannot be read is noted and left out: half an answer beats none.
    """
    unread: list[str] = []
    source = await _tolerant(resolve(client, ref.namespace, resource.log_source(obj)), None, "pods", unread)
    pods = await _tolerant(_pods(client, ref.namespace, resource.pod_selector(obj), source), [], "pods", unread)
    main = _main_pod(pods, source, resource.main_container)
    container = resource.main_container if main is None else main_container(main, resource.main_container)
    if source is None and main is not None:
        source = LogSource(main["metadata"]["name"], container)
    ranks = await _ranks(client, resource, ref.namespace, pods, unread)
    first = first_to_fail(ranks) or next((each for each in ranks if each.pod is main), None)
    if first is not None:
        rank, main, container, log = first.name, first.pod, first.container, list(first.log)
    else:
        rank, log = "", await _tolerant(tail(client, ref.namespace, source), [], "log", unread)
    others = [pod for pod in pods if pod is not main]
    about = [ref.uid, *(pod["metadata"]["uid"] for pod in [main, *others[:_PODS_WITH_EVENTS]] if pod is not None)]
    return Evidence(
        ref,
        obj,
        verdict,
        container=container,
        pod=main,
        rank=rank,
        others=tuple(others),
        events=tuple(await _tolerant(_warnings(client, ref.namespace, about), [], "events", unread)),
        log=tuple(log),
        ranks=tuple(ranks),
        unread=tuple(unread),
    )


async def _ranks(
    client: KubernetesClient, resource: Resource, namespace: str, pods: list[Manifest], unread: list[str]
) -> list[Rank]:
    """Return the ranks of a distributed job with their logs: of very many, those that have failed first."""
    if resource.rank_of is None:
        return []
    ranks = [Rank(resource.rank_of(pod), pod, main_container(pod, resource.main_container)) for pod in pods]
    ranks.sort(
        key=lambda rank: (
            not rank.has_failed, rank.is_collateral, rank.ended_at if rank.has_failed else "", _natural(rank.name)
        )
    )  # fmt: skip
    if len(ranks) > _RANKS:
        unread.append(f"logs of {len(ranks) - _RANKS} of {len(ranks)} ranks, all but those that failed first")
    return [
        replace(
            rank,
            log=tuple(
                await _tolerant(
                    tail(client, namespace, LogSource(rank.pod["metadata"]["name"], rank.container)), [], "log", unread
                )
            ),
        )
        for rank in ranks[:_RANKS]
    ]


def _natural(name: str) -> list[tuple[int, str]]:
    """Return what sorts ``worker-10`` behind ``worker-9``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


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


async def _pods(client: KubernetesClient, namespace: str, selector: str, source: LogSource | None) -> list[Manifest]:
    """Return the job's pods: all by selector where the kind has one, else the main one."""
    if selector:
        return (await client.list(POD, namespace, label_selector=selector)).items
    pod = await locate(client, namespace, source)
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
    return newest(
        pod
        for pod in pods
        if container and any(c.get("name") == container for c in (pod.get("spec") or {}).get("containers") or [])
    )


__all__ = ["EXIT", "Evidence", "gather", "tail"]
