"""What is refused before anything is sent."""

from __future__ import annotations

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.jobs.submit import check
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION, SparkApplication


def test_a_manifest_without_a_namespace_is_checked_against_the_one_it_goes_to() -> None:
    conf = {"spark.kubernetes.namespace": "elsewhere"}
    manifest = SparkApplication(image="i:1", main_application_file="local:///x.py", spark_conf=conf).to_manifest()
    check(SPARK_APPLICATION, manifest, "elsewhere")
    with pytest.raises(InvalidManifestError, match=r"spark\.kubernetes\.namespace'\] is 'elsewhere': .*'here'"):
        check(SPARK_APPLICATION, manifest, "here")


def test_a_manifest_of_another_namespace_or_kind_is_refused() -> None:
    manifest = SparkApplication(image="i:1", main_application_file="local:///x.py").to_manifest()
    manifest["metadata"]["namespace"] = "elsewhere"
    with pytest.raises(InvalidManifestError, match=r"metadata\.namespace is 'elsewhere'.*'here'"):
        check(SPARK_APPLICATION, manifest, "here")
    with pytest.raises(InvalidManifestError, match=r"kind is 'Pod': set it to 'SparkApplication'"):
        check(SPARK_APPLICATION, {**manifest, "kind": "Pod"}, "elsewhere")
