"""From an InferenceService to its Deployment and Service."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from airflow_provider_sparkml.local.controllers.predictor import (
    InvalidPredictorError,
    build_deployment,
    build_service,
)

Manifest = dict[str, Any]


def isvc(predictor: Manifest | None = None, **spec: Any) -> Manifest:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "delay", "namespace": "ns", "uid": "i-1"},
        "spec": {"predictor": predictor if predictor is not None else onnx(), **spec},
    }


def onnx(**model: Any) -> Manifest:
    return {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://models/flights/7", **model}}


def container_of(service: Manifest) -> Manifest:
    return build_deployment(service)["spec"]["template"]["spec"]["containers"][0]


def test_a_model_gets_the_runtimes_container_with_the_model_mounted() -> None:
    deployment = build_deployment(isvc())
    assert deployment["metadata"]["name"] == "delay-predictor"
    assert deployment["metadata"]["ownerReferences"][0]["uid"] == "i-1"
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["name"] == "kserve-container"
    assert container["image"].split(":")[0] == "sparkml/onnxserver"
    assert container["args"][:3] == ["--model_name=delay", "--model_dir=/mnt/models", "--http_port=8080"]
    assert container["args"][3:] == ["--host=$(POD_IP)"]
    assert container["env"][0] == {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/models/delay/ready", "port": 8080}
    assert container["volumeMounts"] == [
        {"name": "kserve-model", "mountPath": "/mnt/models", "readOnly": True, "subPath": "flights/7"}
    ]
    assert pod["volumes"] == [
        {"name": "kserve-model", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}}
    ]


def test_the_selector_finds_the_pods_and_nothing_of_another_service() -> None:
    deployment = build_deployment(isvc())
    selector = deployment["spec"]["selector"]["matchLabels"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert selector.items() <= labels.items()
    assert build_service(isvc(), None)["spec"]["selector"] == selector
    other = isvc()
    other["metadata"]["name"] = "other"
    assert build_deployment(other)["spec"]["selector"]["matchLabels"] != selector


def test_labels_and_annotations_reach_the_pods_as_in_kserve() -> None:
    service = isvc({**onnx(), "labels": {"team": "b"}, "annotations": {"x": "2"}})
    service["metadata"] |= {
        "labels": {"team": "a", "app": "mine"},
        "annotations": {"x": "1", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
    }
    template = build_deployment(service)["spec"]["template"]["metadata"]
    assert template["labels"]["team"] == "b"
    assert template["labels"]["app"] == "isvc.delay-predictor"
    assert template["annotations"] == {"x": "2"}


@pytest.mark.parametrize("uri", ["/data/model", "file:///data/model"])
def test_a_model_may_lie_in_a_folder(uri: str) -> None:
    pod = build_deployment(isvc(onnx(storageUri=uri)))["spec"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "kserve-model", "hostPath": {"path": "/data/model"}}]


def test_a_whole_claim_has_no_sub_path() -> None:
    assert "subPath" not in container_of(isvc(onnx(storageUri="pvc://models/")))["volumeMounts"][0]


def test_the_users_fields_of_a_model_win_and_his_arguments_come_last() -> None:
    service = isvc(
        onnx(args=["--workers=2"], env=[{"name": "A", "value": "1"}], resources={"limits": {"memory": "1Gi"}})
    )
    container = container_of(service)
    assert container["args"][-1] == "--workers=2"
    assert container["args"][0] == "--model_name=delay"
    assert container["env"][1:] == [{"name": "A", "value": "1"}, {"name": "INFERENCE_SERVICE_NAME", "value": "delay"}]
    assert container["resources"] == {"limits": {"memory": "1Gi"}}


def test_a_custom_container_is_taken_as_it_is() -> None:
    own = {"name": "mine", "image": "team/scorer:1", "command": ["serve"], "ports": [{"containerPort": 9000}]}
    container = container_of(isvc({"containers": [own], "serviceAccountName": "scorer"}))
    assert container["name"] == "kserve-container"
    assert (container["image"], container["command"]) == ("team/scorer:1", ["serve"])
    assert container["readinessProbe"]["tcpSocket"] == {"port": 9000}
    assert build_service(isvc({"containers": [own]}), None)["spec"]["ports"][0]["targetPort"] == 9000
    pod = build_deployment(isvc({"containers": [own], "serviceAccountName": "scorer"}))["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "scorer"
    assert "volumes" not in pod


def test_a_custom_container_gets_the_model_of_its_storage_uri() -> None:
    own = {"image": "team/scorer:1", "env": [{"name": "STORAGE_URI", "value": "pvc://models/a"}]}
    mounts = container_of(isvc({"containers": [own]}))["volumeMounts"]
    assert mounts[0]["mountPath"] == "/mnt/models"


def test_the_object_itself_is_not_changed() -> None:
    service = isvc({"containers": [{"image": "x", "env": [{"name": "STORAGE_URI", "value": "pvc://m/a"}]}]})
    before = copy.deepcopy(service)
    build_deployment(service)
    build_service(service, None)
    assert service == before


@pytest.mark.parametrize(("wanted", "replicas"), [({}, 1), ({"minReplicas": 3}, 3), ({"minReplicas": 0}, 1)])
def test_replicas(wanted: Manifest, replicas: int) -> None:
    assert build_deployment(isvc({**onnx(), **wanted}))["spec"]["replicas"] == replicas


def test_a_service_keeps_its_node_port() -> None:
    first = build_service(isvc(), None)
    assert first["spec"]["type"] == "NodePort"
    assert "nodePort" not in first["spec"]["ports"][0]
    first["spec"]["ports"][0]["nodePort"] = 30123
    assert build_service(isvc(), first) == first


@pytest.mark.parametrize(
    ("service", "reason", "said"),
    [
        (isvc(onnx(modelFormat={"name": "sklearn"})), "NoSupportingRuntime", "modelFormat.name is 'sklearn'"),
        (isvc(onnx(modelFormat={"name": "onnx", "version": "9"})), "NoSupportingRuntime", "version is '9'"),
        (isvc(onnx(protocolVersion="grpc-v2")), "NoSupportingRuntime", "protocolVersion is 'grpc-v2'"),
        (isvc(onnx(runtime="triton")), "RuntimeNotRecognized", "runtime is 'triton'"),
        (isvc(onnx(storageUri="s3://b/m")), "InvalidPredictorSpec", "storageUri is 's3://b/m'"),
        (isvc(onnx(storageUri="pvc:///m")), "InvalidPredictorSpec", "storageUri is 'pvc:///m'"),
        (isvc(onnx(storageUri="")), "InvalidPredictorSpec", "storageUri is missing"),
        (isvc(onnx(storage={"key": "k"})), "InvalidPredictorSpec", "spec.predictor.model.storage"),
        (isvc({}), "InvalidPredictorSpec", "neither `model` nor `containers`"),
        (isvc({"sklearn": {"storageUri": "pvc://m/a"}}), "InvalidPredictorSpec", "neither `model` nor `containers`"),
        (isvc({**onnx(), "logger": {"mode": "all"}}), "InvalidPredictorSpec", "spec.predictor.logger"),
        (isvc(transformer={"containers": []}), "InvalidPredictorSpec", "spec.transformer"),
        (isvc(canary=[]), "InvalidPredictorSpec", "spec.canary"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(service: Manifest, reason: str, said: str) -> None:
    with pytest.raises(InvalidPredictorError) as caught:
        build_deployment(service)
    assert caught.value.reason == reason
    assert said in str(caught.value).partition(";")[0]


@pytest.mark.parametrize(("mode", "accepted"), [("Standard", True), ("RawDeployment", True), ("Knative", False)])
def test_the_mode_is_standard(mode: str, accepted: bool) -> None:
    service = isvc()
    service["metadata"]["annotations"] = {"serving.kserve.io/deploymentMode": mode}
    if accepted:
        build_deployment(service)
    else:
        with pytest.raises(InvalidPredictorError, match="Knative"):
            build_deployment(service)
