"""A cluster's nodes as sizing wants them: what the smallest of them has for Spark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import ForbiddenError, InvalidManifestError
from airflow_provider_sparkml.local.pods.requests import pod_requests
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import NODE, POD
from airflow_provider_sparkml.resources.quantities import parse_quantity
from airflow_provider_sparkml.resources.sizing import Node
from airflow_provider_sparkml.resources.spark_requests import MIB

_ALIKE = Decimal("1.02")
"""Nodes of one size differ a little in the memory that they have left for pods."""
_KEPT_OUT = ("NoSchedule", "NoExecute")
_OF_NODES = ("DaemonSet", "Node")
"""Owners of pods that each node has; ``Node`` is that of static pods."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """Nodes to plan for.

    :param node: what each of them has, at least.
    :param count: how many there are.
    :param remarks: what to know of how they were chosen.
    """

    node: Node
    count: int
    remarks: Sequence[str]


async def read_nodes(
    client: KubernetesClient, selector: str, reserved_cpu: str | None, reserved_memory: str | None
) -> Nodes:
    """Read the nodes that executors can go to.

    Those that are not ready or cordoned are left out, and without a selector those with a taint, too: pods need a
    toleration for them.

    :param selector: label selector of the nodes; all of them when empty.
    :param reserved_cpu: what else runs on each node; what its DaemonSets request when ``None``.
    :param reserved_memory: likewise.
    :raises InvalidManifestError: there are none.
    :raises ApiError: they could not be read.
    """
    found, usable = await _usable(client, selector)
    remarks = [f"{found - len(usable)} of {found} nodes left out"] if len(usable) < found else []
    cpus, memories = ([_allocatable(node, name) for node in usable] for name in ("cpu", "memory"))
    for amounts, unit, alike in ((cpus, "cores", 1), (memories, "memory", _ALIKE)):
        low, high = min(amounts, key=_size), max(amounts, key=_size)
        if _size(high) > _size(low) * alike:
            remarks.append(
                f"nodes of {low} to {high} {unit}: planned for the least of all; "
                "choose those of one size with --selector"
            )
    kept_cpu, kept_memory = reserved_cpu, reserved_memory
    if kept_cpu is None or kept_memory is None:
        try:
            of_all = await _of_nodes(client, {node["metadata"]["name"] for node in usable})
        except ForbiddenError as error:
            of_all = "0", "0"
            remarks.append(
                "what DaemonSets request was not read, so give --reserved-cpu and --reserved-memory: "
                f"{str(error).splitlines()[0]}"
            )
        kept_cpu, kept_memory = kept_cpu or of_all[0], kept_memory or of_all[1]
    smallest = Node(
        cpu=min(cpus, key=_size),
        memory=min(memories, key=_size),
        reserved_cpu=kept_cpu,
        reserved_memory=kept_memory,
    )
    return Nodes(smallest, len(usable), remarks)


async def _usable(client: KubernetesClient, selector: str) -> tuple[int, list[Manifest]]:
    """Return how many nodes were found, and those that executors can go to.

    :raises InvalidManifestError: there are none.
    """
    try:
        found = (await client.list(NODE, label_selector=selector)).items
    except ForbiddenError as error:
        raise ForbiddenError(f"{error}: give --node-cpu and --node-memory instead", status=error.status) from error
    usable = [node for node in found if _is_usable(node, tainted_too=bool(selector))]
    if not usable:
        which = f" with the labels {selector!r}" if selector else ""
        raise InvalidManifestError(
            f"of {len(found)} nodes{which} none can take executors: they must be ready and not cordoned, "
            "and nodes with taints are taken only with --selector"
        )
    return len(found), usable


async def _of_nodes(client: KubernetesClient, names: set[str]) -> tuple[str, str]:
    """Return the most that pods which belong to their node request on any of the nodes: cores and memory."""
    cpu, memory = (dict.fromkeys(names, Decimal(0)) for _ in range(2))
    for pod in (await client.list(POD)).items:
        name = pod["spec"].get("nodeName")
        owners = {owner["kind"] for owner in pod["metadata"].get("ownerReferences") or ()}
        if name in names and not owners.isdisjoint(_OF_NODES):
            requests = pod_requests(pod)
            cpu[name] += requests.get("cpu", 0)
            memory[name] += requests.get("memory", 0)
    return f"{ceil(max(cpu.values()) * 1000)}m", f"{ceil(max(memory.values()) / MIB)}Mi"


def _is_usable(node: Manifest, *, tainted_too: bool) -> bool:
    """Whether executors can be put there."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
    tainted = any(taint.get("effect") in _KEPT_OUT for taint in spec.get("taints") or ())
    return ready and not spec.get("unschedulable") and (tainted_too or not tainted)


def _allocatable(node: Manifest, name: str) -> str:
    """Return what pods may request there of something.

    :raises InvalidManifestError: the node does not say.
    """
    amount = str(((node.get("status") or {}).get("allocatable") or {}).get(name, ""))
    parse_quantity(amount, f"status.allocatable.{name} of node {node['metadata']['name']}")
    return amount


def _size(quantity: str) -> Decimal:
    return parse_quantity(quantity, "status.allocatable")


__all__ = ["Nodes", "read_nodes"]
