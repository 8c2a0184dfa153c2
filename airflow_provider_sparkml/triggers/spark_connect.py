"""The trigger that waits until clients can connect to a Spark Connect server."""

from __future__ import annotations

from airflow_provider_sparkml.resources.spark_connect import SPARK_CONNECT
from airflow_provider_sparkml.triggers.job import JobTrigger


class SparkConnectServerTrigger(JobTrigger):
    """Waits until a SparkConnect is ready, or cannot become so."""

    resource = SPARK_CONNECT


__all__ = ["SparkConnectServerTrigger"]
