"""The trigger that waits until a SparkCluster can be used."""

from __future__ import annotations

from airflow_provider_sparkml.resources.spark_cluster import SPARK_CLUSTER
from airflow_provider_sparkml.triggers.job import JobTrigger, Waiter


class SparkClusterTrigger(JobTrigger):
    """Waits until a SparkCluster's master and first workers are ready, or cannot become so."""

    resource = SPARK_CLUSTER

    def waiter(self) -> Waiter:
        """Return the wait for the pods as well."""
        from airflow_provider_sparkml.jobs.spark_cluster import wait_for_workers

        return wait_for_workers


__all__ = ["SparkClusterTrigger"]
