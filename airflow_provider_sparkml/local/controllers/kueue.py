"""The controller of queues: lets suspended jobs go, first come, first served, as far as a ClusterQueue's quota goes.

Follows kubernetes-sigs/kueue v0.19 in what one sees of it on a job and its Workload: labels, conditions and texts.
There are no cohorts, priorities, preemption or admission checks; a workload that does not fit holds up no later one
(``BestEffortFIFO``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.local.api.queueing import QUEUED_KINDS, is_queued, is_suspended, suspension
from airflow_provider_sparkml.local.controllers.kueue_quota import Assignment, PodSet, Used, assign, plus, pod_sets
from airflow_provider_sparkml.local.controllers.objects import (
    ensure,
    is_deleting,
    is_true,
    parse_time,
    put_condition,
    write_status,
)
from airflow_provider_sparkml.local.controllers.runtime import Controller, Key, Source
from airflow_provider_sparkml.resources.base import ApiResource, Manifest, Phase, resource_for
from airflow_provider_sparkml.resources.quantities import parse_quantity
from airflow_provider_sparkml.resources.training import QUEUE_LABEL

NAME = "kueue"
VERSION = "v1beta2"
GROUP = "kueue.x-k8s.io"
WORKLOAD = ApiResource(GROUP, VERSION, "workloads", "Workload")
LOCAL_QUEUE = ApiResource(GROUP, VERSION, "localqueues", "LocalQueue")
CLUSTER_QUEUE = ApiResource(GROUP, VERSION, "clusterqueues", "ClusterQueue", namespaced=False)
JOB_UID = f"{GROUP}/job-uid"
ALL: Key = ("", "queues")
"""The one key: whether one job may go depends on all others."""
NAME_LENGTH, HASH_LENGTH = 63, 5


def kueue_controller(client: KubernetesClient) -> Controller:
    """Return the controller of all queues.

    :param client: the API server.
    """

    async def reconcile(namespace: str, name: str) -> float | None:
        await _Queues(client).balance()
        return None

    sources = [Source(api, _of_queued(api)) for api in QUEUED_KINDS]
    sources += [Source(api, lambda obj: [ALL]) for api in (WORKLOAD, LOCAL_QUEUE, CLUSTER_QUEUE)]
    return Controller(NAME, client, sources, reconcile)


def _of_queued(api: ApiResource) -> Callable[[Manifest], Iterable[Key]]:
    def keys(obj: Manifest) -> Iterable[Key]:
        return [ALL] if is_queued(api, obj) else []

    return keys


class _Queues:
    """All queues, and what waits in them or has left them, as they are at one moment."""

    def __init__(self, client: KubernetesClient) -> None:
        self._client = client
        self._used: dict[str, Used] = {}
        self._cluster_queues: dict[str, Manifest] = {}
        self._local_queues: dict[tuple[str, str], Manifest] = {}

    async def balance(self) -> None:
        """Take note of who has ended, and let go whoever there is room for."""
        jobs = [(api, job) for api in QUEUED_KINDS for job in await self._jobs(api)]
        if not jobs:
            return
        self._cluster_queues = {each["metadata"]["name"]: each for each in await self._all(CLUSTER_QUEUE)}
        self._local_queues = {
            (each["metadata"]["namespace"], each["metadata"]["name"]): each for each in await self._all(LOCAL_QUEUE)
        }
        entries = [(api, job, await self._workload(api, job)) for api, job in jobs]
        entries.sort(key=lambda entry: _age(entry[2]))
        waiting = []
        for api, job, workload in entries:
            status: dict[str, Any] = workload.get("status") or {}
            phase = resource_for(api.api_version, api.kind).read(job).phase
            if phase.is_terminal:
                await self._finish(workload, phase)
            elif workload["spec"].get("active") is False:
                await self._evict(api, job, workload)
            elif is_true(status, "Admitted"):
                self._take(workload)
                if is_suspended(api, job):  # this process ended between the two writes
                    await self._suspend(api, job, False)
            else:
                waiting.append((api, job, workload))
        for api, job, workload in waiting:
            await self._admit(api, job, workload)

    async def _all(self, api: ApiResource) -> list[Manifest]:
        found = (await self._client.list(api, None)).items
        return [{**each, "kind": api.kind} for each in found]  # items of a list do not say what they are

    async def _jobs(self, api: ApiResource) -> list[Manifest]:
        found = (await self._client.list(api, None, label_selector=QUEUE_LABEL)).items
        typed = [{"apiVersion": api.api_version, "kind": api.kind, **job} for job in found]
        return [job for job in typed if is_queued(api, job) and not is_deleting(job)]

    async def _workload(self, api: ApiResource, job: Manifest) -> Manifest:
        """Return the job's Workload, made now if there is none."""
        meta = job["metadata"]
        manifest = {
            "metadata": {"name": workload_name(api, job), "labels": {JOB_UID: meta["uid"]}},
            "spec": {
                "active": True,
                "queueName": meta["labels"][QUEUE_LABEL],
                "podSets": [each.to_manifest() for each in _pod_sets(job)[0]],
            },
        }
        return await ensure(self._client, WORKLOAD, manifest, job)

    async def _finish(self, workload: Manifest, phase: Phase) -> None:
        status = dict(workload.get("status") or {})
        put_condition(status, "Finished", True, phase.capitalize(), f"Job has ended: {phase.lower()}")
        await write_status(self._client, WORKLOAD, workload, status)

    async def _evict(self, api: ApiResource, job: Manifest, workload: Manifest) -> None:
        """Take back the quota of a workload that somebody has deactivated."""
        status = {key: value for key, value in (workload.get("status") or {}).items() if key != "admission"}
        put_condition(status, "Evicted", True, "Deactivated", "The workload is deactivated")
        for kind in ("QuotaReserved", "Admitted"):
            put_condition(status, kind, False, "Deactivated", "The workload is deactivated")
        await write_status(self._client, WORKLOAD, workload, status)
        if not is_suspended(api, job):
            await self._suspend(api, job, True)

    async def _admit(self, api: ApiResource, job: Manifest, workload: Manifest) -> None:
        """Let a job go if there is room, and else say what it waits for."""
        status = dict(workload.get("status") or {})
        queue, reason, problem = self._queue_of(workload)
        wanted, fault = _pod_sets(job)
        found = Assignment({}, {}, problem or fault)
        if not found.problem:
            found = assign(wanted, self._cluster_queues[queue], self._used.get(queue, {}))
            reason = "Pending"
        if found.problem:
            put_condition(status, "QuotaReserved", False, reason or "Inadmissible", found.problem)
            await write_status(self._client, WORKLOAD, workload, status)
            if not is_suspended(api, job):  # somebody else has let it go
                await self._suspend(api, job, True)
            return
        assignments = [
            {"name": each.name, "count": each.count, "flavors": dict(found.flavors.get(each.name) or {})}
            | {"resourceUsage": {name: f"{amount.normalize():f}" for name, amount in each.total().items()}}
            for each in wanted
        ]
        status["admission"] = {"clusterQueue": queue, "podSetAssignments": assignments}
        put_condition(status, "QuotaReserved", True, "QuotaReserved", f"Quota reserved in ClusterQueue {queue}")
        put_condition(status, "Admitted", True, "Admitted", "The workload is admitted")
        if is_true(status, "Evicted"):
            put_condition(status, "Evicted", False, "QuotaReserved", "Previously: The workload is deactivated")
        self._used[queue] = plus(self._used.get(queue, {}), found.used)
        await write_status(self._client, WORKLOAD, workload, status)
        await self._suspend(api, job, False)

    def _queue_of(self, workload: Manifest) -> tuple[str, str, str]:
        """Return the ClusterQueue of a workload; else reason and text of why it has none."""
        name = workload["spec"]["queueName"]
        local = self._local_queues.get((workload["metadata"]["namespace"], name))
        if local is None:
            return "", "Misconfigured", f"LocalQueue {name} doesn't exist"
        cluster = str(local["spec"].get("clusterQueue") or "")
        if cluster not in self._cluster_queues:
            return "", "Misconfigured", f"ClusterQueue {cluster} doesn't exist"
        for queue in (local, self._cluster_queues[cluster]):
            if queue["spec"].get("stopPolicy", "None") != "None":
                return "", "Suspended", f"{queue['kind']} {queue['metadata']['name']} is stopped"
        return cluster, "", ""

    def _take(self, workload: Manifest) -> None:
        """Count what an admitted workload holds."""
        admission = workload["status"]["admission"]
        queue = admission["clusterQueue"]
        for each in admission["podSetAssignments"]:
            usage = {name: parse_quantity(amount, "resourceUsage") for name, amount in each["resourceUsage"].items()}
            held = {(flavor, name): usage[name] for name, flavor in each["flavors"].items()}
            self._used[queue] = plus(self._used.get(queue, {}), held)

    async def _suspend(self, api: ApiResource, job: Manifest, suspended: bool) -> None:
        meta = job["metadata"]
        patch = {"metadata": {"uid": meta["uid"]}, **suspension(api, suspended)}
        await self._client.patch(api, meta["name"], patch, meta["namespace"])


def _age(workload: Manifest) -> tuple[datetime, str]:
    """Return what tells who came first."""
    meta = workload["metadata"]
    return parse_time(meta["creationTimestamp"]), meta["name"]


def workload_name(api: ApiResource, job: Manifest) -> str:
    """Return the name of a job's Workload: ``job-train-1a2b3``."""
    meta = job["metadata"]
    text = "\n".join((meta["name"], meta["uid"], api.kind, api.group))
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:HASH_LENGTH]
    return f"{api.kind.lower()}-{meta['name']}"[: NAME_LENGTH - 1 - HASH_LENGTH] + f"-{digest}"


def _pod_sets(job: Manifest) -> tuple[list[PodSet], str]:
    """Return a job's pods; none, and why, where a size in it is none."""
    try:
        return pod_sets(job), ""
    except InvalidManifestError as error:
        return [], str(error)


__all__ = ["kueue_controller"]
