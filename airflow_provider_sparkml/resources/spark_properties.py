"""Which Spark property each field of a SparkApplication's driver and executors is. Pure.

Follows ``internal/controller/sparkapplication/submission.go`` of kubeflow/spark-operator v2.5, which names every
property. Who submits without the operator says the same to Spark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_sparkml.resources.fields import text

ROLE_PROPERTIES = {
    "image": "spark.kubernetes.{role}.container.image",
    "cores": "spark.{role}.cores",
    "coreRequest": "spark.kubernetes.{role}.request.cores",
    "coreLimit": "spark.kubernetes.{role}.limit.cores",
    "memory": "spark.{role}.memory",
    "memoryOverhead": "spark.{role}.memoryOverhead",
    "serviceAccount": "spark.kubernetes.authenticate.{role}.serviceAccountName",
    "javaOptions": "spark.{role}.extraJavaOptions",
}
EXECUTOR_PROPERTIES = {
    "instances": "spark.executor.instances",
    "deleteOnTermination": "spark.kubernetes.executor.deleteOnTermination",
}
DYNAMIC_ALLOCATION = {
    "enabled": "spark.dynamicAllocation.enabled",
    "initialExecutors": "spark.dynamicAllocation.initialExecutors",
    "minExecutors": "spark.dynamicAllocation.minExecutors",
    "maxExecutors": "spark.dynamicAllocation.maxExecutors",
    "shuffleTrackingEnabled": "spark.dynamicAllocation.shuffleTracking.enabled",
    "shuffleTrackingTimeout": "spark.dynamicAllocation.shuffleTracking.timeout",
}


def role_properties(spec: Mapping[str, Any], role: str) -> Iterator[tuple[str, Any]]:
    """Yield property and value of what a driver, or executors, need and of how many there are."""
    for field, key in {**ROLE_PROPERTIES, **(EXECUTOR_PROPERTIES if role == "executor" else {})}.items():
        if spec.get(field) is not None:
            yield key.format(role=role), text(spec[field])


def allocation_properties(spec: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield property and value of ``spec.dynamicAllocation``; nothing where it is off."""
    if not spec.get("enabled"):
        return
    # There is no external shuffle service on Kubernetes, so the operator always says so.
    for field, key in DYNAMIC_ALLOCATION.items():
        value = spec.get(field, True if field == "shuffleTrackingEnabled" else None)
        if value is not None:
            yield key, text(value)


__all__ = ["DYNAMIC_ALLOCATION", "EXECUTOR_PROPERTIES", "ROLE_PROPERTIES", "allocation_properties", "role_properties"]
