"""Real Horovod and PyTorch on several ranks: ``make test-training``, since their images take minutes to build."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_provider_sparkml import __version__
from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.exceptions import ContainerKilledError
from airflow_provider_sparkml.jobs.finish import finish
from airflow_provider_sparkml.jobs.outcome import Deadlines
from airflow_provider_sparkml.jobs.submit import submit
from airflow_provider_sparkml.jobs.wait import wait
from airflow_provider_sparkml.resources.base import Resource, ResourceRef
from airflow_provider_sparkml.resources.core import POD
from airflow_provider_sparkml.resources.kubeflow_v1 import PYTORCH_JOB, PyTorchJob
from airflow_provider_sparkml.resources.mpi import MPI_JOB, MPIJob, horovod_job
from airflow_provider_sparkml.resources.naming import TaskIdentity
from airflow_provider_sparkml.resources.trainer import TRAIN_JOB, PodOverrides, Trainer, TrainJob
from airflow_provider_sparkml.resources.training import Replica, Volume
from airflow_provider_sparkml.resources.training_pods import TRAINING_PODS, TrainingPods, horovod_pods
from tests.system.test_example_dags import states, until_ended

pytestmark = [pytest.mark.training, pytest.mark.airflow, pytest.mark.spark, pytest.mark.timeout(900)]

SMALL = {"rows": 20_000, "kubernetes_conn_id": "local_cluster"}
DATA = Volume.claim("sparkml-data", "/data")
MANY = 100_000
"""Epochs: more than anybody waits for."""

Disturb = Callable[[KubernetesClient, ResourceRef], Awaitable[None]]


# --- the example DAGs ----------------------------------------------------------------------------------------------


def succeeded(airflow: Any, dag_id: str, **conf: Any) -> Any:
    """Run a DAG to its end, which must be a good one."""
    run = airflow.trigger(dag_id, **{**SMALL, **conf})
    if until_ended(run) != "success":
        found = states(run)
        failed = [name.partition("[")[0] for name, state in found.items() if state == "failed"]
        pytest.fail("\n".join([str(found), *(run.log(name)[-4000:] for name in failed)]))
    return run


@pytest.fixture(scope="module")
def trained(airflow: Any, local_cluster: Path) -> Any:
    """A run of ``pytorch_trainjob``; its data set serves the other tests as well."""
    return succeeded(airflow, "pytorch_trainjob", epochs=2)


@pytest.fixture(scope="module")
def dataset(trained: Any) -> str:
    """Where that run's data set is in a pod."""
    return f"/data/pytorch_trainjob/r{hashlib.sha256(trained.run_id.encode()).hexdigest()[:11]}/dataset"


def check(result: dict[str, Any], ranks: int) -> None:
    """All ranks ended with the same parameters, and the network has learnt."""
    assert result["ranks"] == ranks
    assert len(result["parameter_hashes"]) == ranks
    assert len(set(result["parameter_hashes"])) == 1
    assert result["metrics"]["auc"] > 0.6
    assert result["metrics"]["log_loss"] < result["baseline"]["log_loss"]
    assert result["parity"]["max_difference"] < 1e-4


def test_pytorch_trainjob(trained: Any) -> None:
    outcome = trained.xcom("train")
    check(outcome["result"], 2)
    assert outcome["checkpoint_uri"].endswith("/checkpoints")
    log = trained.log("train", trained.task("train")["try_number"])
    assert "step=" in log
    assert "loss=" in log


def test_horovod_training(airflow: Any, trained: Any) -> None:
    run = succeeded(airflow, "horovod_training", epochs=2)
    check(run.xcom("train")["result"], 2)


def test_hyperparameter_search(airflow: Any, trained: Any) -> None:
    run = succeeded(airflow, "hyperparameter_search", trial_epochs=1, epochs=2)
    best, katib = run.xcom("grid.best"), run.xcom("katib")
    assert set(best["parameters"]) == set(katib["result"]["parameters"]) == {"hidden", "learning_rate"}
    assert katib["trials_succeeded"] == 4
    trials = run.airflow.call("GET", f"{run.path}/taskInstances/grid.trial/listMapped")["task_instances"]
    names = {f"hidden={hidden}, learning_rate={rate}" for hidden in (16, 64) for rate in (0.001, 0.01)}
    assert {ti["rendered_map_index"] for ti in trials} == names
    # The same grid, the same seeds: both found the same.
    assert best["metrics"]["auc"] == pytest.approx(katib["result"]["metrics"]["auc"])
    final = run.xcom("train")["result"]
    check(final, 2)
    assert final["parameters"]["hidden"] == run.xcom("better")["hidden"]


@pytest.mark.parametrize("trainer", ["torch", "horovod"])
def test_preprocess_train_serve_with_a_neural_network(airflow: Any, trained: Any, trainer: str) -> None:
    run = succeeded(airflow, "preprocess_train_serve", trainer=trainer, epochs=2)
    found = states(run)
    assert found["export[-1]"] == found["pick_best[-1]"] == "skipped"
    assert found["deploy[-1]"] == "success"
    check(run.xcom(f"train_{trainer}")["result"], 2)


# --- jobs, and ranks that die --------------------------------------------------------------------------------------


class Lines(logging.Handler):
    """Keeps what a job's life writes to the task's log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def run_job(
    kubeconfig: Path, resource: Resource, job: Any, lines: Lines, disturb: Disturb | None = None, **env: str
) -> Any:
    """Run a job as a task does, with Airflow's rights, and disturb it as soon as it has taken steps; return the result.

    :param kubeconfig: the administrator's, for who disturbs it; Airflow's is beside it.
    """
    manifest = resource.with_env(job.to_manifest(), env)

    async def main() -> Any:
        log = logging.getLogger(f"training.{uuid.uuid4().hex}")
        log.addHandler(lines)
        log.setLevel(logging.INFO)
        identity = TaskIdentity("tests", "training", "train", uuid.uuid4().hex, -1, 1, 0)
        async with (
            KubernetesClient(kubeconfig_file(kubeconfig.with_name("airflow-kubeconfig"))) as client,
            KubernetesClient(kubeconfig_file(kubeconfig)) as administrator,
        ):
            hub = WatchHub(client)
            submission = await submit(
                client, resource, manifest, identity, namespace="default", log=log, on_finish="delete"
            )
            waiting = asyncio.create_task(wait(client, hub, resource, submission.ref, Deadlines(), log=log))
            try:
                async with asyncio.timeout(300):
                    if disturb is not None:
                        while "step=" not in lines.text:
                            await asyncio.sleep(0.2)
                            assert not waiting.done(), lines.text[-6000:]
                        await disturb(administrator, submission.ref)
                    outcome = await waiting
                return await finish(client, resource, outcome, on_finish="delete", log=log)
            finally:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                await hub.close()
                await client.delete(resource.api, submission.ref.name, "default")

    return asyncio.run(main())


async def pod_of(client: KubernetesClient, ref: ResourceRef, rank: str) -> Any:
    """Return the pod of a rank, as the kinds call it; an Indexed Job's pods have the index, and a random end."""
    pods = (await client.list(POD, "default")).items
    index = rank.rpartition("-")[2]
    names = (f"{ref.name}-{rank}", f"{ref.name}-{index}-", f"{ref.name}-node-0-{index}-")
    (found,) = [pod for pod in pods if pod["metadata"]["name"].startswith(names)]
    return found


def program(name: str, dataset: str, epochs: int) -> list[str]:
    output = f"/data/training/{uuid.uuid4().hex}"
    return ["python", f"/opt/sparkml/{name}.py", "--data", dataset, "--output", output, "--epochs", str(epochs)]


def horovod(dataset: str, epochs: int, **options: Any) -> MPIJob:
    job = horovod_job(
        f"sparkml/horovod:{__version__}",
        program("train_horovod", dataset, epochs),
        worker=Replica(image="", volumes=[DATA]),
        **options,
    )
    command = ["python", "/opt/sparkml/launch.py", *job.launcher.command]
    return replace(job, launcher=replace(job.launcher, command=command))


def pytorch(dataset: str, epochs: int) -> PyTorchJob:
    image, command = f"sparkml/torch:{__version__}", program("train_torch", dataset, epochs)
    one = Replica(image=image, command=command, volumes=[DATA])
    return PyTorchJob(master=one, worker=one)


def plain_horovod(dataset: str, epochs: int) -> TrainingPods:
    image, command = f"sparkml/horovod:{__version__}", program("train_horovod", dataset, epochs)
    return horovod_pods(image, command, pods=Replica(image="", volumes=[DATA]))


def train_job(dataset: str, epochs: int) -> TrainJob:
    image, (_, *command) = f"sparkml/torch:{__version__}", program("train_torch", dataset, epochs)
    trainer = Trainer(image=image, command=["torchrun", *command], num_nodes=2, num_proc_per_node=1)
    return TrainJob(runtime="torch-distributed", trainer=trainer, pods=PodOverrides(volumes=[DATA]))


def test_horovodrun_in_an_mpi_job(local_cluster: Path, dataset: str) -> None:
    check(run_job(local_cluster, MPI_JOB, horovod(dataset, 2), Lines())["result"], 2)


def test_horovod_in_plain_pods(local_cluster: Path, dataset: str) -> None:
    lines = Lines()
    check(run_job(local_cluster, TRAINING_PODS, plain_horovod(dataset, 2), lines)["result"], 2)
    assert "rank 0 of 2" in lines.text
    assert "[worker-0] step=" in lines.text
    assert "rank 0 is gone" not in lines.text


def test_ranks_of_a_pytorch_job(local_cluster: Path, dataset: str) -> None:
    lines = Lines()
    check(run_job(local_cluster, PYTORCH_JOB, pytorch(dataset, 2), lines)["result"], 2)
    assert "[master-0] step=" in lines.text


@pytest.mark.parametrize(
    ("resource", "job"),
    [(PYTORCH_JOB, pytorch), (TRAIN_JOB, train_job), (MPI_JOB, horovod), (TRAINING_PODS, plain_horovod)],
    ids=["torch", "torchrun", "horovodrun", "horovod in plain pods"],
)
def test_a_retry_goes_on_from_the_last_checkpoint(
    local_cluster: Path, dataset: str, resource: Resource, job: Callable[..., Any]
) -> None:
    place = f"/data/training/{uuid.uuid4().hex}/checkpoints"
    first = run_job(local_cluster, resource, job(dataset, 2), Lines(), SPARKML_CHECKPOINT_URI=place)["result"]
    # As JobOperator sets them in a later try of the same chain.
    both = {"SPARKML_CHECKPOINT_URI": place, "SPARKML_RESUME_FROM": place}
    second = run_job(local_cluster, resource, job(dataset, 3), Lines(), **both)["result"]
    assert (first["resumed_from_epoch"], second["resumed_from_epoch"]) == (0, 2)
    assert second["steps"] == first["steps"] * 3 / 2
    check(second, 2)


@pytest.mark.parametrize(
    ("resource", "job", "rank", "logs", "told"),
    [
        (PYTORCH_JOB, pytorch, "worker-0", ["master-0", "worker-0"], "worker-0 was killed by SIGKILL"),
        (
            TRAIN_JOB,
            train_job,
            "node-1",
            ["node-0", "node-1"],
            "Rank 1 (told by node-1) was killed by SIGKILL",
        ),
        (MPI_JOB, horovod, "worker-1", ["launcher"], "Rank 1 (told by launcher) was killed by SIGKILL"),
        (
            TRAINING_PODS,
            plain_horovod,
            "worker-1",
            ["worker-0", "worker-1"],
            "worker-1 was killed by SIGKILL (exit code 137)",
        ),
    ],
    ids=["torch", "torchrun", "horovodrun", "horovod in plain pods"],
)
def test_the_failure_names_the_rank_that_was_killed(
    local_cluster: Path, dataset: str, resource: Resource, job: Any, rank: str, logs: list[str], told: str
) -> None:
    async def kill_rank(client: KubernetesClient, ref: ResourceRef) -> None:
        pod = await pod_of(client, ref, rank)
        main = psutil.Process(pid_of(pod))
        (process,) = [each for each in (main, *main.children(recursive=True)) if is_rank(each)]
        process.kill()

    lines = Lines()
    with pytest.raises(ContainerKilledError) as caught:
        run_job(local_cluster, resource, job(dataset, MANY), lines, kill_rank)
    assert str(caught.value).startswith(told)
    for name in logs:
        assert f"[{name}] " in lines.text


def is_rank(process: psutil.Process) -> bool:
    """Whether it is a program that trains, and not who started it."""
    words = [word for word in process.cmdline()[1:] if not word.startswith("-")]
    return bool(words) and Path(words[0]).name.startswith("train_")


def pid_of(pod: Any) -> int:
    """Return the process that is a pod's only container."""
    return int(pod["status"]["containerStatuses"][0]["containerID"].removeprefix("process://"))


def test_the_failure_names_the_pod_of_horovodrun_that_was_killed(local_cluster: Path, dataset: str) -> None:
    async def kill_pod(client: KubernetesClient, ref: ResourceRef) -> None:
        psutil.Process(pid_of(await pod_of(client, ref, "worker-1"))).kill()

    lines = Lines()
    with pytest.raises(ContainerKilledError, match=r"^worker-1 was killed by SIGKILL \(exit code 137\)"):
        run_job(local_cluster, MPI_JOB, horovod(dataset, MANY), lines, kill_pod)
    # It was followed: its end is not told twice.
    assert lines.text.count("[launcher] Process 1 exit with status code 255.") == 1


def test_elastic_horovod_survives_a_worker_that_is_killed(local_cluster: Path, dataset: str) -> None:
    async def delete_worker(client: KubernetesClient, ref: ResourceRef) -> None:
        pod = await pod_of(client, ref, "worker-1")
        await client.delete(POD, pod["metadata"]["name"], "default", grace_seconds=0)

    lines, began = Lines(), time.monotonic()
    # Long enough for the others to notice, which takes some seconds.
    result = run_job(local_cluster, MPI_JOB, horovod(dataset, 300, min_workers=1), lines, delete_worker)["result"]
    assert "rank 0 of 2" in lines.text
    assert "rank 0 of 1" in lines.text, f"it was not disturbed within {time.monotonic() - began:.0f} s"
    assert result["parameters"]["epochs"] == 300
    assert len(set(result["parameter_hashes"])) == 1
