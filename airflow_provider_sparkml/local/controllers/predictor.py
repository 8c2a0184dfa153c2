"""From an InferenceService's spec to the Deployment and the Service that serve it, as KServe's Standard mode does."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_sparkml import __version__
from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.local.controllers.runtime import owner_reference
from airflow_provider_sparkml.resources.base import Manifest

CONTAINER = "kserve-container"
MODEL_PATH = "/mnt/models"
HTTP_PORT = 8080
COMPONENT_LABEL = "component"
SERVICE_LABEL = "serving.kserve.io/inferenceservice"
STOP_ANNOTATION = "serving.kserve.io/stop"
MODE_ANNOTATION = "serving.kserve.io/deploymentMode"

UNSUPPORTED = {
    "spec": ("transformer", "explainer", "canary"),
    "spec.predictor": ("autoScaling", "batcher", "canaryTrafficPercent", "logger", "name", "storageUris", "workerSpec"),
    "spec.predictor.model": ("storage",),
}
"""What KServe knows and the local cluster does not; ignoring it would show a newcomer a service he did not ask for."""

EXTENSION_FIELDS = frozenset(
    (
        *("annotations", "containerConcurrency", "deploymentStrategy", "labels", "maxReplicas", "minReplicas"),
        *("model", "scaleMetric", "scaleMetricType", "scaleTarget", "timeout"),
    )
)
"""Fields of a predictor that are not fields of a pod."""

MODEL_ONLY_FIELDS = frozenset(("modelFormat", "protocolVersion", "runtime", "storageUri"))
"""Fields of ``predictor.model`` that are not fields of a container."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A model server the local cluster can start, as a ClusterServingRuntime tells it.

    :param name: its name in ``predictor.model.runtime`` and in the status.
    :param image: its image.
    :param versions: versions of the model format it reads.
    :param protocols: protocols it speaks.
    """

    name: str
    image: str
    versions: tuple[str, ...]
    protocols: tuple[str, ...]


RUNTIMES = {"onnx": Runtime("sparkml-onnxserver", f"sparkml/onnxserver:{__version__}", ("1",), ("v1", "v2"))}
"""Model format → the runtime that serves it."""


class InvalidPredictorError(InvalidManifestError):
    """The spec of an InferenceService cannot be served here.

    :param reason: KServe's word for it: ``NoSupportingRuntime``, ``RuntimeNotRecognized``, ``InvalidPredictorSpec``.
    """

    def __init__(self, message: str, reason: str = "InvalidPredictorSpec") -> None:
        super().__init__(message)
        self.reason = reason


def predictor_name(isvc: Manifest) -> str:
    """Return the name of the Deployment and the Service of an InferenceService."""
    return f"{isvc['metadata']['name']}-predictor"


def runtime_of(isvc: Manifest) -> Runtime | None:
    """Return the runtime for ``predictor.model``, or ``None`` for a custom container.

    :raises InvalidPredictorError: when no runtime here serves such a model.
    """
    predictor = isvc["spec"]["predictor"]
    model = predictor.get("model")
    if model is None:
        return None
    name = (model.get("modelFormat") or {}).get("name", "")
    runtime = RUNTIMES.get(name)
    if runtime is None:
        raise InvalidPredictorError(
            f"spec.predictor.model.modelFormat.name is {name!r}; the local cluster serves {', '.join(RUNTIMES)}: "
            "export the model to it, or give a container in spec.predictor.containers",
            "NoSupportingRuntime",
        )
    wanted = model.get("runtime")
    if wanted not in (None, runtime.name):
        raise InvalidPredictorError(
            f"spec.predictor.model.runtime is {wanted!r}; leave it out, or say {runtime.name!r}", "RuntimeNotRecognized"
        )
    version = model["modelFormat"].get("version")
    if version not in (None, *runtime.versions):
        raise InvalidPredictorError(
            f"spec.predictor.model.modelFormat.version is {version!r}; {name} is served in version "
            f"{', '.join(runtime.versions)}",
            "NoSupportingRuntime",
        )
    protocol = model.get("protocolVersion")
    if protocol not in (None, *runtime.protocols):
        raise InvalidPredictorError(
            f"spec.predictor.model.protocolVersion is {protocol!r}; {runtime.name} speaks "
            f"{', '.join(runtime.protocols)}",
            "NoSupportingRuntime",
        )
    return runtime


def build_deployment(isvc: Manifest) -> Manifest:
    """Return the Deployment of the predictor.

    :raises InvalidPredictorError: when the spec cannot be served here.
    """
    _refuse_unsupported(isvc)
    predictor = isvc["spec"]["predictor"]
    replicas = max(1, predictor.get("minReplicas", 1))  # nothing scales here, so nothing would scale up from 0
    labels = {
        **(isvc["metadata"].get("labels") or {}),
        **(predictor.get("labels") or {}),
        **_selector(isvc),
        SERVICE_LABEL: isvc["metadata"]["name"],
        COMPONENT_LABEL: "predictor",
    }
    annotations = {**(isvc["metadata"].get("annotations") or {}), **(predictor.get("annotations") or {})}
    annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    deployment: Manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**_meta(isvc), "labels": labels, "annotations": annotations},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": _selector(isvc)},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": build_pod_spec(isvc)},
        },
    }
    if "deploymentStrategy" in predictor:
        deployment["spec"]["strategy"] = predictor["deploymentStrategy"]
    return deployment


def build_service(isvc: Manifest, existing: Manifest | None) -> Manifest:
    """Return the Service in front of the predictor's pods; port 80 is their first port.

    :param existing: the Service as it is now, whose node port stays.
    """
    container = build_pod_spec(isvc)["containers"][0]
    port: dict[str, Any] = {"name": "http", "port": 80, "protocol": "TCP", "targetPort": _first_port(container)}
    known = ((existing or {}).get("spec", {}).get("ports") or [{}])[0].get("nodePort")
    if known:
        port["nodePort"] = known
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            **_meta(isvc),
            "labels": {SERVICE_LABEL: isvc["metadata"]["name"], COMPONENT_LABEL: "predictor"},
        },
        "spec": {"type": "NodePort", "selector": _selector(isvc), "ports": [port]},
    }


def build_pod_spec(isvc: Manifest) -> Manifest:
    """Return the spec of the predictor's pods: the runtime's container, or the user's own, with the model mounted."""
    predictor = isvc["spec"]["predictor"]
    runtime = runtime_of(isvc)
    pod = {name: copy.deepcopy(value) for name, value in predictor.items() if name not in EXTENSION_FIELDS}
    if runtime is None:
        containers = pod.get("containers") or []
        if not containers:
            raise InvalidPredictorError("spec.predictor has neither `model` nor `containers`; give one of them")
        if len(containers) == 1 or not containers[0].get("name"):
            containers[0]["name"] = CONTAINER
        storage_uri = next((e.get("value") for e in containers[0].get("env") or [] if e["name"] == "STORAGE_URI"), None)
    else:
        model = predictor["model"]
        pod["containers"] = [_runtime_container(isvc, runtime, model), *(pod.get("containers") or [])]
        storage_uri = model.get("storageUri")
        if not storage_uri:
            raise InvalidPredictorError("spec.predictor.model.storageUri is missing; give pvc://<claim>/<path>")
    if storage_uri:
        volume, mount = _model_volume(storage_uri)
        pod["volumes"] = [*(pod.get("volumes") or []), volume]
        pod["containers"][0]["volumeMounts"] = [*(pod["containers"][0].get("volumeMounts") or []), mount]
    for container in pod["containers"]:
        env = [e for e in container.get("env") or [] if e["name"] != "INFERENCE_SERVICE_NAME"]
        container["env"] = [*env, {"name": "INFERENCE_SERVICE_NAME", "value": isvc["metadata"]["name"]}]
    if "readinessProbe" not in pod["containers"][0]:
        probe = {"tcpSocket": {"port": _first_port(pod["containers"][0])}, "periodSeconds": 1}
        pod["containers"][0]["readinessProbe"] = probe
    return pod


def _runtime_container(isvc: Manifest, runtime: Runtime, model: Mapping[str, Any]) -> Manifest:
    """Return the runtime's container with the user's own fields over it; his arguments come after the runtime's."""
    name = isvc["metadata"]["name"]
    own = {key: copy.deepcopy(value) for key, value in model.items() if key not in MODEL_ONLY_FIELDS}
    args = [f"--model_name={name}", f"--model_dir={MODEL_PATH}", f"--http_port={HTTP_PORT}"]
    # Pods share the host here: the server must take its pod's own loopback address, and not all interfaces.
    address = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    args += ["--host=$(POD_IP)", *own.pop("args", [])]
    return {
        "image": runtime.image,
        "ports": [{"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"}],
        "readinessProbe": {
            "httpGet": {"path": f"/v2/models/{name}/ready", "port": HTTP_PORT},
            "periodSeconds": 1,
        },
        # A model that does not load is told of in the server's log, and so in the status of the InferenceService.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **own,
        "name": CONTAINER,
        "args": args,
        "env": [address, *own.pop("env", [])],
    }


def _model_volume(storage_uri: str) -> tuple[Manifest, Manifest]:
    """Return the volume of the model and where it is mounted."""
    url = urlsplit(storage_uri)
    mount: Manifest = {"name": "kserve-model", "mountPath": MODEL_PATH, "readOnly": True}
    if url.scheme == "pvc" and url.netloc:
        claim: Manifest = {"claimName": url.netloc, "readOnly": True}
        if path := url.path.strip("/"):
            mount["subPath"] = path
        return {"name": "kserve-model", "persistentVolumeClaim": claim}, mount
    if url.scheme in ("", "file") and url.path.startswith("/"):
        return {"name": "kserve-model", "hostPath": {"path": url.path}}, mount
    raise InvalidPredictorError(
        f"storageUri is {storage_uri!r}; the local cluster reads models from pvc://<claim>/<path> or an absolute path"
    )


def _refuse_unsupported(isvc: Manifest) -> None:
    mode = (isvc["metadata"].get("annotations") or {}).get(MODE_ANNOTATION, "Standard")
    if mode not in ("Standard", "RawDeployment"):
        raise InvalidPredictorError(
            f"annotation {MODE_ANNOTATION} is {mode!r}; the local cluster has the mode Standard only: remove it"
        )
    predictor = isvc["spec"]["predictor"]
    parts = {"spec": isvc["spec"], "spec.predictor": predictor, "spec.predictor.model": predictor.get("model") or {}}
    for where, fields in UNSUPPORTED.items():
        for field in fields:
            if field in parts[where]:
                raise InvalidPredictorError(f"{where}.{field} is not supported by the local cluster; remove it")


def _meta(isvc: Manifest) -> Manifest:
    return {
        "name": predictor_name(isvc),
        "namespace": isvc["metadata"]["namespace"],
        "ownerReferences": [owner_reference(isvc)],
    }


def _selector(isvc: Manifest) -> dict[str, str]:
    return {"app": f"isvc.{predictor_name(isvc)}"}


def _first_port(container: Manifest) -> int:
    ports = container.get("ports") or []
    return int(ports[0]["containerPort"]) if ports else HTTP_PORT
