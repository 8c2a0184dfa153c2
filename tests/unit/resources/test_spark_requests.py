"""What pods request, by Spark's arithmetic; that Spark itself requests the same is in the integration tests."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.spark_requests import PodRequest, overhead_mib, pod_request, requested


@pytest.mark.parametrize(
    ("heap", "factor", "overhead"),
    [(512, 0.4, 384), (1024, 0.4, 409), (3840, 0.1, 384), (3850, 0.1, 385), (4096, 0.1, 409), (0, 0.1, 384)],
)
def test_overhead_is_cut_off_and_has_a_minimum(heap: int, factor: float, overhead: int) -> None:
    assert overhead_mib(heap, factor) == overhead


@pytest.mark.parametrize(
    ("spec", "request_"),
    [
        ({"type": "Python"}, PodRequest(1000, 1024 + 409)),
        ({"type": "Scala"}, PodRequest(1000, 1024 + 384)),
        ({"executor": {"cores": 4, "memory": "4g"}}, PodRequest(4000, 4096 + 409)),
        ({"executor": {"cores": 4, "coreRequest": "3600m"}}, PodRequest(3600, 1408)),
        (
            {"executor": {"cores": 4}, "sparkConf": {"spark.kubernetes.executor.request.cores": "0.5"}},
            PodRequest(500, 1408),
        ),
        ({"sparkConf": {"spark.executor.cores": "3", "spark.executor.memory": "2g"}}, PodRequest(3000, 2048 + 384)),
        # The operator passes its fields after the properties.
        ({"executor": {"memory": "1Gi"}, "sparkConf": {"spark.executor.memory": "2g"}}, PodRequest(1000, 1408)),
        ({"executor": {"memoryOverhead": "1Gi"}, "memoryOverheadFactor": "0.9"}, PodRequest(1000, 2048)),
        ({"executor": {"memoryOverhead": "100m"}}, PodRequest(1000, 1124)),
        ({"executor": {"memoryOverhead": "600"}}, PodRequest(1000, 1624)),
        ({"type": "Python", "memoryOverheadFactor": "0.5"}, PodRequest(1000, 1536)),
        (
            {"memoryOverheadFactor": "0.9", "sparkConf": {"spark.kubernetes.memoryOverheadFactor": "0.5"}},
            PodRequest(1000, 1536),
        ),
        (
            {
                "sparkConf": {
                    "spark.executor.memoryOverheadFactor": "0.5",
                    "spark.kubernetes.memoryOverheadFactor": "0.9",
                }
            },
            PodRequest(1000, 1536),
        ),
        ({"sparkConf": {"spark.executor.minMemoryOverhead": "500m"}}, PodRequest(1000, 1524)),
        (
            {"sparkConf": {"spark.memory.offHeap.enabled": "true", "spark.memory.offHeap.size": "1g"}},
            PodRequest(1000, 1408 + 1024),
        ),
        (
            {"sparkConf": {"spark.memory.offHeap.enabled": "true", "spark.memory.offHeap.size": str(2**28)}},
            PodRequest(1000, 1408 + 256),
        ),
        ({"sparkConf": {"spark.memory.offHeap.size": "1g"}}, PodRequest(1000, 1408)),
        ({"type": "Python", "sparkConf": {"spark.executor.pyspark.memory": "1g"}}, PodRequest(1000, 1433 + 1024)),
        ({"type": "Scala", "sparkConf": {"spark.executor.pyspark.memory": "1g"}}, PodRequest(1000, 1408)),
    ],
)
def test_an_executor(spec: dict[str, Any], request_: PodRequest) -> None:
    assert pod_request(spec, "executor") == request_


def test_a_driver_takes_no_memory_for_what_executors_only_have() -> None:
    conf = {
        "spark.memory.offHeap.enabled": "true",
        "spark.memory.offHeap.size": "1g",
        "spark.executor.pyspark.memory": "1g",
        "spark.driver.memoryOverhead": "1g",
        "spark.executor.memoryOverhead": "7g",
    }
    driver = {"type": "Python", "driver": {"cores": 2, "memory": "2g"}, "sparkConf": conf}
    assert pod_request(driver, "driver") == PodRequest(2000, 3072)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"memoryOverheadFactor": "much"}, "spec.memoryOverheadFactor is 'much': write a number"),
        ({"executor": {"memory": "big"}}, "spec.executor.memory is 'big'"),
        ({"executor": {"coreRequest": "many"}}, "spec.executor.coreRequest is 'many'"),
        ({"sparkConf": {"spark.executor.memory": "big"}}, r"spec.sparkConf\['spark.executor.memory'\] is 'big'"),
    ],
)
def test_what_is_no_size_is_named(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidManifestError, match=message):
        pod_request(spec, "executor")


# --- what a run held ---

STATUS = {"lastSubmissionAttemptTime": "2026-11-22T10:00:00Z", "terminationTime": "2026-11-22T10:01:30Z"}
SPEC = {
    "type": "Python",
    "driver": {"cores": 1, "memory": "1g"},
    "executor": {"cores": 2, "coreRequest": "1500m", "memory": "1g", "memoryOverhead": "1g", "instances": 3},
}


def test_cores_and_memory_times_seconds() -> None:
    assert requested({"spec": SPEC, "status": STATUS}) == {
        "cores": 5.5,
        "memory_gib": 7.399,
        "core_seconds": 495.0,
        "memory_gib_seconds": 665.91,
    }


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        (SPEC, {}),
        (SPEC, {"lastSubmissionAttemptTime": "2026-11-22T10:00:00Z"}),
        (SPEC | {"dynamicAllocation": {"enabled": True}}, STATUS),
        (SPEC | {"sparkConf": {"spark.dynamicAllocation.enabled": "true"}}, STATUS),
        (SPEC | {"executor": {"instances": 1, "memory": "what only Spark understands"}}, STATUS),
        (SPEC | {"sparkConf": "no mapping"}, STATUS),
        (SPEC, STATUS | {"terminationTime": "no time"}),
    ],
)
def test_nothing_is_said_where_the_object_does_not_say_it(spec: dict[str, Any], status: dict[str, Any]) -> None:
    assert requested({"spec": spec, "status": status}) is None
    assert requested({"metadata": {}}) is None
