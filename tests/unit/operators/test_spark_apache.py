"""Which operator's SparkApplication is meant, for the operator, the sensor and their triggers."""

from __future__ import annotations

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION
from airflow_provider_sparkml.resources.spark_apache import APACHE_SPARK_APPLICATION
from airflow_provider_sparkml.sensors.spark import SparkApplicationSensor
from airflow_provider_sparkml.triggers import spark


def test_the_kind_is_chosen_by_its_api_version() -> None:
    assert SparkApplicationOperator(task_id="a", application={}).resource is SPARK_APPLICATION
    operator = SparkApplicationOperator(task_id="b", application={}, api_version="spark.apache.org/v1")
    assert operator.resource is APACHE_SPARK_APPLICATION
    assert operator.trigger_class is spark.ApacheSparkApplicationTrigger
    sensor = SparkApplicationSensor(task_id="c", application_name="x", api_version="spark.apache.org/v1")
    assert sensor.trigger_class is spark.ApacheSparkApplicationSensorTrigger
    assert SparkApplicationSensor(task_id="d", application_name="x").trigger_class.resource is SPARK_APPLICATION


def test_another_api_version_is_refused() -> None:
    with pytest.raises(InvalidManifestError, match=r"api_version is 'spark\.apache\.org/v2': set it to 'sparkop"):
        SparkApplicationOperator(task_id="a", application={}, api_version="spark.apache.org/v2")  # type: ignore[arg-type]


def test_the_links_are_of_the_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__SPARKML__HISTORY_SERVER_URL", "http://history")
    state = {"currentStateSummary": "DriverRequested"}
    obj = {"metadata": {"name": "pi"}, "status": {"currentState": state}}
    assert spark.ApacheSparkApplicationTrigger.links(obj)[spark.HISTORY_KEY] == "http://history/history/pi-0"
