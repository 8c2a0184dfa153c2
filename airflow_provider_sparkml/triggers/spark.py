"""The triggers of SparkApplications: one for the task that submitted it, one for a sensor that looks on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import conf

from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION
from airflow_provider_sparkml.resources.spark_apache import APACHE_SPARK_APPLICATION
from airflow_provider_sparkml.triggers.job import JobTrigger
from airflow_provider_sparkml.triggers.sensor import JobSensorTrigger

UI_KEY = "_link_SparkUILink"
"""XCom key of the *Spark UI* link."""
HISTORY_KEY = "_link_SparkHistoryLink"
"""XCom key of the *Spark history* link."""


class SparkApplicationTrigger(JobTrigger):
    """Waits for the SparkApplication that its task has submitted."""

    resource = SPARK_APPLICATION

    @classmethod
    def links(cls, obj: Manifest) -> dict[str, str]:
        """Return *Spark UI* and *Spark history*."""
        return spark_links(cls.resource.facts(obj))


class SparkApplicationSensorTrigger(JobSensorTrigger):
    """Waits until a SparkApplication of a name exists and has ended."""

    resource = SPARK_APPLICATION


class ApacheSparkApplicationTrigger(SparkApplicationTrigger):
    """Waits for the Apache Spark operator's SparkApplication that its task has submitted."""

    resource = APACHE_SPARK_APPLICATION


class ApacheSparkApplicationSensorTrigger(JobSensorTrigger):
    """Waits until an Apache Spark operator's SparkApplication of a name exists and has ended."""

    resource = APACHE_SPARK_APPLICATION


def spark_links(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the links of a SparkApplication, as URLs by XCom key; an empty URL for none.

    :param facts: ``ui_url`` and ``spark_application_id`` of the application.
    """
    ui = str(facts.get("ui_url") or "")
    server = conf.get("sparkml", "history_server_url", fallback="").rstrip("/")
    application_id = facts.get("spark_application_id")
    return {
        # What a controller wrote must not become a script in the web page.
        UI_KEY: ui if ui.startswith(("http://", "https://")) else "",
        HISTORY_KEY: f"{server}/history/{application_id}" if server and application_id else "",
    }


__all__ = [
    "ApacheSparkApplicationSensorTrigger",
    "ApacheSparkApplicationTrigger",
    "SparkApplicationSensorTrigger",
    "SparkApplicationTrigger",
]
