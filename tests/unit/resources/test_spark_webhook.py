"""Which fields need the operator's webhook: those of the CRD that it alone puts into pods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_sparkml.resources.spark import Driver, SparkApplication, Volume
from airflow_provider_sparkml.resources.spark_webhook import WEBHOOK_FIELDS, webhook_fields
from tests.unit.resources.conftest import CRDS


def app(**options: Any) -> dict[str, Any]:
    return SparkApplication(**{"image": "s:1", "main_application_file": "local:///a.py"} | options).to_manifest()


def test_nothing_is_said_of_what_spark_does_itself() -> None:
    scratch = Volume.empty_dir("/scratch", name="spark-local-dir-1")
    assert webhook_fields(app(volumes=[scratch], driver=Driver(labels={"a": "b"}, service_account="spark"))) == []


def test_each_field_that_is_set_is_named() -> None:
    manifest = app(volumes=[Volume.claim("c", "/data", roles=["executor"])], driver=Driver(env={"A": "b"}))
    assert webhook_fields(manifest) == ["spec.driver.env", "spec.executor.volumeMounts"]


def test_what_is_no_manifest_is_no_matter() -> None:
    assert webhook_fields({"spec": {"driver": "text"}}) == []


@pytest.mark.skipif(not CRDS.is_dir(), reason="the upstream CRDs (../shared/crds) are not at hand")
def test_they_are_fields_of_the_crd() -> None:
    text = Path(CRDS, "spark-operator-v2.5.2_sparkapplications.yaml").read_text()
    version = yaml.load(text, Loader=yaml.CSafeLoader)["spec"]["versions"][0]
    for path in WEBHOOK_FIELDS:
        part = version["schema"]["openAPIV3Schema"]
        for name in path.split("."):
            assert name in part["properties"], path
            part = part["properties"][name]


def test_those_of_a_schedules_template() -> None:
    template = {"batchScheduler": "volcano", "driver": {"env": [{"name": "A"}]}}
    manifest = {"kind": "ScheduledSparkApplication", "spec": {"schedule": "@daily", "template": template}}
    assert webhook_fields(manifest) == ["spec.template.batchScheduler", "spec.template.driver.env"]
