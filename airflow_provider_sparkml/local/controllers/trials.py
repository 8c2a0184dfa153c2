"""The controller of Katib's Trials: each runs one job with one choice of parameters, and reads its metrics.

Follows kubeflow/katib v0.19, ``pkg/controller.v1beta1/trial``. A side-car collects metrics on a cluster; here they are
read from the primary pod's log when its job has succeeded.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import ApiError, ConflictError, LocalClusterError, NotFoundError
from airflow_provider_sparkml.local.controllers import katib_search as search
from airflow_provider_sparkml.local.controllers.kubeflow_conditions import add_condition
from airflow_provider_sparkml.local.controllers.kubeflow_v1_pods import KINDS
from airflow_provider_sparkml.local.controllers.objects import (
    Note,
    delete,
    ensure,
    find,
    is_deleting,
    is_true,
    tell,
    write_status,
)
from airflow_provider_sparkml.local.controllers.runtime import Controller, Key, Source, now, owner_key
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import POD
from airflow_provider_sparkml.resources.mpi import API as MPI_JOB
from airflow_provider_sparkml.resources.spark import API as SPARK_APPLICATION
from airflow_provider_sparkml.resources.trainer import API as TRAIN_JOB
from airflow_provider_sparkml.resources.training_pods import API as JOB

log = logging.getLogger(__name__)

TRIAL = ApiResource("kubeflow.org", "v1beta1", "trials", "Trial")
NAME = "trial-controller"
ENDS = ("Succeeded", "Failed", "Killed", "MetricsUnavailable", "EarlyStopped")
_APIS = (JOB, TRAIN_JOB, MPI_JOB, SPARK_APPLICATION, *(each.api for each in KINDS))
RUNNABLE = {(api.api_version, api.kind): api for api in _APIS}
"""What a trial can run; on a cluster this is ``trialResources`` in the KatibConfig."""

POD_LABELS = {
    "Job": "batch.kubernetes.io/job-name",
    "TrainJob": "jobset.sigs.k8s.io/jobset-name",
    "SparkApplication": "sparkoperator.k8s.io/app-name",
}
TRAINING_LABEL = "training.kubeflow.org/job-name"
TRIAL_LABEL = "katib.kubeflow.org/trial"


def trial_controller(client: KubernetesClient) -> Controller:
    """Return the controller of all Trials."""
    jobs = [Source(api, owner_key("Trial")) for api in RUNNABLE.values()]
    sources = [Source(TRIAL), Source(POD, _trial_of), *jobs]
    return Controller(NAME, client, sources, _Trials(client).reconcile, workers=8)


def _trial_of(pod: Manifest) -> Iterable[Key]:
    """Yield the key of the trial that a pod may belong to: its job has the trial's name."""
    labels = pod["metadata"].get("labels") or {}
    for label in (*POD_LABELS.values(), TRAINING_LABEL):
        if label in labels:
            yield pod["metadata"]["namespace"], labels[label]


def is_completed(trial: Manifest) -> bool:
    """Whether a trial has come to an end, whatever end."""
    return any(is_true(trial.get("status") or {}, kind) for kind in ENDS)


class _Trials:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Take a Trial one step on; see :data:`~.runtime.Reconcile`."""
        trial = await find(self._client, TRIAL, name, namespace)
        if trial is None or is_deleting(trial):
            return None
        status, notes = copy.deepcopy(trial.get("status") or {}), list[Note]()
        if not status.get("conditions"):
            status["startTime"] = now()
            add_condition(status, "Created", "TrialCreated", "Trial is created")
        run = trial["spec"]["runSpec"]
        api = RUNNABLE.get((run.get("apiVersion", ""), run.get("kind", "")))
        if api is None:
            known = ", ".join(sorted(kind for _, kind in RUNNABLE))
            raise LocalClusterError(
                f"trial {name}: spec.runSpec is a {run.get('kind')} of {run.get('apiVersion')}, which a trial cannot "
                f"run; it runs {known}"
            )
        if is_completed(trial):
            await self._clean_up(trial, api, notes)
        else:
            try:
                job = await ensure(self._client, api, run, trial)
            except ApiError as error:
                notes.append(Note("Warning", "ReconcileError", f"Failed to reconcile: {error}"))
                await tell(self._client, trial, notes, source=NAME)
                raise
            await self._follow(trial, status, job, await self._pods(trial, job), notes)
        await write_status(self._client, TRIAL, trial, status)
        await tell(self._client, trial, notes, source=NAME)
        return None

    async def _clean_up(self, trial: Manifest, api: ApiResource, notes: list[Note]) -> None:
        if trial["spec"].get("retainRun"):
            return
        name = trial["spec"]["runSpec"]["metadata"]["name"]
        job = await find(self._client, api, name, trial["metadata"]["namespace"])
        if job is not None and not is_deleting(job):
            await delete(self._client, api, job, foreground=True)
            notes.append(Note("Normal", "JobDeleted", f"Job {name} has been deleted"))

    async def _pods(self, trial: Manifest, job: Manifest) -> list[Manifest]:
        """Return the pods of a trial's job, oldest first, and label them as Katib's webhook does at their creation."""
        meta = trial["metadata"]
        selector = f"{POD_LABELS.get(job['kind'], TRAINING_LABEL)}={job['metadata']['name']}"
        pods = (await self._client.list(POD, meta["namespace"], label_selector=selector)).items
        labels = {**(meta.get("labels") or {}), TRIAL_LABEL: meta["name"]}
        for pod in pods:
            if TRIAL_LABEL not in pod["metadata"]["labels"]:
                patch = {"metadata": {"uid": pod["metadata"]["uid"], "labels": labels}}
                with contextlib.suppress(NotFoundError, ConflictError):  # it went, or another has its name
                    await self._client.patch(POD, pod["metadata"]["name"], patch, meta["namespace"])
        return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    async def _follow(
        self,
        trial: Manifest,
        status: dict[str, Any],
        job: Manifest,
        pods: list[Manifest],
        notes: list[Note],
    ) -> None:
        """Bring the status up to what the job says."""
        name, spec = job["metadata"]["name"], trial["spec"]
        failed = search.holds(spec.get("failureCondition", ""), job)
        succeeded = search.holds(spec.get("successCondition", ""), job)
        if failed is not None:
            _end(status, "Failed", "TrialFailed", "Trial has failed", failed)
            notes.append(Note("Normal", "JobFailed", f"Job {name} has failed"))
        elif succeeded is not None:
            metrics = await self._metrics(trial, pods)
            status["observation"] = {"metrics": metrics}
            if search.objective_value(spec["objective"], metrics) != search.UNAVAILABLE:
                _end(status, "Succeeded", "TrialSucceeded", "Trial has succeeded", succeeded)
                notes.append(Note("Normal", "JobSucceeded", f"Job {name} has succeeded"))
            else:
                _end(status, "MetricsUnavailable", "MetricsUnavailable", "Metrics are not available", succeeded)
                notes.append(Note("Warning", "MetricsUnavailable", f"Metrics are not available for Job {name}"))
        elif add_condition(status, "Running", "TrialRunning", "Trial is running"):
            notes.append(Note("Normal", "JobRunning", f"Job {name} is running"))

    async def _metrics(self, trial: Manifest, pods: list[Manifest]) -> list[dict[str, str]]:
        spec = trial["spec"]
        source = ((spec.get("metricsCollector") or {}).get("source") or {}).get("filter") or {}
        return search.observe(await self._lines(trial, pods), spec["objective"], source.get("metricsFormat") or ())

    async def _lines(self, trial: Manifest, pods: list[Manifest]) -> list[str]:
        """Return what the primary containers of the trial's job printed."""
        namespace, spec = trial["metadata"]["namespace"], trial["spec"]
        primary_labels = (spec.get("primaryPodLabels") or {}).items()
        lines: list[str] = []
        for pod in pods:
            if not primary_labels <= pod["metadata"]["labels"].items():
                continue
            names, own = [container["name"] for container in pod["spec"]["containers"]], pod["metadata"]["name"]
            primary = spec.get("primaryContainerName")
            container = primary if primary in names else names[0]
            try:
                lines += [line async for line in self._client.pod_log(namespace, own, container=container)]
            except ApiError as error:
                log.warning("log of pod %s/%s for its metrics: %s", namespace, own, error)
        return lines


def _end(status: dict[str, Any], kind: str, reason: str, message: str, found: Mapping[str, Any]) -> None:
    """Note the end of a trial, with what its job's condition says."""
    if found.get("message"):
        message += f". Job message: {found['message']}"
    if found.get("reason"):
        reason += f". Job reason: {found['reason']}"
    status["completionTime"] = now()
    add_condition(status, kind, reason, message, ends=("Running",))
