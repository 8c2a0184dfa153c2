"""Jobs of several kinds of replicas, as the MPI operator and the training operator have them: what they share."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_sparkml.resources.base import Manifest, merge_env
from airflow_provider_sparkml.resources.fields import (
    boolean,
    convert,
    integer,
    is_whole,
    items,
    mapping,
    name_faults,
    number_faults,
    text,
    texts,
)
from airflow_provider_sparkml.resources.quantities import parse_quantity
from airflow_provider_sparkml.resources.training import QUEUE_LABEL

JOB_NAME = "training.kubeflow.org/job-name"
"""Label of a job's pods: its name."""
ROLE = "training.kubeflow.org/job-role"
"""Label of a job's pods: ``launcher``, ``worker``, ``master``."""
MIN_TTL_SECONDS = 60
"""A job that is removed sooner may be gone before anybody has seen how it ended."""

_RUN_POLICY = ("activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
_GANG_QUEUES = ("scheduling.volcano.sh/queue-name", "yunikorn.apache.org/queue")
"""Annotations that name a gang scheduler's queue."""
_POLICIES = ("Running", "All", "None")


@dataclass(frozen=True, slots=True)
class Replicas:
    """Which replicas a kind has.

    :param field: field of the spec that has them by type.
    :param types: their types, the leading one first.
    :param container: name that each type's container must have; empty where any will do.
    :param single: types of which there is exactly one.
    :param required: types that must be there.
    :param restart_policies: the restart policies that the operator takes.
    """

    field: str
    types: tuple[str, ...]
    container: str = ""
    single: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    restart_policies: tuple[str, ...] = ("Never", "OnFailure", "Always", "ExitCode")


def normalized(manifest: Manifest, replicas: Replicas, integers: tuple[str, ...] = ()) -> Manifest:
    """Return a copy with numbers for numeric text, text for arguments, and a policy that frees the workers at the end.

    :param manifest: the rendered manifest.
    :param replicas: the kind's replicas.
    :param integers: the kind's own fields of the spec that are whole numbers.
    """
    result = copy.deepcopy(manifest)
    spec = result.get("spec")
    if not isinstance(spec, dict):
        return result
    convert(spec, integers, integer)
    policy = spec["runPolicy"] = {} if spec.get("runPolicy") is None else spec["runPolicy"]
    convert(policy, _RUN_POLICY, integer)
    convert(policy, ("suspend",), boolean)
    if isinstance(policy, dict):
        convert(policy.get("schedulingPolicy"), ("minAvailable", "scheduleTimeoutSeconds"), integer)
        # The operators' own default is None: workers, and their GPUs, stay busy after the end.
        policy.setdefault("cleanPodPolicy", "Running")
    specs = spec.get(replicas.field)
    for each in specs.values() if isinstance(specs, dict) else ():
        convert(each, ("replicas",), integer)
        normalize_template(each.get("template") if isinstance(each, dict) else None)
    return result


def normalize_template(template: Any) -> None:
    """Bring the containers of a pod template into their types, in place."""
    for container in containers_of(template):
        normalize_container(container)


def normalize_container(container: Any) -> None:
    """Bring a container, or what is like one, into its types, in place."""
    convert(container, ("command", "args"), texts)
    for entry in _env_of(container):
        convert(entry, ("value",), text)


def replica_faults(manifest: Manifest, replicas: Replicas) -> Iterator[str]:
    """Yield what is wrong with a job's replicas, its run policy, its name and its queue."""
    spec = mapping(manifest.get("spec"), "spec")
    field = f"spec.{replicas.field}"
    specs = mapping(spec.get(replicas.field), field)
    if not specs:
        least = " or ".join(replicas.required or replicas.types)
        yield f"{field} is {spec.get(replicas.field)!r}: give at least {least}"
    for name in replicas.required:
        if name not in specs:
            yield f"{field}.{name} is missing: this kind cannot do without; there are: {', '.join(specs)}"
    for name, value in specs.items():
        yield from _one_replica(mapping(value, f"{field}.{name}"), f"{field}.{name}", name, replicas)
    yield from run_policy_faults(spec)
    last = [f"-{name.lower()}-{(each.get('replicas') or 1) - 1}" for name, each in specs.items()]
    yield from name_faults(manifest, max(last, key=len))
    yield from queue_faults(manifest)


def _one_replica(value: Mapping[str, Any], field: str, name: str, replicas: Replicas) -> Iterator[str]:
    if name not in replicas.types:
        yield f"{field} is of an unknown type: the types are {', '.join(replicas.types)}"
    count = value.get("replicas", 1)
    if name in replicas.single and count != 1:
        yield f"{field}.replicas is {count!r}: there is exactly 1"
    if not is_whole(count) or count < 1:
        yield f"{field}.replicas is {count!r}: set it to a whole number, at least 1"
    policy = value.get("restartPolicy")
    if policy is not None and policy not in replicas.restart_policies:
        yield f"{field}.restartPolicy is {policy!r}: set it to one of {', '.join(replicas.restart_policies)}"
    if policy == "Always" and name in replicas.types[:1]:
        yield f"{field}.restartPolicy is 'Always': the job would never end; set it to 'Never' or 'OnFailure'"
    yield from template_faults(value.get("template"), f"{field}.template", replicas.container)


def template_faults(template: Any, field: str, container: str = "") -> Iterator[str]:
    """Yield what is wrong with a pod template.

    :param container: the name that one of the containers must have; empty where any will do.
    """
    pod = mapping(mapping(template, field).get("spec"), f"{field}.spec")
    containers = items(pod.get("containers"), f"{field}.spec.containers")
    if not containers:
        yield f"{field}.spec.containers is {pod.get('containers')!r}: give one with name and image"
    names = []
    for index, each in enumerate(containers):
        where = f"{field}.spec.containers[{index}]"
        one = mapping(each, where)
        names.append(one.get("name"))
        if not one.get("name"):
            yield f"{where}.name is {one.get('name')!r}: set it to {container or 'a name'!r}"
        if not one.get("image"):
            yield f"{where}.image is {one.get('image')!r}: set it"
        for part in ("command", "args"):
            if isinstance(one.get(part), str):
                yield f"{where}.{part} is {one[part]!r}: it must be a list, such as ['python', 'train.py']"
        yield from device_faults(one.get("resources"), f"{where}.resources")
    if container and container not in names:
        yield (
            f"{field}.spec.containers[0].name is {names[0] if names else None!r}: the operator looks for the "
            f"container {container!r}; name it so"
        )


def device_faults(resources: Any, field: str) -> Iterator[str]:
    """Yield numbers of devices, such as GPUs, that no node has: pods would be refused, which an event only tells.

    https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#extended-resources
    """
    for part in ("requests", "limits"):
        for name, value in mapping(mapping(resources, field).get(part), f"{field}.{part}").items():
            if "/" not in str(name):
                continue
            amount = parse_quantity(str(value).removeprefix("-"), f"{field}.{part}[{name!r}]")
            if amount % 1 or str(value).startswith("-"):
                yield f"{field}.{part}[{name!r}] is {value!r}: set it to a whole number, at least 0"


def run_policy_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with ``spec.runPolicy``."""
    policy = mapping(spec.get("runPolicy"), "spec.runPolicy")
    yield from number_faults(policy, {"activeDeadlineSeconds": 1, "backoffLimit": 0}, "spec.runPolicy")
    yield from ttl_faults(policy, "spec.runPolicy")
    clean = policy.get("cleanPodPolicy", "Running")
    if clean not in _POLICIES:
        yield f"spec.runPolicy.cleanPodPolicy is {clean!r}: set it to one of {', '.join(_POLICIES)}"


def ttl_faults(part: Mapping[str, Any], field: str) -> Iterator[str]:
    """Yield a time to live in which an end may pass unseen."""
    ttl = part.get("ttlSecondsAfterFinished")
    if ttl is not None and (not is_whole(ttl) or ttl < MIN_TTL_SECONDS):
        yield (
            f"{field}.ttlSecondsAfterFinished is {ttl!r}: the job could be gone before its end is seen; set it to a "
            f"whole number, {MIN_TTL_SECONDS} or more, or leave it out and let on_finish clean up"
        )


def queue_faults(manifest: Manifest) -> Iterator[str]:
    """Yield a job that two queues would have to admit, each holding what the other waits for."""
    labels = mapping(mapping(manifest.get("metadata"), "metadata").get("labels"), "metadata.labels")
    gangs = dict(_gang_queues(manifest.get("spec"), "spec"))
    if labels.get(QUEUE_LABEL) and gangs:
        field, queue = next(iter(gangs.items()))
        yield (
            f"metadata.labels[{QUEUE_LABEL!r}] is {labels[QUEUE_LABEL]!r} and {field} is {queue!r}: Kueue and the gang "
            "scheduler would both have to admit it; leave one of them out"
        )


def _gang_queues(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield where in a spec a gang scheduler's queue is named, and the queue: in the run policy, or by its pods."""
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from _gang_queues(each, f"{path}[{index}]")
    for key, each in value.items() if isinstance(value, dict) else ():
        if key == "schedulingPolicy" and part_of(value, key).get("queue"):
            yield f"{path}.{key}.queue", each["queue"]
        elif key == "annotations" and isinstance(each, dict):
            yield from ((f"{path}.{key}[{name!r}]", each[name]) for name in _GANG_QUEUES if each.get(name))
        else:
            yield from _gang_queues(each, f"{path}.{key}")


def with_env_in_replicas(manifest: Manifest, replicas: Replicas, env: Mapping[str, str]) -> Manifest:
    """Return a copy in which all containers of all replicas have these variables."""
    result = copy.deepcopy(manifest)
    specs = part_of(result, "spec", replicas.field)
    for each in specs.values():
        add_env(part_of(each, "template"), env)
    return result


def add_env(template: Any, env: Mapping[str, str]) -> None:
    """Put these variables into all containers of a pod template, in place."""
    for container in containers_of(template):
        add_env_to(container, env)


def add_env_to(container: Any, env: Mapping[str, str]) -> None:
    """Put these variables into a container, or what is like one, in place; what is none is left for the check."""
    if not isinstance(container, dict):
        return
    entries = container.get("env")
    if entries is None or entries == _env_of(container):
        container["env"] = merge_env(entries, env)


def _env_of(container: Any) -> list[dict[str, Any]]:
    """Return those entries of a container's ``env`` that are any."""
    entries = container.get("env") if isinstance(container, dict) else None
    found = entries if isinstance(entries, list) else []
    return [each for each in found if isinstance(each, dict) and isinstance(each.get("name"), str)]


def containers_of(template: Any) -> list[Any]:
    """Return the containers of a pod template; none where it has no such list."""
    found = part_of(template, "spec").get("containers")
    return found if isinstance(found, list) else []


def part_of(value: Any, *path: str) -> dict[str, Any]:
    """Return the mapping at a path; an empty one, which is no part of it, where there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def rank_of(pod: Manifest) -> str:
    """Return what is left of a pod's name behind its job's: ``worker-1``, or ``launcher`` of ``launcher-x7k2p``."""
    metadata = pod["metadata"]
    job = (metadata.get("labels") or {}).get(JOB_NAME) or ""
    name = str(metadata["name"]).removeprefix(f"{job}-")
    return "launcher" if name.startswith("launcher") else name


def pod_selector(obj: Manifest) -> str:
    """Return the label selector of all the job's pods."""
    return f"{JOB_NAME}={obj['metadata']['name']}"


__all__ = [
    "JOB_NAME",
    "ROLE",
    "Replicas",
    "add_env",
    "add_env_to",
    "containers_of",
    "device_faults",
    "normalize_container",
    "normalize_template",
    "normalized",
    "part_of",
    "pod_selector",
    "queue_faults",
    "rank_of",
    "replica_faults",
    "run_policy_faults",
    "template_faults",
    "ttl_faults",
    "with_env_in_replicas",
]
