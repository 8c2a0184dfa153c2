"""PyTorchJobs, TFJobs and XGBoostJobs: their pods' variables, and what their status says of pods."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_sparkml.local.controllers import kubeflow_v1_state as states
from airflow_provider_sparkml.local.controllers.kubeflow_v1_pods import (
    JOB_PORTS,
    KINDS,
    PYTORCH,
    REPLICA_INDEX,
    REPLICA_TYPE,
    TENSORFLOW,
    XGBOOST,
    Kind,
    pod,
    port_of,
    problems,
    service,
    with_defaults,
)
from airflow_provider_sparkml.local.controllers.objects import Note
from airflow_provider_sparkml.resources.base import Manifest

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def job(kind: Kind, replicas: dict[str, dict[str, Any]], **spec: Any) -> Manifest:
    """Return a job with the operator's defaults; a replica without a template gets the usual one."""
    template = {"spec": {"containers": [{"name": kind.container, "image": "i"}, {"name": "side", "image": "i"}]}}
    given = {name: {"template": template, **replica} for name, replica in replicas.items()}
    meta = {"name": "j", "namespace": "ns", "uid": "u"}
    return with_defaults(kind, {"apiVersion": "v", "kind": "k", "metadata": meta, "spec": {kind.field: given, **spec}})


def env(kind: Kind, made: Manifest, replica: str, index: int, container: int = 0) -> dict[str, str]:
    entries = pod(kind, made, replica, index)["spec"]["containers"][container].get("env") or []
    return {entry["name"]: entry["value"] for entry in entries}


def test_pytorch_ranks_know_their_master() -> None:
    made = job(PYTORCH, {"Master": {}, "Worker": {"replicas": 2}}, nprocPerNode="4")
    port = str(port_of(PYTORCH, made, "Master", 0))
    common = {
        "PYTHONUNBUFFERED": "1",
        "MASTER_ADDR": "j-master-0",
        "PET_MASTER_ADDR": "j-master-0",
        "MASTER_PORT": port,
        "PET_MASTER_PORT": port,
        "WORLD_SIZE": "12",
        "PET_NPROC_PER_NODE": "4",
        "PET_NNODES": "3",
    }
    assert env(PYTORCH, made, "Master", 0) == common | {"RANK": "0", "PET_NODE_RANK": "0"}
    assert env(PYTORCH, made, "Worker", 1) == common | {"RANK": "2", "PET_NODE_RANK": "2"}
    assert env(PYTORCH, made, "Worker", 1, container=1)["RANK"] == "2"  # side-cars get them, too


def test_elastic_pytorch_has_a_rendezvous_instead() -> None:
    policy = {"minReplicas": 1, "maxReplicas": 3, "rdzvPort": 7, "rdzvConf": [{"key": "a", "value": "b"}]}
    made = job(PYTORCH, {"Worker": {"replicas": 2}}, elasticPolicy=policy)
    assert env(PYTORCH, made, "Worker", 0) == {
        "PYTHONUNBUFFERED": "1",
        "PET_RDZV_ENDPOINT": "j-worker-0:7",
        "PET_RDZV_BACKEND": "c10d",
        "PET_NNODES": "1:3",
        "PET_RDZV_CONF": "a=b",
    }


def test_tensorflow_has_its_cluster_without_evaluators() -> None:
    made = job(TENSORFLOW, {"chief": {}, "Worker": {"replicas": 2}, "Evaluator": {}})
    config = json.loads(env(TENSORFLOW, made, "Worker", 1)["TF_CONFIG"])
    assert config["task"] == {"type": "worker", "index": 1}
    assert set(config["cluster"]) == {"chief", "worker"}
    ports = {port_of(TENSORFLOW, made, "Worker", index) for index in (0, 1)}
    assert {int(each.rpartition(":")[2]) for each in config["cluster"]["worker"]} == ports
    assert config["cluster"]["chief"][0].startswith("j-chief-0.ns.svc:")
    assert env(TENSORFLOW, made, "Worker", 1, container=1) == {}
    assert env(TENSORFLOW, job(TENSORFLOW, {"Worker": {}}), "Worker", 0) == {}  # alone


def test_xgboost_knows_master_and_workers() -> None:
    made = job(XGBOOST, {"Master": {}, "Worker": {"replicas": 2}})
    found = env(XGBOOST, made, "Worker", 1)
    assert (found["RANK"], found["WORLD_SIZE"], found["MASTER_ADDR"]) == ("2", "3", "j-master-0")
    assert found["WORKER_ADDRS"] == "j-worker-0,j-worker-1"


def test_pods_and_services_are_named_and_labelled_as_upstream() -> None:
    made = job(PYTORCH, {"Master": {"restartPolicy": "ExitCode"}, "Worker": {}})
    master, worker = pod(PYTORCH, made, "Master", 0), pod(PYTORCH, made, "Worker", 0)
    assert master["metadata"]["name"] == "j-master-0"
    assert master["metadata"]["labels"] == {
        "training.kubeflow.org/operator-name": "pytorchjob-controller",
        "training.kubeflow.org/job-name": "j",
        "training.kubeflow.org/replica-type": "master",
        "training.kubeflow.org/replica-index": "0",
        "training.kubeflow.org/job-role": "master",
    }
    assert "training.kubeflow.org/job-role" not in worker["metadata"]["labels"]
    assert (master["spec"]["restartPolicy"], worker["spec"]["restartPolicy"]) == ("Never", "OnFailure")
    front = service(PYTORCH, made, "Worker", 0)
    assert front["spec"]["clusterIP"] == "None"
    assert front["spec"]["selector"].items() <= worker["metadata"]["labels"].items()


def test_a_port_that_the_job_names_is_taken_others_are_its_own() -> None:
    port = {"name": "pytorchjob-port", "containerPort": 23456}
    template = {"spec": {"containers": [{"name": "pytorch", "image": "i", "ports": [port]}]}}
    assert port_of(PYTORCH, job(PYTORCH, {"Master": {"template": template}}), "Master", 0) == 23456
    made = job(PYTORCH, {"Master": {}})
    assert port_of(PYTORCH, made, "Master", 0) in JOB_PORTS
    made["metadata"]["uid"] = "another"
    assert port_of(PYTORCH, made, "Master", 0) != port_of(PYTORCH, job(PYTORCH, {"Master": {}}), "Master", 0)


@pytest.mark.parametrize(
    ("kind", "replicas", "expected"),
    [
        (PYTORCH, {"Master": {"replicas": 2}}, "must be 1"),
        (PYTORCH, {"Boss": {}}, "supported values: Master, Worker"),
        (XGBOOST, {"Worker": {}}, "must have Master replica spec"),
        (TENSORFLOW, {"Worker": {"template": {"spec": {"containers": [{"name": "x"}]}}}}, "named tensorflow"),
    ],
)
def test_what_the_operator_refuses(kind: Kind, replicas: dict[str, Any], expected: str) -> None:
    (problem,) = problems(kind, job(kind, replicas))
    assert expected in problem
    assert f"spec.{kind.field}[" in problem


# --- status ----------------------------------------------------------------------------------------------------------


def ended(replica: str, index: int, phase: str, code: int | None = None, kind: Kind = PYTORCH, **meta: Any) -> Manifest:
    container: dict[str, Any] = {"name": kind.container, "restartCount": 0, "state": {}}
    if code is not None:
        container["state"] = {"terminated": {"exitCode": code}}
    labels = {REPLICA_TYPE: replica.lower(), REPLICA_INDEX: str(index)}
    return {
        "metadata": {"name": f"j-{replica.lower()}-{index}", "labels": labels, **meta},
        "status": {"phase": phase, "containerStatuses": [container]},
    }


def judge(kind: Kind, made: Manifest, *pods: Manifest, status: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the status after a look at the pods."""
    status, notes = status if status is not None else {}, list[Note]()
    sorted_pods = states.by_type(kind, made, pods)
    states.restart_or_fail(kind, made, sorted_pods, status, notes)
    states.count(kind, made, sorted_pods, status)
    states.read(kind, made, sorted_pods, status, notes)
    return status


def last(status: dict[str, Any]) -> tuple[str, str]:
    condition = status["conditions"][-1]
    return condition["type"], condition["reason"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_leader_tells_how_the_job_is(kind: Kind) -> None:
    leader = "Chief" if kind is TENSORFLOW else "Master"
    made, name = job(kind, {leader: {}, "Worker": {}}), kind.api.kind
    running = [ended(leader, 0, "Running", kind=kind), ended("Worker", 0, "Running", kind=kind)]
    assert judge(kind, made, ended(leader, 0, "Pending", kind=kind)).get("conditions") is None
    status = judge(kind, made, *running)
    assert last(status) == ("Running", f"{name}Running")
    done = judge(kind, made, ended(leader, 0, "Succeeded", 0, kind=kind), running[1], status=status)
    assert last(done) == ("Succeeded", f"{name}Succeeded")
    assert done["completionTime"]
    assert {each["type"]: each["status"] for each in done["conditions"]} == {"Running": "False", "Succeeded": "True"}


@pytest.mark.parametrize(
    ("kind", "policy", "code", "expected"),
    [
        (PYTORCH, "Never", 1, ("Failed", "PyTorchJobFailed")),
        (PYTORCH, "OnFailure", 1, ("Restarting", "PyTorchJobRestarting")),
        (PYTORCH, "ExitCode", 1, ("Failed", "PyTorchJobFailed")),
        (PYTORCH, "ExitCode", 137, ("Restarting", "PyTorchJobRestarting")),
        (TENSORFLOW, "Never", 1, ("Failed", "TFJobFailed")),
        (TENSORFLOW, "ExitCode", 127, ("Failed", "TFJobFailed")),
        (TENSORFLOW, "ExitCode", 128, ("Restarting", "TFJobRestarting")),
        (XGBOOST, "Never", 1, ("Failed", "XGBoostJobFailed")),
        (XGBOOST, "ExitCode", 255, ("Restarting", "XGBoostJobRestarting")),
    ],
)
def test_a_replica_that_fails(kind: Kind, policy: str, code: int, expected: tuple[str, str]) -> None:
    made = job(kind, {"Master": {}, "Worker": {"restartPolicy": policy}})
    pods = [ended("Master", 0, "Running", kind=kind), ended("Worker", 0, "Failed", code, kind=kind)]
    status = judge(kind, made, *pods)
    assert last(status) == expected
    again = states.restart_or_fail(kind, made, states.by_type(kind, made, pods), status, [])
    assert [each["metadata"]["name"] for each in again] == (["j-worker-0"] if expected[0] == "Restarting" else [])
    # Upstream tells no completion time when an exit code alone has decided.
    assert ("completionTime" in status) == (expected[0] == "Failed" and (policy == "Never" or kind is TENSORFLOW))


def test_what_has_failed_stays_failed() -> None:
    made = job(PYTORCH, {"Master": {"restartPolicy": "Never"}})
    status = judge(PYTORCH, made, ended("Master", 0, "Failed", 1))
    assert last(judge(PYTORCH, made, ended("Master", 0, "Succeeded", 0), status=status)) == (
        "Failed",
        "PyTorchJobFailed",
    )


def test_the_first_tensorflow_worker_is_enough_unless_all_are_wanted() -> None:
    pods = [ended("Worker", 0, "Succeeded", 0, TENSORFLOW), ended("Worker", 1, "Running", kind=TENSORFLOW)]
    workers = {"Worker": {"replicas": 2}}
    assert last(judge(TENSORFLOW, job(TENSORFLOW, workers), *pods))[0] == "Succeeded"
    assert last(judge(TENSORFLOW, job(TENSORFLOW, workers, successPolicy="AllWorkers"), *pods))[0] == "Running"


def test_limits() -> None:
    started = {"startTime": (NOW - timedelta(seconds=5)).strftime("%Y-%m-%dT%H:%M:%SZ")}
    failed = ended("Worker", 0, "Failed", 137)

    def reason(policy: dict[str, Any], *pods: Manifest, status: dict[str, Any] = started) -> str:
        made = job(PYTORCH, {"Master": {}, "Worker": {}}, runPolicy=policy)
        return states.limit_exceeded(PYTORCH, made, states.by_type(PYTORCH, made, pods), status, NOW)

    assert reason({}, failed) == ""
    assert "backoff limit" in reason({"backoffLimit": 0}, failed)
    assert reason({"backoffLimit": 1}, failed) == ""
    restarted = ended("Worker", 0, "Running")
    restarted["status"]["containerStatuses"][0]["restartCount"] = 2
    assert "backoff limit" in reason({"backoffLimit": 2}, restarted)
    assert reason({"activeDeadlineSeconds": 6}) == ""
    assert "longer than specified deadline" in reason({"activeDeadlineSeconds": 5})
    assert reason({"activeDeadlineSeconds": 5}, status={}) == ""  # its clock has not begun
