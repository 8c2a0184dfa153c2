"""The controller of SparkClusters: a genuine standalone master and genuine workers, as two StatefulSets.

Follows ``ClusterInitStep`` and ``SparkClusterResourceSpec`` of apache/spark-kubernetes-operator 1.0, with two
differences: the image's entry point starts both, since Spark from PyPI has no ``sbin/start-master.sh``; and what is not
done here (a HorizontalPodAutoscaler) is refused in the status rather than passed over.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from math import ceil
from typing import Any

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import ForbiddenError, InvalidManifestError, InvalidObjectError
from airflow_provider_sparkml.local.controllers.apache_spark_state import enter
from airflow_provider_sparkml.local.controllers.objects import OccupiedError, ensure, find, is_deleting, utc_now
from airflow_provider_sparkml.local.controllers.runtime import Controller, Source
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import SERVICE, STATEFUL_SET
from airflow_provider_sparkml.resources.quantities import parse_quantity
from airflow_provider_sparkml.resources.replicas import part_of
from airflow_provider_sparkml.resources.spark_apache import state_of
from airflow_provider_sparkml.resources.spark_cluster import (
    API,
    CLUSTER_NAME,
    MASTER,
    PORT,
    WEB_PORT,
    WORKER,
    WORKER_WEB_PORT,
    set_name,
    wanted_workers,
)

NAME = "spark-cluster-controller"
SUBMITTED = "Spark cluster has been submitted to Kubernetes Cluster."
READY = "Cluster has reached ready state."
FAILURE = "Failed to request Spark cluster from scheduler backend. StackTrace: "
NETWORK_POLICY = ApiResource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
POD_DISRUPTION_BUDGET = ApiResource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
PORTS = {MASTER: {"web": WEB_PORT, "spark": PORT, "rest": 6066}, WORKER: {"web": WORKER_WEB_PORT}}
CLASSES = {MASTER: "org.apache.spark.deploy.master.Master", WORKER: "org.apache.spark.deploy.worker.Worker"}
RESERVED = 1024**3
"""Bytes of its memory that a worker does not offer: ``WorkerArguments.inferDefaultMemory``."""
LEAST = 512 * 1024**2


def spark_cluster_controller(client: KubernetesClient) -> Controller:
    """Return the controller of all SparkClusters.

    :param client: the API server.
    """

    async def reconcile(namespace: str, name: str) -> float | None:
        cluster = await find(client, API, name, namespace)
        if cluster is not None and not is_deleting(cluster):  # what it owns goes with it
            await _step(client, cluster)
        return None

    return Controller(NAME, client, [Source(API)], reconcile)


async def _step(client: KubernetesClient, cluster: Manifest) -> None:
    """Take a cluster one state on; the operator never looks again at one that it has made."""
    match state_of(cluster):
        case "":
            await _write(client, cluster, "Submitted", SUBMITTED)
        case "Submitted":
            try:
                for api, manifest in objects(cluster):
                    await ensure(client, api, manifest, cluster)
            except (OccupiedError, ForbiddenError, InvalidObjectError, InvalidManifestError) as error:
                await _write(client, cluster, "SchedulingFailure", f"{FAILURE}{error}")
            else:
                await _write(client, cluster, "RunningHealthy", READY)
        case "SchedulingFailure":
            await _write(client, cluster, "Failed", "Cannot process cluster status.")


async def _write(client: KubernetesClient, cluster: Manifest, state: str, message: str) -> None:
    """Store the next state; somebody else's change meanwhile is a conflict: look anew."""
    status = enter(cluster, state, utc_now(), message)
    await client.replace(API, {**cluster, "status": status}, cluster["metadata"]["namespace"], subresource="status")


def objects(cluster: Manifest) -> list[tuple[ApiResource, Manifest]]:
    """Return type and manifest of all that a cluster is made of, in the operator's order.

    :raises InvalidManifestError: the local cluster has no such thing.
    """
    instances = part_of(cluster, "spec", "clusterTolerations", "instanceConfig")
    if instances["minWorkers"] < instances["maxWorkers"]:
        raise InvalidManifestError(
            f"spec.clusterTolerations.instanceConfig has minWorkers {instances['minWorkers']}, maxWorkers "
            f"{instances['maxWorkers']}: the local cluster has no HorizontalPodAutoscaler; set both to the same"
        )
    name = cluster["metadata"]["name"]
    workers = {"matchLabels": {CLUSTER_NAME: name, "spark-role": WORKER}}
    drivers = {"matchLabels": {"spark-role": "driver"}}
    own = {"matchLabels": {CLUSTER_NAME: name}}
    sources = [{"from": [{"podSelector": own}, {"podSelector": drivers}]}]
    made = [(SERVICE, service(cluster, role)) for role in (MASTER, WORKER)]
    made += [(STATEFUL_SET, stateful_set(cluster, role)) for role in (MASTER, WORKER)]
    policy = {"metadata": {"name": f"{name}-worker", "labels": {CLUSTER_NAME: name}}}
    made.append((NETWORK_POLICY, {**policy, "spec": {"podSelector": workers, "ingress": sources}}))
    if instances["minWorkers"]:
        budget = {"metadata": {"name": f"{name}-worker-pdb"}, "spec": {"minAvailable": 1, "selector": workers}}
        made.append((POD_DISRUPTION_BUDGET, budget))
    return made


def service(cluster: Manifest, role: str) -> Manifest:
    """Return the headless Service of a role."""
    spec, name = part_of(cluster, "spec", f"{role}Spec"), cluster["metadata"]["name"]
    meta = copy.deepcopy(spec.get("serviceMetadata") or {})
    return {
        "metadata": {
            **meta,
            "name": f"{name}-{role}-svc",
            "labels": {**(meta.get("labels") or {}), **_role_labels(cluster, role)},
        },
        "spec": {
            **copy.deepcopy(spec.get("serviceSpec") or {}),
            "clusterIP": "None",
            "selector": {CLUSTER_NAME: name, "spark-role": role},
            "ports": [{"name": each, "port": port, "targetPort": each} for each, port in PORTS[role].items()],
        },
    }


def stateful_set(cluster: Manifest, role: str) -> Manifest:
    """Return the StatefulSet of a role: its template, with the program in the container of the role's name."""
    given, name = part_of(cluster, "spec", f"{role}Spec"), cluster["metadata"]["name"]
    meta, spec = (copy.deepcopy(given.get(f"statefulSet{part}") or {}) for part in ("Metadata", "Spec"))
    template = spec.get("template") or {}
    pod = template.setdefault("spec", {})
    containers = pod.get("containers") or []
    container = next((each for each in containers if each["name"] == role), None)
    if container is None:
        container = {"name": role}
        containers.append(container)
    pod["containers"] = containers
    _fill(container, cluster, role)
    labels = _role_labels(cluster, role)
    template_meta = template.get("metadata") or {}
    template_labels = {**(template_meta.get("labels") or {}), **labels, CLUSTER_NAME: name}
    # Upstream selects by the role alone, so that two clusters of a namespace count each other's pods as strangers.
    selector = {"matchLabels": {"spark-role": role, CLUSTER_NAME: name}}
    return {
        "metadata": {
            **meta,
            "name": set_name(name, role),
            "labels": {**(meta.get("labels") or {}), **labels, CLUSTER_NAME: name},
        },
        "spec": {
            **spec,
            "podManagementPolicy": "Parallel",
            "replicas": 1 if role == MASTER else wanted_workers(cluster),
            "serviceName": f"{name}-{role}-svc",
            "selector": selector,
            "template": {
                "metadata": {**template_meta, "labels": template_labels},
                "spec": {**pod, "terminationGracePeriodSeconds": 0},
            },
        },
    }


def _fill(container: dict[str, Any], cluster: Manifest, role: str) -> None:
    """Put program, image, ports and variables into a role's container."""
    conf = {key: str(value) for key, value in part_of(cluster, "spec", "sparkConf").items()}
    version = str(part_of(cluster, "spec", "runtimeVersions")["sparkVersion"])
    image = conf.get("spark.kubernetes.container.image", "apache/spark:{{SPARK_VERSION}}")
    container["image"] = image.replace("{{SPARK_VERSION}}", version)
    words = [f"--host $(SPARK_LOCAL_IP) --webui-port {PORTS[role]['web']}"]
    if role == MASTER:
        words.append(f"--port {PORT}")
    else:
        cores, memory = worker_size(container)
        words += [f"--cores {cores} --memory {memory // 1024**2}m --work-dir $(TMPDIR)/work"]
        words.append(f"spark://{cluster['metadata']['name']}-master-svc:{PORT}")
    container.pop("command", None)
    container["args"] = ["class", CLASSES[role], *(word for part in words for word in part.split())]
    container["env"] = [
        {"name": "SPARK_LOCAL_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        *(container.get("env") or ()),
        {"name": f"SPARK_{role.upper()}_OPTS", "value": " ".join(f'-D{key}="{value}"' for key, value in conf.items())},
    ]
    container["ports"] = [
        *(container.get("ports") or ()),
        *({"name": name, "containerPort": port} for name, port in PORTS[role].items()),
    ]


def worker_size(container: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many cores and bytes a worker offers: what its JVM would see of its container's limits."""
    limits = part_of(dict(container), "resources", "limits")
    field = "spec.workerSpec.statefulSetSpec.template.spec.containers[worker].resources.limits"
    memory = int(parse_quantity(str(limits.get("memory") or "2Gi"), f"{field}.memory"))
    cores = ceil(parse_quantity(str(limits.get("cpu") or 1), f"{field}.cpu"))
    return max(1, cores), max(LEAST, memory - RESERVED)


def _role_labels(cluster: Manifest, role: str) -> dict[str, str]:
    return {"spark-role": role, "spark-version": str(part_of(cluster, "spec", "runtimeVersions")["sparkVersion"])}


__all__ = ["objects", "spark_cluster_controller"]
