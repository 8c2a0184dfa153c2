"""InferenceService of KServe (``serving.kserve.io/v1beta1``): its typed builder and how its status is read.

The status: ``pkg/apis/serving/v1beta1/inference_service_status.go`` of kserve/kserve v0.20.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import (
    ApiResource,
    LogSource,
    Manifest,
    Phase,
    Resource,
    Verdict,
    plain,
    present,
    register,
)
from airflow_provider_sparkml.resources.pod_secrets import Secret, secret_env, secret_env_from, secret_volumes

API = ApiResource("serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService")
MODEL_CONTAINER = "kserve-container"
_HOPELESS = ("BlockedByFailedLoad", "InvalidSpec")
_COUNTS = {"minReplicas": 0, "maxReplicas": 0, "canaryTrafficPercent": 0, "timeout": 0, "containerConcurrency": 0}
"""Fields of a predictor that are whole numbers, and the least that they may be."""


def read(obj: Manifest) -> Verdict:
    """Return the verdict of an InferenceService, as far as the object alone can tell.

    ``SUCCEEDED`` means that it is ready and its model is loaded. Whether it is the *new* version that is ready after
    an update, the object does not say (``status.observedGeneration`` is its Deployment's):
    :func:`~airflow_provider_sparkml.jobs.deploy.deploy` looks at the rollout for that.
    """
    status: Mapping[str, Any] = obj.get("status") or {}
    conditions = {item.get("type"): item for item in status.get("conditions") or []}
    model: Mapping[str, Any] = status.get("modelStatus") or {}
    transition = model.get("transitionStatus") or ""
    ready: Mapping[str, Any] = conditions.get("Ready") or {}
    created = obj["metadata"].get("creationTimestamp") or ""
    if transition in _HOPELESS:
        failure = model.get("lastFailureInfo") or {}
        return Verdict(
            Phase.FAILED,
            state=transition,
            reason=failure.get("reason") or transition,
            message=_failure_message(failure),
            finished_at=failure.get("time") or "",
        )
    if _is_true(conditions.get("Stopped")):
        return Verdict(Phase.QUEUED, state="Stopped", reason="Stopped", message="stopped by its annotation")
    being_deleted = bool(obj["metadata"].get("deletionTimestamp"))
    if _is_true(ready) and transition in ("", "UpToDate") and not being_deleted:
        return Verdict(
            Phase.SUCCEEDED, state="Ready", attempt=1, started_at=created, finished_at=_transition_time(ready)
        )
    blocked = _first_false(conditions.values())
    return Verdict(
        Phase.PENDING,
        state=transition or ("NotReady" if conditions else ""),
        reason="BeingDeleted" if being_deleted else blocked.get("reason") or "",
        message=blocked.get("message") or "",
        pending_since=_pending_since(obj, conditions),
    )


def facts(obj: Manifest) -> dict[str, Any]:
    """Return what only an InferenceService knows of itself: addresses, mode and the state of its model."""
    status = obj.get("status") or {}
    return {
        "url": status.get("url") or "",
        "address": (status.get("address") or {}).get("url") or "",
        "deployment_mode": status.get("deploymentMode") or "",
        "model_state": ((status.get("modelStatus") or {}).get("states") or {}).get("targetModelState") or "",
    }


def pod_selector(obj: Manifest) -> str:
    """Return the label selector of the predictor's pods."""
    return f"serving.kserve.io/inferenceservice={obj['metadata']['name']}"


def log_source(obj: Manifest) -> LogSource | None:
    """Know of no single log: an InferenceService has any number of pods, and names none of them."""
    return None


def normalize(manifest: Manifest) -> Manifest:
    """Return a copy with numbers where templates have rendered to text (``min_replicas="{{ params.replicas }}"``)."""
    result = copy.deepcopy(manifest)
    spec = result.get("spec")
    predictor = spec.get("predictor") if isinstance(spec, dict) else None
    if isinstance(predictor, dict):
        for name in _COUNTS:
            value = predictor.get(name)
            if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
                predictor[name] = int(value)
    return result


def check(manifest: Manifest) -> None:
    """Refuse an InferenceService that names nothing to serve.

    :raises InvalidManifestError: field, value and fix.
    """
    name = (manifest.get("metadata") or {}).get("name")
    if not name:
        raise InvalidManifestError(f"metadata.name is {name!r}: an InferenceService needs a fixed name")
    spec = manifest.get("spec")
    predictor = spec.get("predictor") if isinstance(spec, Mapping) else None
    if not isinstance(predictor, Mapping) or not predictor:
        raise InvalidManifestError(f"spec.predictor is {predictor!r}: set a model or containers")
    model = predictor.get("model")
    if isinstance(model, Mapping) and not (model.get("modelFormat") or {}).get("name"):
        raise InvalidManifestError(
            "spec.predictor.model.modelFormat.name is missing: set the model's format, such as 'onnx'"
        )
    for name, least in _COUNTS.items():
        value = predictor.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise InvalidManifestError(
                f"spec.predictor.{name} is {value!r}: set it to a whole number, at least {least}"
            )
    percent = predictor.get("canaryTrafficPercent")
    if percent is not None and percent > 100:
        raise InvalidManifestError(f"spec.predictor.canaryTrafficPercent is {percent!r}: set it to 0 … 100")
    low, high = predictor.get("minReplicas"), predictor.get("maxReplicas")
    if low and high and low > high:  # 0 is no limit
        raise InvalidManifestError(f"spec.predictor.minReplicas is {low}, more than maxReplicas, {high}")


def _first_false(conditions: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the first condition that says why it does not hold; empty when none does."""
    return next((item for item in conditions if item.get("status") == "False" and item.get("message")), {})


def _is_true(condition: Mapping[str, Any] | None) -> bool:
    """Whether a condition holds."""
    return (condition or {}).get("status") == "True"


def _transition_time(condition: Mapping[str, Any]) -> str:
    """Return since when a condition has its status."""
    return condition.get("lastTransitionTime") or ""


def _pending_since(obj: Manifest, conditions: Mapping[Any, Mapping[str, Any]]) -> str:
    """Return since when it could have become ready: since it stopped being so, or since it was created."""
    return _transition_time(conditions.get("Ready") or {}) or obj["metadata"].get("creationTimestamp") or ""


def _failure_message(failure: Mapping[str, Any]) -> str:
    """Return the model's last failure in one sentence."""
    exit_code = failure.get("exitCode")
    parts = [failure.get("message") or "", f"exit code {exit_code}" if exit_code else "", failure.get("location") or ""]
    return "; ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceService:
    """A model behind a URL.

    .. code-block:: python

        InferenceService(
            name="flights", model_format="onnx", storage_uri="pvc://sparkml-data/models/{{ run_id }}"
        )

    :param name: its name; fixed, since clients know it.
    :param model_format: format of the model, such as ``onnx`` or ``sklearn``; leave empty with ``containers``.
    :param storage_uri: where the model is (``pvc://claim/path``, ``s3://…``); required with ``model_format``.
    :param containers: containers of a custom predictor, as in a pod spec, instead of a model format.
    :param runtime: name of a ServingRuntime; chosen by KServe when empty.
    :param env: environment variables of the model server.
    :param secrets: what the model server takes from Kubernetes Secrets.
    :param resources: ``{"requests": …, "limits": …}`` of the model server.
    :param min_replicas: at least so many pods.
    :param max_replicas: at most so many pods; ``None`` for ``min_replicas``.
    :param canary_traffic_percent: share of the traffic for this version, in mode Knative.
    :param service_account: Kubernetes service account of the pods.
    :param labels: labels of the InferenceService.
    :param annotations: annotations of the InferenceService, such as ``serving.kserve.io/deploymentMode``.
    :param extra: further fields of ``spec.predictor``, merged in last.
    """

    name: str
    model_format: str = ""
    storage_uri: str = ""
    containers: tuple[Mapping[str, Any], ...] | list[Mapping[str, Any]] = ()
    runtime: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[Secret] = ()
    resources: Mapping[str, Any] = field(default_factory=dict)
    min_replicas: int | str = 1
    max_replicas: int | str | None = None
    canary_traffic_percent: int | str | None = None
    service_account: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if bool(self.model_format) == bool(self.containers):
            raise InvalidManifestError(
                f"model_format is {self.model_format!r} and containers has {len(self.containers)}: give one of the two"
            )
        if self.model_format and not self.storage_uri:
            raise InvalidManifestError("storage_uri is empty: say where the model is, such as 'pvc://claim/path'")
        ignored = [
            name
            for name in ("storage_uri", "runtime", "env", "secrets", "resources")
            if self.containers and getattr(self, name)
        ]
        if ignored:
            raise InvalidManifestError(
                f"{ignored[0]} is set together with containers, where nothing would read it: "
                "write it into the container itself (the model's address as its variable STORAGE_URI)"
            )

    def to_manifest(self) -> Manifest:
        """Return the manifest, new at each call."""
        predictor: dict[str, Any] = {"minReplicas": self.min_replicas}
        if self.max_replicas is not None:
            predictor["maxReplicas"] = self.max_replicas
        if self.canary_traffic_percent is not None:
            predictor["canaryTrafficPercent"] = self.canary_traffic_percent
        if self.service_account:
            predictor["serviceAccountName"] = self.service_account
        if self.containers:
            predictor["containers"] = plain(self.containers)
        else:
            predictor["model"] = self._model()
        if volumes := [volume.to_volume() for volume in secret_volumes(self.secrets)]:
            predictor["volumes"] = volumes
        metadata: dict[str, Any] = {"name": self.name}
        if self.labels:
            metadata["labels"] = dict(self.labels)
        if self.annotations:
            metadata["annotations"] = dict(self.annotations)
        return {
            "apiVersion": API.api_version,
            "kind": API.kind,
            "metadata": metadata,
            "spec": {"predictor": predictor | plain(self.extra)},
        }

    def _model(self) -> dict[str, Any]:
        """Return ``spec.predictor.model``."""
        model: dict[str, Any] = {"modelFormat": {"name": self.model_format}, "storageUri": self.storage_uri}
        if self.runtime:
            model["runtime"] = self.runtime
        if self.env or self.secrets:
            env = [{"name": name, "value": value} for name, value in self.env.items()]
            mounts = [volume.to_mount() for volume in secret_volumes(self.secrets)]
            fields = {"env": env + secret_env(self.secrets), "envFrom": secret_env_from(self.secrets)}
            model |= present({**fields, "volumeMounts": mounts})
        if self.resources:
            model["resources"] = plain(self.resources)
        return model


INFERENCE_SERVICE = register(
    Resource(
        api=API,
        read=read,
        normalize=normalize,
        check=check,
        log_source=log_source,
        facts=facts,
        pod_selector=pod_selector,
        main_container=MODEL_CONTAINER,
    )
)

__all__ = ["API", "INFERENCE_SERVICE", "MODEL_CONTAINER", "InferenceService", "Secret", "read"]
