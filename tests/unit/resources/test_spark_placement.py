"""Pods that are evicted last, and executors close to each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION, Driver, Executor, SparkApplication

CRD = "spark-operator-v2.5.2_sparkapplications.yaml"
Faults = Callable[[str, str, dict[str, Any]], list[str]]
PROGRAM = {"image": "spark:4.3.0", "main_application_file": "local:///opt/sparkml/pi.py"}


def spec_of(**fields: Any) -> dict[str, Any]:
    manifest = SPARK_APPLICATION.normalize(SparkApplication(**PROGRAM, **fields).to_manifest())
    SPARK_APPLICATION.check(manifest)
    spec: dict[str, Any] = manifest["spec"]
    return spec


def test_guaranteed_limits_cores_to_what_is_requested() -> None:
    spec = spec_of(qos="guaranteed", driver=Driver(cores=2), executor=Executor(cores=4, core_request="3600m"))
    assert spec["driver"]["coreLimit"] == "2"
    assert spec["executor"]["coreLimit"] == spec["executor"]["coreRequest"] == "3600m"


def test_guaranteed_heeds_what_the_properties_request() -> None:
    conf = {"spark.kubernetes.executor.request.cores": "0.5"}
    assert spec_of(qos="guaranteed", spark_conf=conf)["executor"]["coreLimit"] == "0.5"


def test_without_it_no_limit_is_set() -> None:
    assert "coreLimit" not in spec_of()["executor"]


@pytest.mark.parametrize(
    ("executor", "message"),
    [
        (Executor(cores=2, core_limit="3"), "spec.executor.coreLimit is '3', but qos is 'guaranteed'"),
        (Executor(extra={"memoryLimit": "9g"}), "spec.executor.memoryLimit is '9g', but qos is 'guaranteed'"),
    ],
)
def test_guaranteed_refuses_another_limit(executor: Executor, message: str) -> None:
    with pytest.raises(InvalidManifestError, match=message):
        spec_of(qos="guaranteed", executor=executor)


@pytest.mark.parametrize(
    ("colocate", "key"), [("node", "kubernetes.io/hostname"), ("zone", "topology.kubernetes.io/zone")]
)
def test_colocated_executors_prefer_their_own_kind(colocate: Any, key: str, upstream: Faults) -> None:
    own = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}, "podAffinity": {}}
    spec = spec_of(colocate=colocate, executor=Executor(affinity=own))
    (term,) = spec["executor"]["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"] == {
        "topologyKey": key,
        "labelSelector": {"matchLabels": {"spark-role": "executor"}},
        "matchLabelKeys": ["sparkoperator.k8s.io/app-name"],
    }
    assert spec["executor"]["affinity"]["nodeAffinity"] == own["nodeAffinity"]
    assert "affinity" not in spec["driver"]
    assert own["podAffinity"] == {}, "the caller's own is not changed"
    manifest = SparkApplication(**PROGRAM, name="near", colocate=colocate, qos="guaranteed").to_manifest()
    assert upstream(CRD, "v1beta2", SPARK_APPLICATION.normalize(manifest)) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"qos": "best"}, "qos is 'best': set it to 'guaranteed'"),
        ({"colocate": "rack"}, "colocate is 'rack': set it to"),
    ],
)
def test_other_words_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidManifestError, match=message):
        SparkApplication(**PROGRAM, **fields).to_manifest()
