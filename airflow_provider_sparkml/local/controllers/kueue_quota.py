"""What a queued job asks for, and whether its queue has that much left. Pure.

``PodSets`` of each kind in ``pkg/controller/jobs``, and ``pkg/scheduler/flavorassigner``, of kubernetes-sigs/kueue
v0.19, without cohorts, borrowing and preemption.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.quantities import parse_quantity
from airflow_provider_sparkml.resources.replicas import part_of
from airflow_provider_sparkml.resources.spark_requests import MIB, pod_request

Amounts = Mapping[str, Decimal]
"""Resource → how much."""
Used = Mapping[tuple[str, str], Decimal]
"""Flavor and resource → how much of it is taken."""


def plus(*parts: Used) -> Used:
    """Return what several take together."""
    keys = {key for part in parts for key in part}
    return {key: sum((part.get(key, Decimal(0)) for part in parts), Decimal(0)) for key in keys}


@dataclass(frozen=True, slots=True)
class PodSet:
    """Pods of one role.

    :param name: the role.
    :param count: how many.
    :param requests: what each requests.
    """

    name: str
    count: int
    requests: Amounts

    def to_manifest(self) -> Manifest:
        """Return it as a Workload has it."""
        requests = {name: f"{amount.normalize():f}" for name, amount in self.requests.items()}
        pod = {"containers": [{"name": "main", "resources": {"requests": requests}}]}
        return {"name": self.name, "count": self.count, "template": {"spec": pod}}

    def total(self) -> dict[str, Decimal]:
        """Return what all of them request, themselves included."""
        return {**{name: amount * self.count for name, amount in self.requests.items()}, "pods": Decimal(self.count)}


def pod_sets(job: Manifest) -> list[PodSet]:
    """Return the pods that a job begins with.

    :param job: a job of one of the kinds that Kueue knows.
    :raises InvalidManifestError: a size in it is none.
    """
    spec = job["spec"]
    match job["kind"]:
        case "SparkApplication":
            return _spark(spec)
        case "Job":
            return [_of_template("main", int(spec.get("parallelism") or 1), spec["template"])]
        case "TrainJob":
            trainer = part_of(spec, "trainer")
            return [PodSet("node", int(trainer.get("numNodes") or 1), _requests(trainer.get("resourcesPerNode")))]
    replicas = next(value for name, value in spec.items() if name.endswith("ReplicaSpecs"))
    return [
        _of_template(name.lower(), int(each.get("replicas") or 1), each["template"]) for name, each in replicas.items()
    ]


def _spark(spec: Mapping[str, Any]) -> list[PodSet]:
    dynamic = spec.get("dynamicAllocation") or {}
    executors = (spec.get("executor") or {}).get("instances") or 1
    if dynamic.get("enabled"):
        executors = max(int(dynamic.get(name) or 0) for name in ("initialExecutors", "minExecutors"))
    found = []
    for role, count in (("driver", 1), ("executor", executors)):
        pod = pod_request(spec, "driver" if role == "driver" else "executor")
        requests = {"cpu": Decimal(pod.millicores) / 1000, "memory": Decimal(pod.memory_mib * MIB)}
        found.append(PodSet(role, int(count), requests))
    return found


def _of_template(name: str, count: int, template: Manifest) -> PodSet:
    total: dict[str, Decimal] = {}
    for container in template["spec"]["containers"]:
        for resource, amount in _requests(container.get("resources")).items():
            total[resource] = total.get(resource, Decimal(0)) + amount
    return PodSet(name, count, total)


def _requests(resources: Mapping[str, Any] | None) -> dict[str, Decimal]:
    """Return the requests of a container; its limits where it states none, as the API server fills them in."""
    stated = {**((resources or {}).get("limits") or {}), **((resources or {}).get("requests") or {})}
    return {name: parse_quantity(str(amount), f"resources.requests.{name}") for name, amount in stated.items()}


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where a job's pods would count.

    :param flavors: pod set → resource → flavor.
    :param used: what that takes.
    :param problem: why there is no place, in Kueue's words; empty when there is one.
    """

    flavors: Mapping[str, Mapping[str, str]]
    used: Used
    problem: str = ""


def assign(wanted: Iterable[PodSet], queue: Manifest, used: Used) -> Assignment:
    """Return where pods would count in a ClusterQueue: for each role the first flavor of a group with enough left.

    :param wanted: the pods.
    :param queue: the ClusterQueue.
    :param used: what is taken already.
    """
    groups = queue["spec"].get("resourceGroups") or []
    taken: Used = {}
    chosen: dict[str, dict[str, str]] = {}
    for pods in wanted:
        covered = {name for group in groups for name in group["coveredResources"]}
        total = {name: amount for name, amount in pods.total().items() if amount}
        missing = sorted(total.keys() - covered - {"pods"})
        if missing:
            return _refused(pods, f"resource {missing[0]} unavailable in ClusterQueue")
        for group in groups:
            asked = {name: amount for name, amount in total.items() if name in group["coveredResources"]}
            problem = ""
            for flavor in group["flavors"] if asked else ():
                problem = ", ".join(_shortages(flavor, asked, plus(used, taken)))
                if not problem:
                    taken = plus(taken, {(flavor["name"], name): amount for name, amount in asked.items()})
                    chosen.setdefault(pods.name, {}).update(dict.fromkeys(asked, flavor["name"]))
                    break
            if problem:
                return _refused(pods, problem)
    return Assignment(chosen, taken)


def _refused(pods: PodSet, why: str) -> Assignment:
    return Assignment({}, {}, f"couldn't assign flavors to pod set {pods.name}: {why}")


def _shortages(flavor: Manifest, asked: Amounts, used: Used) -> Iterator[str]:
    """Yield what a flavor has too little of."""
    name = flavor["name"]
    quotas = {each["name"]: parse_quantity(str(each["nominalQuota"]), "nominalQuota") for each in flavor["resources"]}
    for resource, amount in asked.items():
        quota = quotas.get(resource, Decimal(0))
        if amount > quota:
            yield (
                f"insufficient quota for {resource} in flavor {name}, previously considered podsets requests (0) + "
                f"current podset request ({_text(amount)}) > maximum capacity ({_text(quota)})"
            )
        elif (short := amount + used.get((name, resource), Decimal(0)) - quota) > 0:
            yield f"insufficient unused quota for {resource} in flavor {name}, {_text(short)} more needed"


def _text(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


__all__ = ["Assignment", "PodSet", "Used", "assign", "plus", "pod_sets"]
