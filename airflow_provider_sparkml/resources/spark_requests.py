"""What the pods of a Spark application request: Spark's own arithmetic of cores, heap and what lies beside the heap.

``BasicDriverFeatureStep``, ``BasicExecutorFeatureStep`` and ``ResourceProfile.getResourcesForClusterManager`` of
Spark 4.3 (``resource-managers/kubernetes`` and ``core/resource``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING
from typing import Any, Literal

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.fields import integer, is_whole, mapping, number
from airflow_provider_sparkml.resources.quantities import jvm_memory, memory_bytes, parse_quantity

Role = Literal["driver", "executor"]
ROLES: tuple[Role, ...] = ("driver", "executor")
MIB = 2**20
MIN_OVERHEAD_MIB = 384
"""``spark.{driver,executor}.minMemoryOverhead`` where it is not set."""

OVERHEAD_FACTORS: Mapping[str, float] = {"Python": 0.4, "R": 0.4, "Java": 0.1, "Scala": 0.1}
"""Memory beside the heap as a part of it; more where Python or R runs beside the JVM."""

OFF_HEAP, OFF_HEAP_ENABLED = "spark.memory.offHeap.size", "spark.memory.offHeap.enabled"
PYSPARK_MEMORY = "spark.executor.pyspark.memory"


@dataclass(frozen=True, slots=True)
class PodRequest:
    """What a pod requests.

    :param millicores: CPU, in thousandths of a core.
    :param memory_mib: memory, in MiB; Spark sets the limit to the same.
    """

    millicores: int
    memory_mib: int

    def __sub__(self, other: PodRequest) -> PodRequest:
        return PodRequest(self.millicores - other.millicores, self.memory_mib - other.memory_mib)

    def __mul__(self, times: int) -> PodRequest:
        return PodRequest(self.millicores * times, self.memory_mib * times)

    def __str__(self) -> str:
        unit = "core" if self.millicores == 1000 else "cores"
        return f"{self.millicores / 1000:g} {unit} and {self.memory_mib} MiB"


def overhead_mib(heap_mib: int, factor: float, minimum_mib: int = MIN_OVERHEAD_MIB) -> int:
    """Return the memory beside a heap, in MiB, as Spark computes it where none is stated.

    ``ResourceProfile.calculateOverHeadMemory``: ``max((factor * heap).toInt, minimum)``, in double precision.
    """
    return max(int(factor * heap_mib), minimum_mib)


def millicores(value: Any, field: str) -> int:
    """Return a number of cores, or a CPU quantity, in thousandths of a core, rounded up as Kubernetes does.

    :raises InvalidManifestError: it is no quantity.
    """
    return int((parse_quantity(str(value), field) * 1000).to_integral_value(rounding=ROUND_CEILING))


def heap_mib(value: Any, field: str) -> int:
    """Return a memory size in MiB as Spark reads it once :func:`~.quantities.jvm_memory` has written it.

    :raises InvalidManifestError: it is no size.
    """
    return memory_bytes(jvm_memory(str(value), field), field) // MIB


def pod_request(spec: Mapping[str, Any], role: Role) -> PodRequest:
    """Return what the driver's pod, or that of one executor, requests.

    :param spec: ``spec`` of a SparkApplication; its fields win over its ``sparkConf``, as the operator passes them
        later.
    :raises InvalidManifestError: a size or a number of cores is none.
    """
    part, conf = mapping(spec.get(role), f"spec.{role}"), mapping(spec.get("sparkConf"), "spec.sparkConf")

    def stated(name: str, key: str, default: Any = None) -> tuple[Any, str]:
        if part.get(name) is not None:
            return part[name], f"spec.{role}.{name}"
        return conf.get(key, default), f"spec.sparkConf[{key!r}]"

    cpu = stated("coreRequest", f"spark.kubernetes.{role}.request.cores")
    if cpu[0] is None:
        cpu = stated("cores", f"spark.{role}.cores", 1)
    heap = heap_mib(*stated("memory", f"spark.{role}.memory", "1g"))
    beside = stated("memoryOverhead", f"spark.{role}.memoryOverhead")
    if beside[0] is not None:
        overhead = heap_mib(*beside)
    else:
        least = f"spark.{role}.minMemoryOverhead"
        minimum = heap_mib(conf.get(least, f"{MIN_OVERHEAD_MIB}m"), f"spec.sparkConf[{least!r}]")
        overhead = overhead_mib(heap, _factor(spec, conf, role), minimum)
    further = _off_heap_and_python(spec, conf) if role == "executor" else 0
    return PodRequest(millicores(*cpu), heap + overhead + further)


def requested(app: Manifest) -> dict[str, float] | None:
    """Return what a run that has ended held: cores and memory, and both times its seconds.

    Driver and executors are counted from the last submission to the end, so it is the most that the run can have held;
    executors that came late, or were lost and replaced, held less.

    :param app: a SparkApplication with its status.
    :return: ``cores``, ``memory_gib``, ``core_seconds`` and ``memory_gib_seconds``; ``None`` where the object does not
        say how many executors there were, or from when till when.
    """
    try:
        spec, status = mapping(app.get("spec"), "spec"), mapping(app.get("status"), "status")
        executors = _fixed_number_of_executors(spec)
        began, ended = (status.get(name) for name in ("lastSubmissionAttemptTime", "terminationTime"))
        if executors is None or not began or not ended:
            return None
        driver, executor = pod_request(spec, "driver"), pod_request(spec, "executor")
        seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
    except ValueError:
        return None  # it ran: Spark could read what this package cannot
    cores = (driver.millicores + executors * executor.millicores) / 1000
    gib = round((driver.memory_mib + executors * executor.memory_mib) / 1024, 3)
    return {
        "cores": cores,
        "memory_gib": gib,
        "core_seconds": round(cores * seconds, 3),
        "memory_gib_seconds": round(gib * seconds, 3),
    }


def _factor(spec: Mapping[str, Any], conf: Mapping[str, Any], role: str) -> float:
    """Return the part of the heap that is added beside it.

    :raises InvalidManifestError: it is no number.
    """
    own, common = f"spark.{role}.memoryOverheadFactor", "spark.kubernetes.memoryOverheadFactor"
    for value, field in (
        (conf.get(own), f"spec.sparkConf[{own!r}]"),
        (conf.get(common), f"spec.sparkConf[{common!r}]"),  # the operator passes it after the field
        (spec.get("memoryOverheadFactor"), "spec.memoryOverheadFactor"),
    ):
        if value is not None:
            factor = number(value)
            if not isinstance(factor, (int, float)):
                raise InvalidManifestError(f"{field} is {value!r}: write a number, such as '0.4'")
            return float(factor)
    return OVERHEAD_FACTORS.get(str(spec.get("type")), OVERHEAD_FACTORS["Java"])


def _off_heap_and_python(spec: Mapping[str, Any], conf: Mapping[str, Any]) -> int:
    """Return what an executor's properties add to heap and overhead, in MiB."""
    enabled = str(conf.get(OFF_HEAP_ENABLED, "false")).lower() == "true"
    # Alone among these a size without a unit is in bytes here.
    off_heap = str(conf.get(OFF_HEAP, 0))
    size = int(off_heap) if off_heap.isdecimal() else memory_bytes(off_heap, f"spec.sparkConf[{OFF_HEAP!r}]")
    python = conf.get(PYSPARK_MEMORY) if spec.get("type") == "Python" else None
    return (size // MIB if enabled else 0) + (heap_mib(python, f"spec.sparkConf[{PYSPARK_MEMORY!r}]") if python else 0)


def _fixed_number_of_executors(spec: Mapping[str, Any]) -> int | None:
    """Return how many executors an application has; ``None`` where they come and go."""
    conf = mapping(spec.get("sparkConf"), "spec.sparkConf")
    dynamic = mapping(spec.get("dynamicAllocation"), "spec.dynamicAllocation").get("enabled")
    if dynamic or str(conf.get("spark.dynamicAllocation.enabled", "false")).lower() == "true":
        return None
    stated = mapping(spec.get("executor"), "spec.executor").get("instances")
    found = integer(conf.get("spark.executor.instances", 2) if stated is None else stated)
    return found if is_whole(found) else None


__all__ = [
    "MIB",
    "MIN_OVERHEAD_MIB",
    "OFF_HEAP",
    "OFF_HEAP_ENABLED",
    "OVERHEAD_FACTORS",
    "PYSPARK_MEMORY",
    "ROLES",
    "PodRequest",
    "Role",
    "heap_mib",
    "millicores",
    "overhead_mib",
    "pod_request",
    "requested",
]
