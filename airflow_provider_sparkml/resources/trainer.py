"""TrainJob of Kubeflow Trainer (``trainer.kubeflow.org/v1alpha1``): its typed builder and how its status is read.

The status: ``pkg/controller/trainjob_controller.go`` and ``pkg/runtime/framework/plugins/jobset`` of kubeflow/trainer
v2.3.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import (
    ApiResource,
    LogSource,
    Manifest,
    Resource,
    Verdict,
    present,
    register,
)
from airflow_provider_sparkml.resources.conditions import changed_at, conditions_of, read_conditions
from airflow_provider_sparkml.resources.fields import (
    boolean,
    convert,
    integer,
    items,
    mapping,
    name_faults,
    number,
    number_faults,
    refuse,
)
from airflow_provider_sparkml.resources.pod_secrets import Secret, secret_volumes
from airflow_provider_sparkml.resources.replicas import add_env_to, device_faults, normalize_container, queue_faults
from airflow_provider_sparkml.resources.spark_volumes import volumes_of
from airflow_provider_sparkml.resources.training import Volume, env_entries, manifest_of, metadata_of

API = ApiResource("trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob")
JOBSET = "jobset.sigs.k8s.io/jobset-name"
REPLICATED_JOB = "jobset.sigs.k8s.io/replicatedjob-name"
INDEX = "batch.kubernetes.io/job-completion-index"
NODE, LAUNCHER = "node", "launcher"
"""What a runtime calls its replicated jobs; the trainer's container is called ``node`` in both."""
_INITIALIZERS = ("dataset-initializer", "model-initializer")
_MANAGER = "airflow-provider-sparkml/builder"
"""Who a builder's runtime patch belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """What a TrainJob says of its runtime's trainer; what is left out is the runtime's.

    :param image: the image.
    :param command: the program, a list; the runtime's plugin sets ``PET_*`` variables, which ``torchrun`` reads.
    :param args: its arguments, a list.
    :param env: environment variables.
    :param secrets: what the trainer takes from Kubernetes Secrets: keys by name, and files; ``env_from`` is refused,
        since a TrainJob has no place for it.
    :param num_nodes: how many pods.
    :param num_proc_per_node: processes per pod.
    :param resources_per_node: ``{"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": 1}`` of each pod: what it requests
        and, but for CPU, may use at most.
    :param extra: further fields of ``spec.trainer``, merged in last.
    """

    image: str = ""
    command: Sequence[Any] = ()
    args: Sequence[Any] = ()
    env: Mapping[str, Any] = field(default_factory=dict)
    secrets: Sequence[Secret] = ()
    num_nodes: int | str | None = None
    num_proc_per_node: int | str | None = None
    resources_per_node: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole = [secret.name for secret in self.secrets if secret.env_from]
        if whole:
            raise InvalidManifestError(
                f"env_from of secret {whole[0]!r} is True, which a TrainJob has no place for: name its keys in env"
            )

    def to_spec(self) -> dict[str, Any]:
        """Return ``spec.trainer``."""
        limits = {name: value for name, value in self.resources_per_node.items() if name != "cpu"}
        return present(
            {
                "image": self.image,
                "command": self.command,
                "args": self.args,
                "env": env_entries(self.env, self.secrets),
                "numNodes": self.num_nodes,
                "numProcPerNode": self.num_proc_per_node,
                "resourcesPerNode": present({"requests": self.resources_per_node, "limits": limits}),
            }
        ) | dict(self.extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodOverrides:
    """What a TrainJob changes in the pods of its runtime, as a runtime patch.

    :param volumes: volumes and where the trainer mounts them.
    :param node_selector: node labels that the pods need.
    :param tolerations: tolerations, as in a pod spec.
    :param service_account: Kubernetes service account of the pods.
    :param image_pull_secrets: names of Secrets.
    :param labels: labels of the pods.
    :param annotations: annotations of the pods, such as a gang scheduler's.
    :param volcano_queue: Volcano's queue, for a runtime whose ``podGroupPolicy`` is Volcano's.
    :param jobs: which of the runtime's replicated jobs: ``node``, and for a runtime of MPI's ``launcher`` too.
    """

    volumes: Sequence[Volume] = ()
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    service_account: str = ""
    image_pull_secrets: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    volcano_queue: str = ""
    jobs: Sequence[str] = (NODE,)

    def to_patch(self) -> dict[str, Any]:
        """Return an entry of ``spec.runtimePatches``."""
        mounts = [volume.to_mount() for volume in self.volumes]
        pod = present(
            {
                "volumes": volumes_of(self.volumes),
                "containers": [{"name": NODE, "volumeMounts": mounts}] if mounts else [],
                "nodeSelector": self.node_selector,
                "tolerations": list(self.tolerations),
                "serviceAccountName": self.service_account,
                "imagePullSecrets": [{"name": name} for name in self.image_pull_secrets],
            }
        )
        metadata = present({"labels": self.labels, "annotations": self.annotations})
        template = present({"metadata": metadata, "spec": pod})
        changed = self.jobs if template else ()
        jobs = [{"name": name, "template": {"spec": {"template": template}}} for name in changed]
        queue = present({"scheduling.volcano.sh/queue-name": self.volcano_queue})
        job_set = present({"metadata": present({"annotations": queue}), "spec": present({"replicatedJobs": jobs})})
        return {"manager": _MANAGER, "trainingRuntimeSpec": {"template": job_set}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Initializer:
    """A download before training starts.

    :param storage_uri: what to download, such as ``hf://owner/name`` or ``s3://bucket/path``.
    :param env: environment variables of the initializer.
    :param secret: name of a Secret with credentials.
    """

    storage_uri: str
    env: Mapping[str, Any] = field(default_factory=dict)
    secret: str = ""

    def to_spec(self) -> dict[str, Any]:
        """Return ``spec.initializer.dataset`` or ``.model``."""
        return {"storageUri": self.storage_uri} | present(
            {"env": env_entries(self.env), "secretRef": present({"name": self.secret})}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """A training job of a runtime that the cluster offers.

    .. code-block:: python

        TrainJob(
            runtime="torch-distributed",
            trainer=Trainer(
                image="torch:1",
                command=["torchrun", "/opt/sparkml/train_torch.py"],
                num_nodes=2,
                resources_per_node={"cpu": "2", "memory": "4Gi"},
            ),
        )

    :param runtime: name of the runtime.
    :param runtime_kind: ``ClusterTrainingRuntime``, or ``TrainingRuntime`` for one of the job's own namespace.
    :param trainer: what to run, instead of the runtime's own.
    :param name: what the job's name begins with; the DAG and the task when empty.
    :param dataset: a data set to download first.
    :param model: a model to download first.
    :param pods: what to change in the runtime's pods.
    :param runtime_patches: further runtime patches, as in the CRD.
    :param suspend: create it suspended; somebody else lets it start.
    :param active_deadline_seconds: how long it may run. Its pods, and their logs, are deleted then: Airflow's
        ``execution_timeout`` tells more.
    :param queue: Kueue's local queue.
    :param labels: labels of the job.
    :param annotations: annotations of the job.
    :param extra: further fields of ``spec``, merged in last.
    """

    runtime: str = "torch-distributed"
    runtime_kind: str = "ClusterTrainingRuntime"
    trainer: Trainer = field(default_factory=Trainer)
    name: str = ""
    dataset: Initializer | None = None
    model: Initializer | None = None
    pods: PodOverrides | None = None
    runtime_patches: Sequence[Mapping[str, Any]] = ()
    suspend: bool | str = False
    active_deadline_seconds: int | str | None = None
    queue: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_manifest(self) -> Manifest:
        """Return the manifest, new at each call."""
        given = {"dataset": self.dataset, "model": self.model}
        mounted = secret_volumes(self.trainer.secrets)
        pods = replace(self.pods or PodOverrides(), volumes=[*(self.pods.volumes if self.pods else ()), *mounted])
        own_patch = [pods.to_patch()] if pods != PodOverrides(jobs=pods.jobs, volumes=[]) else []
        spec = {"runtimeRef": {"name": self.runtime, "kind": self.runtime_kind}} | present(
            {
                "trainer": self.trainer.to_spec(),
                "initializer": {name: each.to_spec() for name, each in given.items() if each is not None},
                "runtimePatches": [*own_patch, *self.runtime_patches],
                "suspend": self.suspend,
                "activeDeadlineSeconds": self.active_deadline_seconds,
            }
        )
        metadata = metadata_of(self.name, self.queue, self.labels, self.annotations)
        return manifest_of(API.api_version, API.kind, metadata, spec | dict(self.extra))


def read(obj: Manifest) -> Verdict:
    """Return the verdict of a TrainJob.

    It has no condition that says it runs: it does as soon as one of its JobSet's jobs is ready, that is, all pods of
    that job are; an initializer is one of them. A job that was ready once and is not so now still has its
    ``trainerStatus``, where there is one; that of before a queue took the job back tells nothing.
    """
    status = obj.get("status") or {}
    jobs = status.get("jobsStatus") or []
    reported, resumed = status.get("trainerStatus") or {}, changed_at(conditions_of(obj), "Suspended")
    trains = (bool(reported) and str(reported.get("lastUpdatedTime") or resumed) >= resumed) or any(
        each.get("ready") or each.get("succeeded") or each.get("failed") for each in jobs if not _initializes(each)
    )
    loading = [str(each["name"]) for each in jobs if _initializes(each) and (each.get("ready") or each.get("failed"))]
    progress = _progress(status) if trains else f"{', '.join(loading)} first"
    return read_conditions(obj, succeeded="Complete", running=trains or bool(loading), progress=progress)


def _initializes(job: Mapping[str, Any]) -> bool:
    """Whether an entry of ``status.jobsStatus`` is an initializer's."""
    return job.get("name") in _INITIALIZERS


def _progress(status: Mapping[str, Any]) -> str:
    """Return what the trainer itself has reported, in one line (feature gate ``TrainJobStatus`` of the trainer)."""
    trainer = status.get("trainerStatus") or {}
    percent, left = trainer.get("progressPercentage"), trainer.get("estimatedRemainingSeconds")
    parts = [] if percent is None else [f"{percent} %"]
    parts += [f"{each.get('name')}={each.get('value')}" for each in trainer.get("metrics") or []]
    parts += [] if left is None else [f"about {left} s left"]
    return ", ".join(parts)


def facts(obj: Manifest) -> dict[str, Any]:
    """Return the metrics that the trainer itself has reported, as numbers where they are."""
    reported = ((obj.get("status") or {}).get("trainerStatus") or {}).get("metrics") or []
    return {"metrics": {each.get("name"): number(each.get("value")) for each in reported}}


def normalize(manifest: Manifest) -> Manifest:
    """Return a copy in the types that the CRD asks for."""
    result = copy.deepcopy(manifest)
    spec = result.get("spec")
    if isinstance(spec, dict):
        convert(spec, ("suspend",), boolean)
        convert(spec, ("activeDeadlineSeconds",), integer)
        convert(spec.get("trainer"), ("numNodes", "numProcPerNode"), integer)
        normalize_container(spec.get("trainer"))
    return result


def check(manifest: Manifest) -> None:
    """Refuse a TrainJob that cannot work.

    :raises InvalidManifestError: field, value and fix.
    """
    refuse(_faults(manifest))


def _faults(manifest: Manifest) -> Iterator[str]:
    spec = mapping(manifest.get("spec"), "spec")
    runtime = mapping(spec.get("runtimeRef"), "spec.runtimeRef")
    if not runtime.get("name"):
        yield (
            f"spec.runtimeRef.name is {runtime.get('name')!r}: set it to one of "
            "kubectl get clustertrainingruntimes, such as 'torch-distributed'"
        )
    kind = runtime.get("kind", "ClusterTrainingRuntime")
    if kind not in ("ClusterTrainingRuntime", "TrainingRuntime"):
        yield f"spec.runtimeRef.kind is {kind!r}: set it to 'ClusterTrainingRuntime' or 'TrainingRuntime'"
    trainer = mapping(spec.get("trainer"), "spec.trainer")
    yield from number_faults(trainer, {"numNodes": 1, "numProcPerNode": 1}, "spec.trainer")
    yield from number_faults(spec, {"activeDeadlineSeconds": 1}, "spec")
    yield from device_faults(trainer.get("resourcesPerNode"), "spec.trainer.resourcesPerNode")
    for part in ("command", "args"):
        if isinstance(trainer.get(part), str):
            yield f"spec.trainer.{part} is {trainer[part]!r}: it must be a list, such as ['torchrun', 'train.py']"
    managers = []
    for index, each in enumerate(items(spec.get("runtimePatches"), "spec.runtimePatches")):
        manager = mapping(each, f"spec.runtimePatches[{index}]").get("manager")
        if not manager or manager in managers:
            yield f"spec.runtimePatches[{index}].manager is {manager!r}: give each patch the name of who sets it"
        managers.append(manager)
    nodes = trainer.get("numNodes") or 1
    yield from name_faults(manifest, f"-{NODE}-0-{nodes - 1}")
    yield from queue_faults(manifest)


def log_source(obj: Manifest) -> LogSource | None:
    """Return the log of rank 0: the launcher where the runtime has one (MPI), else the first node."""
    jobs = [str(each.get("name")) for each in (obj.get("status") or {}).get("jobsStatus") or []]
    trainers = [name for name in jobs if name not in _INITIALIZERS] or [NODE]
    job = next((name for name in (LAUNCHER, NODE) if name in trainers), trainers[0])
    label = LAUNCHER if job == LAUNCHER else f"{job}-0"
    return LogSource("", NODE, label, selector=f"{pod_selector(obj)},{REPLICATED_JOB}={job},{INDEX}=0")


def pod_selector(obj: Manifest) -> str:
    """Return the label selector of all the job's pods: its JobSet has its name."""
    return f"{JOBSET}={obj['metadata']['name']}"


def rank_of(pod: Manifest) -> str:
    """Return the replicated job and the index of a pod: ``node-1``; a launcher is alone."""
    labels = pod["metadata"].get("labels") or {}
    job = labels.get(REPLICATED_JOB) or NODE
    return job if job in (LAUNCHER, *_INITIALIZERS) else f"{job}-{labels.get(INDEX) or 0}"


def with_env(manifest: Manifest, env: Mapping[str, str]) -> Manifest:
    """Return a copy in which the trainer has these variables."""
    result = copy.deepcopy(manifest)
    spec = result.get("spec")
    if isinstance(spec, dict):
        if spec.get("trainer") is None:
            spec["trainer"] = {}
        add_env_to(spec["trainer"], env)
    return result


TRAIN_JOB = register(
    Resource(
        api=API,
        read=read,
        normalize=normalize,
        check=check,
        log_source=log_source,
        facts=facts,
        pod_selector=pod_selector,
        main_container=NODE,
        rank_of=rank_of,
        with_env=with_env,
    )
)

__all__ = [
    "API",
    "INDEX",
    "JOBSET",
    "REPLICATED_JOB",
    "TRAIN_JOB",
    "Initializer",
    "PodOverrides",
    "Secret",
    "TrainJob",
    "Trainer",
    "Volume",
    "read",
]
