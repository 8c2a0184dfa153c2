"""MPIJob of the MPI operator (``kubeflow.org/v2beta1``): its typed builder, Horovod's, and how its status is read.

The status: ``pkg/controller/mpi_job_controller.go`` of kubeflow/mpi-operator v0.8. The training operator's older MPIJob
(``kubeflow.org/v1``) is built here too and described in :mod:`~airflow_provider_sparkml.resources.kubeflow_v1`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import (
    ApiResource,
    LogSource,
    Manifest,
    Resource,
    Verdict,
    register,
)
from airflow_provider_sparkml.resources.conditions import read_conditions
from airflow_provider_sparkml.resources.fields import boolean, convert, number_faults, refuse
from airflow_provider_sparkml.resources.replicas import (
    JOB_NAME,
    ROLE,
    Replicas,
    normalized,
    part_of,
    pod_selector,
    rank_of,
    replica_faults,
    with_env_in_replicas,
)
from airflow_provider_sparkml.resources.retries import set_off, set_replicas_off
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

API = ApiResource("kubeflow.org", "v2beta1", "mpijobs", "MPIJob")
LAUNCHER, WORKER = "Launcher", "Worker"
_REPLICAS = Replicas(
    "mpiReplicaSpecs",
    (LAUNCHER, WORKER),
    single=(LAUNCHER,),
    required=(LAUNCHER,),
    restart_policies=("Never", "OnFailure"),
)
_IMPLEMENTATIONS = ("OpenMPI", "Intel", "MPICH")
_CREATION = ("AtStartup", "WaitForWorkersReady")
HOSTFILE = "/etc/mpi/hostfile"
"""Where the MPI operator mounts the list of the workers."""
DISCOVER_HOSTS = "/etc/mpi/discover_hosts.sh"
"""Where it mounts a script that prints the workers that are running now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MPIJob:
    """A job that a launcher starts on workers, by ``mpirun`` or ``horovodrun``.

    .. code-block:: python

        MPIJob(
            launcher=Replica(image="mpi-pi:1", command=["mpirun", "-np", "4", "/home/mpiuser/pi"]),
            worker=Replica(image="mpi-pi:1", replicas=2, cpu="2", memory="1Gi"),
            slots_per_worker=2,
        )

    :param launcher: the pod that starts the ranks; its end is the job's.
    :param worker: the pods that ranks run in. Without a command they run ``sshd``, which the launcher needs.
    :param name: what the job's name begins with; the DAG and the task when empty.
    :param slots_per_worker: ranks per worker.
    :param run_policy: when it ends, and what becomes of its pods. Without a ``backoff_limit`` the launcher runs once,
        since Airflow tries again.
    :param launcher_creation_policy: ``WaitForWorkersReady`` spares the launcher its first failures to connect.
    :param mpi_implementation: whose ``mpirun`` it is.
    :param run_launcher_as_worker: whether the launcher's pod has ranks, too.
    :param ssh_auth_mount_path: where the launcher finds its ssh key, such as ``/home/mpiuser/.ssh``.
    :param queue: Kueue's local queue.
    :param labels: labels of the job.
    :param annotations: annotations of the job.
    :param api_version: ``kubeflow.org/v1`` for the training operator's MPIJob.
    :param extra: further fields of ``spec``, merged in last.
    """

    launcher: Replica
    worker: Replica | None = None
    name: str = ""
    slots_per_worker: int | str = 1
    run_policy: RunPolicy = field(default_factory=RunPolicy)
    launcher_creation_policy: Literal["", "AtStartup", "WaitForWorkersReady"] = ""
    mpi_implementation: Literal["", "OpenMPI", "Intel", "MPICH"] = ""
    run_launcher_as_worker: bool | str = False
    ssh_auth_mount_path: str = ""
    queue: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    api_version: Literal["kubeflow.org/v2beta1", "kubeflow.org/v1"] = "kubeflow.org/v2beta1"
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_manifest(self) -> Manifest:
        """Return the manifest, new at each call.

        :raises InvalidManifestError: a field is set that this version of the kind does not have.
        """
        # The training operator looks for this name; the MPI operator takes any.
        names = {LAUNCHER: "mpi", WORKER: "mpi"} if self.api_version == "kubeflow.org/v1" else {
            LAUNCHER: "launcher", WORKER: "worker"
        }  # fmt: skip
        own = {
            "launcherCreationPolicy": self.launcher_creation_policy,
            "mpiImplementation": self.mpi_implementation,
            "runLauncherAsWorker": self.run_launcher_as_worker,
            "sshAuthMountPath": self.ssh_auth_mount_path,
        }
        spec = {
            "slotsPerWorker": self.slots_per_worker,
            "runPolicy": {"backoffLimit": 0} | self.run_policy.to_spec(),
            "mpiReplicaSpecs": replica_specs(
                {LAUNCHER: self.launcher, WORKER: self.worker}, names, self.run_policy.gang
            ),
        }
        stated = {name: value for name, value in own.items() if value}
        if stated and self.api_version == "kubeflow.org/v1":
            raise InvalidManifestError(
                f"{', '.join(stated)}: the training operator's MPIJob (kubeflow.org/v1) has no such field; leave it out"
            )
        spec |= stated | dict(self.extra)
        metadata = metadata_of(self.name, self.queue, self.labels, self.annotations)
        return manifest_of(self.api_version, API.kind, metadata, spec)


def horovod_job(
    image: str,
    command: Sequence[Any],
    *,
    workers: int | str = 2,
    slots_per_worker: int = 1,
    min_workers: int | None = None,
    max_workers: int | None = None,
    name: str = "",
    run_policy: RunPolicy | None = None,
    queue: str = "",
    launcher: Replica | None = None,
    worker: Replica | None = None,
) -> MPIJob:
    """Return an MPIJob that runs a program with Horovod over Gloo, static or elastic.

    .. code-block:: python

        horovod_job("horovod:1", ["python", "/opt/sparkml/train_horovod.py", "--epochs", "5"], workers=2)

    With ``min_workers`` or ``max_workers`` it is elastic: when a worker goes, training goes on with those that are
    left, at least ``min_workers``, and takes in new ones up to ``max_workers``. The program must keep its state in a
    ``hvd.elastic`` state object then (https://horovod.readthedocs.io/en/stable/elastic_include.html).

    :param image: image of launcher and workers; it has horovod, an ssh client and ``sshd``.
    :param command: the program of each rank, a list.
    :param workers: pods with ranks.
    :param slots_per_worker: ranks per worker.
    :param min_workers: elastic: go on while there are so many workers.
    :param max_workers: elastic: take in up to so many workers.
    :param name: what the job's name begins with; the DAG and the task when empty.
    :param run_policy: when it ends, and what becomes of its pods.
    :param queue: Kueue's local queue.
    :param launcher: the launcher's pod, but for its command; by default of the workers' environment and volumes.
    :param worker: the workers' pods: resources, volumes, environment, nodes; image and number are set here.
    :raises InvalidManifestError: the numbers of workers do not go together.
    """
    if isinstance(command, str):
        raise InvalidManifestError(f"command is {command!r}: it must be a list, such as ['python', 'train.py']")
    if not isinstance(slots_per_worker, int):
        raise InvalidManifestError(f"slots_per_worker is {slots_per_worker!r}: give a whole number")
    if not command:
        raise InvalidManifestError(f"command is {command!r}: give the program of each rank: ['python', 'train.py']")
    pods = replace(worker or Replica(image=image), image=image, replicas=workers)
    first = launcher or Replica(
        image=image, env=pods.env, secrets=pods.secrets, volumes=pods.volumes,
        service_account=pods.service_account, image_pull_secrets=pods.image_pull_secrets,
    )  # fmt: skip
    return MPIJob(
        name=name,
        launcher=replace(
            first, image=image, command=horovodrun(command, workers, slots_per_worker, min_workers, max_workers)
        ),
        worker=pods,
        slots_per_worker=slots_per_worker,
        run_policy=run_policy or RunPolicy(),
        # A gang starts together or not at all: a launcher that comes later would be waited for in vain.
        launcher_creation_policy="" if run_policy and isinstance(run_policy.gang, Volcano) else "WaitForWorkersReady",
        queue=queue,
    )


def horovodrun(
    command: Sequence[Any], workers: int | str, slots: int, min_workers: int | None, max_workers: int | None
) -> list[Any]:
    """Return the launcher's command: ``horovodrun`` over Gloo with the hosts that the MPI operator tells.

    :raises InvalidManifestError: the numbers of workers do not go together.
    """
    elastic = min_workers is not None or max_workers is not None
    ranks = str(workers * slots) if isinstance(workers, int) else workers
    if isinstance(workers, str) and (elastic or slots != 1):
        raise InvalidManifestError(
            f"workers is {workers!r}, which can be a template only for a job that is not elastic and has one slot per "
            "worker: give a number, or build the MPIJob by its launcher's command"
        )
    if not elastic or isinstance(workers, str):
        return ["horovodrun", "--gloo", "-np", ranks, "--hostfile", HOSTFILE, *command]
    least = 1 if min_workers is None else min_workers
    most = workers if max_workers is None else max_workers
    if not 1 <= least <= workers <= most:
        raise InvalidManifestError(
            f"min_workers is {least}, workers is {workers} and max_workers is {most}: they must not decrease, from 1 on"
        )
    return [
        "horovodrun", "--gloo", "-np", ranks, "--min-np", str(least * slots), "--max-np", str(most * slots),
        "--host-discovery-script", DISCOVER_HOSTS, "--slots", str(slots), *command,
    ]  # fmt: skip


def read(obj: Manifest) -> Verdict:
    """Return the verdict of an MPIJob.

    A lost worker makes ``Failed`` true (``MPIJobEvicted``), and a launcher that succeeds after all makes it false
    again: only with ``completionTime`` has it ended. ``replicaStatuses.*.failed`` counts pods that were replaced, too.
    """
    return read_conditions(obj, needs_completion_time=True)


def normalize(manifest: Manifest) -> Manifest:
    """Return a copy in the types that the CRD asks for, which frees its workers at the end."""
    result = normalized(manifest, _REPLICAS, ("slotsPerWorker",))
    convert(result.get("spec"), ("runLauncherAsWorker",), boolean)
    return result


def check(manifest: Manifest) -> None:
    """Refuse an MPIJob that the operator would refuse, which it tells by an event only.

    :raises InvalidManifestError: field, value and fix.
    """
    refuse(_faults(manifest))


def _faults(manifest: Manifest) -> Iterator[str]:
    yield from replica_faults(manifest, _REPLICAS)
    spec = manifest["spec"]
    yield from number_faults(spec, {"slotsPerWorker": 1}, "spec")
    for name, words in (("mpiImplementation", _IMPLEMENTATIONS), ("launcherCreationPolicy", _CREATION)):
        if spec.get(name, words[0]) not in words:
            yield f"spec.{name} is {spec[name]!r}: set it to one of {', '.join(words)}"
    pods = spec[_REPLICAS.field].values()
    workers = (spec[_REPLICAS.field].get(WORKER) or {}).get("replicas") or 1
    gang = (spec.get("runPolicy") or {}).get("schedulingPolicy")
    if gang is None and any(part_of(each, "template", "spec").get("schedulerName") == "volcano" for each in pods):
        gang = {}
    if spec.get("launcherCreationPolicy") == "WaitForWorkersReady" and gang is not None:
        # calculateMinAvailable of pkg/controller/podgroup.go counts the launcher, too.
        least = gang.get("minAvailable") or workers + 1
        if least > workers:
            yield (
                "spec.launcherCreationPolicy is 'WaitForWorkersReady', and Volcano's gang starts with "
                f"{least} pods, of which the launcher is one: it would wait for ever; set "
                f"spec.runPolicy.schedulingPolicy.minAvailable to {workers}, or leave launcherCreationPolicy out"
            )
    if WORKER not in spec[_REPLICAS.field] and not spec.get("runLauncherAsWorker"):
        yield f"spec.{_REPLICAS.field}.{WORKER} is missing: add it, or set spec.runLauncherAsWorker to true"


def log_source(obj: Manifest) -> LogSource | None:
    """Return the launcher's log; the launcher is a Job, so its newest pod counts."""
    return LogSource("", "", "launcher", selector=f"{pod_selector(obj)},{ROLE}=launcher")


def with_env(manifest: Manifest, env: Mapping[str, str]) -> Manifest:
    """Return a copy in which launcher and workers have these variables."""
    return with_env_in_replicas(manifest, _REPLICAS, env)


def without_retries(manifest: Manifest) -> Manifest:
    """Return a copy whose launcher runs once: by default it is tried seven times.

    Workers may come back, for an elastic job: the launcher's end alone is the job's.

    :raises InvalidManifestError: the launcher is to be tried again.
    """
    result = copy.deepcopy(manifest)
    spec = result.get("spec")
    if isinstance(spec, dict):
        set_off(spec.setdefault("runPolicy", {}), "backoffLimit", 0, "spec.runPolicy")
    set_replicas_off(result, _REPLICAS.field, (LAUNCHER,))
    return result


MPI_JOB = register(
    Resource(
        api=API,
        read=read,
        normalize=normalize,
        check=check,
        log_source=log_source,
        pod_selector=pod_selector,
        rank_of=rank_of,
        without_retries=without_retries,
        with_env=with_env,
    )
)

__all__ = [
    "API",
    "DISCOVER_HOSTS",
    "HOSTFILE",
    "JOB_NAME",
    "LAUNCHER",
    "MPI_JOB",
    "WORKER",
    "MPIJob",
    "Replica",
    "RunPolicy",
    "Secret",
    "Volcano",
    "Volume",
    "YuniKorn",
    "horovod_job",
    "read",
]
