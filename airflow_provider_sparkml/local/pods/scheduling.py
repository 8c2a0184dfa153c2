"""Whether a pod fits on the node, in the words of the Kubernetes scheduler. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from airflow_provider_sparkml.local.pods.requests import pod_requests
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.quantities import parse_quantity

SCHEDULER_NAMES = ("", "default-scheduler")
SELECTOR_MISMATCH = "node(s) didn't match Pod's node affinity/selector"


def is_ours_to_schedule(pod: Manifest) -> bool:
    """Whether a pod waits for the default scheduler; a pod that names another one waits for that."""
    spec = pod["spec"]
    return not spec.get("nodeName") and (spec.get("schedulerName") or "") in SCHEDULER_NAMES


def is_finished(pod: Manifest) -> bool:
    """Whether a pod has ended and so needs no room."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def obstacle(pod: Manifest, node: Manifest, others: Iterable[Manifest]) -> str:
    """Return why a pod cannot run on the node now, or an empty text.

    :param node: the node, with labels and ``status.allocatable``.
    :param others: the pods that are on the node.
    """
    reasons = []
    labels = node["metadata"].get("labels") or {}
    if not _selected(pod["spec"], labels):
        reasons.append(SELECTOR_MISMATCH)
    used: dict[str, Decimal] = {}
    running = [other for other in others if not is_finished(other)]
    for other in running:
        for name, amount in pod_requests(other).items():
            used[name] = used.get(name, Decimal(0)) + amount
    room = {name: parse_quantity(amount, name) for name, amount in node["status"]["allocatable"].items()}
    for name, amount in sorted(pod_requests(pod).items()):
        if amount and used.get(name, Decimal(0)) + amount > room.get(name, Decimal(0)):
            reasons.append(f"Insufficient {name}")
    if len(running) >= room["pods"]:
        reasons.append("Too many pods")
    return f"0/1 nodes are available: {', '.join(f'1 {reason}' for reason in reasons)}." if reasons else ""


def _selected(spec: Manifest, labels: Mapping[str, str]) -> bool:
    wanted = spec.get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(
        all(_matches(expression, labels) for expression in term.get("matchExpressions") or ())
        for term in required["nodeSelectorTerms"]
    )


def _matches(expression: Manifest, labels: Mapping[str, str]) -> bool:
    """Evaluate one requirement; https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#operators."""
    value, wanted = labels.get(expression["key"]), list(expression.get("values") or [])
    match str(expression["operator"]):
        case "In" | "NotIn" as operator:
            return (value in wanted) == (operator == "In")
        case "Exists" | "DoesNotExist" as operator:
            return (value is not None) == (operator == "Exists")
        case "Gt":
            return value is not None and int(value) > int(wanted[0])
        case "Lt":
            return value is not None and int(value) < int(wanted[0])
    return False
