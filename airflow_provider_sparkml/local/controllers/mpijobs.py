"""The controller of MPIJobs: workers that wait for commands, and a launcher that gives them.

Follows kubeflow/mpi-operator v0.8, ``pkg/controller/mpi_job_controller.go``: its order of steps, names, conditions and
texts. What the objects look like is in :mod:`.mpi_pods`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import ApiError
from airflow_provider_sparkml.local.controllers import mpi_pods
from airflow_provider_sparkml.local.controllers.jobs import JOB_NAME as LAUNCHED_BY
from airflow_provider_sparkml.local.controllers.kubeflow_conditions import add_condition, is_finished
from airflow_provider_sparkml.local.controllers.objects import (
    Note,
    OccupiedError,
    belongs_to,
    delete,
    ensure,
    find,
    find_condition,
    is_deleting,
    is_true,
    owned,
    tell,
    write_status,
)
from airflow_provider_sparkml.local.controllers.runtime import Controller, Key, Source, now, owner_key
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import CONFIG_MAP, POD, SECRET, SERVICE
from airflow_provider_sparkml.resources.mpi import API as MPI_JOB
from airflow_provider_sparkml.resources.training_pods import API as JOB

NAME = "mpi-job-controller"
OUR_MANAGER = "kubeflow.org/mpi-operator"
OVER = ("Running", "Failed")
"""Conditions that are no longer true when a job succeeds or fails."""


def mpi_job_controller(client: KubernetesClient) -> Controller:
    """Return the controller of all MPIJobs."""
    owners = [Source(api, owner_key("MPIJob")) for api in (JOB, CONFIG_MAP, SECRET, SERVICE)]
    return Controller(NAME, client, [Source(MPI_JOB), Source(POD, _job_of), *owners], _MpiJobs(client).reconcile)


def _job_of(pod: Manifest) -> Iterable[Key]:
    """Yield the key of the MPIJob that a pod is launcher or worker of."""
    labels = pod["metadata"].get("labels") or {}
    if labels.get(mpi_pods.OPERATOR_NAME) == mpi_pods.OPERATOR and mpi_pods.JOB_NAME in labels:
        yield pod["metadata"]["namespace"], labels[mpi_pods.JOB_NAME]


class _MpiJobs:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Take an MPIJob one step on; see :data:`~.runtime.Reconcile`."""
        stored = await find(self._client, MPI_JOB, name, namespace)
        if stored is None or is_deleting(stored):
            return None
        if (stored["spec"].get("runPolicy") or {}).get("managedBy", OUR_MANAGER) != OUR_MANAGER:
            return None
        job = mpi_pods.with_defaults(stored)
        if found := mpi_pods.problems(job):
            await tell(
                self._client,
                job,
                [Note("Warning", "ValidationError", f"Found validation errors: [{', '.join(found)}]")],
                source=NAME,
            )
            return None
        status = copy.deepcopy(stored.get("status") or {})
        notes: list[Note] = []
        try:
            await self._step(job, status, notes)
        except OccupiedError as error:
            notes.append(Note("Warning", "ErrResourceExists", str(error)))
        await write_status(self._client, MPI_JOB, stored, status)
        await tell(self._client, job, notes, source=NAME)
        return None

    async def _step(self, job: Manifest, status: dict[str, Any], notes: list[Note]) -> None:
        full_name = f"{job['metadata']['namespace']}/{job['metadata']['name']}"
        if not status.get("conditions"):
            text = f"MPIJob {full_name} is created."
            add_condition(status, "Created", "MPIJobCreated", text)
            notes.append(Note("Normal", "MPIJobCreated", text))
        policy = job["spec"]["runPolicy"]
        if is_finished(status) and status.get("completionTime"):
            if policy["cleanPodPolicy"] != "None":
                await self._clean_up(job, status)
            return
        if not policy["suspend"]:
            status.setdefault("startTime", now())
        launcher = await find(self._client, JOB, mpi_pods.launcher_name(job), job["metadata"]["namespace"])
        if launcher is not None and not belongs_to(launcher, job):
            raise OccupiedError(
                f'Resource "{mpi_pods.launcher_name(job)}" of Kind "Job" already exists and is not managed by MPIJob'
            )
        workers: list[Manifest] = []
        if launcher is None or not _is_done(launcher):
            workers = await self._ensure_all(job, launcher, notes)
            launcher = launcher or await self._ensure_launcher(job, workers)
        if (
            launcher is not None
            and not _is_done(launcher)
            and bool(launcher["spec"].get("suspend")) != policy["suspend"]
        ):
            patch = {"metadata": {"uid": launcher["metadata"]["uid"]}, "spec": {"suspend": policy["suspend"]}}
            launcher = await self._client.patch(
                JOB, launcher["metadata"]["name"], patch, launcher["metadata"]["namespace"]
            )
        if policy["suspend"]:
            await self._clean_up(job, status)
        await self._read(job, status, launcher, workers, notes)

    # --- objects -----------------------------------------------------------------------------------------------------

    async def _ensure_all(self, job: Manifest, launcher: Manifest | None, notes: list[Note]) -> list[Manifest]:
        """Make what is missing but the launcher; return the workers."""
        name = job["metadata"]["name"]
        await ensure(self._client, SERVICE, mpi_pods.service(job), job)
        present = await owned(self._client, POD, job, mpi_pods.labels(job, "worker"))
        await self._update_hosts(job, [pod for pod in present if _phase(pod) == "Running"])
        if await find(self._client, SECRET, f"{name}-ssh", job["metadata"]["namespace"]) is None:
            await ensure(self._client, SECRET, mpi_pods.ssh_secret(f"{name}-ssh", name), job)
        if job["spec"]["runPolicy"]["suspend"]:
            return []
        wanted = [mpi_pods.worker_pod(job, index) for index in range(mpi_pods.worker_count(job))]
        names = {pod["metadata"]["name"] for pod in wanted}
        for pod in present:
            if pod["metadata"]["name"] not in names:
                await delete(self._client, POD, pod)
        try:
            return [await ensure(self._client, POD, pod, job) for pod in wanted]
        except ApiError as error:
            notes.append(Note("Warning", "MPIJobFailed", f"worker pod created failed: {error}"))
            await tell(self._client, job, notes, source=NAME)
            raise

    async def _update_hosts(self, job: Manifest, running: Sequence[Manifest]) -> None:
        """Keep host file and discovery script up to date."""
        wanted = mpi_pods.config_map(job, running)
        found = await ensure(self._client, CONFIG_MAP, wanted, job)
        if found.get("data") != wanted["data"]:
            meta = found["metadata"]
            patch = {"metadata": {"uid": meta["uid"]}, "data": wanted["data"]}
            await self._client.patch(CONFIG_MAP, meta["name"], patch, meta["namespace"])

    async def _ensure_launcher(self, job: Manifest, workers: Sequence[Manifest]) -> Manifest | None:
        ready = sum(is_true(pod.get("status") or {}, "Ready") for pod in workers)
        if job["spec"]["launcherCreationPolicy"] != "AtStartup" and ready < len(workers):
            return None
        return await ensure(self._client, JOB, mpi_pods.launcher_job(job), job)

    async def _clean_up(self, job: Manifest, status: dict[str, Any]) -> None:
        """Delete workers; with ``cleanPodPolicy: Running`` those that have ended stay."""
        for pod in await owned(self._client, POD, job, mpi_pods.labels(job, "worker")):
            only_running = job["spec"]["runPolicy"]["cleanPodPolicy"] == "Running"
            if not only_running or _phase(pod) in ("Running", "Pending"):
                await delete(self._client, POD, pod)
        status.setdefault("replicaStatuses", {})["Worker"] = {}

    # --- status ------------------------------------------------------------------------------------------------------

    async def _read(
        self,
        job: Manifest,
        status: dict[str, Any],
        launcher: Manifest | None,
        workers: Sequence[Manifest],
        notes: list[Note],
    ) -> None:
        """Bring the status up to what launcher and workers say."""
        name, suspended = (
            f"{job['metadata']['namespace']}/{job['metadata']['name']}",
            job["spec"]["runPolicy"]["suspend"],
        )
        _read_suspension(status, suspended, notes)
        running_launchers = 0
        if launcher is not None:
            launched = await owned(self._client, POD, launcher, {LAUNCHED_BY: launcher["metadata"]["name"]})
            running_launchers = sum(_phase(pod) == "Running" for pod in launched)
            _read_launcher(job, status, launcher, launched, notes)
        running = _read_workers(status, workers, notes)
        if suspended:
            text = f"MPIJob {name} is suspended."
            add_condition(status, "Running", "MPIJobSuspended", text, value=False)
        elif is_finished(status):
            if find_condition(status, "Running") is None:
                text = f"MPIJob {name} is finished but Running condition was never set."
                at = status.get("completionTime") or now()
                stamps = {"lastUpdateTime": at, "lastTransitionTime": at}
                condition = {"type": "Running", "status": "False", "reason": "MPIJobRunning", "message": text}
                status["conditions"] = [*status["conditions"], condition | stamps]
        elif launcher is not None and running_launchers and running == len(workers):
            text = f"MPIJob {name} is running."
            if add_condition(status, "Running", "MPIJobRunning", text):
                notes.append(Note("Normal", "MPIJobRunning", f"MPIJob {name} is running"))


def _phase(pod: Manifest) -> str:
    return str((pod.get("status") or {}).get("phase", "Pending"))


def _is_done(launcher: Manifest) -> bool:
    status = launcher.get("status") or {}
    return is_true(status, "Complete") or is_true(status, "Failed")


def _read_suspension(status: dict[str, Any], suspended: bool, notes: list[Note]) -> None:
    if suspended:
        if add_condition(status, "Suspended", "MPIJobSuspended", "MPIJob suspended"):
            notes.append(Note("Normal", "MPIJobSuspended", "MPIJob suspended"))
    elif find_condition(status, "Suspended") is not None and add_condition(
        status, "Suspended", "MPIJobResumed", "MPIJob resumed", value=False
    ):
        notes.append(Note("Normal", "MPIJobResumed", "MPIJob resumed"))
        status["startTime"] = now()


def _read_launcher(
    job: Manifest, status: dict[str, Any], launcher: Manifest, pods: Sequence[Manifest], notes: list[Note]
) -> None:
    name = f"{job['metadata']['namespace']}/{job['metadata']['name']}"
    launched = launcher.get("status") or {}
    counts = {"failed": launched.get("failed", 0)}
    if is_true(launched, "Complete"):
        text = f"MPIJob {name} successfully completed."
        counts["succeeded"] = 1
        status.setdefault("completionTime", launched["completionTime"])
        if add_condition(status, "Succeeded", "MPIJobSucceeded", text, ends=OVER):
            notes.append(Note("Normal", "MPIJobSucceeded", text))
    elif is_true(launched, "Failed"):
        reason, text = _why(name, launched, pods)
        status.setdefault("completionTime", now())
        if add_condition(status, "Failed", reason, text, ends=OVER):
            notes.append(Note("Warning", reason, text))
    else:
        counts["active"] = sum(_phase(pod) == "Running" for pod in pods)
    status.setdefault("replicaStatuses", {})["Launcher"] = {key: count for key, count in counts.items() if count}


def _why(name: str, launched: dict[str, Any], pods: Sequence[Manifest]) -> tuple[str, str]:
    """Return reason and message of a launcher's failure."""
    failed = find_condition(launched, "Failed") or {}
    reason = failed.get("reason") or "MPIJobFailed"
    text = failed.get("message") or f"MPIJob {name} has failed"
    if reason == "BackoffLimitExceeded":
        ended = sorted(
            (pod for pod in pods if _phase(pod) == "Failed"), key=lambda pod: str(pod["metadata"]["creationTimestamp"])
        )
        if ended:
            last = ended[-1]["status"]
            reason += "/" + (last.get("reason") or "")
            text += ": " + (last.get("message") or "")
    return reason, text


def _read_workers(status: dict[str, Any], workers: Sequence[Manifest], notes: list[Note]) -> int:
    """Count workers; return how many run."""
    names = {"Failed": "failed", "Succeeded": "succeeded", "Running": "active"}
    counts = {word: sum(_phase(pod) == phase for pod in workers) for phase, word in names.items()}
    status.setdefault("replicaStatuses", {})["Worker"] = {word: count for word, count in counts.items() if count}
    evicted = sum(_phase(pod) == "Failed" and pod["status"].get("reason") == "Evicted" for pod in workers)
    if evicted:
        text = f"{evicted}/{len(workers)} workers are evicted"
        if add_condition(status, "Failed", "MPIJobEvicted", text, ends=OVER):
            notes.append(Note("Warning", "MPIJobEvicted", text))
    return counts["active"]
