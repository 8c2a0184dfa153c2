"""The arithmetic of a plan of executors, to be read line by line."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_sparkml.resources.sizing import ExecutorPlan
from airflow_provider_sparkml.resources.spark_requests import PodRequest


@dataclass(frozen=True, slots=True)
class Line:
    """One line of it.

    :param what: what is computed.
    :param how: from what.
    :param result: the result.
    """

    what: str
    how: str
    result: str


def arithmetic(plan: ExecutorPlan) -> list[Line]:
    """Return how a plan comes about: from the node, by way of the driver, to executors and what is left."""
    return [*_room(plan), *_counts(plan), *_pod(plan), *_sums(plan)]


def _room(plan: ExecutorPlan) -> list[Line]:
    """Return what there is on a node for Spark."""
    node = plan.node
    lines = [Line("a node has", f"{node.cpu}, {node.memory}", str(node.allocatable))]
    if node.reserved != PodRequest(0, 0):
        lines.append(Line("- reserved", f"{node.reserved_cpu}, {node.reserved_memory}", str(node.reserved)))
        lines.append(Line("= for Spark", "", str(node.free)))
    if plan.driver is not None:
        where = "on one node; memory + overhead" if plan.nodes > 1 else "memory + overhead"
        lines.append(Line("- driver", where, str(plan.driver)))
        lines.append(Line("= beside the driver", "", str(node.free - plan.driver)))
    return lines


def _counts(plan: ExecutorPlan) -> list[Line]:
    """Return how many executors find room on a node."""
    free = plan.node.free
    if plan.driver is None:
        return [_count(plan, "executors per node", free, plan.per_node)]
    beside = _count(plan, "executors beside the driver", free - plan.driver, plan.beside_driver)
    return [beside] if plan.nodes == 1 else [_count(plan, "executors per other node", free, plan.per_node), beside]


def _count(plan: ExecutorPlan, what: str, room: PodRequest, count: int) -> Line:
    request = plan.request
    by_cpu, by_memory = room.millicores // request.millicores, room.memory_mib // request.memory_mib
    how = (
        f"cores {room.millicores / 1000:g} / {request.millicores / 1000:g} = {by_cpu}; "
        f"MiB {room.memory_mib} / {request.memory_mib} = {by_memory}"
    )
    return Line(what, how, str(count))


def _pod(plan: ExecutorPlan) -> list[Line]:
    """Return what an executor's pod requests."""
    each = plan.request.millicores / plan.cores / 1000
    sizes = {"heap": plan.heap, "overhead": plan.overhead, "off-heap": plan.off_heap, "Python": plan.pyspark}
    memory = " + ".join(f"{name} {size}" for name, size in sizes.items() if size)
    return [Line("an executor requests", f"{plan.cores} cores of {each:g}; {memory}", str(plan.request))]


def _sums(plan: ExecutorPlan) -> list[Line]:
    """Return what it comes to on all nodes."""
    where = f"{plan.per_node} x {plan.nodes - 1} + {plan.beside_driver}"
    if plan.driver is None:
        where = f"{plan.per_node} x {plan.nodes}"
    elif plan.nodes == 1:
        where = ""
    return [
        Line("executors", where, str(plan.instances)),
        Line("tasks at once", f"{plan.instances} x {plan.cores}", str(plan.slots)),
        Line("left idle", f"of {plan.room}", str(plan.idle)),
    ]


__all__ = ["Line", "arithmetic"]
