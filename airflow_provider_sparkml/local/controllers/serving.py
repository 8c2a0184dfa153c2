"""The InferenceService controller: KServe's Standard mode, as far as one machine can offer it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import NotFoundError
from airflow_provider_sparkml.local.controllers.deployments import (
    HASH_LABEL,
    is_ready,
    template_hash,
)
from airflow_provider_sparkml.local.controllers.objects import find_condition
from airflow_provider_sparkml.local.controllers.predictor import (
    SERVICE_LABEL,
    STOP_ANNOTATION,
    InvalidPredictorError,
    build_deployment,
    build_service,
    predictor_name,
    runtime_of,
)
from airflow_provider_sparkml.local.controllers.runtime import (
    Controller,
    Source,
    now,
    own_key,
    owner_key,
    record_event,
)
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import DEPLOYMENT, POD, SERVICE
from airflow_provider_sparkml.resources.serving import INFERENCE_SERVICE

NAME = "inferenceservice-controller"
CRASHES = 2
"""After so many crashes in a row a model counts as one that does not load."""

CANNOT_START = frozenset(
    (
        *("ErrImagePull", "ImagePullBackOff", "InvalidImageName"),
        *("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
    )
)
"""Why a container waits that will not start by waiting."""


def serving_controller(client: KubernetesClient) -> Controller:
    """Return the controller of all InferenceServices."""

    async def reconcile(namespace: str, name: str) -> None:
        await reconcile_service(client, namespace, name)

    def by_label(pod: Manifest) -> list[tuple[str, str]]:
        name = (pod["metadata"].get("labels") or {}).get(SERVICE_LABEL)
        return [(pod["metadata"]["namespace"], name)] if name else []

    sources = [
        Source(INFERENCE_SERVICE.api, own_key),
        Source(DEPLOYMENT, owner_key("InferenceService")),
        Source(SERVICE, owner_key("InferenceService")),
        Source(POD, by_label),
    ]
    return Controller("serving", client, sources, reconcile)


async def reconcile_service(client: KubernetesClient, namespace: str, name: str) -> None:
    """Bring the predictor of one InferenceService in line with its spec and write its status."""
    try:
        isvc = await client.get(INFERENCE_SERVICE.api, name, namespace)
    except NotFoundError:
        return
    if "deletionTimestamp" in isvc["metadata"]:
        return  # what it owns goes with it
    if (isvc["metadata"].get("annotations") or {}).get(STOP_ANNOTATION) == "true":
        await client.delete(DEPLOYMENT, predictor_name(isvc), namespace)
        await client.delete(SERVICE, predictor_name(isvc), namespace)
        await _write_status(client, isvc, stopped_status(isvc))
        return
    try:
        wanted = build_deployment(isvc)
    except InvalidPredictorError as error:  # what runs already keeps running
        await _write_status(client, isvc, invalid_status(isvc, error))
        return
    deployment = await client.apply(DEPLOYMENT, wanted, namespace, field_manager=NAME, force=True)
    existing = await _get_service(client, namespace, predictor_name(isvc))
    service = await client.apply(SERVICE, build_service(isvc, existing), namespace, field_manager=NAME, force=True)
    pods = (await client.list(POD, namespace, label_selector=f"{SERVICE_LABEL}={name}")).items
    await _write_status(client, isvc, new_status(isvc, deployment, service, pods))


async def _get_service(client: KubernetesClient, namespace: str, name: str) -> Manifest | None:
    try:
        return await client.get(SERVICE, name, namespace)
    except NotFoundError:
        return None


async def _write_status(client: KubernetesClient, isvc: Manifest, status: Manifest) -> None:
    before = isvc.get("status") or {}
    if status == before:
        return
    await client.replace(
        INFERENCE_SERVICE.api, {**isvc, "status": status}, isvc["metadata"]["namespace"], subresource="status"
    )
    name = isvc["metadata"]["name"]
    was, is_now = (_status_of(s, "Ready") for s in (before, status))
    failure = status.get("modelStatus", {}).get("lastFailureInfo")
    if failure and failure != before.get("modelStatus", {}).get("lastFailureInfo"):
        await record_event(client, isvc, "Warning", reason=failure["reason"], message=failure["message"], source=NAME)
    if was != "True" and is_now == "True":
        message = f"InferenceService [{name}] is Ready"
        await record_event(client, isvc, "Normal", reason="InferenceServiceReady", message=message, source=NAME)
    if was == "True" and is_now == "False":
        message = f"InferenceService [{name}] is no longer Ready"
        await record_event(client, isvc, "Warning", reason="InferenceServiceNotReady", message=message, source=NAME)


def new_status(isvc: Manifest, deployment: Manifest, service: Manifest, pods: Sequence[Manifest]) -> Manifest:
    """Return the status of an InferenceService, as KServe v0.20 derives it from the Deployment and its pods.

    Source: ``PropagateRawStatus`` and ``PropagateModelStatus`` in pkg/apis/serving/v1beta1/inference_service_status.go.
    One thing is better here: a new version whose pods cannot load the model is told of while the old one still serves;
    KServe keeps quiet until the progress deadline of the Deployment.
    """
    url = service_url(service)
    conditions = {
        "IngressReady": ("True", "", "") if url else ("Unknown", "NoNodePort", "The service has no port yet."),
        "PredictorReady": _predictor_ready(deployment),
    }
    runtime = runtime_of(isvc)
    status: Manifest = {
        "observedGeneration": deployment.get("status", {}).get("observedGeneration", 0),
        "conditions": _conditions(isvc, conditions),
        "components": {"predictor": {"url": url} if url and conditions["PredictorReady"][0] == "True" else {}},
        "deploymentMode": "Standard",
    }
    if runtime:
        status["clusterServingRuntimeName"] = runtime.name
    if url:
        status |= {"url": url, "address": {"url": url}}
    status["modelStatus"] = _model_status(isvc, deployment, pods, is_serving=_status_of(status, "Ready") == "True")
    return status


def invalid_status(isvc: Manifest, error: InvalidPredictorError) -> Manifest:
    """Return the status of an InferenceService whose spec cannot be served; an earlier version may still serve."""
    before = isvc.get("status") or {}
    unknown = ("Unknown", "", "")
    conditions = {kind: _triple(find_condition(before, kind)) or unknown for kind in ("IngressReady", "PredictorReady")}
    active = before.get("modelStatus", {}).get("states", {}).get("activeModelState", "")
    return {
        **before,
        "conditions": _conditions(isvc, conditions),
        "deploymentMode": "Standard",
        "modelStatus": {
            "transitionStatus": "InvalidSpec",
            "states": {"activeModelState": active, "targetModelState": "FailedToLoad"},
            "lastFailureInfo": _failure(isvc, {"reason": error.reason, "message": str(error)}),
        },
    }


def stopped_status(isvc: Manifest) -> Manifest:
    """Return the status of an InferenceService that is stopped by its annotation."""
    stopped = ("False", "Stopped", "")
    conditions = {"IngressReady": stopped, "PredictorReady": stopped}
    listed = _conditions(isvc, conditions)
    return {
        "conditions": [*listed, _condition(isvc, "Stopped", ("True", "Stopped", ""))],
        "deploymentMode": "Standard",
    }


def service_url(service: Manifest) -> str:
    """Return where the service answers on this machine, empty while it has no node port."""
    port = service["spec"]["ports"][0].get("nodePort")
    return f"http://127.0.0.1:{port}" if port else ""


def _predictor_ready(deployment: Manifest) -> tuple[str, str, str]:
    status = deployment.get("status") or {}
    available = _triple(find_condition(status, "Available"))
    progressing = _triple(find_condition(status, "Progressing"))
    refused = _triple(find_condition(status, "ReplicaFailure"))
    ready = available if available and available[0] == "True" else ("False", "", "")
    if progressing and (progressing[0] == "False" or progressing[1] == "NewReplicaSetAvailable"):
        ready = progressing
    elif progressing and ready[0] != "True":
        ready = ("Unknown", *progressing[1:])
    if available and available[0] == "False":
        ready = available
    return ("False", *refused[1:]) if refused and refused[0] == "True" else ready


def _model_status(isvc: Manifest, deployment: Manifest, pods: Sequence[Manifest], *, is_serving: bool) -> Manifest:
    digest = template_hash(deployment)
    alive = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    current = [pod for pod in alive if (pod["metadata"].get("labels") or {}).get(HASH_LABEL) == digest]
    ready = sum(map(is_ready, alive))
    failure = next((found for pod in current if (found := load_failure(pod))), None)
    before = (isvc.get("status") or {}).get("modelStatus") or {}
    if failure:
        transition, target = "BlockedByFailedLoad", "FailedToLoad"
    elif is_serving:
        transition, target = "UpToDate", "Loaded"
    else:
        transition, target = "InProgress", "Loading" if any(map(_is_running, current)) else "Pending"
    result: Manifest = {
        "transitionStatus": transition,
        "states": {"activeModelState": "Loaded" if ready else "", "targetModelState": target},
        "copies": {"failedCopies": sum(load_failure(pod) is not None for pod in current), "totalCopies": ready},
    }
    if failure:
        result["lastFailureInfo"] = _failure(isvc, failure)
    elif "lastFailureInfo" in before and transition == "InProgress":
        result["lastFailureInfo"] = before["lastFailureInfo"]
    return result


def load_failure(pod: Manifest) -> dict[str, Any] | None:
    """Return why the pod's model does not load (KServe's ``FailureInfo``), or ``None`` while it may yet."""
    if is_ready(pod):
        return None
    for container in pod.get("status", {}).get("containerStatuses") or []:
        state: Mapping[str, Any] = container.get("state") or {}
        waiting = state.get("waiting") or {}
        if waiting.get("reason") in CANNOT_START:
            message = f"{waiting['reason']}: {waiting.get('message', '')}"
            return {"reason": "RuntimeUnhealthy", "message": message, "location": pod["metadata"]["name"]}
        crashes = container.get("restartCount", 0) + ("terminated" in state)
        ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
        if crashes >= CRASHES:
            why = ended.get("message") or ended.get("reason", "")
            return {
                "reason": "ModelLoadFailed",
                "message": f"container {container['name']} ended {crashes} times: {why}".strip(),
                "exitCode": ended.get("exitCode", 0),
                "location": pod["metadata"]["name"],
            }
    return None


def _is_running(pod: Manifest) -> bool:
    return bool(pod.get("status", {}).get("phase") == "Running")


def _failure(isvc: Manifest, failure: Mapping[str, Any]) -> dict[str, Any]:
    """Return a ``FailureInfo`` with the time at which it was first seen."""
    known = ((isvc.get("status") or {}).get("modelStatus") or {}).get("lastFailureInfo") or {}
    same = {key: value for key, value in known.items() if key != "time"} == failure
    return {**failure, "time": known["time"] if same else now()}


def _triple(condition: Mapping[str, Any] | None) -> tuple[str, str, str] | None:
    return (condition["status"], condition.get("reason", ""), condition.get("message", "")) if condition else None


def _conditions(isvc: Manifest, conditions: Mapping[str, tuple[str, str, str]]) -> list[Manifest]:
    """Return the conditions in alphabetical order, with ``Ready`` summing them up as Knative does."""
    by_status = {triple[0]: triple for triple in conditions.values()}
    ready = by_status.get("False") or by_status.get("Unknown") or ("True", "", "")
    return [_condition(isvc, kind, value) for kind, value in sorted({**conditions, "Ready": ready}.items())]


def _condition(isvc: Manifest, kind: str, value: tuple[str, str, str]) -> Manifest:
    status, reason, message = value
    known = find_condition(isvc.get("status") or {}, kind) or {}
    same = known.get("status") == status
    result = {"type": kind, "status": status, "lastTransitionTime": known["lastTransitionTime"] if same else now()}
    if reason:
        result["reason"] = reason
    if message:
        result["message"] = message
    return result


def _status_of(status: Manifest, kind: str) -> str:
    return str((find_condition(status, kind) or {}).get("status", "Unknown"))
