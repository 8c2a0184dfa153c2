"""SparkConnect: what its builder makes is what the CRD takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.spark_connect import SPARK_CONNECT, SparkConnectServer


def test_the_builder_makes_what_the_crd_takes(upstream: Callable[..., list[str]]) -> None:
    server = SparkConnectServer(
        name="connect", image="i", spark_version="4.3.0", service_account="spark", executor_instances="2",
        spark_conf={"spark.ui.enabled": "false"}, labels={"team": "a"},
    )  # fmt: skip
    manifest = SPARK_CONNECT.normalize(server.to_manifest())
    assert upstream("spark-operator-v2.5.2_sparkconnects.yaml", "v1alpha1", manifest) == []
    SPARK_CONNECT.check(manifest)


def test_an_ipv6_address_is_put_in_brackets() -> None:
    status = {"server": {"podIp": "fd00::1", "serviceName": "c-server"}}
    facts = SPARK_CONNECT.facts({"metadata": {"name": "c", "namespace": "n"}, "status": status})
    assert (facts["url"], facts["pod_url"]) == ("sc://c-server.n.svc:15002", "sc://[fd00::1]:15002")


def server(**conf: object) -> dict[str, Any]:
    made = SparkConnectServer(image="i", spark_version="4.3.0", service_account="spark", spark_conf=conf)
    return SPARK_CONNECT.normalize(made.to_manifest())


def test_properties_are_text_and_known_and_go_together() -> None:
    manifest = server(**{"spark.sql.shuffle.partitions": 4, "spark.executor.memmory": "1g"})
    assert manifest["spec"]["sparkConf"]["spark.sql.shuffle.partitions"] == "4"
    (warning,) = SPARK_CONNECT.lint(manifest)
    assert "did you mean 'spark.executor.memory'?" in warning
    with pytest.raises(InvalidManifestError, match="there is no external shuffle service"):
        SPARK_CONNECT.check(server(**{"spark.shuffle.service.enabled": True}))
