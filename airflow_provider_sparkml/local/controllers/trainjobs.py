"""The controller of TrainJobs: their runtime's Jobs, and the conditions that Trainer and JobSet give them.

Follows kubeflow/trainer v2.3, ``pkg/controller/trainjob_controller.go``, and kubernetes-sigs/jobset v0.10,
``pkg/controllers``; what a TrainJob is made of is in :mod:`.trainer_jobs`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import AlreadyExistsError, ApiError, NotFoundError
from airflow_provider_sparkml.local.controllers import trainer_jobs
from airflow_provider_sparkml.local.controllers.job_state import is_finished as is_job_finished
from airflow_provider_sparkml.local.controllers.mpi_pods import ssh_secret
from airflow_provider_sparkml.local.controllers.objects import (
    Note,
    OccupiedError,
    delete,
    ensure,
    find,
    find_condition,
    is_deleting,
    is_true,
    owned,
    parse_time,
    put_condition,
    tell,
    utc_now,
    write_status,
)
from airflow_provider_sparkml.local.controllers.runtime import Controller, Source, owner_key
from airflow_provider_sparkml.local.controllers.trainer_runtimes import (
    CLUSTER_TRAINING_RUNTIME,
    GROUP,
    RUNTIMES,
    TRAINING_RUNTIME,
)
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import CONFIG_MAP, SECRET, SERVICE
from airflow_provider_sparkml.resources.trainer import API as TRAIN_JOB
from airflow_provider_sparkml.resources.training_pods import API as JOB

NAME = "trainjob-controller"
OUR_MANAGER = "trainer.kubeflow.org/trainjob-controller"
RUNTIME_RETRY_SECONDS = 2.0
ENDS = ("Complete", "Failed")
_KINDS = {api.kind: api for api in (CLUSTER_TRAINING_RUNTIME, TRAINING_RUNTIME)}


def train_job_controller(client: KubernetesClient) -> Controller:
    """Return the controller of all TrainJobs."""
    owners = [Source(api, owner_key("TrainJob")) for api in (JOB, SERVICE, CONFIG_MAP, SECRET)]
    return Controller(NAME, client, [Source(TRAIN_JOB), *owners], _TrainJobs(client).reconcile)


async def install_runtimes(client: KubernetesClient) -> None:
    """Create the runtimes that every cluster has; one that is there already stays as it is."""
    for runtime in RUNTIMES:
        try:
            await client.create(CLUSTER_TRAINING_RUNTIME, runtime)
        except AlreadyExistsError:
            continue


class _TrainJobs:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Take a TrainJob one step on; see :data:`~.runtime.Reconcile`."""
        job = await find(self._client, TRAIN_JOB, name, namespace)
        if job is None or is_deleting(job) or job["spec"].get("managedBy", OUR_MANAGER) != OUR_MANAGER:
            return None
        status, notes = copy.deepcopy(job.get("status") or {}), list[Note]()
        again = await self._step(job, status, notes)
        await write_status(self._client, TRAIN_JOB, job, status)
        await tell(self._client, job, notes, source=NAME)
        return again

    async def _step(self, job: Manifest, status: dict[str, Any], notes: list[Note]) -> float | None:
        reference = {"apiGroup": GROUP, "kind": CLUSTER_TRAINING_RUNTIME.kind} | job["spec"]["runtimeRef"]
        api = _KINDS.get(reference["kind"]) if reference["apiGroup"] == GROUP else None
        if api is None:
            text = f"unsupported runtime: {reference['kind']}.{reference['apiGroup']}"
            put_condition(status, "Failed", True, "TrainingRuntimeNotSupported", text)
            return None
        try:
            runtime = await self._client.get(
                api, reference["name"], job["metadata"]["namespace"] if api.namespaced else None
            )
            plan = trainer_jobs.plan(job, runtime["spec"])
        except (NotFoundError, KeyError) as error:
            if is_finished(status):
                return None
            what = (
                f"the field {error} is missing in {api.kind} {reference['name']}"
                if isinstance(error, KeyError)
                else str(error)
            )
            notes.append(_failed(what))
            return RUNTIME_RETRY_SECONDS
        if is_finished(status):
            return await self._expire(job, status, plan)
        _read_suspension(status, bool(job["spec"].get("suspend")))
        try:
            jobs = await self._make(job, plan)
        except (ApiError, OccupiedError) as error:
            notes.append(_failed(str(error)))
            return RUNTIME_RETRY_SECONDS
        read(plan, jobs, status)
        return await self._watch_deadline(job, status)

    # --- objects -----------------------------------------------------------------------------------------------------

    async def _make(self, job: Manifest, plan: trainer_jobs.Plan) -> dict[str, Manifest]:
        """Make what is missing, and suspend or resume what is there; return the Jobs by replicated job."""
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        if plan.hosts is not None:
            secret = ssh_secret(f"{name}-mpi-ssh-auth", name) | {"immutable": True}
            if await find(self._client, SECRET, secret["metadata"]["name"], namespace) is None:
                await ensure(self._client, SECRET, secret, job)
            hosts = {"metadata": {"name": f"{name}-mpi-hostfile"}, "data": {"hostfile": plan.hosts}}
            await ensure(self._client, CONFIG_MAP, hosts, job)
        await ensure(self._client, SERVICE, plan.service, job)
        made: dict[str, Manifest] = {}
        for replicated, wanted in plan.jobs.items():
            needed = plan.depends_on.get(replicated, {})
            if not all(each in made and _has_reached(made[each], status) for each, status in needed.items()):
                found = await find(self._client, JOB, wanted["metadata"]["name"], namespace)
                if found is None:
                    continue
            made[replicated] = await self._with_suspension(await ensure(self._client, JOB, wanted, job), wanted)
        return made

    async def _with_suspension(self, found: Manifest, wanted: Manifest) -> Manifest:
        suspend = wanted["spec"]["suspend"]
        if bool(found["spec"].get("suspend")) == suspend or is_job_finished(found):
            return found
        meta = found["metadata"]
        patch = {"metadata": {"uid": meta["uid"]}, "spec": {"suspend": suspend}}
        return await self._client.patch(JOB, meta["name"], patch, meta["namespace"])

    async def _delete_jobs(self, job: Manifest) -> None:
        """Delete what a JobSet would take with it: Jobs with their pods, and the service."""
        labels = {f"{trainer_jobs.JOBSET}/jobset-name": job["metadata"]["name"]}
        for api in (JOB, SERVICE):
            for obj in await owned(self._client, api, job, labels):
                await delete(self._client, api, obj)

    async def _expire(self, job: Manifest, status: Mapping[str, Any], plan: trainer_jobs.Plan) -> float | None:
        """Clean up after a TrainJob that has ended."""
        failed = find_condition(status, "Failed") or {}
        if failed.get("reason") == "DeadlineExceeded":
            await self._delete_jobs(job)
            return None
        labels = {f"{trainer_jobs.JOBSET}/jobset-name": job["metadata"]["name"]}
        for each in await owned(self._client, JOB, job, labels):
            if not is_job_finished(each):  # JobSet ends what still runs when the whole has ended
                await delete(self._client, JOB, each)
        if plan.ttl is None:
            return None
        ended = next(
            each for each in (find_condition(status, kind) for kind in ENDS) if each and each["status"] == "True"
        )
        left = plan.ttl - _seconds_since(ended["lastTransitionTime"], utc_now())
        if left <= 0:
            await self._delete_jobs(job)
        return left if left > 0 else None

    async def _watch_deadline(self, job: Manifest, status: dict[str, Any]) -> float | None:
        limit = job["spec"].get("activeDeadlineSeconds")
        if not limit or is_finished(status) or job["spec"].get("suspend"):
            return None
        resumed = find_condition(status, "Suspended")
        since = resumed["lastTransitionTime"] if resumed else job["metadata"]["creationTimestamp"]
        left = float(limit) - _seconds_since(since, utc_now())
        if left > 0:
            return left
        put_condition(status, "Failed", True, "DeadlineExceeded", "TrainJob exceeded its active deadline")
        await self._delete_jobs(job)
        return None


def _failed(why: str) -> Note:
    return Note("Warning", "TrainJobResourcesCreationFailed", f"TrainJob resources reconciliation failed: {why[:950]}")


def is_finished(status: Mapping[str, Any]) -> bool:
    """Whether a TrainJob is complete or has failed."""
    return any(is_true(status, kind) for kind in ENDS)


def _seconds_since(time: str, now: datetime) -> float:
    return (now - parse_time(time)).total_seconds()


def _read_suspension(status: dict[str, Any], suspended: bool) -> None:
    if suspended:
        put_condition(status, "Suspended", True, "Suspended", "TrainJob is suspended")
    elif is_true(status, "Suspended"):
        put_condition(status, "Suspended", False, "Resumed", "TrainJob is resumed")


def _has_reached(job: Manifest, status: str) -> bool:
    """Whether a Job is ``Ready`` or ``Complete``, as another that depends on it wants it."""
    found = job.get("status") or {}
    if is_true(found, "Complete"):
        return True
    wanted = int(job["spec"].get("parallelism", 1))
    return status == "Ready" and found.get("ready", 0) + found.get("succeeded", 0) >= wanted


def read(plan: trainer_jobs.Plan, jobs: Mapping[str, Manifest], status: dict[str, Any]) -> None:
    """Bring the status up to what the Jobs say."""
    states = {name: job.get("status") or {} for name, job in jobs.items()}
    status["jobsStatus"] = [_job_status(name, jobs.get(name)) for name in plan.jobs]
    failed = [jobs[name]["metadata"]["name"] for name, state in states.items() if is_true(state, "Failed")]
    if failed:
        text = f"jobset failed due to one or more job failures (first failed job: {failed[0]})"
        put_condition(status, "Failed", True, "FailedJobs", text)
        return
    succeeded = [name in states and is_true(states[name], "Complete") for name in plan.targets]
    if any(succeeded) if plan.operator == "Any" else all(succeeded):
        put_condition(status, "Complete", True, "AllJobsCompleted", "jobset completed successfully")


def _job_status(name: str, job: Manifest | None) -> dict[str, Any]:
    """Return what JobSet says of a replicated job: how many of its Jobs, here one, are in which state."""
    state = (job or {}).get("status") or {}
    ready = job is not None and _has_reached(job, "Ready")
    return {
        "name": name,
        "ready": int(ready and not is_true(state, "Complete")),
        "succeeded": int(is_true(state, "Complete")),
        "failed": int(is_true(state, "Failed")),
        "active": int(bool(state.get("active"))),
        "suspended": int(is_true(state, "Suspended")),
    }
