"""The columns of ``kubectl get`` for the built-in types, as kubernetes' ``printers/internalversion`` has them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from airflow_provider_sparkml.local.api.metadata import now
from airflow_provider_sparkml.local.api.selectors import selector_text
from airflow_provider_sparkml.local.api.types import AGE, Column, age, dig, short_duration
from airflow_provider_sparkml.resources.base import Manifest

NONE = "<none>"


def _at(path: str, otherwise: Any = NONE) -> Callable[[Manifest], Any]:
    """Return a reader of the value at a dotted path."""

    def read(obj: Manifest) -> Any:
        value = dig(obj, path)
        return otherwise if value is None or value in ("", [], {}) else value

    return read


def _size(*paths: str) -> Callable[[Manifest], int]:
    return lambda obj: sum(len(dig(obj, path) or ()) for path in paths)


def _joined(path: str) -> Callable[[Manifest], str]:
    return lambda obj: ",".join(map(str, dig(obj, path) or ())) or NONE


def _wide(name: str, value: Callable[[Manifest], Any]) -> Column:
    return Column(name, value, priority=1)


def _containers(path: str, part: str) -> Column:
    heading = "Containers" if part == "name" else "Images"
    return _wide(heading, lambda obj: ",".join(str(each.get(part, "")) for each in dig(obj, path) or ()))


def _statuses(pod: Manifest) -> list[dict[str, Any]]:
    return (pod.get("status") or {}).get("containerStatuses") or []


def _pod_ready(pod: Manifest) -> str:
    return f"{sum(bool(each.get('ready')) for each in _statuses(pod))}/{len(pod['spec'].get('containers') or ())}"


def _pod_status(pod: Manifest) -> str:
    """Return the one word that says best how a pod does."""
    status = pod.get("status") or {}
    word = status.get("reason") or status.get("phase") or ""
    for each in _statuses(pod):
        state = each.get("state") or {}
        if reason := (state.get("waiting") or {}).get("reason"):
            word = reason
        elif ended := state.get("terminated"):
            code = f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"
            word = ended.get("reason") or code
    if pod["metadata"].get("deletionTimestamp") and status.get("phase") not in ("Succeeded", "Failed"):
        return "Terminating"
    return str(word)


def _pod_restarts(pod: Manifest) -> str:
    count = sum(each.get("restartCount", 0) for each in _statuses(pod))
    ends = [dig(each, "lastState.terminated.finishedAt") for each in _statuses(pod)]
    last = max((end for end in ends if end), default=None)
    return f"{count} ({age(last)} ago)" if count and last else str(count)


def _ports(service: Manifest) -> str:
    texts = [
        f"{each['port']}{':' + str(each['nodePort']) if each.get('nodePort') else ''}/{each.get('protocol', 'TCP')}"
        for each in dig(service, "spec.ports") or ()
    ]
    return ",".join(texts) or NONE


def _condition(obj: Manifest, name: str) -> str:
    conditions = dig(obj, "status.conditions") or ()
    return next((str(each["status"]) for each in conditions if each["type"] == name), "")


def _node_status(node: Manifest) -> str:
    word = {"True": "Ready", "False": "NotReady"}.get(_condition(node, "Ready"), "Unknown")
    return f"{word},SchedulingDisabled" if dig(node, "spec.unschedulable") else word


def _node_roles(node: Manifest) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = node["metadata"].get("labels") or {}
    return ",".join(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))) or NONE


def _job_status(job: Manifest) -> str:
    for condition, word in (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")):
        if _condition(job, condition) == "True":
            return word
    return "Terminating" if job["metadata"].get("deletionTimestamp") else "Running"


def _job_completions(job: Manifest) -> str:
    done = dig(job, "status.succeeded") or 0
    wanted = dig(job, "spec.completions") or dig(job, "spec.parallelism") or 1
    return f"{done}/{wanted}"


def _job_duration(job: Manifest) -> str:
    begin, end = dig(job, "status.startTime"), dig(job, "status.completionTime")
    if not begin:
        return ""
    seconds = datetime.fromisoformat(end or now()) - datetime.fromisoformat(begin)
    return short_duration(int(seconds.total_seconds()))


def _event_age(event: Manifest) -> str:
    series = dig(event, "series.lastObservedTime")
    return age(series or event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])


def _event_object(event: Manifest) -> str:
    about = event.get("involvedObject") or event.get("regarding") or {}
    return f"{about.get('kind', '').lower()}/{about.get('name', '')}"


def _quota(obj: Manifest, prefix: str, *, excluding: str = "\0") -> str:
    used = dig(obj, "status.used") or {}
    pairs = (dig(obj, "status.hard") or dig(obj, "spec.hard") or {}).items()
    chosen = [
        (name, hard) for name, hard in sorted(pairs) if name.startswith(prefix) and not name.startswith(excluding)
    ]
    return ", ".join(f"{name}: {used.get(name, '0')}/{hard}" for name, hard in chosen)


def _subjects(kind: str) -> Callable[[Manifest], str]:
    def read(binding: Manifest) -> str:
        chosen = [each for each in binding.get("subjects") or () if each.get("kind") == kind]
        return ", ".join(
            f"{each['namespace']}/{each['name']}" if each.get("namespace") else each["name"] for each in chosen
        )

    return read


_POD_SPEC = "spec.template.spec.containers"
_SELECTOR = _wide("Selector", lambda obj: selector_text(dig(obj, "spec.selector")) or NONE)
_ROLE = Column("Role", lambda obj: f"{obj['roleRef']['kind']}/{obj['roleRef']['name']}")

COLUMNS: dict[str, tuple[Column, ...]] = {
    "Pod": (
        Column("Ready", _pod_ready),
        Column("Status", _pod_status),
        Column("Restarts", _pod_restarts),
        AGE,
        _wide("IP", _at("status.podIP")),
        _wide("Node", _at("spec.nodeName")),
    ),
    "Service": (
        Column("Type", _at("spec.type")),
        Column("Cluster-IP", _at("spec.clusterIP")),
        Column("External-IP", _at("spec.externalName")),
        Column("Port(s)", _ports),
        AGE,
        _wide("Selector", lambda obj: selector_text({"matchLabels": dig(obj, "spec.selector")}) or NONE),
    ),
    "Deployment": (
        Column("Ready", lambda obj: f"{dig(obj, 'status.readyReplicas') or 0}/{dig(obj, 'spec.replicas')}"),
        Column("Up-to-date", _at("status.updatedReplicas", 0), "integer"),
        Column("Available", _at("status.availableReplicas", 0), "integer"),
        AGE,
        _containers(_POD_SPEC, "name"),
        _containers(_POD_SPEC, "image"),
        _SELECTOR,
    ),
    "StatefulSet": (
        Column("Ready", lambda obj: f"{dig(obj, 'status.readyReplicas') or 0}/{dig(obj, 'spec.replicas')}"),
        AGE,
        _containers(_POD_SPEC, "name"),
        _containers(_POD_SPEC, "image"),
    ),
    "ReplicaSet": (
        Column("Desired", _at("spec.replicas", 0), "integer"),
        Column("Current", _at("status.replicas", 0), "integer"),
        Column("Ready", _at("status.readyReplicas", 0), "integer"),
        AGE,
        _containers(_POD_SPEC, "name"),
        _containers(_POD_SPEC, "image"),
        _SELECTOR,
    ),
    "Job": (
        Column("Status", _job_status),
        Column("Completions", _job_completions),
        Column("Duration", _job_duration),
        AGE,
        _containers(_POD_SPEC, "name"),
        _containers(_POD_SPEC, "image"),
    ),
    "Namespace": (Column("Status", _at("status.phase")), AGE),
    "Node": (
        Column("Status", _node_status),
        Column("Roles", _node_roles),
        AGE,
        Column("Version", _at("status.nodeInfo.kubeletVersion", "")),
    ),
    "ConfigMap": (Column("Data", _size("data", "binaryData"), "integer"), AGE),
    "Secret": (Column("Type", _at("type")), Column("Data", _size("data"), "integer"), AGE),
    "PersistentVolumeClaim": (
        Column("Status", _at("status.phase")),
        Column("Volume", _at("spec.volumeName", "")),
        Column("Capacity", _at("status.capacity.storage", "")),
        Column("Access Modes", _joined("status.accessModes")),
        Column("StorageClass", _at("spec.storageClassName", "")),
        AGE,
    ),
    "PersistentVolume": (
        Column("Capacity", _at("spec.capacity.storage", "")),
        Column("Access Modes", _joined("spec.accessModes")),
        Column("Reclaim Policy", _at("spec.persistentVolumeReclaimPolicy")),
        Column("Status", _at("status.phase")),
        AGE,
    ),
    "Event": (
        Column("Last Seen", _event_age),
        Column("Type", _at("type", "")),
        Column("Reason", _at("reason", "")),
        Column("Object", _event_object),
        Column("Message", lambda obj: (obj.get("message") or obj.get("note") or "").strip()),
        _wide("Count", lambda obj: obj.get("count") or obj.get("deprecatedCount") or 1),
    ),
    "ResourceQuota": (
        Column("Request", lambda obj: _quota(obj, "", excluding="limits.")),
        Column("Limit", lambda obj: _quota(obj, "limits.")),
        AGE,
    ),
    "RoleBinding": (
        _ROLE,
        AGE,
        _wide("Users", _subjects("User")),
        _wide("Groups", _subjects("Group")),
        _wide("ServiceAccounts", _subjects("ServiceAccount")),
    ),
    "ClusterRoleBinding": (
        _ROLE,
        AGE,
        _wide("Users", _subjects("User")),
        _wide("Groups", _subjects("Group")),
        _wide("ServiceAccounts", _subjects("ServiceAccount")),
    ),
    "CustomResourceDefinition": (Column("Created At", _at("metadata.creationTimestamp")),),
    "Lease": (Column("Holder", _at("spec.holderIdentity", "")), AGE),
    "NetworkPolicy": (
        Column("Pod-Selector", lambda obj: selector_text(dig(obj, "spec.podSelector")) or NONE),
        AGE,
    ),
}  # fmt: skip
"""Kind → its columns after the name; a kind that is not here has its age."""
