"""The links of a SparkApplication's task."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.links.spark import SparkHistoryLink, SparkUILink
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION
from airflow_provider_sparkml.triggers.spark import SparkApplicationTrigger


def application(**driver_info: Any) -> dict[str, Any]:
    return {
        "apiVersion": SPARK_APPLICATION.api.api_version,
        "kind": SPARK_APPLICATION.api.kind,
        "metadata": {"name": "a", "namespace": "n", "uid": "u"},
        "status": {"sparkApplicationId": "spark-1", "driverInfo": driver_info},
    }


def links(obj: dict[str, Any]) -> tuple[str, str]:
    found = SparkApplicationTrigger.links(obj)
    return found[SparkUILink().xcom_key], found[SparkHistoryLink().xcom_key]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("spark.example.com/n/a", "http://spark.example.com/n/a"),
        ("https://spark.example.com/a", "https://spark.example.com/a"),
        ("javascript://alert(1)", ""),
        ("", ""),
    ],
)
def test_spark_ui_is_the_ingress_and_never_a_script(address: str, expected: str) -> None:
    assert links(application(webUIIngressAddress=address))[0] == expected


def test_a_cluster_internal_address_is_no_link() -> None:
    assert links(application(webUIAddress="10.0.0.1:4040"))[0] == ""


@pytest.mark.parametrize(
    ("server", "expected"),
    [("https://h.example.com/spark/", "https://h.example.com/spark/history/spark-1"), ("", "")],
)
def test_spark_history(monkeypatch: pytest.MonkeyPatch, server: str, expected: str) -> None:
    monkeypatch.setenv("AIRFLOW__SPARKML__HISTORY_SERVER_URL", server)
    assert links(application())[1] == expected


def test_no_history_before_there_is_an_application_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__SPARKML__HISTORY_SERVER_URL", "http://h")
    assert links({**application(), "status": {}}) == ("", "")


def test_names_and_keys() -> None:
    # The web page shows the names; Airflow's own default for a key is the class name's.
    assert [(link.name, link.xcom_key) for link in (SparkUILink(), SparkHistoryLink())] == [
        ("Spark UI", "_link_SparkUILink"),
        ("Spark history", "_link_SparkHistoryLink"),
    ]
