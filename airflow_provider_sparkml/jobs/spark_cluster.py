"""Waiting until a SparkCluster can be used: its operator calls it healthy before any of its pods runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_sparkml.jobs.log import JobLog
from airflow_provider_sparkml.jobs.merged import Watched, merged
from airflow_provider_sparkml.jobs.outcome import Deadlines, Outcome
from airflow_provider_sparkml.jobs.wait import OnChange, wait
from airflow_provider_sparkml.resources.base import ApiResource, Manifest, Phase, Resource, ResourceRef, Verdict
from airflow_provider_sparkml.resources.core import STATEFUL_SET
from airflow_provider_sparkml.resources.spark_cluster import MASTER, WORKER, set_name, wanted_workers

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient
    from airflow_provider_sparkml.client.watch import WatchHub


async def wait_for_workers(
    client: KubernetesClient,
    hub: WatchHub,
    resource: Resource,
    ref: ResourceRef,
    deadlines: Deadlines,
    *,
    log: JobLog,
    on_change: OnChange | None = None,
) -> Outcome:
    """Wait until master and first workers are ready, cannot be, or a deadline passes; see :func:`~.wait.wait`."""
    cluster = _Cluster(hub, resource)
    return await wait(
        client, cluster, replace(resource, read=cluster.read), ref, deadlines, log=log, on_change=on_change
    )


class _Cluster:
    """Follows a SparkCluster together with its two StatefulSets, as if they were one object."""

    def __init__(self, hub: WatchHub, resource: Resource) -> None:
        self._hub = hub
        self._resource = resource
        self._sets: dict[str, Manifest | None] = {}

    async def follow(
        self, api: ApiResource, namespace: str | None, name: str, *, label_selector: str = ""
    ) -> AsyncGenerator[Manifest | None, None]:
        """Yield the SparkCluster whenever it, or one of its StatefulSets, has changed; no labels select these."""
        roles = {Watched(STATEFUL_SET, set_name(name, role)): role for role in (MASTER, WORKER)}
        latest: list[Manifest | None] = []
        changes = merged(self._hub, namespace, [Watched(api, name), *roles])
        async with aclosing(changes):
            async for which, obj in changes:
                if which in roles:
                    self._sets[roles[which]] = obj
                else:
                    latest = [obj]
                if latest:
                    yield latest[0]

    def read(self, cluster: Manifest) -> Verdict:
        """Return the verdict; a cluster has succeeded when drivers can connect and have what to run on."""
        verdict = self._resource.read(cluster)
        if verdict.phase is not Phase.RUNNING:
            return verdict
        missing = what_is_missing(cluster, self._sets)
        if not missing:
            return replace(verdict, phase=Phase.SUCCEEDED)
        return replace(verdict, phase=Phase.PENDING, message=missing, pending_since=verdict.started_at)


def what_is_missing(cluster: Manifest, sets: Mapping[str, Manifest | None]) -> str:
    """Return what a cluster still lacks before it can be used; empty when it lacks nothing.

    :param cluster: the SparkCluster.
    :param sets: ``master`` and ``worker`` → the StatefulSet, where there is one.
    """
    workers = wanted_workers(cluster)
    lacking = []
    if _ready(cluster, sets.get(MASTER)) < 1:
        lacking.append("the master is not ready")
    if (ready := _ready(cluster, sets.get(WORKER))) < workers:
        lacking.append(f"{ready} of {workers} workers are ready")
    return ", ".join(lacking)


def _ready(cluster: Manifest, owned: Manifest | None) -> int:
    """Return how many pods of a StatefulSet are ready; none of one that is of an earlier cluster of the same name."""
    if owned is None or owned["metadata"].get("deletionTimestamp"):
        return 0
    owners = {each["uid"] for each in owned["metadata"].get("ownerReferences") or ()}
    if cluster["metadata"]["uid"] not in owners:
        return 0
    return int((owned.get("status") or {}).get("readyReplicas") or 0)


__all__ = ["wait_for_workers", "what_is_missing"]
