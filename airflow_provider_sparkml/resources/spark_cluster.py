"""SparkCluster of the Apache Spark operator: its typed builder, how its status is read, and where drivers connect.

The states: ``ClusterStateSummary``, ``ClusterInitStep`` and ``SparkClusterResourceSpec`` of
apache/spark-kubernetes-operator 1.0. The operator writes ``RunningHealthy`` as soon as it has made the objects, before
any pod runs, and never looks again: whether there is a cluster is in the status of its two StatefulSets.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

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
from airflow_provider_sparkml.resources.fields import (
    convert,
    integer,
    is_whole,
    mapping,
    name_faults,
    number_faults,
    refuse,
    text,
)
from airflow_provider_sparkml.resources.replicas import part_of
from airflow_provider_sparkml.resources.spark_apache import history_of, state_of
from airflow_provider_sparkml.resources.spark_lint import misspelt

API = ApiResource("spark.apache.org", "v1", "sparkclusters", "SparkCluster")
CLUSTER_NAME = "spark.operator/spark-cluster-name"
"""Label of a cluster's pods."""
PORT, WEB_PORT, WORKER_WEB_PORT = 7077, 8080, 8081
MASTER, WORKER = "master", "worker"
"""The roles: names of their containers, and what the names of their StatefulSets end in."""
_PHASES = {
    "": Phase.PENDING,
    "Submitted": Phase.PENDING,
    "RunningHealthy": Phase.RUNNING,
    "SchedulingFailure": Phase.FAILED,
    "Failed": Phase.FAILED,
    "ResourceReleased": Phase.FAILED,
}
_INSTANCES = {"initWorkers": 0, "minWorkers": 0, "maxWorkers": 0}
_INSTANCES_FIELD = "spec.clusterTolerations.instanceConfig"
# Of a pod `<name>-worker-0` Kubernetes writes `<name>-worker-<hash of 10>` into a label of 63 characters.
_LONGEST_SUFFIX = "-worker-0123456789"


def read(obj: Manifest) -> Verdict:
    """Return the verdict of a cluster; ``RUNNING`` means that its pods have been asked for, not that they run."""
    state = state_of(obj)
    current: Mapping[str, Any] = part_of(obj, "status", "currentState")
    created = str(obj["metadata"].get("creationTimestamp") or "")
    if obj["metadata"].get("deletionTimestamp"):
        return Verdict(Phase.PENDING, state=state, reason="BeingDeleted", pending_since=created)
    phase = _PHASES.get(state, Phase.UNKNOWN)
    return Verdict(
        phase,
        state=state,
        reason="UnknownState" if phase is Phase.UNKNOWN else "",
        message=_why(obj) if phase is Phase.FAILED else "",
        attempt=1 if state else 0,
        retryable=state in ("SchedulingFailure", "Failed"),
        pending_since=created if phase is Phase.PENDING else "",
        started_at=created,
        finished_at=str(current.get("lastTransitionTime") or "") if phase.is_terminal else "",
    )


def _why(obj: Manifest) -> str:
    """Return why it failed: after ``SchedulingFailure`` the operator writes ``Failed``, again and again, and no why."""
    said = [each for each in history_of(obj) if each.get("currentStateSummary") == "SchedulingFailure"]
    current: Mapping[str, Any] = part_of(obj, "status", "currentState")
    return str((said[-1] if said else current).get("message") or "")


def set_name(name: str, role: str) -> str:
    """Return the name of a role's StatefulSet.

    :param name: name of the cluster.
    :param role: ``master`` or ``worker``.
    """
    return f"{name}-{role}"


def wanted_workers(obj: Manifest) -> int:
    """Return how many workers a cluster begins with."""
    return int(part_of(obj, "spec", "clusterTolerations", "instanceConfig").get("initWorkers") or 0)


def log_source(obj: Manifest) -> LogSource | None:
    """Return the master's container; ``None`` until the operator has asked for its pod."""
    if state_of(obj) != "RunningHealthy":
        return None
    return LogSource(f"{set_name(obj['metadata']['name'], MASTER)}-0", MASTER, MASTER)


def facts(obj: Manifest) -> dict[str, Any]:
    """Return where drivers connect, and the master's web page; both by the Service's name."""
    meta = obj["metadata"]
    host = f"{meta['name']}-master-svc.{meta.get('namespace', 'default')}.svc"
    return {
        "master_url": f"spark://{host}:{PORT}",
        "ui_url": f"http://{host}:{WEB_PORT}",
        "workers": wanted_workers(obj),
    }


def pod_selector(obj: Manifest) -> str:
    """Return the label selector of master and workers."""
    return f"{CLUSTER_NAME}={obj['metadata']['name']}"


def rank_of(pod: Manifest) -> str:
    """Return what to call a pod: ``master``, ``worker-1``."""
    name = str(pod["metadata"]["name"])
    return MASTER if name.endswith(f"-{MASTER}-0") else f"{WORKER}-{name.rpartition('-')[2]}"


def normalize(manifest: Manifest) -> Manifest:
    """Return a copy with numbers where templates have rendered to text, and text for Spark's properties."""
    result = copy.deepcopy(manifest)
    spec = result.get("spec")
    if not isinstance(spec, dict):
        return result
    convert(part_of(result, "spec", "clusterTolerations", "instanceConfig"), tuple(_INSTANCES), integer)
    if isinstance(spec.get("sparkConf"), dict):
        spec["sparkConf"] = {key: text(value) for key, value in spec["sparkConf"].items()}
    return result


def check(manifest: Manifest) -> None:
    """Refuse a cluster that could never be of use.

    :raises InvalidManifestError: field, value and fix.
    """
    refuse(_faults(manifest))


def _faults(manifest: Manifest) -> Iterator[str]:
    spec = mapping(manifest.get("spec"), "spec")
    if not mapping(spec.get("runtimeVersions"), "spec.runtimeVersions").get("sparkVersion"):
        yield "spec.runtimeVersions.sparkVersion is missing: the operator requires it; set it to the image's Spark"
    tolerations = mapping(spec.get("clusterTolerations"), "spec.clusterTolerations")
    instances = mapping(tolerations.get("instanceConfig"), _INSTANCES_FIELD)
    for name in _INSTANCES:
        if instances.get(name) is None:
            yield f"{_INSTANCES_FIELD}.{name} is missing: the operator requires it; set it to a number of workers"
    yield from number_faults(instances, _INSTANCES, _INSTANCES_FIELD)
    yield from _order_faults(instances)
    mapping(spec.get("sparkConf"), "spec.sparkConf")
    yield from name_faults(manifest, _LONGEST_SUFFIX)


def _order_faults(instances: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the numbers of workers to each other."""
    low, begin, high = (instances[name] for name in ("minWorkers", "initWorkers", "maxWorkers"))
    if all(map(is_whole, (low, begin, high))) and not low <= begin <= high:
        yield (
            f"{_INSTANCES_FIELD} is minWorkers {low}, initWorkers {begin}, maxWorkers {high}: "
            "set them so that none is less than the one before"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkCluster:
    """A standalone Spark cluster of one master and some workers, for the tasks of a run to share.

    .. code-block:: python

        SparkCluster(image="apache/spark:4.2.0", spark_version="4.2.0", workers=2, worker_memory="4Gi")

    Master and worker get probes, so that a pod is ready when its program listens; the operator sets none.

    :param image: image of master and workers. The operator starts both by the scripts in ``/opt/spark/sbin``, which
        Apache's images have.
    :param spark_version: the image's Spark version.
    :param workers: how many workers it begins with.
    :param max_workers: with more than ``workers``, a HorizontalPodAutoscaler adds some under load; ``workers`` when 0.
    :param name: what the object's name begins with; the DAG and the task when empty.
    :param master_cpu: CPU of the master: a Kubernetes quantity.
    :param master_memory: its memory: a Kubernetes quantity.
    :param worker_cpu: CPU of each worker; its executors may have as many cores.
    :param worker_memory: memory of each worker: a Kubernetes quantity. A worker keeps 1 GiB of it to itself and has the
        rest for executors (https://spark.apache.org/docs/latest/spark-standalone.html, ``SPARK_WORKER_MEMORY``).
    :param service_account: Kubernetes service account of all pods.
    :param spark_conf: Spark properties of master and workers.
    :param labels: labels of the SparkCluster.
    """

    image: str
    spark_version: str
    workers: int | str = 1
    max_workers: int | str = 0
    name: str = ""
    master_cpu: int | str = 1
    master_memory: str = "1Gi"
    worker_cpu: int | str = 1
    worker_memory: str = "2Gi"
    service_account: str = ""
    spark_conf: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def to_manifest(self) -> Manifest:
        """Return the manifest, new at each call."""
        instances = {
            "initWorkers": self.workers,
            "minWorkers": self.workers,
            "maxWorkers": self.max_workers or self.workers,
        }
        manifest: Manifest = plain(
            {
                "apiVersion": API.api_version,
                "kind": API.kind,
                "metadata": present({"name": self.name, "labels": self.labels}),
                "spec": {
                    "runtimeVersions": {"sparkVersion": self.spark_version},
                    "clusterTolerations": {"instanceConfig": instances},
                    "masterSpec": self._role(MASTER, self.master_cpu, self.master_memory, WEB_PORT),
                    "workerSpec": self._role(WORKER, self.worker_cpu, self.worker_memory, WORKER_WEB_PORT),
                    "sparkConf": {"spark.kubernetes.container.image": self.image, **self.spark_conf},
                },
            }
        )
        return manifest

    def _role(self, role: str, cpu: int | str, memory: str, port: int) -> dict[str, Any]:
        """Return ``masterSpec`` or ``workerSpec``."""
        size = {"cpu": text(cpu), "memory": memory}
        # Both listen to their web pages last; of a probe at the master's own port it would complain in its log.
        probe = {"tcpSocket": {"port": port}, "periodSeconds": 2}
        container = {"name": role, "resources": {"requests": size, "limits": size}, "readinessProbe": probe}
        pod = {**present({"serviceAccountName": self.service_account}), "containers": [container]}
        return {"statefulSetSpec": {"template": {"spec": pod}}}


SPARK_CLUSTER = register(
    Resource(
        api=API,
        read=read,
        normalize=normalize,
        check=check,
        lint=lambda manifest: list(misspelt(manifest)),
        log_source=log_source,
        facts=facts,
        pod_selector=pod_selector,
        main_container=MASTER,
        rank_of=rank_of,
    )
)

__all__ = ["API", "SPARK_CLUSTER", "SparkCluster", "read"]
