"""Schemas made from published models: what the server validates Spark's and Kubernetes' own types by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_sparkml.local.api import model_schemas
from airflow_provider_sparkml.local.api.builtin import MODELS
from airflow_provider_sparkml.local.api.model_schemas import builtin_schema, schema_from_models
from airflow_provider_sparkml.local.api.status import StatusError

CRDS = Path(__file__).parents[4].parent / "shared" / "crds"
SPARK = {
    "SparkV1beta2SparkApplication": "sparkapplications",
    "SparkV1beta2ScheduledSparkApplication": "scheduledsparkapplications",
    "SparkV1alpha1SparkConnect": "sparkconnects",
}
TRAINING = {
    "kubeflow-trainer-api:TrainerV1alpha1TrainJob": "trainjobs",
    "kubeflow-trainer-api:TrainerV1alpha1ClusterTrainingRuntime": "clustertrainingruntimes",
    "airflow-provider-sparkml:MPIJob": "mpijobs",
    "airflow-provider-sparkml:PyTorchJob": "pytorchjobs",
    "airflow-provider-sparkml:TFJob": "tfjobs",
    "airflow-provider-sparkml:XGBoostJob": "xgboostjobs",
}


def at(schema: Any, path: str) -> Any:
    for part in path.split("."):
        schema = schema["items"] if part == "[]" else schema["properties"][part]
    return schema


async def test_spark_applications_as_the_operator_defines_them() -> None:
    schema = await schema_from_models("kubeflow-spark-api", "SparkV1beta2SparkApplication")
    spec = at(schema, "spec")
    assert set(spec["required"]) == {"driver", "executor", "mainApplicationFile", "sparkVersion", "type"}
    assert at(spec, "type")["enum"] == ["Java", "Python", "Scala", "R"]
    assert at(spec, "driver.cores") == at(spec, "driver.cores") | {"type": "integer", "minimum": 1}
    assert at(spec, "driver.template")["x-kubernetes-preserve-unknown-fields"]
    assert at(schema, "status.terminationTime")["nullable"]
    assert at(spec, "volumes.[].name")["type"] == "string"


@pytest.mark.parametrize("model", MODELS)
async def test_every_built_in_type_has_a_schema(model: str) -> None:
    schema = await builtin_schema(model)
    assert schema is not None
    assert schema["properties"]["metadata"]["properties"]["name"]["type"] == "string"


async def test_built_in_types_know_their_merge_keys() -> None:
    containers = at(await builtin_schema("V1Pod"), "spec.containers")
    assert containers["x-kubernetes-list-map-keys"] == ["name"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    ports = at(containers, "[].ports")
    assert ports["x-kubernetes-list-map-keys"] == ["containerPort", "protocol"]
    assert at(ports, "[].protocol")["default"] == "TCP"
    template = at(await builtin_schema("V1Deployment"), "spec.template.spec.containers")
    assert template == containers
    assert at(await builtin_schema("V1Service"), "spec.ports.[].targetPort")["x-kubernetes-int-or-string"]


async def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StatusError, match="package no-such-package is missing: install airflow-provider-sparkml"):
        await schema_from_models("no-such-package", "X")


async def test_schemas_are_made_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_schemas, "_directory", lambda package: tmp_path / package)
    monkeypatch.setattr(model_schemas, "_loaded", {})
    first = await schema_from_models("kubeflow-spark-api", "SparkV1alpha1SparkConnect")
    (made,) = tmp_path.iterdir()
    assert {path.stem for path in made.iterdir()} == set(SPARK)
    monkeypatch.setattr(model_schemas, "_loaded", {})

    async def never(*_: object) -> None:
        raise AssertionError("made a second time")

    monkeypatch.setattr(model_schemas, "_generate", never)
    assert await schema_from_models("kubeflow-spark-api", "SparkV1alpha1SparkConnect") == first


def differences(ours: Any, theirs: Any, path: str) -> Iterator[str]:
    """Yield where a schema of ours takes something else than upstream's."""
    if ours.get("x-kubernetes-preserve-unknown-fields") and not ours.get("properties"):
        return  # a pod's template is not looked into
    compared = ["enum", "minimum", "maximum", "x-kubernetes-int-or-string"]
    if not ours.get("x-kubernetes-int-or-string"):
        compared.append("type")
    for key in compared:
        if ours.get(key) != theirs.get(key):
            yield f"{path} {key}: {ours.get(key)} instead of {theirs.get(key)}"
    if set(ours.get("required") or ()) != set(theirs.get("required") or ()):
        yield f"{path} required: {ours.get('required')} instead of {theirs.get('required')}"
    mine, other = ours.get("properties") or {}, theirs.get("properties") or {}
    for name in mine.keys() ^ other.keys():
        if path or name not in ("apiVersion", "kind"):
            yield f"{path}.{name}"
    for name in mine.keys() & other.keys():
        yield from differences(mine[name], other[name], f"{path}.{name}")
    if "items" in ours:
        yield from differences(ours["items"], theirs["items"], f"{path}[]")
    if isinstance(ours.get("additionalProperties"), dict):
        yield from differences(ours["additionalProperties"], theirs["additionalProperties"], f"{path}{{}}")


@pytest.mark.skipif(not CRDS.exists(), reason="upstream's definitions are not here: no ../shared/crds")
@pytest.mark.parametrize(("model", "plural"), SPARK.items())
async def test_they_take_what_the_operators_own_definitions_take(model: str, plural: str) -> None:
    (path,) = CRDS.glob(f"spark-operator-*_{plural}.yaml")
    (version,) = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)["spec"]["versions"]
    found = set(
        differences(await schema_from_models("kubeflow-spark-api", model), version["schema"]["openAPIV3Schema"], "")
    )
    known = {
        # The status of a service's load balancer, which nobody writes here: OpenAPI's description of it leaves one out.
        ".spec.server.service.status.loadBalancer.ingress[].ports[] required: ['port', 'protocol'] instead of "
        "['error', 'port', 'protocol']",
    }
    assert found <= known


@pytest.mark.skipif(not CRDS.exists(), reason="upstream's definitions are not here: no ../shared/crds")
@pytest.mark.parametrize(("models", "plural"), TRAINING.items())
async def test_training_kinds_take_what_their_operators_own_definitions_take(models: str, plural: str) -> None:
    (path,) = CRDS.glob(f"*_{'trainer.' if 'rain' in plural else ''}kubeflow.org_{plural}.yaml")
    (version,) = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)["spec"]["versions"]
    ours = await schema_from_models(*models.split(":"))
    found = {
        each
        for each in differences(ours, version["schema"]["openAPIV3Schema"], "")
        # What Kubernetes has given to pods since the operator's release, or does not say of objects in templates.
        if ".template.spec." not in each or "eplicaSpecs" not in each
    }
    known = (
        " required: ['metadata', 'spec']",  # a spec is always needed; upstream leaves that to its webhook
        ".status.conditions[].status enum",  # upstream writes nothing else, either
        ".spec.template.spec.failurePolicy",
        ".spec.template.spec.volumeClaimPolicies",
        ".spec.podGroupPolicy.volcano.networkTopology",
    )
    assert [each for each in found if not each.startswith(known)] == []


async def test_pod_templates_of_training_kinds_are_those_of_kubernetes() -> None:
    schema = await schema_from_models("airflow-provider-sparkml", "PyTorchJob")
    replica = at(schema, "spec.pytorchReplicaSpecs")["additionalProperties"]
    assert at(replica, "template.spec.containers") == at(await builtin_schema("V1Pod"), "spec.containers")
    assert "ownerReferences" not in at(replica, "template.metadata")["properties"]


@pytest.mark.skipif(not CRDS.exists(), reason="upstream's definitions are not here: no ../shared/crds")
async def test_the_apache_spark_operators_kind_takes_what_its_own_definition_takes() -> None:
    (path,) = CRDS.glob("spark-kubernetes-operator-*_sparkapplications.yaml")
    versions = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)["spec"]["versions"]
    version = next(each for each in versions if each["name"] == "v1")
    ours = await schema_from_models("airflow-provider-sparkml", "ApacheSparkApplication")
    found = {
        each
        for each in differences(ours, version["schema"]["openAPIV3Schema"], "")
        # Where the definition leaves Kubernetes' own and Gateway API's types to be looked into.
        if "podTemplateSpec" not in each and "stateTransitionHistory" not in each
    }
    assert {each for each in found if not each.startswith(".status")} <= {".metadata"}
