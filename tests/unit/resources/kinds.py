"""One job of each training kind, as its builder makes it, and what its controller writes as it ends: for the tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from airflow_provider_sparkml.resources.base import Manifest, Resource, resource_for
from airflow_provider_sparkml.resources.katib import Experiment, Objective, Parameter
from airflow_provider_sparkml.resources.kubeflow_v1 import PyTorchJob, TFJob, XGBoostJob
from airflow_provider_sparkml.resources.mpi import MPIJob, Replica, horovod_job
from airflow_provider_sparkml.resources.trainer import Trainer, TrainJob
from airflow_provider_sparkml.resources.training_pods import TrainingPods

ENDED = "2026-11-23T10:09:00Z"
ONE = Replica(image="i:1", command=["train"])
TWO = Replica(image="i:1", command=["train"], replicas=2)


@dataclass(frozen=True)
class Kind:
    """One kind as the tests know it.

    :param id: what to call it.
    :param job: a builder's object.
    :param succeeded: the condition that is its success.
    :param completion: whether an end has ``completionTime``.
    :param status: what else its status has at the end.
    """

    id: str
    job: Any
    succeeded: str = "Succeeded"
    completion: bool = True
    status: dict[str, Any] = field(default_factory=dict)

    @property
    def manifest(self) -> Manifest:
        manifest: Manifest = self.job.to_manifest()
        return manifest

    @property
    def resource(self) -> Resource:
        return resource_for(self.manifest["apiVersion"], self.manifest["kind"])

    def ended(self, condition: str = "", **said: str) -> dict[str, Any]:
        """Return the status of a job that has ended, in success by default."""
        completion = {"completionTime": ENDED} if self.completion else {}
        return {"conditions": conditions(**{condition or self.succeeded: "True"}, **said)} | completion | self.status


def conditions(**statuses: str) -> list[dict[str, Any]]:
    """Return conditions by type; ``reason`` and ``message`` are those of them all."""
    said = {key: statuses.pop(key, "Because") for key in ("reason", "message")}
    return [{"type": name, "status": status, "lastTransitionTime": ENDED, **said} for name, status in statuses.items()]


SEARCH = Experiment(
    objective=Objective(metric="loss"),
    parameters=[Parameter(name="lr", min=0.001, max=0.1)],
    trial=TrainJob(trainer=Trainer(image="i:1", command=["train", "--lr", "${trialParameters.lr}"])),
)
BEST = {
    "trials": 2,
    "trialsSucceeded": 2,
    "currentOptimalTrial": {
        "bestTrialName": "search-a",
        "parameterAssignments": [{"name": "lr", "value": "0.01"}, {"name": "optimizer", "value": "sgd"}],
        "observation": {"metrics": [{"name": "loss", "latest": "0.4", "min": "0.31", "max": "2"}]},
    },
}
KINDS = [
    Kind("MPIJob", MPIJob(launcher=ONE, worker=TWO)),
    Kind("Horovod", horovod_job("i:1", ["python", "train.py"])),
    Kind("MPIJobV1", MPIJob(launcher=ONE, worker=TWO, api_version="kubeflow.org/v1")),
    Kind("PyTorchJob", PyTorchJob(master=ONE, worker=TWO)),
    Kind("TFJob", TFJob(chief=ONE, worker=TWO, ps=ONE, evaluator=ONE)),
    Kind("XGBoostJob", XGBoostJob(master=ONE, worker=TWO)),
    Kind("TrainJob", TrainJob(trainer=Trainer(image="i:1", command=["train"], num_nodes=2)), "Complete", False),
    Kind("Experiment", SEARCH, status=BEST),
    Kind("TrainingPods", TrainingPods(pods=TWO), "Complete"),
]
BY_ID = {kind.id: kind for kind in KINDS}
