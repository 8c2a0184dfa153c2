"""The resource types of Kubernetes itself that the local cluster serves, with the defaults and rules of each."""

from __future__ import annotations

from functools import partial

from airflow_provider_sparkml.local.api import printing, rules
from airflow_provider_sparkml.local.api.metadata import dns_1035_label, dns_label, path_segment
from airflow_provider_sparkml.local.api.model_schemas import builtin_schema
from airflow_provider_sparkml.local.api.pods import check_pod, fill_pod
from airflow_provider_sparkml.local.api.types import ResourceType
from airflow_provider_sparkml.resources.base import ApiResource

_POD_FIELDS = (
    "spec.nodeName spec.restartPolicy spec.schedulerName spec.serviceAccountName status.phase status.podIP "
    "status.nominatedNodeName"
)
_EVENT_FIELDS = (
    "involvedObject.kind involvedObject.namespace involvedObject.name involvedObject.uid involvedObject.apiVersion "
    "involvedObject.resourceVersion involvedObject.fieldPath reason reportingComponent type"
)
_SCALE = ("spec.replicas", "status.replicas", "")


MODELS: list[str] = []
"""Names of the classes in the ``kubernetes`` package that tell the built-in types' schemas."""


def _selectable(paths: str) -> dict[str, str]:
    return {path: path for path in paths.split()}


def _type(api: ApiResource, model: str, **facts: object) -> ResourceType:
    """Return a built-in type.

    :param model: name of its class in the ``kubernetes`` package, the source of its schema.
    """
    facts.setdefault("singular", api.kind.lower())
    MODELS.append(model)
    return ResourceType(api, schema=partial(builtin_schema, model), columns=printing.COLUMNS.get(api.kind, ()), **facts)  # type: ignore[arg-type]


def _core(plural: str, kind: str, *, namespaced: bool = True, **facts: object) -> ResourceType:
    return _type(ApiResource("", "v1", plural, kind, namespaced), f"V1{kind}", **facts)


def _in(group: str, plural: str, kind: str, *, namespaced: bool = True, **facts: object) -> ResourceType:
    return _type(ApiResource(group, "v1", plural, kind, namespaced), f"V1{kind}", **facts)


RBAC = "rbac.authorization.k8s.io"

BUILTIN: tuple[ResourceType, ...] = (
    _core(
        "namespaces", "Namespace", namespaced=False, short_names=("ns",), status=True, fill=rules.fill_namespace,
        name_rule=dns_label, selectable=_selectable("status.phase"), returns_deleted=True,
        subresources=(("finalize", "Namespace", ("update",)),),
    ),
    _core(
        "pods", "Pod", short_names=("po",), categories=("all",), status=True, generation=True, fill=fill_pod,
        check=check_pod, selectable=_selectable(_POD_FIELDS), returns_deleted=True,
        subresources=(
            ("binding", "Binding", ("create",)),
            ("eviction", "Eviction", ("create",)),
            ("log", "Pod", ("get",)),
            ("proxy", "PodProxyOptions", ("create", "delete", "get", "patch", "update")),
        ),
    ),
    _core(
        "services", "Service", short_names=("svc",), categories=("all",), status=True, fill=rules.fill_service,
        check=rules.check_service, name_rule=dns_1035_label, returns_deleted=True,
        selectable=_selectable("spec.clusterIP spec.type"),
        subresources=(("proxy", "ServiceProxyOptions", ("create", "delete", "get", "patch", "update")),),
    ),
    _core("endpoints", "Endpoints", short_names=("ep",), singular="endpoints"),
    _core("configmaps", "ConfigMap", short_names=("cm",), check=rules.check_config_map),
    _core("secrets", "Secret", fill=rules.fill_secret, check=rules.check_secret, selectable=_selectable("type")),
    _core(
        "serviceaccounts", "ServiceAccount", short_names=("sa",), returns_deleted=True,
        subresources=(("token", "TokenRequest", ("create",)),),
    ),
    _type(
        ApiResource("", "v1", "events", "Event"), "CoreV1Event", short_names=("ev",), fill=rules.fill_event,
        selectable=_selectable(_EVENT_FIELDS) | {"source": "source.component"},
    ),
    _core(
        "persistentvolumeclaims", "PersistentVolumeClaim", short_names=("pvc",), status=True, returns_deleted=True,
        fill=rules.fill_claim, check=rules.check_claim,
    ),
    _core(
        "persistentvolumes", "PersistentVolume", namespaced=False, short_names=("pv",), status=True,
        returns_deleted=True, fill=rules.fill_volume,
    ),
    _core(
        "nodes", "Node", namespaced=False, short_names=("no",), status=True,
        selectable=_selectable("spec.unschedulable"),
    ),
    _core(
        "resourcequotas", "ResourceQuota", short_names=("quota",), status=True, returns_deleted=True,
        check=rules.check_resource_quota,
    ),
    _core("limitranges", "LimitRange", short_names=("limits",)),
    _type(
        ApiResource("events.k8s.io", "v1", "events", "Event"), "EventsV1Event", short_names=("ev",),
        selectable=_selectable("reason type reportingController") | {"regarding.name": "involvedObject.name"},
        present=rules.event_to_events_v1, absorb=rules.event_from_events_v1, storage_group="", fill=rules.fill_event,
    ),
    _in(
        "apps", "deployments", "Deployment", short_names=("deploy",), categories=("all",), status=True, generation=True,
        scale=_SCALE, fill=rules.fill_deployment, check=rules.check_workload,
    ),
    _in(
        "apps", "statefulsets", "StatefulSet", short_names=("sts",), categories=("all",), status=True, generation=True,
        scale=_SCALE, fill=rules.fill_stateful_set, check=rules.check_workload,
    ),
    _in(
        "apps", "replicasets", "ReplicaSet", short_names=("rs",), categories=("all",), status=True, generation=True,
        scale=_SCALE, fill=rules.fill_replica_set, check=rules.check_workload,
        selectable=_selectable("status.replicas"),
    ),
    _in(
        "batch", "jobs", "Job", categories=("all",), status=True, generation=True, fill=rules.fill_job,
        check=rules.check_job, selectable=_selectable("status.successful"),
    ),
    _in("coordination.k8s.io", "leases", "Lease"),
    _in(
        "networking.k8s.io", "networkpolicies", "NetworkPolicy", short_names=("netpol",), generation=True,
        fill=rules.fill_network_policy,
    ),
    _in("networking.k8s.io", "ingresses", "Ingress", short_names=("ing",), status=True, generation=True),
    _in(
        "policy", "poddisruptionbudgets", "PodDisruptionBudget", short_names=("pdb",), status=True, generation=True
    ),
    _in("scheduling.k8s.io", "priorityclasses", "PriorityClass", namespaced=False, short_names=("pc",)),
    _in(RBAC, "roles", "Role", name_rule=path_segment, check=rules.check_role),
    _in(RBAC, "rolebindings", "RoleBinding", name_rule=path_segment, check=rules.check_binding),
    _in(RBAC, "clusterroles", "ClusterRole", namespaced=False, name_rule=path_segment, check=rules.check_role),
    _in(
        RBAC, "clusterrolebindings", "ClusterRoleBinding", namespaced=False, name_rule=path_segment,
        check=rules.check_binding,
    ),
    _in(
        "apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False,
        short_names=("crd", "crds"), categories=("api-extensions",), status=True, generation=True,
        fill=rules.fill_definition, check=rules.check_definition,
    ),
)  # fmt: skip
"""Every built-in type."""
