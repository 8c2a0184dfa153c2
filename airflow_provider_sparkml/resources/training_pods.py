"""Training in plain pods, with no operator installed: an Indexed Job (``batch/v1``) and a Service for its rank 0.

Indexed Jobs: https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
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
from airflow_provider_sparkml.resources.conditions import read_conditions
from airflow_provider_sparkml.resources.core import SERVICE
from airflow_provider_sparkml.resources.fields import (
    boolean,
    convert,
    integer,
    items,
    mapping,
    name_faults,
    number_faults,
    refuse,
)
from airflow_provider_sparkml.resources.replicas import (
    add_env,
    normalize_template,
    part_of,
    queue_faults,
    template_faults,
    ttl_faults,
)
from airflow_provider_sparkml.resources.retries import refuse_retries, set_off
from airflow_provider_sparkml.resources.training import (
    Gang,
    Replica,
    Secret,
    Volcano,
    Volume,
    YuniKorn,
    manifest_of,
    metadata_of,
    with_gang,
)

API = ApiResource("batch", "v1", "jobs", "Job")
JOB_NAME = "batch.kubernetes.io/job-name"
INDEX = "batch.kubernetes.io/job-completion-index"
CONTAINER = "worker"
MASTER_PORT = 29500
_INTEGERS = {
    "completions": 1,
    "parallelism": 1,
    "backoffLimit": 0,
    "activeDeadlineSeconds": 1,
    "ttlSecondsAfterFinished": 0,
}
"""Fields of the spec that are whole numbers, and the least that they may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPods:
    """Pods that find each other: each has ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT``.

    These are what ``torch.distributed`` reads (``init_method="env://"``), and enough for any other program that meets
    at rank 0; for Horovod over Gloo, see :func:`horovod_pods`. All pods are deleted with the task's Job. If one fails,
    all do.

    .. code-block:: python

        TrainingPods(
            pods=Replica(image="torch:1", command=["python", "/opt/sparkml/train_torch.py"], replicas=2, memory="2Gi"),
        )

    :param pods: the pods; ``replicas`` is their number.
    :param name: what the job's name begins with; the DAG and the task when empty.
    :param master_port: port at which rank 0 listens.
    :param active_deadline_seconds: how long the job may run.
    :param suspend: create it suspended; somebody else lets it start.
    :param gang: a scheduler that starts all pods together.
    :param queue: Kueue's local queue.
    :param labels: labels of the job.
    :param annotations: annotations of the job.
    :param extra: further fields of ``spec``, merged in last.
    """

    pods: Replica
    name: str = ""
    master_port: int | str = MASTER_PORT
    active_deadline_seconds: int | str | None = None
    suspend: bool | str = False
    gang: Gang | None = None
    queue: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_manifest(self) -> Manifest:
        """Return the manifest, new at each call."""
        template = self.pods.to_template(CONTAINER)
        template["spec"]["restartPolicy"] = self.pods.restart_policy
        containers: Sequence[dict[str, Any]] = template["spec"]["containers"]
        containers[0]["env"] = [*self._env(), *containers[0].get("env", ())]
        spec = {
            "completions": self.pods.replicas,
            "parallelism": self.pods.replicas,
            "completionMode": "Indexed",
            # Airflow tries again; a rank alone could not join those that went on.
            "backoffLimit": 0,
            **present({"activeDeadlineSeconds": self.active_deadline_seconds, "suspend": self.suspend}),
            "template": with_gang(template, self.gang, CONTAINER, {CONTAINER: self.pods}, has_pod_group=False),
            **self.extra,
        }
        metadata = metadata_of(self.name, self.queue, self.labels, self.annotations)
        return manifest_of(API.api_version, API.kind, metadata, spec)

    def _env(self) -> list[dict[str, Any]]:
        """Return the variables by which the pods find each other.

        The job's name is known only when it is created, so the pods read it from their labels.
        """
        return [
            {"name": "MASTER_ADDR", "valueFrom": _label(JOB_NAME)},
            {"name": "MASTER_PORT", "value": str(self.master_port)},
            {"name": "RANK", "valueFrom": _label(INDEX)},
            {"name": "WORLD_SIZE", "value": str(self.pods.replicas)},
        ]


def horovod_pods(
    image: str,
    command: Sequence[Any],
    *,
    ranks: int | str = 2,
    name: str = "",
    master_port: int | str = MASTER_PORT,
    gang: Gang | None = None,
    queue: str = "",
    pods: Replica | None = None,
) -> TrainingPods:
    """Return plain pods that run a program with Horovod over Gloo, one rank in each; they need no ssh, and no MPI.

    .. code-block:: python

        horovod_pods("horovod:1", ["python", "/opt/sparkml/train_horovod.py", "--epochs", "5"], ranks=2)

    Rank 0 waits for all others, for ``HOROVOD_START_TIMEOUT`` seconds (600), and serves Horovod's rendezvous at
    ``MASTER_PORT``. Between the pods Gloo takes ports as it finds them, at the address of the pod's host name, or of
    the network interface that ``HOROVOD_GLOO_IFACE`` names.

    :param image: image of the pods; it has ``python`` and horovod, built with Gloo.
    :param command: the program of each rank, a list.
    :param ranks: number of ranks, and of pods.
    :param name: what the job's name begins with; the DAG and the task when empty.
    :param master_port: port of the rendezvous at rank 0.
    :param gang: a scheduler that starts all pods together.
    :param queue: Kueue's local queue.
    :param pods: resources, volumes, environment, nodes; image, command and number are set here.
    :raises InvalidManifestError: the command is no list, or empty.
    """
    if isinstance(command, str) or not command:
        raise InvalidManifestError(f"command is {command!r}: give the program of each rank: ['python', 'train.py']")
    program = Path(__file__).with_name("horovod_rank.py").read_text(encoding="utf-8")
    return TrainingPods(
        name=name,
        pods=replace(
            pods or Replica(image=image), image=image, command=["python", "-c", program, *command], args=(),
            replicas=ranks,
        ),
        master_port=master_port,
        gang=gang,
        queue=queue,
    )  # fmt: skip


def _label(name: str) -> dict[str, Any]:
    return {"fieldRef": {"fieldPath": f"metadata.labels['{name}']"}}


def read(obj: Manifest) -> Verdict:
    """Return the verdict of a Job: it runs once all its pods are ready, or one has ended."""
    status = obj.get("status") or {}
    ready = status.get("ready") or 0
    running = (ready and ready >= (status.get("active") or 0)) or status.get("succeeded") or status.get("failed")
    return read_conditions(obj, succeeded="Complete", running=bool(running))


def companions(obj: Manifest) -> list[tuple[ApiResource, Manifest]]:
    """Return the headless Service of the job's name, which leads to rank 0, ready or not."""
    name = obj["metadata"]["name"]
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {JOB_NAME: name, INDEX: "0"},
    }
    return [(SERVICE, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})]


def normalize(manifest: Manifest) -> Manifest:
    """Return a copy in the types that the API asks for."""
    result = copy.deepcopy(manifest)
    spec = result.get("spec")
    if isinstance(spec, dict):
        convert(spec, _INTEGERS, integer)
        convert(spec, ("suspend",), boolean)
        if spec.get("completionMode") != "Indexed" and {
            spec.get(name, 1) for name in ("completions", "parallelism")
        } == {1}:
            # A pod alone is rank 0, as an ordinary Job has it.
            spec |= {"completionMode": "Indexed", "completions": 1, "parallelism": 1}
        normalize_template(spec.get("template"))
    return result


def check(manifest: Manifest) -> None:
    """Refuse a Job whose pods could not find each other.

    :raises InvalidManifestError: field, value and fix.
    """
    refuse(_faults(manifest))


def _faults(manifest: Manifest) -> Iterator[str]:
    spec = mapping(manifest.get("spec"), "spec")
    yield from number_faults(spec, _INTEGERS, "spec")
    yield from ttl_faults(spec, "spec")
    if spec.get("completionMode") != "Indexed":
        yield f"spec.completionMode is {spec.get('completionMode')!r}: set it to 'Indexed', so that each pod has a rank"
    pods = spec.get("completions")
    if pods is None:
        yield "spec.completions is missing: set it to the number of pods"
    elif spec.get("parallelism", 1) != pods:
        yield (
            f"spec.parallelism is {spec.get('parallelism', 1)!r} and spec.completions is {pods!r}: ranks wait for each "
            "other, so all must run at once; set both to the same number"
        )
    yield from template_faults(spec.get("template"), "spec.template")
    policy = mapping(mapping(spec.get("template"), "spec.template").get("spec"), "spec.template.spec").get(
        "restartPolicy"
    )
    if policy not in ("Never", "OnFailure"):
        yield f"spec.template.spec.restartPolicy is {policy!r}: set it to 'Never' or 'OnFailure'"
    yield from name_faults(manifest, f"-{(pods or 1) - 1}")
    yield from queue_faults(manifest)


def log_source(obj: Manifest) -> LogSource | None:
    """Return the log of rank 0."""
    return LogSource("", CONTAINER, f"{CONTAINER}-0", selector=f"{pod_selector(obj)},{INDEX}=0")


def pod_selector(obj: Manifest) -> str:
    """Return the label selector of all the job's pods."""
    return f"{JOB_NAME}={obj['metadata']['name']}"


def rank_of(pod: Manifest) -> str:
    """Return what to call a pod: ``worker-1``."""
    return f"{CONTAINER}-{(pod['metadata'].get('labels') or {}).get(INDEX) or 0}"


def with_env(manifest: Manifest, env: Mapping[str, str]) -> Manifest:
    """Return a copy in which all containers have these variables."""
    result = copy.deepcopy(manifest)
    add_env(part_of(result, "spec", "template"), env)
    return result


def without_retries(manifest: Manifest) -> Manifest:
    """Return a copy whose pods run once: by default Kubernetes tries a Job seven times.

    :raises InvalidManifestError: pods are to be replaced, or restarted where they are.
    """
    result = copy.deepcopy(manifest)
    spec = result.get("spec")
    set_off(spec, "backoffLimit", 0, "spec")
    set_off(part_of(spec, "template").get("spec"), "restartPolicy", "Never", "spec.template.spec")
    refuse_retries(part_of(spec).get("backoffLimitPerIndex"), 0, "spec.backoffLimitPerIndex")
    rules = items(part_of(spec, "podFailurePolicy").get("rules"), "spec.podFailurePolicy.rules")
    for index, rule in enumerate(rules):
        if part_of(rule).get("action") == "Ignore":
            refuse_retries("Ignore", "FailJob", f"spec.podFailurePolicy.rules[{index}].action")
    return result


TRAINING_PODS = register(
    Resource(
        api=API,
        read=read,
        normalize=normalize,
        check=check,
        log_source=log_source,
        pod_selector=pod_selector,
        rank_of=rank_of,
        companions=companions,
        without_retries=without_retries,
        with_env=with_env,
    )
)

__all__ = [
    "API",
    "INDEX",
    "JOB_NAME",
    "TRAINING_PODS",
    "Replica",
    "Secret",
    "TrainingPods",
    "Volcano",
    "Volume",
    "YuniKorn",
    "horovod_pods",
    "read",
]
