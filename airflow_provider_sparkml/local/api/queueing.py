"""Which jobs Kueue holds back at their creation, and where their spec says so: the part of its webhooks.

``pkg/controller/jobframework/base_webhook.go`` and ``defaults.go`` of kubernetes-sigs/kueue v0.19.
"""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.training import QUEUE_LABEL

_SPEC, _RUN_POLICY = ("spec",), ("spec", "runPolicy")
QUEUED_KINDS: Mapping[ApiResource, tuple[str, ...]] = {
    ApiResource("sparkoperator.k8s.io", "v1beta2", "sparkapplications", "SparkApplication"): _SPEC,
    ApiResource("batch", "v1", "jobs", "Job"): _SPEC,
    ApiResource("trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob"): _SPEC,
    ApiResource("kubeflow.org", "v2beta1", "mpijobs", "MPIJob"): _RUN_POLICY,
    ApiResource("kubeflow.org", "v1", "pytorchjobs", "PyTorchJob"): _RUN_POLICY,
    ApiResource("kubeflow.org", "v1", "tfjobs", "TFJob"): _RUN_POLICY,
    ApiResource("kubeflow.org", "v1", "xgboostjobs", "XGBoostJob"): _RUN_POLICY,
}
"""The kinds, and where each has its ``suspend``."""
_OWNERS = {(api.api_version, api.kind) for api in QUEUED_KINDS}
"""What is part of one of these waits with it; what others own, such as a Trial, is a job of its own."""


def is_queued(api: ApiResource, obj: Manifest) -> bool:
    """Whether Kueue decides when this job runs: it names a queue, and is no part of another that it decides about."""
    meta = obj["metadata"]
    owned = any(
        each.get("controller") and (each.get("apiVersion"), each.get("kind")) in _OWNERS
        for each in meta.get("ownerReferences") or ()
    )
    return api in QUEUED_KINDS and bool((meta.get("labels") or {}).get(QUEUE_LABEL)) and not owned


def hold_back(api: ApiResource, obj: Manifest) -> None:
    """Suspend a new job that names a queue, in place."""
    if is_queued(api, obj):
        place = obj
        for name in QUEUED_KINDS[api]:
            place = place.setdefault(name, {})
        place["suspend"] = True


def is_suspended(api: ApiResource, obj: Manifest) -> bool:
    """Whether a job's spec says so."""
    place = obj
    for name in QUEUED_KINDS[api]:
        place = place.get(name) or {}
    return bool(place.get("suspend"))


def suspension(api: ApiResource, suspended: bool) -> Manifest:
    """Return the merge patch that suspends a job, or lets it go."""
    patch: Manifest = {"suspend": suspended}
    for name in reversed(QUEUED_KINDS[api]):
        patch = {name: patch}
    return patch


__all__ = ["QUEUED_KINDS", "hold_back", "is_queued", "is_suspended", "suspension"]
