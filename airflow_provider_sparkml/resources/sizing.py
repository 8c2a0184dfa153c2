"""Executors that fill nodes: how many, with how many cores and how much memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR
from fractions import Fraction
from typing import Any, Literal

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.fields import is_whole
from airflow_provider_sparkml.resources.quantities import parse_quantity
from airflow_provider_sparkml.resources.spark_builders import Driver, Executor
from airflow_provider_sparkml.resources.spark_check import MIN_HEAP_MIB
from airflow_provider_sparkml.resources.spark_requests import (
    MIB,
    OFF_HEAP,
    OFF_HEAP_ENABLED,
    OVERHEAD_FACTORS,
    PYSPARK_MEMORY,
    PodRequest,
    heap_mib,
    millicores,
    overhead_mib,
    pod_request,
)

CANDIDATES = range(2, 9)
"""Cores per executor that are tried: one core alone shares no broadcast and no cache, many contend for one heap."""
BEST_CORES = 5
"""Where several waste the same, about this many tasks at once keep disk, network and garbage collection busy."""
COMPRESSED_HEAP_MIB = 32 * 1024 - 1
"""A larger heap needs pointers of twice the size: https://docs.oracle.com/en/java/javase/17/docs/specs/man/java.html"""

Language = Literal["Python", "R", "Java", "Scala"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What a node offers to Spark; each a Kubernetes quantity.

    :param cpu: cores that are allocatable (``kubectl describe node``): the machine's less what its kubelet keeps.
    :param memory: memory that is allocatable.
    :param reserved_cpu: cores for what else runs on each node: its DaemonSets.
    :param reserved_memory: memory for it.
    :raises InvalidManifestError: one of them is no quantity, or nothing is left.
    """

    cpu: str
    memory: str
    reserved_cpu: str = "0"
    reserved_memory: str = "0"

    def __post_init__(self) -> None:
        for name in ("cpu", "memory"):
            total, kept = str(getattr(self, name)), str(getattr(self, f"reserved_{name}"))
            if parse_quantity(total, f"node {name}") <= parse_quantity(kept, f"reserved {name}"):
                raise InvalidManifestError(f"node {name} is {total!r} and reserved {name} {kept!r}: nothing is left")
        if self.free.memory_mib < 1:
            raise InvalidManifestError(f"node memory is {self.memory!r}, less than one MiB: write for example '64Gi'")

    @property
    def allocatable(self) -> PodRequest:
        """All that pods may request."""
        return _amount(self.cpu, self.memory, ROUND_FLOOR)

    @property
    def reserved(self) -> PodRequest:
        """What is not for Spark."""
        return _amount(self.reserved_cpu, self.reserved_memory, ROUND_CEILING)

    @property
    def free(self) -> PodRequest:
        """What Spark's pods may request."""
        return self.allocatable - self.reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorPlan:
    """Executors, all alike, on nodes that are all alike.

    :param node: one of the nodes.
    :param nodes: how many there are.
    :param driver: what the driver's pod requests on the first of them; ``None`` when it lives elsewhere.
    :param cores: Spark's cores of each executor: how many tasks it runs at once.
    :param request: what each executor's pod requests.
    :param heap: JVM heap of each executor, in MiB.
    :param overhead: memory beside the heap, in MiB.
    :param off_heap: Spark's own memory off the heap, in MiB.
    :param pyspark: limit of its Python workers, in MiB; 0 when they live in the overhead.
    :param per_node: executors on a node without the driver.
    :param beside_driver: executors on the driver's node; as many as elsewhere when the driver is not there.
    """

    node: Node
    nodes: int
    driver: PodRequest | None
    cores: int
    request: PodRequest
    heap: int
    overhead: int
    off_heap: int
    pyspark: int
    per_node: int
    beside_driver: int

    @property
    def instances(self) -> int:
        """How many executors there are in all."""
        return self.per_node * (self.nodes - 1) + self.beside_driver

    @property
    def slots(self) -> int:
        """How many tasks run at once."""
        return self.instances * self.cores

    @property
    def room(self) -> PodRequest:
        """What executors may request on all nodes together."""
        return self.node.free * self.nodes - (self.driver or PodRequest(0, 0))

    @property
    def idle(self) -> PodRequest:
        """What of it no executor requests."""
        return self.room - self.request * self.instances

    @property
    def waste(self) -> Fraction:
        """The part of the cores that is idle, plus the part of the memory."""
        return _waste(self.idle, self.room)

    @property
    def spark_conf(self) -> dict[str, str]:
        """The Spark properties of the plan that are no fields of an executor; for ``SparkApplication.spark_conf``."""
        conf = {OFF_HEAP_ENABLED: "true", OFF_HEAP: f"{self.off_heap}m"} if self.off_heap else {}
        return conf | ({PYSPARK_MEMORY: f"{self.pyspark}m"} if self.pyspark else {})

    def executor(self, **fields: Any) -> Executor:
        """Return the executors to put into a ``SparkApplication``.

        :param fields: further fields of :class:`~.spark_builders.Executor`.
        """
        whole = self.request.millicores == self.cores * 1000
        return Executor(
            instances=self.instances,
            cores=self.cores,
            core_request="" if whole else f"{self.request.millicores}m",
            memory=f"{self.heap}m",
            memory_overhead=f"{self.overhead}m",
            **fields,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON-safe data."""
        return {
            "instances": self.instances,
            "per_node": self.per_node,
            "beside_driver": self.beside_driver,
            "slots": self.slots,
            "spec": self.executor().to_spec(),
            "spark_conf": self.spark_conf,
            "pod": {"cpu": f"{self.request.millicores}m", "memory": f"{self.request.memory_mib}Mi"},
            "idle": {"cpu": f"{self.idle.millicores}m", "memory": f"{self.idle.memory_mib}Mi"},
        }


def plan_executors(
    node: Node,
    *,
    nodes: int = 1,
    driver: Driver | None = None,
    type: Language = "Python",
    executor_cores: int | Sequence[int] | None = None,
    memory: str = "",
    request_per_core: str = "1",
    overhead_factor: float | None = None,
    off_heap: str = "",
    pyspark_memory: str = "",
) -> list[ExecutorPlan]:
    """Return plans of executors that fill nodes, the best first, one for each number of cores per executor.

    .. code-block:: python

        from airflow_provider_sparkml.resources.sizing import Node, plan_executors
        from airflow_provider_sparkml.resources.spark import Driver, SparkApplication

        driver = Driver(cores=1, memory="2Gi")
        best, *others = plan_executors(Node(cpu="15890m", memory="59Gi", reserved_cpu="400m"), nodes=3, driver=driver)
        SparkApplication(
            image="example.com/spark:1",
            main_application_file="local:///opt/sparkml/train.py",
            driver=driver,
            executor=best.executor(),
        )

    Each wastes the least that is possible with that number of cores: the part of the nodes' cores that stays idle plus
    the part of their memory. They are in the order of their waste in whole percent; among equals one comes first whose
    heap stays below 32 GiB, and then the one nearest to five cores.

    :param node: one of the nodes, all alike.
    :param nodes: how many of them.
    :param driver: the driver, when it lives on one of these nodes.
    :param type: language of the program: beside the heap Python and R need 0.4 of it, Java and Scala 0.1.
    :param executor_cores: cores per executor, one number or several to compare; 2 to 8 when ``None``.
    :param memory: heap of each executor; as much as fits when empty.
    :param request_per_core: CPU that is requested for each of Spark's cores: ``900m`` lets four tasks run at once on
        the 3.6 cores that are left of four (``spark.kubernetes.executor.request.cores``).
    :param overhead_factor: memory beside the heap as a part of it, at least 384 MiB; the language's when ``None``.
    :param off_heap: ``spark.memory.offHeap.size``.
    :param pyspark_memory: ``spark.executor.pyspark.memory``.
    :raises InvalidManifestError: no executor fits, or a parameter is wrong: its name, value and the fix.
    """
    _check(nodes, type, overhead_factor, pyspark_memory)
    per_core = millicores(request_per_core, "request_per_core")
    if not 0 < per_core <= 1000:
        raise InvalidManifestError(f"request_per_core is {request_per_core!r}: write more than 0 and at most 1")
    fixed = heap_mib(memory, "memory") if memory else None
    if fixed is not None and fixed < MIN_HEAP_MIB:
        raise InvalidManifestError(f"memory is {memory!r}: Spark does not start with less than {MIN_HEAP_MIB}m")
    pods = _Pods(
        node=node,
        nodes=nodes,
        driver=None if driver is None else pod_request({"type": type, "driver": driver.to_spec()}, "driver"),
        per_core=per_core,
        factor=OVERHEAD_FACTORS[type] if overhead_factor is None else overhead_factor,
        off_heap=heap_mib(off_heap, "off_heap") if off_heap else 0,
        pyspark=heap_mib(pyspark_memory, "pyspark_memory") if pyspark_memory else 0,
        heap=fixed,
    )
    pods.check_driver()
    candidates = _candidates(executor_cores)
    plans = [plan for cores in candidates if (plan := pods.plan(cores))]
    if not plans and executor_cores is None:
        plans = [plan for plan in [pods.plan(1)] if plan]
    if not plans:
        raise InvalidManifestError(pods.why_none_fits(1 if executor_cores is None else min(candidates)))
    return sorted(plans, key=_rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pods:
    """What is the same for each number of cores per executor.

    :param per_core: millicores that are requested for a core.
    :param factor: overhead as a part of the heap.
    :param heap: MiB, where it is fixed.
    """

    node: Node
    nodes: int
    driver: PodRequest | None
    per_core: int
    factor: float
    off_heap: int
    pyspark: int
    heap: int | None

    @property
    def rooms(self) -> list[tuple[PodRequest, int]]:
        """What is free for executors on a node, and on how many nodes: first on the driver's, then on the others."""
        free = self.node.free
        if self.driver is None:
            return [(free, self.nodes)]
        beside = [(free - self.driver, 1)]
        return [*beside, (free, self.nodes - 1)] if self.nodes > 1 else beside

    def memory_of(self, heap: int) -> int:
        """Return the memory of an executor's pod in MiB."""
        return heap + overhead_mib(heap, self.factor) + self.off_heap + self.pyspark

    @property
    def least_memory(self) -> int:
        """Memory of the smallest executor's pod in MiB."""
        return self.memory_of(MIN_HEAP_MIB if self.heap is None else self.heap)

    def plan(self, cores: int) -> ExecutorPlan | None:
        """Return the plan with so many cores per executor that wastes the least; ``None`` when none fits."""
        cpu, least, rooms = cores * self.per_core, self.least_memory, self.rooms
        most = [min(room.millicores // cpu, room.memory_mib // least) for room, _ in rooms]
        room = self.node.free * self.nodes - (self.driver or PodRequest(0, 0))

        def memory_for(counts: Sequence[int]) -> int:
            """Return the memory with which so many fit on each kind of node: all executors are alike."""
            if self.heap is not None:
                return least
            return min(r.memory_mib // count for (r, _), count in zip(rooms, counts, strict=True) if count)

        def waste(counts: Sequence[int]) -> Fraction:
            instances = sum(count * n for (_, n), count in zip(rooms, counts, strict=True))
            return _waste(room - PodRequest(cpu, memory_for(counts)) * instances, room)

        # A driver may leave so little memory beside it that an executor there would make all of them too small. Of the
        # counts with which an executor gets so much memory, the largest waste the least: one for each memory will do.
        memories = {
            r.memory_mib // count for (r, _), top in zip(rooms, most, strict=True) for count in range(1, top + 1)
        }
        options = {
            tuple(min(top, r.memory_mib // memory) for (r, _), top in zip(rooms, most, strict=True))
            for memory in (memories if self.heap is None else {least})
        }
        options.discard(tuple(0 for _ in rooms))
        if not options:
            return None
        counts = min(options, key=lambda counts: (waste(counts), [-count for count in counts]))
        memory = memory_for(counts)
        # What a pod requests grows with its heap; bisection finds the largest heap, rounded as Spark rounds.
        heap = bisect_right(range(memory + 1), memory, key=self.memory_of) - 1 if self.heap is None else self.heap
        return ExecutorPlan(
            node=self.node,
            nodes=self.nodes,
            driver=self.driver,
            cores=cores,
            request=PodRequest(cpu, memory),
            heap=heap,
            overhead=memory - heap - self.off_heap - self.pyspark,
            off_heap=self.off_heap,
            pyspark=self.pyspark,
            per_node=counts[-1],
            beside_driver=counts[0],
        )

    def check_driver(self) -> None:
        """Refuse a driver that no node has room for.

        :raises InvalidManifestError: it is too large.
        """
        free, driver = self.node.free, self.driver
        if driver is not None and (driver.millicores > free.millicores or driver.memory_mib > free.memory_mib):
            raise InvalidManifestError(
                f"driver requests {driver}, but a node has {free} for Spark: "
                "make it smaller, or leave it out when it lives elsewhere"
            )

    def why_none_fits(self, cores: int) -> str:
        """Return why not even the smallest executor fits."""
        least = PodRequest(cores * self.per_core, self.least_memory)
        room, _ = self.rooms[-1]
        short = "executor_cores" if least.millicores > room.millicores else "memory"
        return (
            f"no executor fits: the smallest requests {least}, and a node has {room} left for it; "
            f"lower {short}, or take larger nodes"
        )


def _check(nodes: int, language: str, factor: float | None, pyspark_memory: str) -> None:
    """Refuse parameters that are wrong by themselves.

    :raises InvalidManifestError: one is.
    """
    if not is_whole(nodes) or nodes < 1:
        raise InvalidManifestError(f"nodes is {nodes!r}: set it to a whole number, at least 1")
    if language not in OVERHEAD_FACTORS:
        raise InvalidManifestError(f"type is {language!r}: set it to one of {', '.join(OVERHEAD_FACTORS)}")
    if factor is not None and not 0 <= factor < 10:
        raise InvalidManifestError(f"overhead_factor is {factor!r}: write a part of the heap, such as 0.4")
    if pyspark_memory and language != "Python":
        raise InvalidManifestError(
            f"pyspark_memory is {pyspark_memory!r}, but type is {language!r}: Spark counts it for Python only; "
            "leave it out"
        )


def _candidates(executor_cores: int | Sequence[int] | None) -> Sequence[int]:
    """Return the numbers of cores per executor to compare.

    :raises InvalidManifestError: one is no whole number, or there is none.
    """
    if executor_cores is None:
        return CANDIDATES
    wanted: Sequence[Any] = executor_cores if isinstance(executor_cores, (list, tuple, range)) else [executor_cores]
    if not wanted or not all(is_whole(cores) and cores > 0 for cores in wanted):
        raise InvalidManifestError(
            f"executor_cores is {executor_cores!r}: set it to a whole number, at least 1, or to several of them"
        )
    return sorted(set(wanted))


def _rank(plan: ExecutorPlan) -> tuple[int, bool, int]:
    """Return what plans are compared by: less is better."""
    return int(plan.waste * 100), plan.heap > COMPRESSED_HEAP_MIB, abs(plan.cores - BEST_CORES)


def _waste(idle: PodRequest, room: PodRequest) -> Fraction:
    """Return the part of the cores that is idle, plus the part of the memory."""
    return sum(
        (
            Fraction(left, of)
            for left, of in ((idle.millicores, room.millicores), (idle.memory_mib, room.memory_mib))
            if of
        ),
        Fraction(0),
    )


def _amount(cpu: str, memory: str, rounding: str) -> PodRequest:
    """Return quantities in millicores and MiB, so rounded."""
    cores, size = parse_quantity(str(cpu), "cpu"), parse_quantity(str(memory), "memory")
    return PodRequest(
        int((cores * 1000).to_integral_value(rounding=rounding)), int((size / MIB).to_integral_value(rounding=rounding))
    )


__all__ = ["ExecutorPlan", "Node", "plan_executors"]
