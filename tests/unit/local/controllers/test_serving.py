"""The status of an InferenceService, from its Deployment, its Service and its pods."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.local.controllers.deployments import Pods, new_pod, new_status, template_hash
from airflow_provider_sparkml.local.controllers.predictor import (
    InvalidPredictorError,
    build_deployment,
    build_service,
)
from airflow_provider_sparkml.local.controllers.serving import (
    CRASHES,
    invalid_status,
    load_failure,
    stopped_status,
)
from airflow_provider_sparkml.local.controllers.serving import new_status as serving_status
from airflow_provider_sparkml.resources.base import Phase
from airflow_provider_sparkml.resources.serving import INFERENCE_SERVICE

Manifest = dict[str, Any]


def isvc(uri: str = "pvc://models/1") -> Manifest:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "delay",
            "namespace": "ns",
            "uid": "i-1",
            "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"predictor": {"model": {"modelFormat": {"name": "onnx"}, "storageUri": uri}}},
    }


def deployment_of(service: Manifest, *, generation: int = 1) -> Manifest:
    deployment = build_deployment(service)
    deployment["metadata"] |= {"uid": "d-1", "generation": generation}
    return deployment


def pod_of(deployment: Manifest, name: str, container: Manifest | None = None, *, ready: bool = False) -> Manifest:
    pod = new_pod(deployment)
    pod["metadata"] |= {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
    pod["status"] = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": str(ready)}],
        "containerStatuses": [{"name": "kserve-container", "restartCount": 0, "state": {}, **(container or {})}],
    }
    return pod


def service_of(isvc: Manifest, port: int | None = 30100) -> Manifest:
    service = build_service(isvc, None)
    if port:
        service["spec"]["ports"][0]["nodePort"] = port
    return service


def status_of(service: Manifest, deployment: Manifest, pods: list[Manifest], port: int | None = 30100) -> Manifest:
    deployment["status"] = new_status(deployment, Pods.of(deployment, pods))
    return serving_status(service, deployment, service_of(service, port), pods)


def conditions(status: Manifest) -> dict[str, str]:
    return {condition["type"]: condition["status"] for condition in status["conditions"]}


def phase(service: Manifest, status: Manifest) -> Phase:
    return INFERENCE_SERVICE.read({**service, "status": status}).phase


CRASHED = {
    "restartCount": CRASHES - 1,
    "state": {"terminated": {"exitCode": 3, "reason": "Error", "message": "no such file: model.onnx"}},
}


def test_while_it_starts() -> None:
    service = isvc()
    deployment = deployment_of(service)
    status = status_of(service, deployment, [pod_of(deployment, "a")])
    assert conditions(status) == {"IngressReady": "True", "PredictorReady": "False", "Ready": "False"}
    assert status["modelStatus"]["transitionStatus"] == "InProgress"
    assert status["modelStatus"]["states"] == {"activeModelState": "", "targetModelState": "Loading"}
    assert status["deploymentMode"] == "Standard"
    assert phase(service, status) is Phase.PENDING


def test_when_it_serves() -> None:
    service = isvc()
    deployment = deployment_of(service, generation=7)
    status = status_of(service, deployment, [pod_of(deployment, "a", ready=True)])
    assert conditions(status) == {"IngressReady": "True", "PredictorReady": "True", "Ready": "True"}
    assert status["url"] == status["address"]["url"] == "http://127.0.0.1:30100"
    assert status["components"]["predictor"]["url"] == status["url"]
    assert status["modelStatus"] == {
        "transitionStatus": "UpToDate",
        "states": {"activeModelState": "Loaded", "targetModelState": "Loaded"},
        "copies": {"failedCopies": 0, "totalCopies": 1},
    }
    assert status["observedGeneration"] == 7
    assert phase(service, status) is Phase.SUCCEEDED


def test_not_ready_before_it_has_an_address() -> None:
    service = isvc()
    deployment = deployment_of(service)
    status = status_of(service, deployment, [pod_of(deployment, "a", ready=True)], port=None)
    assert conditions(status) == {"IngressReady": "Unknown", "PredictorReady": "True", "Ready": "Unknown"}
    assert "url" not in status


def test_a_model_that_does_not_load_is_told_of_after_some_crashes() -> None:
    service = isvc()
    deployment = deployment_of(service)
    once = pod_of(deployment, "a", {**CRASHED, "restartCount": CRASHES - 2})
    assert status_of(service, deployment, [once])["modelStatus"]["transitionStatus"] == "InProgress"
    status = status_of(service, deployment, [pod_of(deployment, "a", CRASHED)])
    assert status["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert status["modelStatus"]["states"]["targetModelState"] == "FailedToLoad"
    failure = status["modelStatus"]["lastFailureInfo"]
    assert (failure["reason"], failure["exitCode"], failure["location"]) == ("ModelLoadFailed", 3, "a")
    assert "no such file: model.onnx" in failure["message"]
    verdict = INFERENCE_SERVICE.read({**service, "status": status})
    assert verdict.phase is Phase.FAILED
    assert "no such file" in verdict.message


@pytest.mark.parametrize(
    "state",
    [
        {"waiting": {"reason": "CrashLoopBackOff"}},
        {"running": {"startedAt": "2026-01-01T00:00:00Z"}},  # being tried once more
    ],
)
def test_the_failure_stays_while_it_is_tried_again(state: Manifest) -> None:
    deployment = deployment_of(isvc())
    again = {"restartCount": CRASHES, "state": state, "lastState": CRASHED["state"]}
    failure = load_failure(pod_of(deployment, "a", again))
    assert failure is not None
    assert "no such file" in failure["message"]
    assert failure["exitCode"] == 3


def test_the_failure_is_over_when_the_pod_is_ready_after_all() -> None:
    deployment = deployment_of(isvc())
    assert load_failure(pod_of(deployment, "a", {"restartCount": 9}, ready=True)) is None


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError"])
def test_a_container_that_cannot_start_is_told_of_at_once(reason: str) -> None:
    service = isvc()
    deployment = deployment_of(service)
    pod = pod_of(deployment, "a", {"state": {"waiting": {"reason": reason, "message": "image 'nope' not found"}}})
    status = status_of(service, deployment, [pod])
    assert status["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert status["modelStatus"]["lastFailureInfo"]["reason"] == "RuntimeUnhealthy"
    assert "image 'nope' not found" in status["modelStatus"]["lastFailureInfo"]["message"]


def test_a_new_version_that_fails_is_told_of_while_the_old_one_serves() -> None:
    service = isvc()
    old = pod_of(deployment_of(service), "old", ready=True)
    changed = isvc("pvc://models/2")
    deployment = deployment_of(changed, generation=2)
    status = status_of(changed, deployment, [old, pod_of(deployment, "new", CRASHED)])
    assert conditions(status)["Ready"] == "True"
    assert status["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert status["modelStatus"]["states"] == {"activeModelState": "Loaded", "targetModelState": "FailedToLoad"}
    assert phase(changed, status) is Phase.FAILED


def test_the_crashes_of_an_old_version_do_not_count() -> None:
    old = pod_of(deployment_of(isvc("pvc://models/broken")), "old", CRASHED)
    changed = isvc("pvc://models/2")
    deployment = deployment_of(changed, generation=2)
    assert template_hash(deployment) != old["metadata"]["labels"]["pod-template-hash"]
    status = status_of(changed, deployment, [old, pod_of(deployment, "new")])
    assert status["modelStatus"]["transitionStatus"] == "InProgress"


def test_the_time_of_a_failure_and_of_a_condition_does_not_move() -> None:
    service = isvc()
    deployment = deployment_of(service)
    pods = [pod_of(deployment, "a", CRASHED)]
    service["status"] = status_of(service, deployment, pods)
    long_ago = "2020-01-01T00:00:00Z"
    service["status"]["modelStatus"]["lastFailureInfo"]["time"] = long_ago
    for condition in service["status"]["conditions"]:
        condition["lastTransitionTime"] = long_ago
    assert status_of(service, deployment, pods) == service["status"]


def test_an_invalid_spec_is_told_of_and_what_serves_keeps_its_conditions() -> None:
    service = isvc()
    deployment = deployment_of(service)
    service["status"] = status_of(service, deployment, [pod_of(deployment, "a", ready=True)])
    status = invalid_status(service, InvalidPredictorError("modelFormat is 'x'", "NoSupportingRuntime"))
    assert status["modelStatus"]["transitionStatus"] == "InvalidSpec"
    assert status["modelStatus"]["states"] == {"activeModelState": "Loaded", "targetModelState": "FailedToLoad"}
    assert status["modelStatus"]["lastFailureInfo"]["reason"] == "NoSupportingRuntime"
    assert conditions(status)["Ready"] == "True"
    assert phase(service, status) is Phase.FAILED


def test_an_invalid_spec_from_the_start() -> None:
    status = invalid_status(isvc(), InvalidPredictorError("modelFormat is 'x'"))
    assert conditions(status) == {"IngressReady": "Unknown", "PredictorReady": "Unknown", "Ready": "Unknown"}


def test_a_stopped_service() -> None:
    status = stopped_status(isvc())
    assert conditions(status) == {
        "IngressReady": "False",
        "PredictorReady": "False",
        "Ready": "False",
        "Stopped": "True",
    }
    assert phase(isvc(), status) is Phase.QUEUED


def test_a_refused_pod_is_the_reason() -> None:
    service = isvc()
    deployment = deployment_of(service)
    deployment["status"] = new_status(deployment, Pods.of(deployment, []), "exceeded quota: pods")
    status = serving_status(service, deployment, service_of(service), [])
    ready = next(c for c in status["conditions"] if c["type"] == "PredictorReady")
    assert (ready["status"], ready["reason"], ready["message"]) == ("False", "FailedCreate", "exceeded quota: pods")
