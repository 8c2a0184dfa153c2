"""The verdict of an InferenceService, and the manifests its builder gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Phase, resource_for
from airflow_provider_sparkml.resources.serving import INFERENCE_SERVICE, InferenceService, read

CRD = "kserve-v0.20.0_serving.kserve.io_inferenceservices.yaml"
CREATED, LATER = "2026-11-22T10:00:00Z", "2026-11-22T10:01:00Z"
SERVICE = InferenceService(name="flights", model_format="onnx", storage_uri="pvc://data/model")


def service(model: dict[str, Any] | None = None, **conditions: str) -> dict[str, Any]:
    listed = [
        {
            "type": kind,
            "status": state,
            "lastTransitionTime": LATER,
            "reason": f"{kind}Why",
            "message": f"{kind} because",
        }
        for kind, state in conditions.items()
    ]
    metadata = {"name": "flights", "namespace": "ns", "uid": "u", "creationTimestamp": CREATED}
    return {"metadata": metadata, "status": {"conditions": listed, "modelStatus": model or {}, "url": "http://f"}}


def test_ready_with_its_model_loaded_is_success() -> None:
    verdict = read(service({"transitionStatus": "UpToDate"}, Ready="True", PredictorReady="True"))
    assert (verdict.phase, verdict.finished_at) == (Phase.SUCCEEDED, LATER)


@pytest.mark.parametrize("transition", ["InProgress", "Pending"])
def test_ready_while_a_model_is_still_loading_is_the_old_version(transition: str) -> None:
    assert read(service({"transitionStatus": transition}, Ready="True")).phase is Phase.PENDING


@pytest.mark.parametrize("transition", ["BlockedByFailedLoad", "InvalidSpec"])
def test_what_cannot_become_ready_fails_at_once_with_the_cause(transition: str) -> None:
    failure = {"reason": "ModelLoadFailed", "message": "no such file", "exitCode": 1, "location": "pod-1"}
    verdict = read(service({"transitionStatus": transition, "lastFailureInfo": failure}, Ready="False"))
    assert (verdict.phase, verdict.reason) == (Phase.FAILED, "ModelLoadFailed")
    assert verdict.message == "no such file; exit code 1; pod-1"


def test_not_ready_says_why_and_since_when() -> None:
    verdict = read(service(Ready="False", PredictorReady="Unknown"))
    assert (verdict.phase, verdict.reason, verdict.pending_since) == (Phase.PENDING, "ReadyWhy", LATER)


def test_one_that_is_being_deleted_is_no_success() -> None:
    obj = service({"transitionStatus": "UpToDate"}, Ready="True")
    obj["metadata"]["deletionTimestamp"] = LATER
    assert (read(obj).phase, read(obj).reason) == (Phase.PENDING, "BeingDeleted")


def test_stopped_is_waiting_not_failing() -> None:
    assert read(service(Ready="False", Stopped="True")).phase is Phase.QUEUED


def test_without_status_its_clock_runs_from_its_creation() -> None:
    obj = service()
    del obj["status"]
    assert (read(obj).phase, read(obj).state, read(obj).pending_since) == (Phase.PENDING, "", CREATED)


def test_facts_tell_where_it_answers() -> None:
    obj = service({"states": {"targetModelState": "Loaded"}}, Ready="True")
    obj["status"] |= {"address": {"url": "http://f.ns.svc"}, "deploymentMode": "Standard"}
    assert INFERENCE_SERVICE.facts(obj) == {
        "url": "http://f", "address": "http://f.ns.svc", "deployment_mode": "Standard", "model_state": "Loaded",
    }  # fmt: skip


def test_built_manifests_are_valid_upstream(upstream: Callable[[str, str, dict[str, Any]], list[str]]) -> None:
    full = InferenceService(
        name="f",
        containers=[{"name": "kserve-container", "image": "onnxserver:1"}],
        min_replicas=0,
        max_replicas=3,
        canary_traffic_percent=10,
        service_account="sa",
        labels={"a": "b"},
        annotations={"serving.kserve.io/deploymentMode": "Standard"},
        extra={"timeout": 60},
    )
    sized = InferenceService(
        name="f", model_format="onnx", storage_uri="s3://b/m", runtime="r", env={"A": "1"},
        resources={"requests": {"cpu": "500m", "memory": "512Mi"}},
    )  # fmt: skip
    for built in (SERVICE, full, sized):
        manifest = built.to_manifest()
        INFERENCE_SERVICE.check(manifest)
        assert upstream(CRD, "v1beta1", manifest) == []


def test_what_templates_render_to_gets_its_type_back() -> None:
    manifest = InferenceService(
        name="f", model_format="onnx", storage_uri="s3://b/m", min_replicas="2", canary_traffic_percent=" 10 "
    ).to_manifest()
    normal = INFERENCE_SERVICE.normalize(manifest)
    INFERENCE_SERVICE.check(normal)
    assert (normal["spec"]["predictor"]["minReplicas"], normal["spec"]["predictor"]["canaryTrafficPercent"]) == (2, 10)
    assert manifest["spec"]["predictor"]["minReplicas"] == "2", "the given manifest is not changed"


def test_a_manifest_shares_nothing_with_its_builder() -> None:
    custom = InferenceService(name="f", containers=[{"name": "c", "env": [{"name": "A", "value": "1"}]}])
    custom.to_manifest()["spec"]["predictor"]["containers"][0]["env"][0]["value"] = "changed"
    assert custom.to_manifest()["spec"]["predictor"]["containers"][0]["env"] == [{"name": "A", "value": "1"}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give one of the two"),
        ({"model_format": "onnx", "containers": [{}], "storage_uri": "x"}, "give one of the two"),
        ({"model_format": "onnx"}, "storage_uri is empty"),
        ({"containers": [{}], "storage_uri": "pvc://a/b"}, "storage_uri is set together with containers.*STORAGE_URI"),
        ({"containers": [{}], "env": {"PASSWORD": "s3cret"}}, "env is set together with containers(?!.*s3cret)"),
        ({"containers": [{}], "resources": {"limits": {}}}, "resources is set together with containers"),
    ],
)
def test_a_builder_refuses_what_cannot_be_served(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidManifestError, match=message):
        InferenceService(name="f", **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metadata": {}}, r"metadata\.name is None"),
        ({"spec": {}}, r"spec\.predictor is None"),
        ({"spec": {"predictor": {"model": {"storageUri": "x"}}}}, r"modelFormat\.name is missing"),
        (
            {"spec": {"predictor": {"minReplicas": "{{ n }}"}}},
            r"minReplicas is '\{\{ n \}\}': set it to a whole number",
        ),
        ({"spec": {"predictor": {"minReplicas": 3, "maxReplicas": 2}}}, r"minReplicas is 3, more than maxReplicas, 2"),
        ({"spec": {"predictor": {"timeout": -1}}}, r"timeout is -1: set it to a whole number, at least 0"),
        ({"spec": {"predictor": {"canaryTrafficPercent": 101}}}, r"canaryTrafficPercent is 101: set it to 0"),
    ],
)
def test_a_manifest_without_what_it_needs_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidManifestError, match=message):
        INFERENCE_SERVICE.check({**SERVICE.to_manifest(), **change})


def test_the_kind_is_found_by_its_name() -> None:
    assert resource_for("serving.kserve.io/v1beta1", "InferenceService") is INFERENCE_SERVICE
