"""What becomes of a TrainJob: the Jobs, the service and the hosts that its runtime describes. Pure.

Follows kubeflow/trainer v2.3 (``pkg/runtime``: the plugins torch, mpi, plainml and jobset) and kubernetes-sigs/jobset
v0.10, whose names and labels the Jobs have. There is no JobSet in between: they belong to the TrainJob.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING
from typing import Any

from airflow_provider_sparkml.local.controllers.kubeflow_v1_pods import own_port
from airflow_provider_sparkml.local.controllers.mpi_pods import KEY_FILES
from airflow_provider_sparkml.local.controllers.trainer_runtimes import ANCESTOR
from airflow_provider_sparkml.resources.base import Manifest, merge_env
from airflow_provider_sparkml.resources.quantities import parse_quantity

JOBSET = "jobset.sigs.k8s.io"
NODE, LAUNCHER = "node", "launcher"
INITIALIZERS = {"dataset-initializer": "dataset", "model-initializer": "model"}
HOSTS_PATH = "/etc/mpi"
COMPLETION_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
GPU_SUFFIX = "/gpu"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a TrainJob is made of.

    :param jobs: replicated job → its Job.
    :param depends_on: replicated job → those that must be ``Ready`` or ``Complete`` before it.
    :param targets: replicated jobs whose success is the TrainJob's; of all of them when ``operator`` is ``All``.
    :param hosts: content of the MPI host file, ``None`` without MPI.
    :param ttl: seconds after which the Jobs of a finished TrainJob go, ``None`` for never.
    """

    jobs: dict[str, Manifest]
    service: Manifest
    depends_on: dict[str, dict[str, str]]
    targets: tuple[str, ...]
    operator: str
    hosts: str | None
    ttl: int | None


def plan(train_job: Manifest, runtime_spec: Mapping[str, Any]) -> Plan:
    """Return what a TrainJob is made of.

    :param runtime_spec: the ``spec`` of its runtime.
    """
    name, trainer = train_job["metadata"]["name"], train_job["spec"].get("trainer") or {}
    policy = runtime_spec.get("mlPolicy") or {}
    spec: dict[str, Any] = copy.deepcopy(dict((runtime_spec["template"] or {}).get("spec") or {}))
    for patch in train_job["spec"].get("runtimePatches") or ():
        change = ((patch.get("trainingRuntimeSpec") or {}).get("template") or {}).get("spec")
        if change:
            spec = merge(spec, change)
    subdomain = (spec.get("network") or {}).get("subdomain") or name
    replicated = list(_started(spec["replicatedJobs"], policy))
    for job in replicated:
        _customize(job, train_job, trainer, policy)
    hosts = _mpi(replicated, train_job, trainer, policy, subdomain) if "mpi" in policy else None
    if "torch" in policy:
        _torch(replicated, train_job, trainer, subdomain)
    success = spec.get("successPolicy") or {}
    return Plan(
        jobs={job["name"]: _job(job, train_job, subdomain, len(replicated)) for job in replicated},
        service=_service(name, subdomain, spec.get("network") or {}),
        depends_on={
            job["name"]: {each["name"]: each["status"] for each in job["dependsOn"]}
            for job in replicated
            if job.get("dependsOn")
        },
        targets=tuple(success.get("targetReplicatedJobs") or (job["name"] for job in replicated)),
        operator=str(success.get("operator") or "All"),
        hosts=hosts,
        ttl=spec.get("ttlSecondsAfterFinished"),
    )


def merge(old: Any, change: Any, field: str = "") -> Any:
    """Merge as a strategic merge patch does: objects field by field, lists by the names of their items."""
    if isinstance(old, dict) and isinstance(change, dict):
        merged = {**old, **{key: merge(old.get(key), value, key) for key, value in change.items()}}
        return {key: value for key, value in merged.items() if value is not None}
    key = "mountPath" if field == "volumeMounts" else "name"
    if not (isinstance(old, list) and isinstance(change, list)):
        return change
    if not all(isinstance(each, dict) and key in each for each in (*old, *change)):
        return change
    by_key = {each[key]: each for each in old}
    for each in change:
        by_key[each[key]] = merge(by_key.get(each[key]), each)
    return list(by_key.values())


def _started(jobs: list[dict[str, Any]], policy: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the runtime's jobs with the number of pods that it says."""
    for job in jobs:
        template = job["template"]
        template.setdefault("metadata", {}).setdefault("labels", {})
        count = template["spec"].get("parallelism") or 1
        if template["metadata"]["labels"].get(ANCESTOR) == "trainer" and policy:
            count = policy.get("numNodes") or 1
        yield {**job, "count": count}


def _customize(job: dict[str, Any], train_job: Manifest, trainer: Mapping[str, Any], policy: Mapping[str, Any]) -> None:
    """Put into a job what the TrainJob says of its trainer or initializers."""
    step = job["template"]["metadata"]["labels"].get(ANCESTOR, "")
    container = _container(job, step if step in INITIALIZERS else NODE)
    if container is None:
        return
    if step in INITIALIZERS:
        given = (train_job["spec"].get("initializer") or {}).get(INITIALIZERS[step]) or {}
        uri = {"STORAGE_URI": given["storageUri"]} if given.get("storageUri") else {}
        container["env"] = _with_entries(merge_env(container.get("env"), uri), given.get("env") or [])
        if secret := given.get("secretRef"):
            container["envFrom"] = [*(container.get("envFrom") or ()), {"secretRef": {"name": secret["name"]}}]
        return
    mpi = policy.get("mpi") or {}
    is_trainer = step == "trainer"
    if is_trainer:
        container.update({key: trainer[key] for key in ("image", "command", "args") if trainer.get(key)})
        if "mpi" not in policy and trainer.get("numNodes"):
            job["count"] = trainer["numNodes"]
    if is_trainer or (job["name"] == NODE and mpi.get("runLauncherAsNode")):
        container["env"] = _with_entries(container.get("env") or [], trainer.get("env") or [])
        resources = trainer.get("resourcesPerNode") or {}
        container["resources"] = merge(container.get("resources") or {}, resources)


def _with_entries(env: list[dict[str, Any]], entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = {entry["name"] for entry in entries}
    return [*(entry for entry in env if entry["name"] not in names), *entries]


def _container(job: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    containers: list[dict[str, Any]] = job["template"]["spec"]["template"]["spec"]["containers"]
    return next((each for each in containers if each["name"] == name), None)


def _torch(replicated: list[dict[str, Any]], train_job: Manifest, trainer: Mapping[str, Any], subdomain: str) -> None:
    """Give the trainer's container what ``torchrun`` reads."""
    name = train_job["metadata"]["name"]
    job = next((each for each in replicated if each["template"]["metadata"]["labels"].get(ANCESTOR) == "trainer"), None)
    container = _container(job, NODE) if job else None
    if job is None or container is None:
        return
    resources = container.get("resources") or {}
    per_node = trainer.get("numProcPerNode") or ("auto" if _gpus(resources) else max(1, _cpus(resources)))
    env = {
        "PET_NNODES": str(job["count"]),
        "PET_NPROC_PER_NODE": str(per_node),
        "PET_MASTER_ADDR": f"{name}-{NODE}-0-0.{subdomain}",
        # 29500 on a cluster; but here all pods share one machine, and torchrun listens on all its addresses.
        "PET_MASTER_PORT": str(own_port(train_job["metadata"]["uid"])),
    }
    rank = {"name": "PET_NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": COMPLETION_INDEX}}}
    container["env"] = _with_entries(merge_env(container.get("env"), env), [rank])


def _cpus(resources: Mapping[str, Any]) -> int:
    amount = (resources.get("requests") or {}).get("cpu") or (resources.get("limits") or {}).get("cpu")
    if amount is None:
        return 0
    return int((parse_quantity(str(amount), "cpu")).to_integral_value(ROUND_CEILING))


def _gpus(resources: Mapping[str, Any]) -> int:
    limits = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
    return sum(int(amount) for name, amount in limits.items() if name.endswith(GPU_SUFFIX))


def _mpi(
    replicated: list[dict[str, Any]],
    train_job: Manifest,
    trainer: Mapping[str, Any],
    policy: Mapping[str, Any],
    subdomain: str,
) -> str:
    """Give launcher and nodes keys and hosts; return the host file."""
    name, mpi = train_job["metadata"]["name"], policy["mpi"]
    as_node = bool(mpi.get("runLauncherAsNode"))
    slots = trainer.get("numProcPerNode") or mpi.get("numProcPerNode") or 1
    hosts = []
    for job in replicated:
        if job["name"] not in (NODE, LAUNCHER):
            continue
        if job["name"] == LAUNCHER:
            job["count"] = 1
        elif nodes := trainer.get("numNodes") or policy.get("numNodes"):
            job["count"] = max(nodes - 1, 1) if as_node else nodes
        if job["name"] == NODE or as_node:
            hosts += [f"{name}-{job['name']}-0-{index}.{subdomain} slots={slots}" for index in range(job["count"])]
        _mount(job, "mpi-ssh-auth", mpi.get("sshAuthMountPath") or "/root/.ssh", _keys(name))
        if job["name"] == LAUNCHER:
            items = [{"key": "hostfile", "path": "hostfile", "mode": 0o444}]
            _mount(job, "mpi-hostfile", HOSTS_PATH, {"configMap": {"name": f"{name}-mpi-hostfile", "items": items}})
            if container := _container(job, NODE):
                env = {
                    "OMPI_MCA_orte_default_hostfile": f"{HOSTS_PATH}/hostfile",
                    "OMPI_MCA_orte_keep_fqdn_hostnames": "true",
                    "OMPI_MCA_orte_set_default_slots": str(slots),
                    "OMPI_MCA_plm_rsh_args": "-o ConnectionAttempts=10",
                }
                container["env"] = merge_env(container.get("env"), env)
    return "".join(f"{host}\n" for host in hosts)


def _keys(name: str) -> dict[str, Any]:
    items = [item | {"mode": 0o640 if item["path"] == "id_rsa" else 0o644} for item in KEY_FILES]
    return {"secret": {"secretName": f"{name}-mpi-ssh-auth", "defaultMode": 0o400, "items": items}}


def _mount(job: dict[str, Any], volume: str, path: str, source: dict[str, Any]) -> None:
    spec = job["template"]["spec"]["template"]["spec"]
    spec["volumes"] = merge(spec.get("volumes") or [], [{"name": volume, **source}])
    for container in spec["containers"]:
        if container["name"] == NODE:
            mounts = container.get("volumeMounts") or []
            container["volumeMounts"] = merge(mounts, [{"name": volume, "mountPath": path}], "volumeMounts")


# --- JobSet ----------------------------------------------------------------------------------------------------------


def _job(job: dict[str, Any], train_job: Manifest, subdomain: str, replicated: int) -> Manifest:
    """Return the Job of a replicated job, as JobSet makes it."""
    name = f"{train_job['metadata']['name']}-{job['name']}-0"
    template = job["template"]
    spec = {"completionMode": "Indexed", **template["spec"], "parallelism": job["count"], "completions": job["count"]}
    pod = spec["template"]
    pod_meta = pod.setdefault("metadata", {})
    own = {
        f"{JOBSET}/jobset-name": train_job["metadata"]["name"],
        f"{JOBSET}/jobset-uid": train_job["metadata"]["uid"],
        f"{JOBSET}/replicatedjob-name": job["name"],
        f"{JOBSET}/replicatedjob-replicas": "1",
        f"{JOBSET}/job-index": "0",
        f"{JOBSET}/global-replicas": str(replicated),
        f"{JOBSET}/restart-attempt": "0",
    }
    pod_meta["labels"] = {**(pod_meta.get("labels") or {}), **own}
    pod["spec"].setdefault("restartPolicy", "OnFailure")
    pod["spec"]["subdomain"] = subdomain
    spec["suspend"] = bool(train_job["spec"].get("suspend"))
    meta = template["metadata"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": {**meta["labels"], **own},
            "annotations": {**(meta.get("annotations") or {}), **own},
        },
        "spec": spec,
    }


def _service(name: str, subdomain: str, network: Mapping[str, Any]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": subdomain, "labels": {f"{JOBSET}/jobset-name": name}},
        "spec": {
            "clusterIP": "None",
            "selector": {f"{JOBSET}/jobset-name": name},
            "publishNotReadyAddresses": network.get("publishNotReadyAddresses", True),
        },
    }
