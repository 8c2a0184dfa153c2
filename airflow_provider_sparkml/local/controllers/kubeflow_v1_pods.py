"""The kinds of the training operator, and the pods and services that their jobs are made of. Pure.

Follows kubeflow/training-operator v1.9: ``pkg/apis/kubeflow.org/v1/*_defaults.go``, ``pkg/controller.v1/common`` and
the ``envvar.go``, ``elastic.go``, ``tensorflow.go`` and ``xgboost.go`` of each kind. Left out is the init container
``init-pytorch``, which waits for the master's name: here every container waits for the names in its variables.
"""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from airflow_provider_sparkml.resources.base import ApiResource, Manifest

JOB_NAME = "training.kubeflow.org/job-name"
JOB_ROLE = "training.kubeflow.org/job-role"
OPERATOR_NAME = "training.kubeflow.org/operator-name"
REPLICA_TYPE = "training.kubeflow.org/replica-type"
REPLICA_INDEX = "training.kubeflow.org/replica-index"
JOB_PORTS = range(20000, 30000)
"""Below the node ports, and what programs get that ask for any port."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of training job.

    :param field: of the spec, with the replicas by type.
    :param types: of replicas; the first that a job has leads it, and tells its success.
    :param container: name of the container that trains.
    :param port_name: name of the port by which replicas find one another.
    :param restart_policy: where a replica has none.
    :param env: job, replica type in lower case, index → the variables of that replica's containers.
    """

    api: ApiResource
    field: str
    types: tuple[str, ...]
    container: str
    port_name: str
    restart_policy: str
    env: Callable[[Kind, Manifest, str, int], dict[str, str]]

    @property
    def operator(self) -> str:
        """What the controller calls itself."""
        return f"{self.api.kind.lower()}-controller"


def with_defaults(kind: Kind, job: Manifest) -> Manifest:
    """Return a copy of a job with the operator's defaults in it."""
    job = copy.deepcopy(job)
    spec = job["spec"]
    spec["runPolicy"] = {"cleanPodPolicy": "None", "suspend": False} | (spec.get("runPolicy") or {})
    known = {name.lower(): name for name in kind.types}
    spec[kind.field] = {known.get(name.lower(), name): replica for name, replica in spec[kind.field].items()}
    for replica in spec[kind.field].values():
        replica.setdefault("replicas", 1)
        replica["restartPolicy"] = replica.get("restartPolicy") or kind.restart_policy
    return job


def problems(kind: Kind, job: Manifest) -> list[str]:
    """Return what the operator's webhook refuses a job for; the job has its defaults."""
    found = []
    for name, replica in job["spec"][kind.field].items():
        here = f"spec.{kind.field}[{name}]"
        if name not in kind.types:
            found.append(f'{here}: Unsupported value: "{name}": supported values: {", ".join(kind.types)}')
        names = [container["name"] for container in replica["template"]["spec"]["containers"]]
        if kind.container not in names:
            found.append(
                f"{here}.template.spec.containers: Required value: must have one container named {kind.container}"
            )
        if name in ("Master", "Chief") and replica["replicas"] != 1:
            found.append(f"{here}.replicas: Forbidden: must be 1")
    if kind.api.kind == "XGBoostJob" and "Master" not in job["spec"][kind.field]:
        found.append(f"spec.{kind.field}[Master]: Required value: must have Master replica spec")
    return found


def replicas(kind: Kind, job: Manifest) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield types and specs of a job's replicas, in the order of their importance."""
    for name in kind.types:
        if name in job["spec"][kind.field]:
            yield name, job["spec"][kind.field][name]


def labels(kind: Kind, job: Manifest) -> dict[str, str]:
    """Return the labels of all pods and services of a job."""
    return {OPERATOR_NAME: kind.operator, JOB_NAME: job["metadata"]["name"]}


def replica_name(job: Manifest, replica_type: str, index: int) -> str:
    """Return the name of a replica's pod, and of its service."""
    return f"{job['metadata']['name']}-{replica_type.lower()}-{index}"


def pod(kind: Kind, job: Manifest, replica_type: str, index: int) -> Manifest:
    """Return a replica's pod."""
    replica = job["spec"][kind.field][replica_type]
    template = copy.deepcopy(replica["template"])
    meta, spec = template.get("metadata") or {}, template["spec"]
    own = {**_replica_labels(kind, job, replica_type, index)}
    if _is_master(kind, job, replica_type, index):
        own[JOB_ROLE] = "master"
    env = [{"name": name, "value": value} for name, value in kind.env(kind, job, replica_type.lower(), index).items()]
    for container in spec["containers"]:
        if kind.api.kind != "TFJob" or container["name"] == kind.container:
            container["env"] = [*(container.get("env") or ()), *env]
    policy = replica["restartPolicy"]
    spec["restartPolicy"] = "Never" if policy == "ExitCode" else policy
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": replica_name(job, replica_type, index),
            "labels": {**(meta.get("labels") or {}), **own},
            "annotations": meta.get("annotations") or {},
        },
        "spec": spec,
    }


def service(kind: Kind, job: Manifest, replica_type: str, index: int) -> Manifest:
    """Return the headless service that gives a replica its name."""
    own = _replica_labels(kind, job, replica_type, index)
    port = port_of(kind, job, replica_type, index)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": replica_name(job, replica_type, index), "labels": own},
        "spec": {"clusterIP": "None", "selector": own, "ports": [{"name": kind.port_name, "port": port}]},
    }


def _replica_labels(kind: Kind, job: Manifest, replica_type: str, index: int) -> dict[str, str]:
    return {**labels(kind, job), REPLICA_TYPE: replica_type.lower(), REPLICA_INDEX: str(index)}


def _is_master(kind: Kind, job: Manifest, replica_type: str, index: int) -> bool:
    leaders = [name for name in kind.types if name in ("Master", "Chief") and name in job["spec"][kind.field]]
    return replica_type in leaders if leaders else (replica_type == "Worker" and index == 0)


def port_of(kind: Kind, job: Manifest, replica_type: str, index: int) -> int:
    """Return the port by which others reach a replica.

    Where the job names none the operator takes one number for all; but here all pods share one machine, so each
    replica of each job gets a number of its own.
    """
    for container in job["spec"][kind.field][replica_type]["template"]["spec"]["containers"]:
        for port in container.get("ports") or ():
            if container["name"] == kind.container and port.get("name") == kind.port_name:
                return int(port["containerPort"])
    return own_port(f"{job['metadata']['uid']}/{replica_type.lower()}/{index}")


def own_port(key: str) -> int:
    """Return a port that follows from a key."""
    return JOB_PORTS.start + zlib.crc32(key.encode()) % len(JOB_PORTS)


def _total(kind: Kind, job: Manifest) -> int:
    return sum(int(replica["replicas"]) for replica in job["spec"][kind.field].values())


# --- variables -------------------------------------------------------------------------------------------------------


def _pytorch_env(kind: Kind, job: Manifest, replica_type: str, index: int) -> dict[str, str]:
    spec, env = job["spec"], {"PYTHONUNBUFFERED": "1"}
    per_node = str(spec.get("nprocPerNode") or "auto")
    total = _total(kind, job)
    elastic = spec.get("elasticPolicy")
    rank = index
    if "Master" in spec[kind.field]:
        address, port = replica_name(job, "Master", 0), str(port_of(kind, job, "Master", 0))
        rank = index + 1 if replica_type == "worker" else index
        world = total * (int(per_node) if per_node.isdigit() else 1)
        env |= {"MASTER_PORT": port, "PET_MASTER_PORT": port, "MASTER_ADDR": address, "PET_MASTER_ADDR": address}
        env |= {"WORLD_SIZE": str(world), "RANK": str(rank)}
    if elastic is not None:
        return env | _elastic_env(kind, job, elastic)
    return env | {"PET_NODE_RANK": str(rank), "PET_NPROC_PER_NODE": per_node, "PET_NNODES": str(total)}


def _elastic_env(kind: Kind, job: Manifest, policy: dict[str, Any]) -> dict[str, str]:
    host = policy.get("rdzvHost") or replica_name(job, "Worker", 0)
    port = policy.get("rdzvPort") or port_of(kind, job, "Worker", 0)
    workers = str(job["spec"][kind.field]["Worker"]["replicas"])
    least, most = policy.get("minReplicas"), policy.get("maxReplicas")
    env = {
        "PET_RDZV_ENDPOINT": f"{host}:{port}",
        "PET_RDZV_BACKEND": policy.get("rdzvBackend") or "c10d",
        "PET_NNODES": workers if least is None and most is None else f"{least}:{most}",
    }
    names = {"maxRestarts": "PET_MAX_RESTARTS", "nProcPerNode": "PET_NPROC_PER_NODE", "rdzvId": "PET_RDZV_ID"}
    env |= {name: str(policy[field]) for field, name in names.items() if policy.get(field) is not None}
    if policy.get("rdzvConf"):
        env["PET_RDZV_CONF"] = ",".join(f"{each['key']}={each['value']}" for each in policy["rdzvConf"])
    return env | ({"PET_STANDALONE": ""} if policy.get("standalone") else {})


def _tensorflow_env(kind: Kind, job: Manifest, replica_type: str, index: int) -> dict[str, str]:
    if _total(kind, job) == 1:
        return {}
    namespace = job["metadata"]["namespace"]
    cluster = {
        name.lower(): [
            f"{replica_name(job, name, number)}.{namespace}.svc:{port_of(kind, job, name, number)}"
            for number in range(replica["replicas"])
        ]
        for name, replica in replicas(kind, job)
        if name != "Evaluator"
    }
    config = {"cluster": cluster, "task": {"type": replica_type, "index": index}, "environment": "cloud"}
    return {"TF_CONFIG": json.dumps(config, separators=(",", ":"))}


def _xgboost_env(kind: Kind, job: Manifest, replica_type: str, index: int) -> dict[str, str]:
    total = _total(kind, job)
    masters = int(job["spec"][kind.field]["Master"]["replicas"])
    env = {
        "MASTER_PORT": str(port_of(kind, job, "Master", 0)),
        "MASTER_ADDR": replica_name(job, "Master", 0),
        "WORLD_SIZE": str(total),
        "RANK": str(index + masters if replica_type == "worker" else index),
        "PYTHONUNBUFFERED": "1",
    }
    if total > 1:
        env["WORKER_PORT"] = str(port_of(kind, job, "Worker", 0))
        env["WORKER_ADDRS"] = ",".join(replica_name(job, "Worker", number) for number in range(total - 1))
    return env


def _api(plural: str, kind: str) -> ApiResource:
    return ApiResource("kubeflow.org", "v1", plural, kind)


PYTORCH = Kind(
    _api("pytorchjobs", "PyTorchJob"), "pytorchReplicaSpecs", ("Master", "Worker"), "pytorch", "pytorchjob-port",
    "OnFailure", _pytorch_env,
)  # fmt: skip
TENSORFLOW = Kind(
    _api("tfjobs", "TFJob"), "tfReplicaSpecs", ("Chief", "Master", "Evaluator", "PS", "Worker"), "tensorflow",
    "tfjob-port", "Never", _tensorflow_env,
)  # fmt: skip
XGBOOST = Kind(
    _api("xgboostjobs", "XGBoostJob"), "xgbReplicaSpecs", ("Master", "Worker"), "xgboost", "xgboostjob-port",
    "Never", _xgboost_env,
)  # fmt: skip
KINDS = (PYTORCH, TENSORFLOW, XGBOOST)
