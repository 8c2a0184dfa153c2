"""The objects that an MPIJob is made of: service, hosts, keys, workers and launcher. Pure, but for the random keys.

Follows kubeflow/mpi-operator v0.8, ``pkg/controller/mpi_job_controller.go``, ``pkg/apis/kubeflow/v2beta1/default.go``
and ``pkg/apis/kubeflow/validation``.
"""

from __future__ import annotations

import base64
import copy
import re
from collections.abc import Iterable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from airflow_provider_sparkml.resources.base import Manifest

JOB_NAME = "training.kubeflow.org/job-name"
JOB_ROLE = "training.kubeflow.org/job-role"
REPLICA_INDEX = "training.kubeflow.org/replica-index"
OPERATOR_NAME = "training.kubeflow.org/operator-name"
OPERATOR = "mpi-operator"
HOSTS_PATH = "/etc/mpi"
PRIVATE_KEY, PUBLIC_KEY = "ssh-privatekey", "ssh-publickey"
KEY_FILES = [
    {"key": PRIVATE_KEY, "path": "id_rsa"},
    {"key": PUBLIC_KEY, "path": "id_rsa.pub"},
    {"key": PUBLIC_KEY, "path": "authorized_keys"},
]
IMPLEMENTATION_ENV: dict[str, dict[str, str]] = {
    "OpenMPI": {
        "OMPI_MCA_orte_keep_fqdn_hostnames": "true",
        "OMPI_MCA_orte_default_hostfile": f"{HOSTS_PATH}/hostfile",
        "OMPI_MCA_plm_rsh_args": "-o ConnectionAttempts=10",
    },
    "Intel": {
        "I_MPI_HYDRA_HOST_FILE": f"{HOSTS_PATH}/hostfile",
        "I_MPI_HYDRA_BOOTSTRAP_EXEC_EXTRA_ARGS": "-o ConnectionAttempts=10",
    },
    "MPICH": {
        "HYDRA_HOST_FILE": f"{HOSTS_PATH}/hostfile",
        "HYDRA_LAUNCH_EXTRA_ARGS": "-o ConnectionAttempts=10",
    },
}
SLOTS_ENV = {"OpenMPI": "OMPI_MCA_orte_set_default_slots", "Intel": "I_MPI_PERHOST"}
DNS_1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def with_defaults(job: Manifest) -> Manifest:
    """Return a copy of an MPIJob with the operator's defaults in it."""
    job = copy.deepcopy(job)
    spec = job["spec"]
    spec["runPolicy"] = {"cleanPodPolicy": "None", "suspend": False} | (spec.get("runPolicy") or {})
    for name, value in {
        "slotsPerWorker": 1,
        "sshAuthMountPath": "/root/.ssh",
        "mpiImplementation": "OpenMPI",
        "launcherCreationPolicy": "AtStartup",
    }.items():
        if spec.get(name) in (None, ""):
            spec[name] = value
    for role, (policy, replicas) in {"Launcher": ("OnFailure", 1), "Worker": ("Never", 0)}.items():
        replica = spec["mpiReplicaSpecs"].get(role)
        if replica is not None:
            replica["restartPolicy"] = replica.get("restartPolicy") or policy
            replica.setdefault("replicas", replicas)
    return job


def problems(job: Manifest) -> list[str]:
    """Return what the operator refuses an MPIJob for, in its words; the job has its defaults."""
    spec, found = job["spec"], []
    longest = f"{job['metadata']['name']}-worker-{max(1, worker_count(job)) - 1}"
    if not DNS_1035.fullmatch(longest):
        found.append(
            f'metadata.name: Invalid value: "{job["metadata"]["name"]}": will not able to create pod and service with '
            f'invalid DNS label "{longest}": must be a DNS-1035 label of at most 63 characters'
        )
    policy = spec["runPolicy"]["cleanPodPolicy"]
    if policy not in ("None", "Running", "All"):
        found.append(
            f'spec.runPolicy.cleanPodPolicy: Unsupported value: "{policy}": supported values: "All", "None", "Running"'
        )
    replicas = spec["mpiReplicaSpecs"]
    if replicas.get("Launcher") is None:
        found.append("spec.mpiReplicaSpecs[Launcher]: Required value: must have Launcher replica spec")
    elif replicas["Launcher"]["replicas"] != 1:
        value = replicas["Launcher"]["replicas"]
        found.append(f"spec.mpiReplicaSpecs[Launcher].replicas: Invalid value: {value}: must be 1")
    if replicas.get("Worker") is not None and replicas["Worker"]["replicas"] <= 0:
        value = replicas["Worker"]["replicas"]
        text = f"Invalid value: {value}: must be greater than or equal to 1"
        found.append(f"spec.mpiReplicaSpecs[Worker].replicas: {text}")
    for role, replica in replicas.items():
        if replica["restartPolicy"] not in ("Never", "OnFailure"):
            text = f'Unsupported value: "{replica["restartPolicy"]}": supported values: "Never", "OnFailure"'
            found.append(f"spec.mpiReplicaSpecs[{role}].restartPolicy: {text}")
    return found


def worker_count(job: Manifest) -> int:
    """Return how many workers an MPIJob has."""
    return int((job["spec"]["mpiReplicaSpecs"].get("Worker") or {}).get("replicas") or 0)


def worker_name(job: Manifest, index: int) -> str:
    """Return the name of a worker's pod."""
    return f"{job['metadata']['name']}-worker-{index}"


def launcher_name(job: Manifest) -> str:
    """Return the name of the launcher's Job."""
    return f"{job['metadata']['name']}-launcher"


def labels(job: Manifest, role: str) -> dict[str, str]:
    """Return the labels of an MPIJob's pods of one role."""
    return {OPERATOR_NAME: OPERATOR, JOB_NAME: job["metadata"]["name"], JOB_ROLE: role}


def service(job: Manifest) -> Manifest:
    """Return the headless service that gives launcher and workers their names."""
    name = job["metadata"]["name"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "clusterIP": "None",
            "selector": {OPERATOR_NAME: OPERATOR, JOB_NAME: name},
            "publishNotReadyAddresses": bool(job["spec"].get("runLauncherAsWorker")),
        },
    }


def config_map(job: Manifest, running: Iterable[Manifest]) -> Manifest:
    """Return the ConfigMap with the host file and the script that prints the hosts of the workers that run now.

    :param running: those workers' pods.
    """
    meta, spec = job["metadata"], job["spec"]
    domain = f"{meta['name']}.{meta['namespace']}.svc"
    launcher = [launcher_name(job)] if spec.get("runLauncherAsWorker") else []
    everybody = [*launcher, *(worker_name(job, index) for index in range(worker_count(job)))]
    slots = (
        f" slots={spec['slotsPerWorker']}" if spec["mpiImplementation"] == "OpenMPI" else f":{spec['slotsPerWorker']}"
    )
    present = [*launcher, *sorted(pod["metadata"]["name"] for pod in running)]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{meta['name']}-config", "labels": {"app": meta["name"]}},
        "data": {
            "hostfile": "".join(f"{name}.{domain}{slots}\n" for name in everybody),
            "discover_hosts.sh": "#!/bin/sh\n" + "".join(f"echo {name}.{domain}\n" for name in present),
        },
    }


def new_keys() -> tuple[bytes, bytes]:
    """Return a new private key in PEM form, and its public key as a line of ``authorized_keys``."""
    key = ec.generate_private_key(ec.SECP521R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n"


def ssh_secret(name: str, app: str) -> Manifest:
    """Return the Secret with which a job's pods let one another in."""
    private, public = new_keys()
    data = {PRIVATE_KEY: private, PUBLIC_KEY: public}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"app": app}},
        "type": "kubernetes.io/ssh-auth",
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }


def worker_pod(job: Manifest, index: int) -> Manifest:
    """Return the pod of a worker."""
    name, meta = worker_name(job, index), job["metadata"]
    template = _template(job, "Worker", name)
    spec = template["spec"]
    padded = index + 1 if job["spec"].get("runLauncherAsWorker") else index
    template["metadata"]["labels"] |= {REPLICA_INDEX: str(padded)}
    domain = f"{meta['name']}.{meta['namespace']}.svc.cluster.local"
    dns = spec.get("dnsConfig") or {}
    spec["dnsConfig"] = dns | {"searches": [*(dns.get("searches") or ()), domain]}
    container = spec["containers"][0]
    if not container.get("command") and not container.get("args"):
        container["command"] = ["/usr/sbin/sshd", "-De"]
    _add_env(container, {"K_MPI_JOB_ROLE": "worker"})
    _mount_keys(job, spec)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **template["metadata"]}, "spec": spec}


def launcher_job(job: Manifest) -> Manifest:
    """Return the batch/v1 Job of the launcher."""
    name, policy = job["metadata"]["name"], job["spec"]["runPolicy"]
    template = _template(job, "Launcher", launcher_name(job))
    spec, container = template["spec"], template["spec"]["containers"][0]
    implementation = job["spec"]["mpiImplementation"]
    env = {"K_MPI_JOB_ROLE": "launcher", **IMPLEMENTATION_ENV[implementation]}
    if implementation in SLOTS_ENV:
        env[SLOTS_ENV[implementation]] = str(job["spec"]["slotsPerWorker"])
    if job["spec"].get("runLauncherAsWorker"):
        template["metadata"]["labels"] |= {REPLICA_INDEX: "0"}
    else:
        env |= {"NVIDIA_VISIBLE_DEVICES": "", "NVIDIA_DRIVER_CAPABILITIES": ""}
    _add_env(container, env)
    _mount_keys(job, spec)
    items = [{"key": "hostfile", "path": "hostfile", "mode": 0o444}]
    items.append({"key": "discover_hosts.sh", "path": "discover_hosts.sh", "mode": 0o555})
    hosts = {"name": "mpi-job-config", "configMap": {"name": f"{name}-config", "items": items}}
    spec.setdefault("volumes", []).append(hosts)
    container.setdefault("volumeMounts", []).append({"name": hosts["name"], "mountPath": HOSTS_PATH})
    wanted = {
        field: policy[field]
        for field in ("ttlSecondsAfterFinished", "activeDeadlineSeconds", "backoffLimit")
        if policy.get(field) is not None
    }
    if policy.get("suspend"):
        wanted["suspend"] = True
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": launcher_name(job), "labels": {"app": name}},
        "spec": {**wanted, "podReplacementPolicy": "Failed", "template": template},
    }


def _template(job: Manifest, role: str, host: str) -> dict[str, Any]:
    replica = job["spec"]["mpiReplicaSpecs"][role]
    template: dict[str, Any] = copy.deepcopy(replica["template"])
    given = template.get("metadata") or {}
    meta = {"labels": {**(given.get("labels") or {}), **labels(job, role.lower())}}
    if given.get("annotations"):
        meta["annotations"] = given["annotations"]
    identity = {"hostname": host, "subdomain": job["metadata"]["name"], "restartPolicy": replica["restartPolicy"]}
    return {"metadata": meta, "spec": {**template["spec"], **identity}}


def _add_env(container: dict[str, Any], env: dict[str, str]) -> None:
    container["env"] = [*(container.get("env") or ()), *({"name": key, "value": value} for key, value in env.items())]


def _mount_keys(job: Manifest, spec: dict[str, Any]) -> None:
    path = job["spec"]["sshAuthMountPath"]
    secret: dict[str, Any] = {"secretName": f"{job['metadata']['name']}-ssh", "items": KEY_FILES}
    if path == "/root/.ssh":
        secret["defaultMode"] = 0o600
    spec["volumes"] = [*(spec.get("volumes") or ()), {"name": "ssh-auth", "secret": secret}]
    container = spec["containers"][0]
    container["volumeMounts"] = [*(container.get("volumeMounts") or ()), {"name": "ssh-auth", "mountPath": path}]
