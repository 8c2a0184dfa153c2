"""A task's whole way with training jobs of two ranks in real processes: submitted, followed, finished, explained."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.exceptions import ApplicationError, ContainerKilledError
from airflow_provider_sparkml.jobs import rounds
from airflow_provider_sparkml.jobs.finish import finish
from airflow_provider_sparkml.jobs.outcome import Deadlines
from airflow_provider_sparkml.jobs.submit import submit
from airflow_provider_sparkml.jobs.wait import wait
from airflow_provider_sparkml.local.controllers.trainer_runtimes import TRAINING_RUNTIME
from airflow_provider_sparkml.resources.base import Manifest, Resource
from airflow_provider_sparkml.resources.core import POD
from airflow_provider_sparkml.resources.kubeflow_v1 import PYTORCH_JOB, XGBOOST_JOB, PyTorchJob, XGBoostJob
from airflow_provider_sparkml.resources.trainer import TRAIN_JOB, Trainer, TrainJob
from airflow_provider_sparkml.resources.training import Replica
from airflow_provider_sparkml.resources.training_pods import TRAINING_PODS, TrainingPods
from tests.integration.jobs.conftest import Told, identity
from tests.integration.training import ALLREDUCE, IMAGE

PROGRAM = (
    ALLREDUCE
    + """
if rank == 0:
    with open(os.environ["SPARKML_RESULT_PATH"], "w") as file:
        json.dump({"sum": vector[0] * size}, file)
"""
)
COMMAND = ["python", "-c", PROGRAM]


def replica(**env: str) -> Replica:
    return Replica(image=IMAGE, command=COMMAND, env=env, extra={"terminationGracePeriodSeconds": 0})


def pytorch_job(**env: str) -> Manifest:
    return PyTorchJob(master=replica(**env), worker=replica(**env)).to_manifest()


def xgboost_job(**env: str) -> Manifest:
    return XGBoostJob(master=replica(**env), worker=replica(**env)).to_manifest()


def train_job(**env: str) -> Manifest:
    return TrainJob(
        runtime="once",
        runtime_kind="TrainingRuntime",
        trainer=Trainer(image=IMAGE, command=COMMAND, env=env, num_nodes=2),
    ).to_manifest()


def training_pods(**env: str) -> Manifest:
    pods = Replica(image=IMAGE, command=COMMAND, env=env, replicas=2, extra={"terminationGracePeriodSeconds": 0})
    return TrainingPods(pods=pods, master_port=7011).to_manifest()


# The kind, its manifest, and what its rank 0 and its rank 1 are called.
KINDS: dict[str, tuple[Resource, Callable[..., Manifest], str, str]] = {
    "PyTorchJob": (PYTORCH_JOB, pytorch_job, "master-0", "worker-0"),
    "XGBoostJob": (XGBOOST_JOB, xgboost_job, "master-0", "worker-0"),
    "TrainJob": (TRAIN_JOB, train_job, "node-0", "node-1"),
    "TrainingPods": (TRAINING_PODS, training_pods, "worker-0", "worker-1"),
}


@pytest.fixture(params=KINDS)
async def kind(request: pytest.FixtureRequest, cluster_client: KubernetesClient, cluster_namespace: str) -> Any:
    if request.param == "TrainJob":
        # As torch-distributed, but a rank that fails is not started again: that would take its Job minutes.
        pod = {"restartPolicy": "Never", "containers": [{"name": "node", "image": IMAGE}]}
        label = {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}}
        job = {"metadata": label, "spec": {"backoffLimit": 0, "template": {"spec": pod}}}
        spec = {
            "mlPolicy": {"numNodes": 1, "torch": {}},
            "template": {"spec": {"replicatedJobs": [{"name": "node", "template": job}]}},
        }
        await cluster_client.create(TRAINING_RUNTIME, {"metadata": {"name": "once"}, "spec": spec}, cluster_namespace)
    return KINDS[request.param]


@pytest.fixture
async def client(airflow_client: KubernetesClient) -> KubernetesClient:
    """Airflow's, with the rights of the shipped roles only."""
    return airflow_client


@pytest.fixture
async def run(
    client: KubernetesClient, cluster_namespace: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Any]]:
    """Submit a job and wait for it, as trigger and worker do; return what the task returns."""
    monkeypatch.setattr(rounds, "INTERVAL", 0.2)
    hub = WatchHub(client)

    async def run(resource: Resource, manifest: Manifest, *, on_finish: Any = "delete") -> dict[str, Any]:
        submission = await submit(client, resource, manifest, identity(), namespace=cluster_namespace, log=told)
        outcome = await wait(client, hub, resource, submission.ref, Deadlines(), log=told)
        return await finish(client, resource, outcome, on_finish=on_finish, log=told)

    yield run
    await hub.close()


async def pods(client: KubernetesClient, namespace: str) -> list[Manifest]:
    return (await client.list(POD, namespace)).items


async def test_two_ranks_agree_and_rank_0_tells_the_result(
    kind: Any, run: Callable[..., Any], told: Told, client: KubernetesClient, cluster_namespace: str
) -> None:
    resource, manifest, first, _ = kind
    result = await asyncio.wait_for(run(resource, manifest()), 60)
    assert result["phase"] == "SUCCEEDED"
    assert result["result"] == {"sum": 3.0}
    assert f"[{first}] step=3 sum=3.0" in told.lines
    async with asyncio.timeout(20):  # deleted in the foreground: its pods first
        while await pods(client, cluster_namespace):
            await asyncio.sleep(0.05)


async def test_the_rank_that_failed_first_is_named(kind: Any, run: Callable[..., Any], told: Told) -> None:
    resource, manifest, _, second = kind
    with pytest.raises(ApplicationError, match=rf"^{second} ended with exit code 7") as caught:
        await asyncio.wait_for(run(resource, manifest(FAIL="1", EXIT_CODE="7")), 60)
    assert f"Last lines of the {second}'s log" in str(caught.value)
    # Rank 0 was still at work: its controller may have deleted its pod, and the log with it, before anybody could ask.
    assert f"[{second}] step=1 sum=3.0" in told.lines


async def test_a_killed_rank_is_worth_a_retry(
    run: Callable[..., Any], told: Told, client: KubernetesClient, cluster_namespace: str
) -> None:
    with pytest.raises(ContainerKilledError, match=r"^worker-0 was killed by SIGKILL"):
        await asyncio.wait_for(run(PYTORCH_JOB, pytorch_job(FAIL="1", EXIT_CODE="137")), 60)
