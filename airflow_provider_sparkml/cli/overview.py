"""What `sparkml cluster status` shows: nodes, namespaces, and the workloads with their verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_sparkml.cli.output import Row
from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.resources.base import Manifest, Resource
from airflow_provider_sparkml.resources.core import NAMESPACE, NODE, POD
from airflow_provider_sparkml.resources.katib import EXPERIMENT
from airflow_provider_sparkml.resources.kubeflow_v1 import PYTORCH_JOB, TF_JOB, XGBOOST_JOB
from airflow_provider_sparkml.resources.mpi import MPI_JOB
from airflow_provider_sparkml.resources.serving import INFERENCE_SERVICE
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION
from airflow_provider_sparkml.resources.trainer import TRAIN_JOB
from airflow_provider_sparkml.resources.training_pods import TRAINING_PODS

KINDS: tuple[Resource, ...] = (
    SPARK_APPLICATION,
    MPI_JOB,
    TRAIN_JOB,
    PYTORCH_JOB,
    TF_JOB,
    XGBOOST_JOB,
    EXPERIMENT,
    TRAINING_PODS,
    INFERENCE_SERVICE,
)


@dataclass(frozen=True, slots=True)
class Node:
    """A node.

    :param name: its name.
    :param state: ``Ready`` or ``NotReady``.
    :param pods: how many pods run or wait on it.
    """

    name: str
    state: str
    pods: int


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace.

    :param name: its name.
    :param state: ``Active`` or ``Terminating``.
    :param pods: how many pods are in it, ended ones included.
    """

    name: str
    state: str
    pods: int


@dataclass(frozen=True, slots=True)
class Workload:
    """A job or a service, or a pod that belongs to none.

    :param state: the kind's own word where it has one, else the phase.
    :param detail: its URL, or why it failed.
    """

    namespace: str
    kind: str
    name: str
    state: str
    created: str
    detail: str


@dataclass(frozen=True, slots=True)
class Overview:
    """All of it.

    :param server: URL of the API.
    """

    server: str
    nodes: Sequence[Node]
    namespaces: Sequence[Namespace]
    workloads: Sequence[Workload]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-safe data."""
        return asdict(self)

    def tables(self) -> list[tuple[str, Row, list[Row]]]:
        """Return title, headings and rows of each table."""
        return [
            ("Nodes", ("name", "state", "pods"), [(n.name, n.state, str(n.pods)) for n in self.nodes]),
            ("Namespaces", ("name", "state", "pods"), [(n.name, n.state, str(n.pods)) for n in self.namespaces]),
            (
                "Workloads",
                ("namespace", "kind", "name", "state", "age", "detail"),
                [(w.namespace, w.kind, w.name, w.state, age(w.created), w.detail) for w in self.workloads],
            ),
        ]


async def read_overview(client: KubernetesClient, server: str) -> Overview:
    """Read the state of the cluster.

    :param server: URL of the API, only to be shown.
    """
    pods = (await client.list(POD)).items
    in_namespace = Counter(pod["metadata"]["namespace"] for pod in pods)
    on_node = Counter(pod["spec"].get("nodeName") for pod in pods if _is_alive(pod))
    nodes = [
        Node(node["metadata"]["name"], _node_state(node), on_node[node["metadata"]["name"]])
        for node in (await client.list(NODE)).items
    ]
    namespaces = [
        Namespace(name := each["metadata"]["name"], each.get("status", {}).get("phase", "Active"), in_namespace[name])
        for each in (await client.list(NAMESPACE)).items
    ]
    workloads = [
        _workload(obj, kind)
        for kind in KINDS
        for obj in (await client.list(kind.api)).items
        if not obj["metadata"].get("ownerReferences")  # what another workload has made does not stand for itself
    ]
    workloads += [_lone_pod(pod) for pod in pods if _is_lone(pod)]
    workloads.sort(key=lambda w: (w.namespace, w.created, w.kind, w.name))
    return Overview(server, nodes, namespaces, workloads)


def age(created: str, *, at: datetime | None = None) -> str:
    """Return how long ago something was created, as kubectl shortens it: ``42s``, ``7m``, ``3h``, ``2d``."""
    seconds = int(((at or datetime.now(UTC)) - datetime.fromisoformat(created)).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{max(0, seconds)}s"


def _workload(obj: Manifest, kind: Resource) -> Workload:
    verdict = kind.read(obj)
    state = verdict.state or verdict.phase.value
    detail = verdict.message or str((obj.get("status") or {}).get("url") or "")
    return _row(obj, kind.api.kind, state, detail)


def _lone_pod(pod: Manifest) -> Workload:
    status = pod.get("status") or {}
    return _row(pod, "Pod", status.get("phase", "Pending"), status.get("message", ""))


def _row(obj: Manifest, kind: str, state: str, detail: str) -> Workload:
    meta = obj["metadata"]
    return Workload(meta["namespace"], kind, meta["name"], state, meta["creationTimestamp"], " ".join(detail.split()))


def _is_lone(pod: Manifest) -> bool:
    """Return whether no other workload stands for the pod."""
    meta = pod["metadata"]
    return not meta.get("ownerReferences") and "spark-app-selector" not in (meta.get("labels") or {})


def _is_alive(pod: Manifest) -> bool:
    return pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")


def _node_state(node: Manifest) -> str:
    conditions = node.get("status", {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return "Ready" if ready else "NotReady"
