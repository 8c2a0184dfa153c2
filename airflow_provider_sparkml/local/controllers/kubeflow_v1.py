"""The controllers of PyTorchJobs, TFJobs and XGBoostJobs, which differ only in what :mod:`.kubeflow_v1_pods` says."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import ApiError
from airflow_provider_sparkml.local.controllers import kubeflow_v1_pods as training
from airflow_provider_sparkml.local.controllers import kubeflow_v1_state as states
from airflow_provider_sparkml.local.controllers.kubeflow_conditions import add_condition, is_finished
from airflow_provider_sparkml.local.controllers.kubeflow_v1_pods import Kind
from airflow_provider_sparkml.local.controllers.objects import (
    Note,
    OccupiedError,
    delete,
    ensure,
    find,
    is_deleting,
    is_true,
    owned,
    parse_time,
    tell,
    utc_now,
    write_status,
)
from airflow_provider_sparkml.local.controllers.runtime import Controller, Source, now, owner_key
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import POD, SERVICE

OUR_MANAGER = "kubeflow.org/training-operator"


def training_controllers(client: KubernetesClient) -> Iterable[Controller]:
    """Yield the controllers of all kinds of the training operator."""
    for kind in training.KINDS:
        sources = [Source(kind.api), *(Source(api, owner_key(kind.api.kind)) for api in (POD, SERVICE))]
        yield Controller(kind.operator, client, sources, _TrainingJobs(client, kind).reconcile)


class _TrainingJobs:
    def __init__(self, client: KubernetesClient, kind: Kind) -> None:
        self._client = client
        self._kind = kind

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Take a job one step on; see :data:`~.runtime.Reconcile`."""
        stored = await find(self._client, self._kind.api, name, namespace)
        if stored is None or is_deleting(stored):
            return None
        if (stored["spec"].get("runPolicy") or {}).get("managedBy", OUR_MANAGER) != OUR_MANAGER:
            return None
        job = training.with_defaults(self._kind, stored)
        notes: list[Note] = []
        if found := training.problems(self._kind, job):
            # Upstream's webhook refuses such a job; there are no webhooks here, so it fails.
            status = copy.deepcopy(stored.get("status") or {})
            states.put(self._kind, status, notes, "Failed", "; ".join(found), note="Warning")
            status.setdefault("completionTime", now())
            again = None
        else:
            status, again = await self._step(job, notes)
        await write_status(self._client, self._kind.api, stored, status)
        await tell(self._client, stored, notes, source=self._kind.operator)
        return again

    async def _step(self, job: Manifest, notes: list[Note]) -> tuple[dict[str, Any], float | None]:
        """Do what is next; return the new status, and when to look again."""
        status, kind, name = copy.deepcopy(job.get("status") or {}), self._kind, job["metadata"]["name"]
        if not status.get("conditions"):
            states.put(kind, status, notes, "Created", f"{kind.api.kind} {name} is created.")
        found = await owned(self._client, POD, job, training.labels(kind, job))
        pods = states.by_type(kind, job, found)
        if is_finished(status):
            return await self._after_end(job, status, found)
        if job["spec"]["runPolicy"]["suspend"]:
            await self._suspend(job, status, found, notes)
            return status, None
        if is_true(status, "Suspended"):
            states.put(
                kind, status, notes, "Resumed", f"{kind.api.kind} {name} is resumed.", value=False, note="Normal"
            )
            status["startTime"] = now()
        if reason := states.limit_exceeded(kind, job, pods, status, utc_now()):
            status.setdefault("completionTime", now())
            states.put(kind, status, notes, "Failed", reason, note="Normal")
            return await self._after_end(job, status, found)
        for pod in states.restart_or_fail(kind, job, pods, status, notes):
            await delete(self._client, POD, pod)
        try:
            await self._make_missing(job)
        except OccupiedError as error:
            notes.append(Note("Warning", "FailedCreatePod", str(error)))
        except ApiError as error:
            await tell(
                self._client,
                job,
                [Note("Warning", "FailedCreatePod", f"Error creating: {error}")],
                source=kind.operator,
            )
            raise
        states.count(kind, job, pods, status)
        states.read(kind, job, pods, status, notes)
        return status, states.deadline_in(job, status, utc_now())

    async def _make_missing(self, job: Manifest) -> None:
        """Make the services and pods that are not there, and delete those of replicas that are no longer wanted."""
        for name, replica in training.replicas(self._kind, job):
            for index in range(replica["replicas"]):
                await ensure(self._client, SERVICE, training.service(self._kind, job, name, index), job)
                await ensure(self._client, POD, training.pod(self._kind, job, name, index), job)
        for api in (POD, SERVICE):
            for obj in await owned(self._client, api, job, training.labels(self._kind, job)):
                labels = obj["metadata"]["labels"]
                wanted = {name.lower(): replica["replicas"] for name, replica in training.replicas(self._kind, job)}
                if int(labels[training.REPLICA_INDEX]) >= wanted.get(labels[training.REPLICA_TYPE], 0):
                    await delete(self._client, api, obj)

    async def _suspend(self, job: Manifest, status: dict[str, Any], pods: list[Manifest], notes: list[Note]) -> None:
        for pod in pods:
            await self._delete(pod)
        for counts in (status.get("replicaStatuses") or {}).values():
            counts.pop("active", None)
        text = f"{self._kind.api.kind} {job['metadata']['name']} is suspended."
        if is_true(status, "Running"):
            # The reason says why it runs no longer.
            add_condition(status, "Running", f"{self._kind.api.kind}Suspended", text, value=False)
        states.put(self._kind, status, notes, "Suspended", text, note="Normal")

    async def _after_end(
        self, job: Manifest, status: dict[str, Any], pods: list[Manifest]
    ) -> tuple[dict[str, Any], float | None]:
        """Clean up as the job wants it, and delete the job itself when its time is over."""
        policy = job["spec"]["runPolicy"]
        for pod in pods:
            is_live = states.phase(pod) in ("Running", "Pending")
            if policy["cleanPodPolicy"] == "All" or (policy["cleanPodPolicy"] == "Running" and is_live):
                await self._delete(pod)
        if is_true(status, "Succeeded"):
            for counts in (status.get("replicaStatuses") or {}).values():
                if active := counts.pop("active", 0):
                    counts["succeeded"] = counts.get("succeeded", 0) + active
        ttl = policy.get("ttlSecondsAfterFinished")
        if ttl is None or not status.get("completionTime"):
            return status, None
        left = float(ttl) - (utc_now() - parse_time(status["completionTime"])).total_seconds()
        if left <= 0:
            await delete(self._client, self._kind.api, job)
            return job.get("status") or {}, None
        return status, left

    async def _delete(self, pod: Manifest) -> None:
        """Delete a pod and its service, which has its name."""
        await delete(self._client, POD, pod)
        meta = pod["metadata"]
        await self._client.delete(SERVICE, meta["name"], meta["namespace"], propagation="Background")
