"""Every type whose objects can belong to others or lie in a namespace: Kubernetes' own, and those that CRDs define."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import (
    CONFIG_MAP,
    DEPLOYMENT,
    EVENT,
    NAMESPACE,
    NODE,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    ROLE,
    ROLE_BINDING,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
)

DEFINITION = ApiResource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)

BUILTIN: tuple[ApiResource, ...] = (
    POD,
    SERVICE,
    CONFIG_MAP,
    SECRET,
    SERVICE_ACCOUNT,
    PERSISTENT_VOLUME_CLAIM,
    DEPLOYMENT,
    STATEFUL_SET,
    ROLE,
    ROLE_BINDING,
    ApiResource("", "v1", "endpoints", "Endpoints"),
    ApiResource("", "v1", "resourcequotas", "ResourceQuota"),
    ApiResource("", "v1", "limitranges", "LimitRange"),
    ApiResource("apps", "v1", "replicasets", "ReplicaSet"),
    ApiResource("batch", "v1", "jobs", "Job"),
    ApiResource("coordination.k8s.io", "v1", "leases", "Lease"),
    ApiResource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
    ApiResource("networking.k8s.io", "v1", "ingresses", "Ingress"),
    ApiResource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    NAMESPACE,
    NODE,
    ApiResource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False),
    ApiResource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False),
    ApiResource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    ApiResource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False),
)
"""Kubernetes' own types; events are apart, as they own nothing and nothing owns them."""


def defined_by(definition: Manifest) -> ApiResource | None:
    """Return the type that a CRD defines, in its stored version; ``None`` before it is served."""
    conditions = (definition.get("status") or {}).get("conditions") or ()
    if not any(each["type"] == "Established" and each["status"] == "True" for each in conditions):
        return None
    spec = definition["spec"]
    version = next(each["name"] for each in spec["versions"] if each.get("storage"))
    return ApiResource(
        spec["group"], version, spec["names"]["plural"], spec["names"]["kind"], spec["scope"] == "Namespaced"
    )


async def namespaced_types(client: KubernetesClient) -> list[ApiResource]:
    """Return every type whose objects live in namespaces, as of now."""
    definitions: Iterable[Manifest] = (await client.list(DEFINITION)).items
    custom = [api for api in map(defined_by, definitions) if api and api.namespaced]
    return [*(api for api in BUILTIN if api.namespaced), EVENT, *custom]
