"""The trigger of Spark drivers in client mode."""

from __future__ import annotations

from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.spark_client import SPARK_CLIENT_POD
from airflow_provider_sparkml.triggers.job import JobTrigger
from airflow_provider_sparkml.triggers.spark import spark_links


class SparkClientModeTrigger(JobTrigger):
    """Waits for the driver's pod that its task has submitted."""

    resource = SPARK_CLIENT_POD

    @classmethod
    def links(cls, obj: Manifest) -> dict[str, str]:
        """Return *Spark UI* and *Spark history*."""
        return spark_links(SPARK_CLIENT_POD.facts(obj))


__all__ = ["SparkClientModeTrigger"]
