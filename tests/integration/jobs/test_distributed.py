"""A task's whole way with training jobs of two ranks in real processes: submitted, followed, finished, explained."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.exceptions import ApplicationError, ContainerKilledError
from airflow_provider_sparkml.jobs import rounds
from airflow_provider_sparkml.jobs.finish import finish, kill
from airflow_provider_sparkml.jobs.outcome import Deadlines
from airflow_provider_sparkml.jobs.submit import submit
from airflow_provider_sparkml.jobs.wait import wait
from airflow_provider_sparkml.local.controllers.trainer_runtimes import RUNTIMES, TRAINING_RUNTIME
from airflow_provider_sparkml.resources.base import Manifest, Resource
from airflow_provider_sparkml.resources.core import POD
from airflow_provider_sparkml.resources.kubeflow_v1 import (
    PYTORCH_JOB,
    TF_JOB,
    XGBOOST_JOB,
    PyTorchJob,
    TFJob,
    XGBoostJob,
)
from airflow_provider_sparkml.resources.mpi import HOSTFILE, MPI_JOB, MPIJob
from airflow_provider_sparkml.resources.trainer import TRAIN_JOB, Trainer, TrainJob
from airflow_provider_sparkml.resources.training import Replica
from airflow_provider_sparkml.resources.training_pods import TRAINING_PODS, TrainingPods
from tests.integration.jobs.conftest import Told, identity
from tests.integration.training import ALLREDUCE, IMAGE

# TensorFlow's operator tells it all in one variable.
TENSORFLOW = """
import json, os
if "TF_CONFIG" in os.environ:
    config = json.loads(os.environ["TF_CONFIG"])
    workers = config["cluster"]["worker"]
    address, _, port = workers[0].partition(":")
    os.environ |= {"RANK": str(config["task"]["index"]), "WORLD_SIZE": str(len(workers))}
    os.environ |= {"MASTER_ADDR": address, "MASTER_PORT": port}
"""
PROGRAM = (
    TENSORFLOW
    + ALLREDUCE
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


def tf_job(**env: str) -> Manifest:
    return TFJob(worker=replace(replica(**env), replicas=2)).to_manifest()


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
    "TFJob": (TF_JOB, tf_job, "worker-0", "worker-1"),
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


async def test_a_kill_ends_all_ranks(
    kind: Any, told: Told, client: KubernetesClient, cluster_namespace: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(rounds, "INTERVAL", 0.2)
    resource, manifest, first, _ = kind
    hold = tmp_path / "hold"
    hold.touch()
    submission = await submit(
        client, resource, manifest(HOLD=str(hold)), identity(), namespace=cluster_namespace, log=told
    )
    hub = WatchHub(client)
    waiting = asyncio.create_task(wait(client, hub, resource, submission.ref, Deadlines(), log=told))
    try:
        await told.until(f"[{first}] step=1 sum=3.0")
        await kill(client, resource.api, submission.ref, log=told)
        assert (await asyncio.wait_for(waiting, 20)).deleted
        async with asyncio.timeout(20):
            while await pods(client, cluster_namespace):
                await asyncio.sleep(0.05)
    finally:
        await hub.close()


# --- ranks that a launcher starts by ssh ----------------------------------------------------------------------------

# It reads the hosts, and the program, as horovodrun and mpirun do.
LAUNCH = """
rank=0
for host in $(cut -d' ' -f1 "$HOSTS"); do
  [ $rank = 0 ] && first=$host
  printf %s "$PROGRAM" | ssh -o ConnectionAttempts=20 -o StrictHostKeyChecking=no "$host" \\
    "RANK=$rank WORLD_SIZE=2 MASTER_PORT=7012 MASTER_ADDR=$first $GIVEN python -" 2>&1 &
  rank=$((rank + 1))
  pids="$pids $!"
done
for pid in $pids; do wait $pid || exit 9; done
echo '{"sum": 3.0}' > "$SPARKML_RESULT_PATH"
"""


def launched(hosts: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Return command and environment of a launcher."""
    words = " ".join(f"{name}={value}" for name, value in given.items())
    return {"command": ["sh", "-c", LAUNCH], "env": {"HOSTS": hosts, "PROGRAM": ALLREDUCE, "GIVEN": words}}


def mpi_job(**given: str) -> Manifest:
    pod = {"terminationGracePeriodSeconds": 0}
    launcher = Replica(image=IMAGE, **launched(HOSTFILE, given), extra=pod)
    return MPIJob(launcher=launcher, worker=Replica(image=IMAGE, replicas=2, extra=pod)).to_manifest()


def mpi_train_job(**given: str) -> Manifest:
    trainer = Trainer(image=IMAGE, num_nodes=2, **launched("/etc/mpi/hostfile", given))
    return TrainJob(runtime="light", runtime_kind="TrainingRuntime", trainer=trainer).to_manifest()


@pytest.fixture
async def mpi_runtime(cluster_client: KubernetesClient, cluster_namespace: str) -> None:
    """The cluster's runtime of MPI, with an image that needs not be built."""
    (runtime,) = [each for each in RUNTIMES if each["metadata"]["name"] == "horovod-distributed"]
    spec = json.loads(json.dumps(runtime["spec"]).replace("sparkml/horovod:latest", IMAGE))
    for job in spec["template"]["spec"]["replicatedJobs"]:
        job["template"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 0
    await cluster_client.create(TRAINING_RUNTIME, {"metadata": {"name": "light"}, "spec": spec}, cluster_namespace)


LAUNCHED = pytest.mark.parametrize(
    ("resource", "job"),
    [(MPI_JOB, mpi_job), (TRAIN_JOB, mpi_train_job)],
    ids=["MPIJob", "TrainJob of an MPI runtime"],
)


@LAUNCHED
@pytest.mark.usefixtures("mpi_runtime")
async def test_a_launcher_tells_the_result_of_its_ranks(
    run: Callable[..., Any], told: Told, client: KubernetesClient, cluster_namespace: str,
    resource: Resource, job: Callable[..., Manifest],
) -> None:  # fmt: skip
    result = await asyncio.wait_for(run(resource, job()), 60)
    assert (result["phase"], result["result"]) == ("SUCCEEDED", {"sum": 3.0})
    assert told.lines.count("[launcher] step=3 sum=3.0") == 2
    async with asyncio.timeout(20):
        while await pods(client, cluster_namespace):
            await asyncio.sleep(0.05)


@LAUNCHED
@pytest.mark.usefixtures("mpi_runtime")
async def test_a_launcher_fails_with_a_rank(
    run: Callable[..., Any], told: Told, resource: Resource, job: Callable[..., Manifest]
) -> None:
    with pytest.raises(ApplicationError, match=r"^launcher ended with exit code 9"):
        await asyncio.wait_for(run(resource, job(FAIL="0", EXIT_CODE="7")), 60)
    # The workers, whose logs are sshd's, may be gone by now: cleanPodPolicy asks for it, and a failed JobSet's jobs go.
    assert "[launcher] step=1 sum=3.0" in told.lines


async def test_a_killed_rank_is_worth_a_retry(
    run: Callable[..., Any], told: Told, client: KubernetesClient, cluster_namespace: str
) -> None:
    with pytest.raises(ContainerKilledError, match=r"^worker-0 was killed by SIGKILL"):
        await asyncio.wait_for(run(PYTORCH_JOB, pytorch_job(FAIL="1", EXIT_CODE="137")), 60)
