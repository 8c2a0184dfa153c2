"""Controllers of training jobs that die again and again, at any moment: nothing is lost, and nothing made twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_dict
from airflow_provider_sparkml.local.controllers.experiments import experiment_controller
from airflow_provider_sparkml.local.controllers.garbage import GarbageCollector
from airflow_provider_sparkml.local.controllers.jobs import job_controller
from airflow_provider_sparkml.local.controllers.kubeflow_v1 import training_controllers
from airflow_provider_sparkml.local.controllers.kubeflow_v1_pods import PYTORCH
from airflow_provider_sparkml.local.controllers.mpijobs import mpi_job_controller
from airflow_provider_sparkml.local.controllers.runtime import Controller, run_controllers
from airflow_provider_sparkml.local.controllers.trainer_runtimes import TRAINING_RUNTIME
from airflow_provider_sparkml.local.controllers.trainjobs import train_job_controller
from airflow_provider_sparkml.local.controllers.trials import TRIAL, trial_controller
from airflow_provider_sparkml.local.images import ImageStore, default_cache, default_folders
from airflow_provider_sparkml.local.kubelet import Kubelet
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import POD, SERVICE
from airflow_provider_sparkml.resources.katib import API as EXPERIMENT
from airflow_provider_sparkml.resources.mpi import API as MPI_JOB
from airflow_provider_sparkml.resources.trainer import API as TRAIN_JOB
from airflow_provider_sparkml.resources.training_pods import API as JOB
from tests.integration.training import conditions, container, template

SECONDS = 60
SEED = 7

Make = Callable[[KubernetesClient], Sequence[Controller]]


def all_controllers(client: KubernetesClient) -> Sequence[Controller]:
    return (
        job_controller(client),
        mpi_job_controller(client),
        *training_controllers(client),
        train_job_controller(client),
        trial_controller(client),
        experiment_controller(client),
    )


async def dying(kubeconfig: str, deaths: list[float]) -> None:
    """Run the controllers, each time for as long as the next number says, and kill them; then to the end."""
    while True:
        async with KubernetesClient(kubeconfig_dict(kubeconfig)) as client:
            running = asyncio.create_task(run_controllers(client, all_controllers(client)))
            try:
                await asyncio.wait([running], timeout=deaths.pop(0) if deaths else None)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def client(api_server: Any, namespace: str) -> AsyncIterator[KubernetesClient]:
    # Without TLS: asyncio (3.11) leaves a transport open, with a warning, if it is cancelled early in the handshake.
    kubeconfig = api_server.kubeconfig.read_text().replace("https://", "http://")
    source = random.Random(SEED)
    deaths = [source.uniform(0.02, 0.3) for _ in range(40)]
    async with KubernetesClient(kubeconfig_dict(kubeconfig)) as client:
        images = ImageStore(default_folders(), default_cache())
        java, state = Path("/no/java"), api_server.state_dir
        kubelet = Kubelet(client, images, java_home=java, state_dir=state, server=api_server.url)
        tasks = [
            asyncio.create_task(part)
            for part in (kubelet.run(), GarbageCollector(client).run(), dying(kubeconfig, deaths))
        ]
        await kubelet.ready.wait()
        yield client
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def finished(client: KubernetesClient, api: ApiResource, namespace: str, name: str) -> Manifest:
    async with asyncio.timeout(SECONDS):
        while True:
            obj = await client.get(api, name, namespace)
            if {"Succeeded", "Failed", "Complete"} & conditions(obj).keys():
                return obj
            await asyncio.sleep(0.05)


def failing_once(marker: Path) -> str:
    """Return a program that ends as if by a signal when it is run for the first time."""
    return f"""
import pathlib, sys
marker = pathlib.Path({str(marker)!r})
again = marker.exists()
marker.touch()
sys.exit(0 if again else 143)
"""


async def test_controllers_that_die_lose_nothing_and_make_nothing_twice(
    client: KubernetesClient, namespace: str, tmp_path: Path
) -> None:
    indexed = template(container("main", failing_once(tmp_path / "job")), restartPolicy="Never")
    spec = {"completionMode": "Indexed", "completions": 4, "parallelism": 2, "template": indexed}
    await client.create(JOB, {"metadata": {"name": "indexed"}, "spec": spec}, namespace)

    replica = {"restartPolicy": "ExitCode", "template": template(container("pytorch", failing_once(tmp_path / "rank")))}
    steady = {"restartPolicy": "ExitCode", "template": template(container("pytorch", "import time; time.sleep(3)"))}
    replicas = {"Master": steady, "Worker": replica}
    await client.create(
        PYTORCH.api, {"metadata": {"name": "ranks"}, "spec": {"pytorchReplicaSpecs": replicas}}, namespace
    )

    launcher = {"name": "launcher", "image": "python:3.11", "command": ["sleep", "1"]}
    worker = {"name": "worker", "image": "python:3.11", "command": ["sleep", "60"]}
    roles = {
        "Launcher": {"restartPolicy": "Never", "template": template(launcher)},
        "Worker": {"replicas": 2, "template": template(worker)},
    }
    mpi = {"mpiReplicaSpecs": roles, "runPolicy": {"cleanPodPolicy": "All"}}
    await client.create(MPI_JOB, {"metadata": {"name": "mpi"}, "spec": mpi}, namespace)

    label = {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}}
    node = template(container("node", "import time; time.sleep(1)"), restartPolicy="Never")
    job = {"name": "node", "template": {"metadata": label, "spec": {"template": node}}}
    runtime = {"mlPolicy": {"numNodes": 2, "torch": {}}, "template": {"spec": {"replicatedJobs": [job]}}}
    await client.create(TRAINING_RUNTIME, {"metadata": {"name": "light"}, "spec": runtime}, namespace)
    reference = {"runtimeRef": {"kind": "TrainingRuntime", "name": "light"}}
    await client.create(TRAIN_JOB, {"metadata": {"name": "train"}, "spec": reference}, namespace)

    trial = template(container("main", "print('loss=${trialParameters.x}')"), restartPolicy="Never")
    search = {
        "objective": {"type": "minimize", "objectiveMetricName": "loss"},
        "algorithm": {"algorithmName": "random", "algorithmSettings": [{"name": "random_state", "value": "1"}]},
        "parameters": [{"name": "x", "parameterType": "double", "feasibleSpace": {"min": "0.1", "max": "1"}}],
        "parallelTrialCount": 2,
        "maxTrialCount": 3,
        "trialTemplate": {
            "trialParameters": [{"name": "x", "reference": "x"}],
            "trialSpec": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": trial}},
        },
    }
    await client.create(EXPERIMENT, {"metadata": {"name": "search"}, "spec": search}, namespace)

    done = await finished(client, JOB, namespace, "indexed")
    assert conditions(done)["Complete"] == "CompletionsReached"
    assert (done["status"]["completedIndexes"], done["status"]["succeeded"]) == ("0-3", 4)
    assert done["status"]["failed"] in (1, 2)  # two run side by side and may both be the first
    done = await finished(client, PYTORCH.api, namespace, "ranks")
    assert conditions(done)["Succeeded"] == "PyTorchJobSucceeded"
    assert (tmp_path / "rank").exists()
    done = await finished(client, MPI_JOB, namespace, "mpi")
    assert conditions(done)["Succeeded"] == "MPIJobSucceeded"
    done = await finished(client, TRAIN_JOB, namespace, "train")
    assert conditions(done) == {"Complete": "AllJobsCompleted"}
    done = await finished(client, EXPERIMENT, namespace, "search")
    assert conditions(done)["Succeeded"] == "ExperimentMaxTrialsReached"
    assert done["status"]["trialsSucceeded"] == 3
    trials = (await client.list(TRIAL, namespace)).items
    assert len({each["spec"]["parameterAssignments"][0]["value"] for each in trials}) == len(trials) == 3

    listing = await client.list(POD, namespace, label_selector="batch.kubernetes.io/job-name=train-node-0")
    indexes = [pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] for pod in listing.items]
    assert sorted(indexes) == ["0", "1"]

    for api, name in ((JOB, "indexed"), (PYTORCH.api, "ranks"), (MPI_JOB, "mpi"), (TRAIN_JOB, "train")):
        await client.delete(api, name, namespace, propagation="Foreground")
    await client.delete(EXPERIMENT, "search", namespace, propagation="Foreground")
    async with asyncio.timeout(SECONDS):
        for api in (POD, SERVICE, JOB, TRIAL):
            while (await client.list(api, namespace)).items:
                await asyncio.sleep(0.05)
