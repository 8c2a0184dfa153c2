"""The controller of batch/v1 Jobs, NonIndexed and Indexed; what it decides is in :mod:`.job_state`."""

from __future__ import annotations

import copy

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import ApiError, NotFoundError
from airflow_provider_sparkml.local.controllers import job_state
from airflow_provider_sparkml.local.controllers.objects import (
    Note,
    delete,
    find,
    is_deleting,
    parse_time,
    tell,
    utc_now,
    write_status,
)
from airflow_provider_sparkml.local.controllers.runtime import (
    Controller,
    Source,
    controller_of,
    owner_key,
    owner_reference,
)
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import POD
from airflow_provider_sparkml.resources.training_pods import API as JOB

NAME = "job-controller"
JOB_NAME = "batch.kubernetes.io/job-name"
CREATE_RETRY_SECONDS = 1.0


def job_controller(client: KubernetesClient) -> Controller:
    """Return the controller of all Jobs."""
    jobs = _Jobs(client)
    return Controller(NAME, client, [Source(JOB), Source(POD, owner_key("Job"))], jobs.reconcile, workers=8)


class _Jobs:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Take a Job one step on; see :data:`~.runtime.Reconcile`."""
        job = await find(self._client, JOB, name, namespace)
        listing = await self._client.list(POD, namespace, label_selector=f"{JOB_NAME}={name}")
        uid = job["metadata"]["uid"] if job else ""
        orphans = [pod for pod in listing.items if (controller_of(pod) or {}).get("uid") != uid]
        await self._release([pod for pod in orphans if (controller_of(pod) or {}).get("kind") == "Job"])
        if job is None:
            return None
        pods = [pod for pod in listing.items if (controller_of(pod) or {}).get("uid") == uid]
        if is_deleting(job):
            await self._release(pods)
            return None
        if job_state.is_finished(job):
            await self._release(pods)
            return await self._expire(job)
        if job["spec"].get("managedBy", "kubernetes.io/job-controller") != "kubernetes.io/job-controller":
            return None
        return await self._step(job, pods)

    async def _step(self, job: Manifest, pods: list[Manifest]) -> float | None:
        plan = job_state.plan(job, pods, utc_now())
        notes = list(plan.notes)
        if not job.get("status") and (ignored := [name for name in job_state.IGNORED if job["spec"].get(name)]):
            notes.append(Note("Warning", "JobFieldsIgnored", f"the local cluster does not act on {', '.join(ignored)}"))
        await write_status(self._client, JOB, job, plan.status)
        await self._release(plan.release)
        for pod in plan.delete:
            await delete(self._client, POD, pod)
            notes.append(Note("Normal", "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}"))
        refused = False
        for index in plan.create:
            try:
                made = await self._client.create(POD, new_pod(job, index), job["metadata"]["namespace"])
            except ApiError as error:
                notes.append(Note("Warning", "FailedCreate", f"Error creating: {error}"))
                refused = True
                break
            notes.append(Note("Normal", "SuccessfulCreate", f"Created pod: {made['metadata']['name']}"))
        await tell(self._client, job, notes, source=NAME)
        return CREATE_RETRY_SECONDS if refused else plan.again

    async def _release(self, pods: list[Manifest] | tuple[Manifest, ...]) -> None:
        """Take our finalizer off pods that are counted, or whose Job is gone."""
        for pod in pods:
            if job_state.is_tracked(pod):
                meta = pod["metadata"]
                left = [each for each in meta["finalizers"] if each != job_state.TRACKING]
                patch = {"metadata": {"uid": meta["uid"], "finalizers": left or None}}
                try:
                    await self._client.patch(POD, meta["name"], patch, meta["namespace"])
                except NotFoundError:
                    continue

    async def _expire(self, job: Manifest) -> float | None:
        """Delete a finished Job when its time is over; until then return how long it still has."""
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None:
            return None
        ended = max(
            parse_time(each["lastTransitionTime"])
            for each in job["status"]["conditions"]
            if each["type"] in ("Complete", "Failed")
        )
        left = float(ttl) - (utc_now() - ended).total_seconds()
        if left > 0:
            return left
        await delete(self._client, JOB, job, foreground=True)
        return None


def new_pod(job: Manifest, index: int | None) -> Manifest:
    """Return the manifest of one more pod of a Job.

    :param index: its completion index, for a Job that is indexed.
    """
    template = copy.deepcopy(job["spec"]["template"])
    meta, spec, name = template.get("metadata") or {}, template["spec"], job["metadata"]["name"]
    made: Manifest = {
        "generateName": f"{name}-"[:52],
        "labels": meta.get("labels") or {},
        "annotations": meta.get("annotations") or {},
        "finalizers": [*(meta.get("finalizers") or ()), job_state.TRACKING],
        "ownerReferences": [owner_reference(job)],
    }
    if index is not None:
        made["generateName"] = f"{name[:50]}-{index}-"
        made["annotations"][job_state.INDEX] = made["labels"][job_state.INDEX] = str(index)
        spec.setdefault("hostname", f"{name}-{index}"[:63])
        source = {"fieldRef": {"fieldPath": f"metadata.annotations['{job_state.INDEX}']"}}
        for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
            if not any(each["name"] == "JOB_COMPLETION_INDEX" for each in container.get("env") or ()):
                container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "valueFrom": source})
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": spec}
