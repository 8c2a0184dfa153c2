"""Settings of the driver that are given to its program, where they do nothing."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.resources.base import resource_for
from airflow_provider_sparkml.resources.spark import Driver, SparkApplication


def lint(**fields: Any) -> list[str]:
    manifest = SparkApplication(image="i:1", main_application_file="local:///a.py", **fields).to_manifest()
    return resource_for(manifest["apiVersion"], manifest["kind"]).lint(manifest)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"arguments": ["--rows", "1", "--conf", "spark.driver.memory=4g"]},
            "spec.arguments[3] has spark.driver.memory, which does nothing there: the driver runs already when its "
            "program reads it; set spec.driver.memory",
        ),
        ({"arguments": ["--driver-cores=2"]}, "spec.arguments[0] has spark.driver.cores"),
        ({"arguments": ["--driver-memory", "2g"]}, "spec.arguments[0] has spark.driver.memory"),
        (
            {"driver": Driver(env={"OPTS": "--conf spark.driver.maxResultSize=2g"})},
            "set spec.sparkConf['spark.driver.maxResultSize']",
        ),
    ],
)
def test_told(fields: dict[str, Any], told: str) -> None:
    (warning,) = lint(**fields)
    assert told in warning


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"arguments": ["--conf", "spark.executor.memory=4g", "--drivers", 3]},
        {"spark_conf": {"spark.driver.maxResultSize": "2g"}},
        {"arguments": ["spark.driver.maxResultSize=2g"], "spark_conf": {"spark.driver.maxResultSize": "2g"}},
        {"driver": Driver(memory="4g")},
    ],
)
def test_nothing_to_tell(fields: dict[str, Any]) -> None:
    assert lint(**fields) == []


def test_each_setting_once() -> None:
    assert len(lint(arguments=["spark.driver.memory=1g spark.driver.memory=2g spark.driver.cores=1"])) == 2
