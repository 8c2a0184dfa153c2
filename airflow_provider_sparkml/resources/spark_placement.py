"""What a SparkApplication says of its pods' class of service, and of executors that are to be close to each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from airflow_provider_sparkml.exceptions import InvalidManifestError

Qos = Literal["", "guaranteed"]
Colocate = Literal["", "node", "zone"]

TOPOLOGY_KEYS: Mapping[str, str] = {"node": "kubernetes.io/hostname", "zone": "topology.kubernetes.io/zone"}
APP_NAME = "sparkoperator.k8s.io/app-name"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def check_placement(qos: str, colocate: str) -> None:
    """Refuse words that are none of the two parameters'.

    :raises InvalidManifestError: one is.
    """
    if qos not in ("", "guaranteed"):
        raise InvalidManifestError(f"qos is {qos!r}: set it to 'guaranteed', or leave it out")
    if colocate and colocate not in TOPOLOGY_KEYS:
        raise InvalidManifestError(f"colocate is {colocate!r}: set it to 'node' or 'zone', or leave it out")


def guaranteed(part: Mapping[str, Any], role: str, conf: Mapping[str, Any]) -> dict[str, Any]:
    """Return a role's part of the spec whose pods Kubernetes evicts last: their limits are what they request.

    Spark requests as much memory as it sets for a limit anyway; of cores it sets no limit by itself.
    https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/#guaranteed

    :param part: ``spec.driver`` or ``spec.executor``.
    :param role: ``driver`` or ``executor``.
    :param conf: ``spec.sparkConf``.
    :raises InvalidManifestError: it states another limit.
    """
    asked = part.get("coreRequest") or conf.get(f"spark.kubernetes.{role}.request.cores") or part.get("cores", 1)
    limits = {"coreLimit": part.get("coreLimit"), "memoryLimit": part.get("memoryLimit")}
    for name, limit in limits.items():
        if limit is not None and not (name == "coreLimit" and str(limit) == str(asked)):
            raise InvalidManifestError(
                f"spec.{role}.{name} is {limit!r}, but qos is 'guaranteed', which sets limits to what is requested: "
                "leave one of them out"
            )
    return {**part, "coreLimit": asked}


def check_guaranteed(spec: Mapping[str, Any]) -> None:
    """Refuse containers beside driver and executors that keep their pods from being evicted last.

    :param spec: ``spec`` of a SparkApplication.
    :raises InvalidManifestError: one has no limits, or requests less.
    """
    for role in ("driver", "executor"):
        for name in ("initContainers", "sidecars"):
            for index, container in enumerate((spec.get(role) or {}).get(name) or ()):
                if not _is_guaranteed(container.get("resources") or {}):
                    raise InvalidManifestError(
                        f"spec.{role}.{name}[{index}] ({container.get('name')!r}) has no limits of cpu and memory that "
                        "are what it requests, but qos is 'guaranteed', for which all containers of a pod need them: "
                        "set its resources, such as LogShipping(cpu='100m', memory='128Mi', …)"
                    )


def _is_guaranteed(resources: Mapping[str, Any]) -> bool:
    """Whether a container has limits, and requests as much; Kubernetes takes the limits for requests left out."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    return {"cpu", "memory"} <= limits.keys() and all(requests.get(key, limits[key]) == limits[key] for key in limits)


def colocated(part: Mapping[str, Any], colocate: str) -> dict[str, Any]:
    """Return the executors' part of the spec, which are rather put where others of their application are.

    The name of the application is known only when it is submitted; ``matchLabelKeys`` (Kubernetes 1.31 and later) takes
    it from the label of the pod that is to be placed. The operator's webhook puts the affinity into the pods.

    :param part: ``spec.executor``.
    :param colocate: ``node`` or ``zone``.
    """
    affinity = dict(part.get("affinity") or {})
    pods = dict(affinity.get("podAffinity") or {})
    term = {
        "weight": 100,
        "podAffinityTerm": {
            "topologyKey": TOPOLOGY_KEYS[colocate],
            "labelSelector": {"matchLabels": {"spark-role": "executor"}},
            "matchLabelKeys": [APP_NAME],
        },
    }
    pods[_PREFERRED] = [*(pods.get(_PREFERRED) or ()), term]
    return {**part, "affinity": {**affinity, "podAffinity": pods}}


__all__ = [
    "APP_NAME",
    "TOPOLOGY_KEYS",
    "Colocate",
    "Qos",
    "check_guaranteed",
    "check_placement",
    "colocated",
    "guaranteed",
]
