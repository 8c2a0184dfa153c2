"""The jobs that the deferral benchmark waits for: of each kind one that runs, how it ends, and its rank 0's pod."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CONTAINER = "spark-kubernetes-driver"
NOBODY = "kueue.x-k8s.io/multikueue"
"""Whom these jobs belong to: their operators leave them alone, and the benchmark writes their status."""


@dataclass(frozen=True)
class Job:
    """One kind of job as the benchmark needs it.

    :param module: module of its trigger.
    :param trigger: class of its trigger.
    :param contenders: who can wait for it.
    :param spec: its spec.
    :param running: name → the status of one that runs.
    :param ended: what changes in the status as it succeeds.
    :param pod: name → name and labels of its rank 0's pod.
    """

    module: str
    trigger: str
    contenders: tuple[str, ...]
    spec: dict[str, Any]
    running: Callable[[str], dict[str, Any]]
    ended: Callable[[], dict[str, Any]]
    pod: Callable[[str], dict[str, Any]]


def now() -> str:
    """Return this moment as Kubernetes writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _condition(name: str) -> dict[str, str]:
    return {"type": name, "status": "True", "reason": name, "message": "", "lastTransitionTime": now()}


def _application_status(name: str) -> dict[str, Any]:
    return {
        "applicationState": {"state": "RUNNING"},
        "submissionID": f"s-{name}",
        "sparkApplicationId": f"spark-{name}",
        "driverInfo": {"podName": f"{name}-driver"},
        "executionAttempts": 1,
        "submissionAttempts": 1,
        "lastSubmissionAttemptTime": now(),
        "terminationTime": None,
    }


def _mpi_spec() -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "main", "image": "i:1"}]}}
    replica = {"replicas": 1, "restartPolicy": "Never", "template": template}
    policy = {"cleanPodPolicy": "Running", "managedBy": NOBODY}
    return {"runPolicy": policy, "mpiReplicaSpecs": {"Launcher": replica, "Worker": replica}}


_TRAINING = "airflow_provider_sparkml.triggers.training"
_COUNTS = {"ready": 1, "active": 1, "succeeded": 0, "failed": 0, "suspended": 0}
JOBS = {
    "SparkApplication": Job(
        "airflow_provider_sparkml.triggers.spark",
        "SparkApplicationTrigger",
        ("ours", "cncf"),
        {
            "type": "Python",
            "mode": "cluster",
            "image": "spark:4.3.0",
            "mainApplicationFile": "local:///opt/sparkml/pi.py",
            "sparkVersion": "4.3.0",
            "driver": {"cores": 1, "memory": "512m"},
            "executor": {"cores": 1, "instances": 1, "memory": "512m"},
        },
        _application_status,
        lambda: {"applicationState": {"state": "COMPLETED"}, "terminationTime": now()},
        lambda name: {"name": f"{name}-driver"},
    ),
    # No other provider waits for these.
    "MPIJob": Job(
        _TRAINING,
        "MPIJobTrigger",
        ("ours",),
        _mpi_spec(),
        lambda name: {"conditions": [_condition("Created"), _condition("Running")], "startTime": now()},
        lambda: {"conditions": [_condition("Created"), _condition("Succeeded")], "completionTime": now()},
        lambda name: {
            "name": f"{name}-launcher",
            "labels": {"training.kubeflow.org/job-name": name, "training.kubeflow.org/job-role": "launcher"},
        },
    ),
    "TrainJob": Job(
        _TRAINING,
        "TrainJobTrigger",
        ("ours",),
        {"runtimeRef": {"name": "torch-distributed"}, "managedBy": NOBODY},
        lambda name: {"jobsStatus": [{"name": "node", **_COUNTS}]},
        lambda: {"conditions": [_condition("Complete")]},
        lambda name: {
            "name": f"{name}-node-0-0",
            "labels": {
                "jobset.sigs.k8s.io/jobset-name": name,
                "jobset.sigs.k8s.io/replicatedjob-name": "node",
                "batch.kubernetes.io/job-completion-index": "0",
            },
        },
    ),
}
