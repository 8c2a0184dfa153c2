"""Training jobs as a user sees them: several ranks in real processes, over real sockets, on the local cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.exceptions import NotAdmittedError
from airflow_provider_sparkml.jobs.experiment import wait_for_trials
from airflow_provider_sparkml.jobs.finish import finish
from airflow_provider_sparkml.jobs.kueue import QUEUE_NAME
from airflow_provider_sparkml.jobs.outcome import Deadlines
from airflow_provider_sparkml.local.controllers.experiments import SUGGESTION
from airflow_provider_sparkml.local.controllers.kubeflow_v1_pods import PYTORCH, TENSORFLOW, XGBOOST
from airflow_provider_sparkml.local.controllers.kueue import CLUSTER_QUEUE, LOCAL_QUEUE, WORKLOAD
from airflow_provider_sparkml.local.controllers.trainer_runtimes import CLUSTER_TRAINING_RUNTIME, TRAINING_RUNTIME
from airflow_provider_sparkml.local.controllers.trials import TRIAL
from airflow_provider_sparkml.resources.base import ApiResource, Manifest, ResourceRef
from airflow_provider_sparkml.resources.core import CONFIG_MAP, POD, SECRET, SERVICE
from airflow_provider_sparkml.resources.katib import API as EXPERIMENT
from airflow_provider_sparkml.resources.katib import EXPERIMENT as KIND
from airflow_provider_sparkml.resources.katib_trials import known_facts
from airflow_provider_sparkml.resources.mpi import API as MPI_JOB
from airflow_provider_sparkml.resources.trainer import API as TRAIN_JOB
from airflow_provider_sparkml.resources.training_pods import API as JOB
from tests.integration.conftest import until
from tests.integration.jobs.conftest import Told
from tests.integration.training import conditions, container, template

PYTORCH_JOB, TF_JOB, XGBOOST_JOB = PYTORCH.api, TENSORFLOW.api, XGBOOST.api


async def log_of(client: KubernetesClient, namespace: str, name: str) -> list[str]:
    return [line async for line in client.pod_log(namespace, name)]


async def pods_of(client: KubernetesClient, namespace: str, selector: str) -> dict[str, Manifest]:
    listing = await client.list(POD, namespace, label_selector=selector)
    return {pod["metadata"]["name"]: pod for pod in listing.items}


async def ended(client: KubernetesClient, api: ApiResource, namespace: str, name: str = "train") -> Manifest:
    ends = {"Succeeded", "Failed", "Complete"}
    return await until(client, api, namespace, name, lambda job: job and ends & conditions(job).keys())


async def nothing_left(client: KubernetesClient, namespace: str, *others: ApiResource) -> None:
    async with asyncio.timeout(20):
        for api in (POD, SERVICE, JOB, SECRET, *others):
            while (await client.list(api, namespace)).items:
                await asyncio.sleep(0.05)


def pytorch_job(**spec: Any) -> Manifest:
    main, policy = container("pytorch", **spec.pop("env", {})), spec.pop("policy", "Never")
    replica = {"restartPolicy": policy, "template": template(main)}
    return {
        "metadata": {"name": "train"},
        "spec": {"pytorchReplicaSpecs": {"Master": replica, "Worker": {"replicas": 1, **replica}}, **spec},
    }


def mpi_job(script: str, *, workers: int = 2, **spec: Any) -> Manifest:
    launcher = {"name": "launcher", "image": "python:3.11", "command": ["sh", "-c", script]}
    worker = {"name": "worker", "image": "python:3.11"}
    replicas = {
        "Launcher": {"restartPolicy": "Never", "template": template(launcher)},
        "Worker": {"replicas": workers, "template": template(worker)},
    }
    policy = {"cleanPodPolicy": "Running", "backoffLimit": 0, **spec.pop("runPolicy", {})}
    return {"metadata": {"name": "train"}, "spec": {"mpiReplicaSpecs": replicas, "runPolicy": policy, **spec}}


# --- batch/v1 Job ----------------------------------------------------------------------------------------------------


async def test_an_indexed_job_gives_each_pod_its_index(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    service = {"clusterIP": "None", "selector": {"job-name": "train"}}
    await cluster_client.create(SERVICE, {"metadata": {"name": "train"}, "spec": service}, cluster_namespace)
    env = {"WORLD_SIZE": "2", "MASTER_ADDR": "train-0.train", "MASTER_PORT": "7002"}
    pod = template(container("main", **env), subdomain="train", restartPolicy="Never")
    spec = {"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimit": 0, "template": pod}
    await cluster_client.create(JOB, {"metadata": {"name": "train"}, "spec": spec}, cluster_namespace)
    job = await ended(cluster_client, JOB, cluster_namespace)
    assert conditions(job) == {"SuccessCriteriaMet": "CompletionsReached", "Complete": "CompletionsReached"}
    assert job["status"]["completedIndexes"] == "0-1"
    assert (job["status"]["succeeded"], job["status"].get("failed")) == (2, None)
    pods = await pods_of(cluster_client, cluster_namespace, "batch.kubernetes.io/job-name=train")
    assert {pod["spec"]["hostname"] for pod in pods.values()} == {"train-0", "train-1"}
    assert not any(pod["metadata"].get("finalizers") for pod in pods.values())
    for name in pods:
        rank = name.removeprefix("train-")[0]
        lines = await log_of(cluster_client, cluster_namespace, name)
        assert lines[-1] == f"rank={rank} result=[1.5, 1.5, 1.5, 1.5]"
    await cluster_client.delete(JOB, "train", cluster_namespace, propagation="Foreground")
    await cluster_client.delete(SERVICE, "train", cluster_namespace)
    await nothing_left(cluster_client, cluster_namespace)


async def test_a_job_fails_after_its_retries_and_is_deleted_in_time(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    pod = template(container("main", "raise SystemExit(3)"), restartPolicy="Never")
    spec = {"backoffLimit": 1, "template": pod, "ttlSecondsAfterFinished": 2}
    await cluster_client.create(JOB, {"metadata": {"name": "train"}, "spec": spec}, cluster_namespace)
    job = await ended(cluster_client, JOB, cluster_namespace)
    assert conditions(job) == {"FailureTarget": "BackoffLimitExceeded", "Failed": "BackoffLimitExceeded"}
    assert job["status"]["failed"] == 2
    await until(cluster_client, JOB, cluster_namespace, "train", lambda job: job is None)
    await nothing_left(cluster_client, cluster_namespace)


# --- MPIJob ----------------------------------------------------------------------------------------------------------

LAUNCH = r"""
rank=0
for host in $(cut -d' ' -f1 /etc/mpi/hostfile); do
  ssh -o ConnectionAttempts=20 -o StrictHostKeyChecking=no "$host" \
    "RANK=$rank WORLD_SIZE=2 MASTER_PORT=7003 MASTER_ADDR=train-worker-0.train python $PROGRAM" 2>&1 &
  rank=$((rank + 1))
  pids="$pids $!"
done
while [ -n "$pids" ]; do  # the first to fail ends them all, as mpirun does it
  sleep 0.1
  left=
  for pid in $pids; do
    if kill -0 $pid 2>/dev/null; then left="$left $pid"; else wait $pid || exit 9; fi
  done
  pids=$left
done
"""


async def with_program(client: KubernetesClient, namespace: str, job: Manifest) -> Manifest:
    """Mount the program into the workers, and tell the launcher where it is."""
    from tests.integration.training import ALLREDUCE

    data = {"allreduce.py": ALLREDUCE}
    await client.create(CONFIG_MAP, {"metadata": {"name": "program"}, "data": data}, namespace)
    for replica in job["spec"]["mpiReplicaSpecs"].values():
        spec = replica["template"]["spec"]
        spec["volumes"] = [{"name": "program", "configMap": {"name": "program"}}]
        spec["containers"][0]["volumeMounts"] = [{"name": "program", "mountPath": "/program"}]
        spec["containers"][0]["env"] = [{"name": "PROGRAM", "value": "/program/allreduce.py"}]
    return job


async def test_an_mpi_jobs_launcher_starts_ranks_on_its_workers(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    job = await with_program(cluster_client, cluster_namespace, mpi_job(LAUNCH))
    await cluster_client.create(MPI_JOB, job, cluster_namespace)
    done = await ended(cluster_client, MPI_JOB, cluster_namespace)
    launchers = await pods_of(cluster_client, cluster_namespace, "training.kubeflow.org/job-role=launcher")
    lines = await log_of(cluster_client, cluster_namespace, *launchers)
    assert conditions(done) == {"Created": "MPIJobCreated", "Succeeded": "MPIJobSucceeded"}, lines
    assert done["status"]["completionTime"]
    assert done["status"]["replicaStatuses"]["Launcher"]["succeeded"] == 1
    assert {f"rank={rank} result=[1.5, 1.5, 1.5, 1.5]" for rank in (0, 1)} <= set(lines)
    # cleanPodPolicy: Running
    await until(cluster_client, POD, cluster_namespace, "train-worker-1", lambda pod: pod is None)
    await cluster_client.delete(MPI_JOB, "train", cluster_namespace, propagation="Foreground")
    await nothing_left(cluster_client, cluster_namespace)


async def test_a_rank_that_fails_on_a_worker_fails_the_mpi_job(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    job = await with_program(cluster_client, cluster_namespace, mpi_job(LAUNCH))
    worker = job["spec"]["mpiReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]
    worker["env"] += [{"name": "FAIL", "value": "1"}, {"name": "EXIT_CODE", "value": "7"}]
    await cluster_client.create(MPI_JOB, job, cluster_namespace)
    done = await ended(cluster_client, MPI_JOB, cluster_namespace)
    assert conditions(done)["Failed"].startswith("BackoffLimitExceeded/")
    failed = next(each for each in done["status"]["conditions"] if each["type"] == "Failed")
    assert failed["message"].startswith("Job has reached the specified backoff limit")
    assert done["status"]["replicaStatuses"]["Launcher"] == {"failed": 1}


async def test_the_discovery_script_follows_the_workers(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    script = """
count() { /etc/mpi/discover_hosts.sh | wc -l; }
until [ $(count) = 2 ]; do sleep 0.05; done
echo two
until [ $(count) = 1 ]; do sleep 0.05; done
/etc/mpi/discover_hosts.sh
exit 4
"""
    await cluster_client.create(
        MPI_JOB, mpi_job(script, launcherCreationPolicy="WaitForWorkersReady"), cluster_namespace
    )
    running = await until(cluster_client, MPI_JOB, cluster_namespace, "train", lambda job: "Running" in conditions(job))
    assert running["status"]["replicaStatuses"]["Worker"] == {"active": 2}
    patch = {"spec": {"mpiReplicaSpecs": {"Worker": {"replicas": 1}}}}
    await cluster_client.patch(MPI_JOB, "train", patch, cluster_namespace)
    done = await ended(cluster_client, MPI_JOB, cluster_namespace)
    assert conditions(done)["Failed"].startswith("BackoffLimitExceeded")
    launchers = await pods_of(cluster_client, cluster_namespace, "training.kubeflow.org/job-role=launcher")
    lines = await log_of(cluster_client, cluster_namespace, *launchers)
    assert lines == ["two", f"train-worker-0.train.{cluster_namespace}.svc"]


async def test_an_evicted_worker_does_not_end_an_mpi_job(
    cluster_client: KubernetesClient, cluster_namespace: str, tmp_path: Path
) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    await cluster_client.create(MPI_JOB, mpi_job(f"while [ -e {hold} ]; do sleep 0.05; done"), cluster_namespace)
    await until(cluster_client, MPI_JOB, cluster_namespace, "train", lambda job: "Running" in conditions(job))
    # A kubelet that runs short of memory says so; this one never does.
    evicted = {"status": {"phase": "Failed", "reason": "Evicted"}}
    await cluster_client.patch(POD, "train-worker-1", evicted, cluster_namespace, subresource="status")
    job = await until(
        cluster_client,
        MPI_JOB,
        cluster_namespace,
        "train",
        lambda job: conditions(job).get("Failed") == "MPIJobEvicted",
    )
    assert "completionTime" not in job["status"]
    hold.unlink()
    done = await until(cluster_client, MPI_JOB, cluster_namespace, "train", lambda job: "Succeeded" in conditions(job))
    assert "Failed" not in conditions(done)


async def test_a_suspended_mpi_job_gives_its_workers_back(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    await cluster_client.create(MPI_JOB, mpi_job("sleep 0.1", runPolicy={"suspend": True}), cluster_namespace)
    job = await until(cluster_client, MPI_JOB, cluster_namespace, "train", lambda job: "Suspended" in conditions(job))
    assert "startTime" not in job["status"]
    assert not await pods_of(cluster_client, cluster_namespace, "")
    await cluster_client.patch(MPI_JOB, "train", {"spec": {"runPolicy": {"suspend": False}}}, cluster_namespace)
    done = await ended(cluster_client, MPI_JOB, cluster_namespace)
    assert conditions(done).keys() == {"Created", "Succeeded"}
    reasons = {each["type"]: each["reason"] for each in done["status"]["conditions"]}
    assert reasons["Suspended"] == "MPIJobResumed"


# --- PyTorchJob ------------------------------------------------------------------------------------------------------


async def test_a_pytorch_jobs_ranks_find_one_another(cluster_client: KubernetesClient, cluster_namespace: str) -> None:
    await cluster_client.create(PYTORCH_JOB, pytorch_job(), cluster_namespace)
    done = await ended(cluster_client, PYTORCH_JOB, cluster_namespace)
    assert conditions(done) == {"Created": "PyTorchJobCreated", "Succeeded": "PyTorchJobSucceeded"}
    for rank, name in enumerate(("train-master-0", "train-worker-0")):
        lines = await log_of(cluster_client, cluster_namespace, name)
        assert lines[-1] == f"rank={rank} result=[1.5, 1.5, 1.5, 1.5]"
    await cluster_client.delete(PYTORCH_JOB, "train", cluster_namespace, propagation="Foreground")
    await nothing_left(cluster_client, cluster_namespace)


async def test_a_rank_that_fails_for_good_fails_its_job(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    job = pytorch_job(policy="ExitCode", env={"FAIL": "1", "EXIT_CODE": "5"})
    job["spec"]["runPolicy"] = {"cleanPodPolicy": "Running"}
    await cluster_client.create(PYTORCH_JOB, job, cluster_namespace)
    done = await ended(cluster_client, PYTORCH_JOB, cluster_namespace)
    assert conditions(done)["Failed"] == "PyTorchJobFailed"
    failed = next(each for each in done["status"]["conditions"] if each["type"] == "Failed")
    assert failed["message"] == 'job "train" is failing because "Worker" replica(s) failed.'
    worker = await until(cluster_client, POD, cluster_namespace, "train-worker-0", lambda pod: pod)
    ended_with = worker["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended_with["exitCode"] == 5


async def test_a_rank_that_a_signal_killed_is_made_anew(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    job = pytorch_job(policy="ExitCode", env={"FAIL": "1", "EXIT_CODE": "143", "STEPS": "2"})
    await cluster_client.create(PYTORCH_JOB, job, cluster_namespace)
    await until(cluster_client, PYTORCH_JOB, cluster_namespace, "train", lambda job: "Restarting" in conditions(job))
    await cluster_client.patch(PYTORCH_JOB, "train", {"spec": {"runPolicy": {"suspend": True}}}, cluster_namespace)
    job = await until(
        cluster_client, PYTORCH_JOB, cluster_namespace, "train", lambda job: "Suspended" in conditions(job)
    )
    assert conditions(job)["Suspended"] == "PyTorchJobSuspended"
    async with asyncio.timeout(20):
        while await pods_of(cluster_client, cluster_namespace, ""):
            await asyncio.sleep(0.05)


# --- TrainJob --------------------------------------------------------------------------------------------------------


def training_runtime(**env: str) -> Manifest:
    """Return a runtime as ``torch-distributed`` is, with a light image and no second try."""
    pod = template(container("node", **env), restartPolicy="Never")
    label = {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}}
    job = {"name": "node", "template": {"metadata": label, "spec": {"backoffLimit": 0, "template": pod}}}
    spec = {"mlPolicy": {"numNodes": 1, "torch": {}}, "template": {"spec": {"replicatedJobs": [job]}}}
    return {"metadata": {"name": "light"}, "spec": spec}


def train_job(**spec: Any) -> Manifest:
    reference = {"kind": "TrainingRuntime", "name": "light"}
    trainer = {"numNodes": 2, **spec.pop("trainer", {})}
    return {"metadata": {"name": "train"}, "spec": {"runtimeRef": reference, "trainer": trainer, **spec}}


def jobs_status(job: Manifest) -> dict[str, Any]:
    found: list[dict[str, Any]] = (job.get("status") or {}).get("jobsStatus") or [{}]
    return found[0]


async def test_a_train_job_runs_its_runtimes_nodes(cluster_client: KubernetesClient, cluster_namespace: str) -> None:
    await cluster_client.create(TRAINING_RUNTIME, training_runtime(), cluster_namespace)
    await cluster_client.create(TRAIN_JOB, train_job(suspend=True), cluster_namespace)
    job = await until(
        cluster_client, TRAIN_JOB, cluster_namespace, "train", lambda job: jobs_status(job).get("suspended")
    )
    assert conditions(job) == {"Suspended": "Suspended"}
    assert not await pods_of(cluster_client, cluster_namespace, "")
    await cluster_client.patch(TRAIN_JOB, "train", {"spec": {"suspend": False}}, cluster_namespace)
    done = await ended(cluster_client, TRAIN_JOB, cluster_namespace)
    assert conditions(done) == {"Complete": "AllJobsCompleted"}
    assert [each["reason"] for each in done["status"]["conditions"]] == ["Resumed", "AllJobsCompleted"]
    counts = {"ready": 0, "succeeded": 1, "failed": 0, "active": 0, "suspended": 0}
    assert done["status"]["jobsStatus"] == [{"name": "node", **counts}]
    pods = await pods_of(cluster_client, cluster_namespace, "jobset.sigs.k8s.io/jobset-name=train")
    for name, pod in pods.items():
        rank = pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]
        assert name.startswith(f"train-node-0-{rank}-")
        lines = await log_of(cluster_client, cluster_namespace, name)
        assert lines[-1] == f"rank={rank} result=[1.5, 1.5, 1.5, 1.5]"
    await cluster_client.delete(TRAIN_JOB, "train", cluster_namespace, propagation="Foreground")
    await nothing_left(cluster_client, cluster_namespace)


async def test_a_train_job_fails_with_its_job(cluster_client: KubernetesClient, cluster_namespace: str) -> None:
    await cluster_client.create(TRAINING_RUNTIME, training_runtime(FAIL="1"), cluster_namespace)
    await cluster_client.create(TRAIN_JOB, train_job(), cluster_namespace)
    done = await ended(cluster_client, TRAIN_JOB, cluster_namespace)
    assert conditions(done) == {"Failed": "FailedJobs"}
    failed = next(each for each in done["status"]["conditions"] if each["type"] == "Failed")
    assert failed["message"] == "jobset failed due to one or more job failures (first failed job: train-node-0)"


async def test_a_train_job_that_takes_too_long_is_deleted_but_for_itself(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    await cluster_client.create(TRAINING_RUNTIME, training_runtime(), cluster_namespace)
    job = train_job(activeDeadlineSeconds=1, trainer={"command": ["sleep", "60"]})
    await cluster_client.create(TRAIN_JOB, job, cluster_namespace)
    done = await ended(cluster_client, TRAIN_JOB, cluster_namespace)
    assert conditions(done) == {"Failed": "DeadlineExceeded"}
    await nothing_left(cluster_client, cluster_namespace)


async def test_a_train_job_without_a_runtime_says_so(cluster_client: KubernetesClient, cluster_namespace: str) -> None:
    names = {each["metadata"]["name"] for each in (await cluster_client.list(CLUSTER_TRAINING_RUNTIME)).items}
    assert names >= {"torch-distributed", "horovod-distributed"}
    made = await cluster_client.create(TRAIN_JOB, train_job(), cluster_namespace)
    async with asyncio.timeout(20):
        while not (events := await cluster_client.events(cluster_namespace, made["metadata"]["uid"])):
            await asyncio.sleep(0.05)
    assert events[0]["reason"] == "TrainJobResourcesCreationFailed"
    strange = train_job(runtimeRef={"kind": "JobSet", "apiGroup": "jobset.x-k8s.io", "name": "light"})
    strange["metadata"]["name"] = "strange"
    await cluster_client.create(TRAIN_JOB, strange, cluster_namespace)
    job = await until(cluster_client, TRAIN_JOB, cluster_namespace, "strange", conditions)
    assert conditions(job) == {"Failed": "TrainingRuntimeNotSupported"}


# --- Experiment ------------------------------------------------------------------------------------------------------

FIT = """
import sys
x = float(sys.argv[1])
if x > 4:
    sys.exit(1)
print(f"epoch 1 loss={(x - 2) ** 2 + 1}")
print(f"epoch 2 loss={(x - 2) ** 2} accuracy={x}" if x > 0 else "nothing to tell")
"""


def experiment(trial: Manifest, values: list[str], **spec: Any) -> Manifest:
    return {
        "metadata": {"name": "search"},
        "spec": {
            "objective": {"type": "minimize", "objectiveMetricName": "loss", "additionalMetricNames": ["accuracy"]},
            "algorithm": {"algorithmName": "grid"},
            "parameters": [{"name": "x", "parameterType": "discrete", "feasibleSpace": {"list": values}}],
            "parallelTrialCount": 2,
            "maxTrialCount": len(values),
            "trialTemplate": {
                "primaryContainerName": "main",
                "trialParameters": [{"name": "value", "reference": "x"}],
                "trialSpec": trial,
            },
            **spec,
        },
    }


def trial_job() -> Manifest:
    main = container("main", FIT)
    main["command"].append("${trialParameters.value}")
    spec = {"backoffLimit": 0, "template": template(main, restartPolicy="Never")}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": spec}


async def test_an_experiment_finds_the_best_parameters(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    job = experiment(trial_job(), ["1", "2", "3", "5"], maxFailedTrialCount=2)
    await cluster_client.create(EXPERIMENT, job, cluster_namespace)
    done = await ended(cluster_client, EXPERIMENT, cluster_namespace, "search")
    status = done["status"]
    assert conditions(done) == {"Created": "ExperimentCreated", "Succeeded": "ExperimentMaxTrialsReached"}
    assert (status["trials"], status["trialsSucceeded"], status["trialsFailed"]) == (4, 3, 1)
    best = status["currentOptimalTrial"]
    assert best["parameterAssignments"] == [{"name": "x", "value": "2"}]
    assert best["observation"]["metrics"] == [
        {"name": "loss", "min": "0.0", "max": "1.0", "latest": "0.0"},
        {"name": "accuracy", "min": "2.0", "max": "2.0", "latest": "2.0"},
    ]
    trial = await until(cluster_client, TRIAL, cluster_namespace, best["bestTrialName"], conditions)
    assert conditions(trial)["Succeeded"] == "TrialSucceeded. Job reason: CompletionsReached"
    await nothing_left(cluster_client, cluster_namespace)  # trials' jobs go with their end
    await cluster_client.delete(EXPERIMENT, "search", cluster_namespace, propagation="Foreground")
    await nothing_left(cluster_client, cluster_namespace, EXPERIMENT, TRIAL, SUGGESTION)


async def test_an_experiment_ends_when_its_goal_is_reached_or_too_much_fails(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    trial = pytorch_job()
    trial = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "spec": trial["spec"]}
    objective = {"type": "maximize", "objectiveMetricName": "sum", "goal": 3.0}
    steps = experiment(trial, ["1", "2"], objective=objective, parallelTrialCount=1)
    steps["spec"]["trialTemplate"]["retain"] = True
    for replica in trial["spec"]["pytorchReplicaSpecs"].values():
        replica["template"]["spec"]["containers"][0]["env"] = [{"name": "STEPS", "value": "${trialParameters.value}"}]
    steps["spec"]["trialTemplate"]["primaryContainerName"] = "pytorch"
    await cluster_client.create(EXPERIMENT, steps, cluster_namespace)
    failing = experiment(trial_job(), ["5", "0", "7"], maxFailedTrialCount=2)
    failing["metadata"]["name"] = "failing"
    await cluster_client.create(EXPERIMENT, failing, cluster_namespace)
    done = await ended(cluster_client, EXPERIMENT, cluster_namespace, "search")
    assert conditions(done)["Succeeded"] == "ExperimentGoalReached"
    best = done["status"]["currentOptimalTrial"]["bestTrialName"]
    kept = await pods_of(cluster_client, cluster_namespace, f"katib.kubeflow.org/trial={best}")
    assert kept.keys() == {f"{best}-master-0", f"{best}-worker-0"}
    done = await ended(cluster_client, EXPERIMENT, cluster_namespace, "failing")
    assert conditions(done)["Failed"] == "ExperimentFailed"
    assert done["status"]["currentOptimalTrial"]["parameterAssignments"] == [{"name": "x", "value": "0"}]


async def until_admitted(client: KubernetesClient, namespace: str, number: int) -> list[Manifest]:
    """Wait until Kueue has said of so many workloads what it makes of them."""
    async with asyncio.timeout(20):
        while True:
            found = (await client.list(WORKLOAD, namespace)).items
            if len([each for each in found if each.get("status")]) >= number:
                return found
            await asyncio.sleep(0.05)


async def test_trials_wait_in_a_queue_and_some_of_them_in_vain(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    client, namespace = cluster_client, cluster_namespace
    version = {"apiVersion": "kueue.x-k8s.io/v1beta2"}
    flavors = [{"name": "default", "resources": [{"name": "cpu", "nominalQuota": "0"}]}]
    spec = {"resourceGroups": [{"coveredResources": ["cpu"], "flavors": flavors}]}
    await client.create(CLUSTER_QUEUE, {**version, "metadata": {"name": namespace}, "spec": spec})
    local = {**version, "metadata": {"name": "team"}, "spec": {"clusterQueue": namespace}}
    await client.create(LOCAL_QUEUE, local, namespace)
    trial = trial_job()
    trial["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
    manifest = experiment(trial, ["1", "2", "3"])
    manifest["metadata"]["labels"] = {QUEUE_NAME: "team"}
    job = await client.create(EXPERIMENT, KIND.normalize(manifest), namespace)
    hub, told = WatchHub(client), Told()
    waiting = asyncio.create_task(
        wait_for_trials(client, hub, KIND, ResourceRef.of(job), Deadlines(queue_seconds=200), log=told)
    )
    try:
        await told.until("QUEUED (Running): 0 of 3 trials succeeded; trial search-")
        one, _ = await until_admitted(client, namespace, 2)
        assert "insufficient quota for cpu in flavor default" in told.text
        await client.patch(WORKLOAD, one["metadata"]["name"], {"spec": {"active": False}}, namespace)
        await told.until("its workload is deactivated")
        assert not waiting.done()
        flavors[0]["resources"] = [{"name": "cpu", "nominalQuota": "1"}]
        await client.patch(CLUSTER_QUEUE, namespace, {"spec": spec})
        async with asyncio.timeout(60):
            outcome = await waiting
    finally:
        waiting.cancel()
        await hub.close()
    # The others have run, one after another; the one that never will is all that is left.
    with pytest.raises(
        NotAdmittedError, match=r"^Kueue has deactivated the workload of Experiment .*: 2 of 3 trials .*; trial search-"
    ):
        await finish(client, KIND, outcome, on_finish="keep", log=told)
    await nothing_left(client, namespace, EXPERIMENT, TRIAL, SUGGESTION)
    await client.delete(CLUSTER_QUEUE, namespace)


async def test_trials_may_be_train_jobs(cluster_client: KubernetesClient, cluster_namespace: str) -> None:
    await cluster_client.create(TRAINING_RUNTIME, training_runtime(), cluster_namespace)
    trainer = {"env": [{"name": "STEPS", "value": "${trialParameters.value}"}]}
    trial = {"apiVersion": TRAIN_JOB.api_version, "kind": TRAIN_JOB.kind, "spec": train_job(trainer=trainer)["spec"]}
    objective = {"type": "minimize", "objectiveMetricName": "step"}
    job = experiment(trial, ["1", "2"], objective=objective)
    job["spec"]["trialTemplate"] |= known_facts(trial)
    await cluster_client.create(EXPERIMENT, job, cluster_namespace)
    done = await ended(cluster_client, EXPERIMENT, cluster_namespace, "search")
    assert conditions(done)["Succeeded"] == "ExperimentMaxTrialsReached"
    best = done["status"]["currentOptimalTrial"]
    assert best["parameterAssignments"] == [{"name": "x", "value": "1"}]
    assert best["observation"]["metrics"] == [{"name": "step", "min": "1", "max": "1", "latest": "1"}]
    await cluster_client.delete(EXPERIMENT, "search", cluster_namespace, propagation="Foreground")
    await nothing_left(cluster_client, cluster_namespace, EXPERIMENT, TRIAL, TRAIN_JOB)


# --- TFJob and XGBoostJob --------------------------------------------------------------------------------------------

CLUSTER = """
import json, os, socket, sys
config = json.loads(os.environ["TF_CONFIG"])
task, peers = config["task"], config["cluster"]["worker"]
host, port = peers[task["index"]].split(":")
server = socket.create_server((host, int(port)))
if task["index"] == 0:
    peer = server.accept()[0]
    print("from", peer.recv(99).decode(), flush=True)
else:
    while True:
        try:
            socket.create_connection(peers[0].split(":")).sendall(b"one")
            break
        except ConnectionRefusedError:
            pass
"""


async def test_tensorflow_workers_have_one_anothers_addresses(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    replica = {"replicas": 2, "template": template(container("tensorflow", CLUSTER))}
    spec = {"tfReplicaSpecs": {"Worker": replica}, "runPolicy": {"cleanPodPolicy": "None"}}
    await cluster_client.create(TF_JOB, {"metadata": {"name": "train"}, "spec": spec}, cluster_namespace)
    done = await ended(cluster_client, TF_JOB, cluster_namespace)
    assert conditions(done) == {"Created": "TFJobCreated", "Succeeded": "TFJobSucceeded"}
    assert await log_of(cluster_client, cluster_namespace, "train-worker-0") == ["from one"]


async def test_an_xgboost_job_is_cleaned_up_and_goes_in_time(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    replica = {"template": template(container("xgboost"))}
    policy = {"cleanPodPolicy": "All", "ttlSecondsAfterFinished": 1}
    spec = {"xgbReplicaSpecs": {"Master": replica, "Worker": replica}, "runPolicy": policy}
    await cluster_client.create(XGBOOST_JOB, {"metadata": {"name": "train"}, "spec": spec}, cluster_namespace)
    done = await ended(cluster_client, XGBOOST_JOB, cluster_namespace)
    assert conditions(done)["Succeeded"] == "XGBoostJobSucceeded"
    await nothing_left(cluster_client, cluster_namespace, XGBOOST_JOB)
