"""The StatefulSet controller: keeps pods with fixed names, one of each, and replaces those of an old template.

The rules: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/. There are no volume claims of pods'
own; a set that asks for them is told so by an event.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import ApiError
from airflow_provider_sparkml.local.controllers.deployments import (
    REPLACEMENT_SECONDS,
    is_ready,
    template_hash,
    wanted_replicas,
)
from airflow_provider_sparkml.local.controllers.objects import (
    Note,
    OccupiedError,
    belongs_to,
    delete,
    ensure,
    find,
    is_deleting,
    tell,
    write_status,
)
from airflow_provider_sparkml.local.controllers.runtime import Controller, Source, own_key, owner_key
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import POD, STATEFUL_SET

NAME = "statefulset-controller"
HASH_LABEL = "controller-revision-hash"
POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"


def stateful_set_controller(client: KubernetesClient) -> Controller:
    """Return the controller of all StatefulSets.

    :param client: the API server.
    """

    async def reconcile(namespace: str, name: str) -> float | None:
        return await reconcile_stateful_set(client, namespace, name)

    return Controller(NAME, client, [Source(STATEFUL_SET, own_key), Source(POD, owner_key("StatefulSet"))], reconcile)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do next.

    :param create: indices of the pods to create.
    :param delete: the pods to delete.
    """

    create: tuple[int, ...]
    delete: tuple[Manifest, ...]


def plan(stateful_set: Manifest, pods: Mapping[int, Manifest]) -> Plan:
    """Return the next step.

    :param stateful_set: the object.
    :param pods: its pods by index, those that are being deleted too.
    """
    wanted = wanted_replicas(stateful_set)
    ended = [pod for pod in pods.values() if (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")]
    surplus = [pods[index] for index in sorted(pods, reverse=True) if index >= wanted]
    missing = [index for index in range(wanted) if index not in pods]
    others_ready = all(map(is_ready, pods.values()))
    if stateful_set["spec"]["podManagementPolicy"] != "Parallel":
        # One at a time: the next follows when all before it are ready, the next goes when all others stand still.
        surplus = surplus[:1] if others_ready else []
        missing = [index for index in missing[:1] if all(map(is_ready, (pods[i] for i in range(index) if i in pods)))]
    if ended or surplus or missing:
        return Plan(tuple(missing), (*ended, *surplus))
    return Plan((), _outdated(stateful_set, pods, others_ready))


def _outdated(stateful_set: Manifest, pods: Mapping[int, Manifest], all_ready: bool) -> tuple[Manifest, ...]:
    """Return the pod of an old template whose turn it is to be replaced: the last one, broken ones at once."""
    if stateful_set["spec"]["updateStrategy"]["type"] != "RollingUpdate":
        return ()
    digest = template_hash(stateful_set)
    old = [pods[index] for index in sorted(pods, reverse=True) if _hash(pods[index]) != digest]
    broken = [pod for pod in old if not is_ready(pod)]
    return tuple(broken[:1] or (old[:1] if all_ready else []))


def new_pod(stateful_set: Manifest, index: int) -> Manifest:
    """Return the manifest of a pod of the present template."""
    name = f"{stateful_set['metadata']['name']}-{index}"
    template = copy.deepcopy(stateful_set["spec"]["template"])
    meta = template.get("metadata") or {}
    identity = {HASH_LABEL: template_hash(stateful_set), POD_NAME_LABEL: name, INDEX_LABEL: str(index)}
    spec = {**template["spec"], "hostname": name, "restartPolicy": "Always"}
    if service := stateful_set["spec"].get("serviceName"):
        spec["subdomain"] = service
    return {
        "metadata": {
            "name": name,
            "labels": {**(meta.get("labels") or {}), **identity},
            "annotations": meta.get("annotations") or {},
        },
        "spec": spec,
    }


def new_status(stateful_set: Manifest, pods: Mapping[int, Manifest]) -> Manifest:
    """Return the status.

    :param stateful_set: the object.
    :param pods: its pods by index.
    """
    alive = [pod for pod in pods.values() if not is_deleting(pod)]
    digest, ready = template_hash(stateful_set), sum(map(is_ready, alive))
    counts = {
        "readyReplicas": ready,
        "availableReplicas": ready,
        "currentReplicas": len(alive),
        "updatedReplicas": sum(_hash(pod) == digest for pod in alive),
    }
    return {
        "observedGeneration": stateful_set["metadata"]["generation"],
        "replicas": len(pods),
        "updateRevision": digest,
        **{name: count for name, count in counts.items() if count},
    }


def _hash(pod: Manifest) -> str:
    return str(pod["metadata"]["labels"].get(HASH_LABEL, ""))


async def reconcile_stateful_set(client: KubernetesClient, namespace: str, name: str) -> float | None:
    """Do one StatefulSet's next step and write its status."""
    stateful_set = await find(client, STATEFUL_SET, name, namespace)
    if stateful_set is None or is_deleting(stateful_set):
        return None
    refusal = ""
    if stateful_set["spec"].get("volumeClaimTemplates"):
        refusal = "volumeClaimTemplates have no effect: the local cluster makes no claims for pods"
    step = plan(stateful_set, await _pods(client, stateful_set))
    for pod in step.delete:
        await delete(client, POD, pod)
    try:
        for index in step.create:
            await ensure(client, POD, new_pod(stateful_set, index), stateful_set)
    except (ApiError, OccupiedError) as error:
        refusal = str(error)
    if refusal:
        await tell(client, stateful_set, [Note("Warning", "FailedCreate", refusal)], source=NAME)
    await write_status(client, STATEFUL_SET, stateful_set, new_status(stateful_set, await _pods(client, stateful_set)))
    return REPLACEMENT_SECONDS if refusal else None


async def _pods(client: KubernetesClient, stateful_set: Manifest) -> dict[int, Manifest]:
    """Return its pods by index."""
    meta = stateful_set["metadata"]
    labels = stateful_set["spec"]["selector"].get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    listing = await client.list(POD, meta["namespace"], label_selector=selector)
    mine = [pod for pod in listing.items if belongs_to(pod, stateful_set)]
    return {int(pod["metadata"]["name"].rpartition("-")[2]): pod for pod in mine}


__all__ = ["new_pod", "new_status", "plan", "stateful_set_controller"]
