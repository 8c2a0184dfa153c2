"""Jobs that their own controllers would try again: set off where it is a default, refused where it is asked for."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Manifest, known_resources, resource_for
from airflow_provider_sparkml.resources.spark import RestartPolicy, SparkApplication
from tests.unit.resources.kinds import KINDS, Kind

CONTAINER = {"name": "main", "image": "i:1"}
TEMPLATE = {"spec": {"containers": [CONTAINER]}}


def spark(**policy: Any) -> Manifest:
    manifest = SparkApplication(image="i:1", main_application_file="local:///a.py").to_manifest()
    manifest["spec"]["restartPolicy"] = policy
    return manifest


def job(pod: dict[str, Any] | None = None, **spec: Any) -> Manifest:
    template = {"spec": {**TEMPLATE["spec"], **(pod or {})}}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": template, **spec}}


def kubeflow(kind: str, version: str, field: str, spec: dict[str, Any] | None = None, **replicas: Any) -> Manifest:
    given = {name: {"template": TEMPLATE, **replica} for name, replica in replicas.items()}
    return {"apiVersion": f"kubeflow.org/{version}", "kind": kind, "spec": {field: given, **(spec or {})}}


def alone(manifest: Manifest) -> Manifest:
    """Return what becomes of a manifest that Airflow alone is to try again."""
    kind = resource_for(manifest["apiVersion"], manifest["kind"])
    return kind.without_retries(kind.normalize(manifest))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
def test_what_the_builders_make_is_tried_once(kind: Kind) -> None:
    normalized = kind.resource.normalize(kind.manifest)
    before = copy.deepcopy(normalized)
    assert kind.resource.without_retries(normalized) == before, "nothing had to be set off"
    assert normalized == before, "it is the caller's own"


def test_what_is_left_to_the_controllers_is_set_off() -> None:
    spec = alone(job())["spec"]
    assert (spec["backoffLimit"], spec["template"]["spec"]["restartPolicy"]) == (0, "Never")
    spec = alone(kubeflow("MPIJob", "v2beta1", "mpiReplicaSpecs", Launcher={}, Worker={}))["spec"]
    assert (spec["runPolicy"]["backoffLimit"], spec["mpiReplicaSpecs"]["Launcher"]["restartPolicy"]) == (0, "Never")
    spec = alone(kubeflow("PyTorchJob", "v1", "pytorchReplicaSpecs", Master={}, Worker={}))["spec"]
    assert {each["restartPolicy"] for each in spec["pytorchReplicaSpecs"].values()} == {"Never"}


@pytest.mark.parametrize(
    ("manifest", "field", "fix"),
    [
        (spark(type="OnFailure", onFailureRetries=3), "spec.restartPolicy.onFailureRetries is 3", "0"),
        (spark(type="OnFailure", onFailureRetries="3"), "spec.restartPolicy.onFailureRetries is 3", "0"),
        (
            spark(type="OnFailure", onFailureRetries=0, onSubmissionFailureRetries=5),
            "spec.restartPolicy.onSubmissionFailureRetries is 5", "0",
        ),
        (job(backoffLimit=6), "spec.backoffLimit is 6", "0"),
        (job(backoffLimitPerIndex=1), "spec.backoffLimitPerIndex is 1", "0"),
        (job({"restartPolicy": "OnFailure"}), "spec.template.spec.restartPolicy is 'OnFailure'", "'Never'"),
        (
            job(podFailurePolicy={"rules": [{"action": "FailJob"}, {"action": "Ignore"}]}),
            "spec.podFailurePolicy.rules[1].action is 'Ignore'", "'FailJob'",
        ),
        (
            kubeflow("MPIJob", "v2beta1", "mpiReplicaSpecs", {"runPolicy": {"backoffLimit": 2}}, Launcher={}),
            "spec.runPolicy.backoffLimit is 2", "0",
        ),
        (
            kubeflow("MPIJob", "v2beta1", "mpiReplicaSpecs", Launcher={"restartPolicy": "OnFailure"}),
            "spec.mpiReplicaSpecs.Launcher.restartPolicy is 'OnFailure'", "'Never'",
        ),
        (
            kubeflow("TFJob", "v1", "tfReplicaSpecs", Worker={"restartPolicy": "ExitCode"}),
            "spec.tfReplicaSpecs.Worker.restartPolicy is 'ExitCode'", "'Never'",
        ),
    ],
)  # fmt: skip
def test_what_asks_for_retries_is_refused_with_both_ways_out(manifest: Manifest, field: str, fix: str) -> None:
    with pytest.raises(InvalidManifestError) as refused:
        alone(manifest)
    message = str(refused.value)
    assert message.startswith(field)
    assert f"set it to {fix}, or set retry_owner='operator'" in message


@pytest.mark.parametrize(
    "manifest",
    [
        spark(),
        spark(type="Never", onFailureRetries=3),
        spark(type="OnFailure"),
        SparkApplication(
            image="i", main_application_file="local:///a.py", restart_policy=RestartPolicy(type="OnFailure")
        ).to_manifest(),
        # Workers that come back are no retry of a job that its launcher ends.
        kubeflow("MPIJob", "v2beta1", "mpiReplicaSpecs", Launcher={}, Worker={"restartPolicy": "OnFailure"}),
        # It bounds restarts, and there are none.
        kubeflow("PyTorchJob", "v1", "pytorchReplicaSpecs", {"runPolicy": {"backoffLimit": 9}}, Worker={}),
    ],
)  # fmt: skip
def test_what_is_tried_once_is_let_through(manifest: Manifest) -> None:
    alone(manifest)


@pytest.mark.parametrize("spec", [None, "text", [], {}, {"template": 1}, {"backoffLimit": "many"}, {"runPolicy": 3}])
def test_what_is_no_manifest_is_left_for_the_check(spec: Any) -> None:
    for resource in known_resources():
        manifest = {"apiVersion": resource.api.api_version, "kind": resource.api.kind, "spec": spec}
        assert isinstance(resource.without_retries(manifest), dict)
