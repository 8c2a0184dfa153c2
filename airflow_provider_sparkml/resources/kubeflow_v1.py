"""PyTorchJob, TFJob, XGBoostJob and the older MPIJob of the training operator (``kubeflow.org/v1``).

The status: ``pkg/controller.v1/common/job.go`` and ``pkg/util/status.go`` of kubeflow/training-operator v1.9.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from airflow_provider_sparkml.resources.base import ApiResource, LogSource, Manifest, Resource, Verdict, register
from airflow_provider_sparkml.resources.conditions import read_conditions
from airflow_provider_sparkml.resources.fields import convert, integer, mapping, number_faults, refuse
from airflow_provider_sparkml.resources.replicas import (
    Replicas,
    normalized,
    part_of,
    pod_selector,
    rank_of,
    replica_faults,
    with_env_in_replicas,
)
from airflow_provider_sparkml.resources.retries import set_replicas_off
from airflow_provider_sparkml.resources.training import (
    Replica,
    RunPolicy,
    Secret,
    Volcano,
    Volume,
    YuniKorn,
    manifest_of,
    metadata_of,
    replica_specs,
)

API_VERSION = "kubeflow.org/v1"
PYTORCH = Replicas("pytorchReplicaSpecs", ("Master", "Worker"), "pytorch", single=("Master",))
TENSORFLOW = Replicas(
    "tfReplicaSpecs", ("Chief", "Master", "Worker", "PS", "Evaluator"), "tensorflow", single=("Chief", "Master")
)
XGBOOST = Replicas("xgbReplicaSpecs", ("Master", "Worker"), "xgboost", single=("Master",), required=("Master",))
MPI = Replicas("mpiReplicaSpecs", ("Launcher", "Worker"), "mpi", single=("Launcher",), required=("Launcher", "Worker"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What the jobs of the training operator have in common.

    :param name: what the job's name begins with; the DAG and the task when empty.
    :param run_policy: when it ends, and what becomes of its pods.
    :param queue: Kueue's local queue.
    :param labels: labels of the job.
    :param annotations: annotations of the job.
    :param extra: further fields of ``spec``, merged in last.
    """

    name: str = ""
    run_policy: RunPolicy = field(default_factory=RunPolicy)
    queue: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def _manifest(self, kind: str, layout: Replicas, replicas: Mapping[str, Replica | None], own: Manifest) -> Manifest:
        """Return the manifest of a kind, new at each call."""
        names = dict.fromkeys(layout.types, layout.container)
        spec = {
            "runPolicy": self.run_policy.to_spec(),
            layout.field: replica_specs(replicas, names, self.run_policy.gang),
            **{name: value for name, value in own.items() if value},
            **self.extra,
        }
        metadata = metadata_of(self.name, self.queue, self.labels, self.annotations)
        return manifest_of(API_VERSION, kind, metadata, spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class PyTorchJob(_Job):
    """PyTorch, distributed: each pod has ``MASTER_ADDR``, ``WORLD_SIZE`` and ``RANK``.

    .. code-block:: python

        PyTorchJob(
            master=Replica(image="torch:1", command=["python", "/opt/sparkml/train_torch.py"]),
            worker=Replica(image="torch:1", command=["python", "/opt/sparkml/train_torch.py"], replicas=3, gpus=1),
        )

    :param master: rank 0; its end is the job's.
    :param worker: the other ranks; without a master, all of them.
    :param nproc_per_node: processes per pod, for ``torchrun``: a number, ``auto``, ``cpu`` or ``gpu``.
    :param elastic: ``spec.elasticPolicy``, for workers that may come and go.
    """

    master: Replica | None = None
    worker: Replica | None = None
    nproc_per_node: int | str = ""
    elastic: Mapping[str, Any] = field(default_factory=dict)

    def to_manifest(self) -> Manifest:
        """Return the manifest, new at each call."""
        own = {"nprocPerNode": str(self.nproc_per_node), "elasticPolicy": self.elastic}
        return self._manifest("PyTorchJob", PYTORCH, {"Master": self.master, "Worker": self.worker}, own)


@dataclass(frozen=True, slots=True, kw_only=True)
class TFJob(_Job):
    """TensorFlow, distributed: each pod has ``TF_CONFIG``.

    .. code-block:: python

        TFJob(worker=Replica(image="tensorflow:1", command=["python", "/opt/train.py"], replicas=2))

    :param chief: the worker that also keeps checkpoints; its end is the job's. Without one it is worker 0.
    :param worker: the workers.
    :param ps: parameter servers.
    :param evaluator: the pod that evaluates checkpoints meanwhile.
    :param success_policy: ``AllWorkers`` for a job that has succeeded when all workers have.
    """

    chief: Replica | None = None
    worker: Replica | None = None
    ps: Replica | None = None
    evaluator: Replica | None = None
    success_policy: Literal["", "AllWorkers"] = ""

    def to_manifest(self) -> Manifest:
        """Return the manifest, new at each call."""
        replicas = {"Chief": self.chief, "Worker": self.worker, "PS": self.ps, "Evaluator": self.evaluator}
        return self._manifest("TFJob", TENSORFLOW, replicas, {"successPolicy": self.success_policy})


@dataclass(frozen=True, slots=True, kw_only=True)
class XGBoostJob(_Job):
    """XGBoost, distributed: each pod has ``MASTER_ADDR``, ``WORLD_SIZE`` and ``RANK``, as its tracker needs them.

    .. code-block:: python

        XGBoostJob(
            master=Replica(image="xgboost:1", command=["python", "/opt/train.py"]),
            worker=Replica(image="xgboost:1", command=["python", "/opt/train.py"], replicas=2),
        )

    :param master: rank 0, with the tracker; its end is the job's.
    :param worker: the other ranks.
    """

    master: Replica
    worker: Replica | None = None

    def to_manifest(self) -> Manifest:
        """Return the manifest, new at each call."""
        return self._manifest("XGBoostJob", XGBOOST, {"Master": self.master, "Worker": self.worker}, {})


def read(obj: Manifest) -> Verdict:
    """Return the verdict of a job of the training operator: ``Succeeded`` and ``Failed`` are never taken back."""
    return read_conditions(obj)


def _check(layout: Replicas, manifest: Manifest) -> None:
    """Refuse a job that the operator would refuse.

    :raises InvalidManifestError: field, value and fix.
    """
    refuse(_faults(layout, manifest))


def _faults(layout: Replicas, manifest: Manifest) -> Iterator[str]:
    yield from replica_faults(manifest, layout)
    spec = manifest["spec"]
    specs = spec[layout.field]
    if layout is TENSORFLOW and {"Chief", "Master"} <= specs.keys():
        yield f"spec.{layout.field} has a Chief and a Master: they are the same; leave one of them out"
    if layout is TENSORFLOW and not {"Chief", "Master", "Worker"} & specs.keys():
        yield f"spec.{layout.field} has {' and '.join(specs)} only, so that it never succeeds: add a Worker or a Chief"
    if spec.get("elasticPolicy") and "Worker" not in specs:
        yield f"spec.elasticPolicy is {spec['elasticPolicy']!r}, but spec.{layout.field}.Worker is missing: add it"
    elastic = mapping(spec.get("elasticPolicy"), "spec.elasticPolicy")
    yield from number_faults(elastic, {"minReplicas": 1, "maxReplicas": 1}, "spec.elasticPolicy")
    least, most = elastic.get("minReplicas"), elastic.get("maxReplicas")
    if least is not None and most is not None and least > most:
        yield f"spec.elasticPolicy.minReplicas is {least}, more than maxReplicas, {most}: exchange them"
    if spec.get("successPolicy") not in (None, "", "AllWorkers"):
        yield f"spec.successPolicy is {spec['successPolicy']!r}: set it to 'AllWorkers', or leave it out"
    if spec.get("nprocPerNode") and (spec.get("elasticPolicy") or {}).get("nProcPerNode"):
        yield "spec.nprocPerNode and spec.elasticPolicy.nProcPerNode are both set: leave out the latter"


def _log_source(layout: Replicas, obj: Manifest) -> LogSource | None:
    """Return the log of the leading pod; the status has its type where the spec is not at hand, as in a watch."""
    types = (obj.get("spec") or {}).get(layout.field) or (obj.get("status") or {}).get("replicaStatuses") or {}
    leader = next((name for name in layout.types if name in types), "")
    if leader == "":
        return None
    label = f"{leader.lower()}-0"
    return LogSource(f"{obj['metadata']['name']}-{label}", layout.container, label)


def _launcher_log(layout: Replicas, obj: Manifest) -> LogSource | None:
    """Return the log of an MPIJob's launcher; its ``job-role`` is ``master`` here (mpijob_controller.go)."""
    selector = f"{pod_selector(obj)},training.kubeflow.org/replica-type=launcher"
    return LogSource("", layout.container, "launcher", selector=selector)


def _resource(kind: str, layout: Replicas, log_source: Callable[[Replicas, Manifest], LogSource | None]) -> Resource:
    """Describe and register a kind of the training operator."""
    api = ApiResource("kubeflow.org", "v1", f"{kind.lower()}s", kind)
    return register(
        Resource(
            api=api,
            read=read,
            normalize=partial(_normalize, layout),
            check=partial(_check, layout),
            log_source=partial(log_source, layout),
            pod_selector=pod_selector,
            main_container=layout.container,
            rank_of=rank_of,
            without_retries=partial(_without_retries, layout),
            with_env=partial(_with_env, layout),
        )
    )


def _normalize(layout: Replicas, manifest: Manifest) -> Manifest:
    """Return a copy in the types that the CRD asks for."""
    result = normalized(manifest, layout, ("slotsPerWorker",))
    numbers = ("minReplicas", "maxReplicas", "maxRestarts", "nProcPerNode")
    convert(part_of(result, "spec", "elasticPolicy"), numbers, integer)
    return result


def _with_env(layout: Replicas, manifest: Manifest, env: Mapping[str, str]) -> Manifest:
    return with_env_in_replicas(manifest, layout, env)


def _without_retries(layout: Replicas, manifest: Manifest) -> Manifest:
    """Return a copy of which no pod is restarted; a PyTorchJob's are by default.

    ``runPolicy.backoffLimit`` bounds restarts and causes none.

    :raises InvalidManifestError: a replica is to be restarted.
    """
    result = copy.deepcopy(manifest)
    set_replicas_off(result, layout.field, layout.types)
    return result


PYTORCH_JOB = _resource("PyTorchJob", PYTORCH, _log_source)
TF_JOB = _resource("TFJob", TENSORFLOW, _log_source)
XGBOOST_JOB = _resource("XGBoostJob", XGBOOST, _log_source)
MPI_JOB_V1 = _resource("MPIJob", MPI, _launcher_log)

__all__ = [
    "MPI_JOB_V1",
    "PYTORCH_JOB",
    "TF_JOB",
    "XGBOOST_JOB",
    "PyTorchJob",
    "Replica",
    "RunPolicy",
    "Secret",
    "TFJob",
    "Volcano",
    "Volume",
    "XGBoostJob",
    "YuniKorn",
    "read",
]
