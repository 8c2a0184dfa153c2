"""The Deployment controller: keeps the wanted number of pods of the present template, and replaces old ones smoothly.

There is no ReplicaSet in between: a pod is owned by its Deployment and carries the hash of the template it came from.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil, floor

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import ApiError, NotFoundError
from airflow_provider_sparkml.local.controllers.objects import find_condition
from airflow_provider_sparkml.local.controllers.runtime import (
    Controller,
    Source,
    controller_of,
    now,
    own_key,
    owner_key,
    owner_reference,
    record_event,
)
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import DEPLOYMENT, POD

HASH_LABEL = "pod-template-hash"
REPLACEMENT_SECONDS = 3.0
"""A pod that ended for good is replaced, but no quicker than this, so that a broken one does not spin."""


def deployment_controller(client: KubernetesClient) -> Controller:
    """Return the controller of all Deployments."""

    async def reconcile(namespace: str, name: str) -> float | None:
        return await reconcile_deployment(client, namespace, name)

    return Controller(
        "deployments", client, [Source(DEPLOYMENT, own_key), Source(POD, owner_key("Deployment"))], reconcile
    )


@dataclass(frozen=True, slots=True)
class Pods:
    """A Deployment's pods, sorted by what they are good for.

    :param current: of the present template, alive.
    :param old: of an earlier template, alive.
    :param ended: failed or succeeded, whatever their template.
    :param leaving: being deleted.
    """

    current: tuple[Manifest, ...]
    old: tuple[Manifest, ...]
    ended: tuple[Manifest, ...]
    leaving: tuple[Manifest, ...]

    @classmethod
    def of(cls, deployment: Manifest, pods: Iterable[Manifest]) -> Pods:
        """Sort the pods of a namespace; those that the Deployment does not own are left out."""
        digest = template_hash(deployment)
        sorted_pods: dict[str, list[Manifest]] = {"current": [], "old": [], "ended": [], "leaving": []}
        for pod in pods:
            owner = controller_of(pod)
            if owner is None or owner["uid"] != deployment["metadata"]["uid"]:
                continue
            if "deletionTimestamp" in pod["metadata"]:
                sorted_pods["leaving"].append(pod)
            elif pod.get("status", {}).get("phase") in ("Failed", "Succeeded"):
                sorted_pods["ended"].append(pod)
            else:
                is_current = pod["metadata"].get("labels", {}).get(HASH_LABEL) == digest
                sorted_pods["current" if is_current else "old"].append(pod)
        return cls(**{key: tuple(value) for key, value in sorted_pods.items()})


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do next: how many pods to create, and which to delete."""

    create: int
    delete: tuple[Manifest, ...]


def template_hash(deployment: Manifest) -> str:
    """Return ten hex digits that change with the pod template."""
    template = json.dumps(deployment["spec"]["template"], sort_keys=True)
    return hashlib.sha256(template.encode()).hexdigest()[:10]


def is_ready(pod: Manifest) -> bool:
    """Return whether the pod's ``Ready`` condition is true."""
    conditions = pod.get("status", {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def wanted_replicas(deployment: Manifest) -> int:
    """Return ``spec.replicas``, 1 where it is not given."""
    return int(deployment["spec"].get("replicas", 1))


def plan(deployment: Manifest, pods: Pods) -> Plan:
    """Return the next step of a rollout.

    The rules of ``RollingUpdate`` and ``Recreate``: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#strategy
    """
    wanted = wanted_replicas(deployment)
    surplus = _least_useful_first(pods.current)[: max(0, len(pods.current) - wanted)]
    if deployment["spec"].get("strategy", {}).get("type") == "Recreate":
        may_create = not pods.old and not pods.leaving
        return Plan(max(0, wanted - len(pods.current)) if may_create else 0, (*surplus, *pods.old))
    surge, unavailable = _bounds(deployment, wanted)
    room = wanted + surge - len(pods.current) - len(pods.old)
    create = max(0, min(wanted - len(pods.current), room))
    ready = sum(map(is_ready, (*pods.current, *pods.old)))
    spare = max(0, ready - (wanted - unavailable) - sum(map(is_ready, surplus)))
    broken = [pod for pod in pods.old if not is_ready(pod)]
    healthy = [pod for pod in pods.old if is_ready(pod)]
    return Plan(create, (*surplus, *broken, *healthy[:spare]))


def _least_useful_first(pods: Sequence[Manifest]) -> list[Manifest]:
    """Return the pods in the order in which to give them up: not ready first, then the youngest."""
    by_age = sorted(pods, key=lambda pod: pod["metadata"]["creationTimestamp"], reverse=True)
    return sorted(by_age, key=is_ready)


def _bounds(deployment: Manifest, wanted: int) -> tuple[int, int]:
    """Return ``maxSurge`` and ``maxUnavailable`` as numbers of pods; 25 % each by default, never both zero."""
    rolling = deployment["spec"].get("strategy", {}).get("rollingUpdate") or {}
    surge = _share(rolling.get("maxSurge", "25%"), wanted, up=True)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), wanted, up=False)
    return surge, unavailable if surge or unavailable else 1


def _share(value: int | str, wanted: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    exact = int(value.removesuffix("%")) * wanted / 100
    return ceil(exact) if up else floor(exact)


def new_pod(deployment: Manifest) -> Manifest:
    """Return the manifest of one more pod of the present template."""
    digest = template_hash(deployment)
    template = copy.deepcopy(deployment["spec"]["template"])
    meta = template.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{deployment['metadata']['name'][:46]}-{digest}-",
            "labels": {**(meta.get("labels") or {}), HASH_LABEL: digest},
            "annotations": meta.get("annotations") or {},
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {**template["spec"], "restartPolicy": "Always"},
    }


def new_status(deployment: Manifest, pods: Pods, refusal: str = "", *, at: str | None = None) -> Manifest:
    """Return the Deployment's status.

    :param deployment: the object, with its status of before.
    :param pods: its pods.
    :param refusal: why the API server refused a new pod; empty when it did not.
    :param at: the present time, RFC 3339.
    """
    at = at or now()
    wanted = wanted_replicas(deployment)
    alive = (*pods.current, *pods.old)
    available = sum(map(is_ready, alive))
    counts = {
        "replicas": len(alive),
        "updatedReplicas": len(pods.current),
        "readyReplicas": available,
        "availableReplicas": available,
        "unavailableReplicas": max(0, wanted - available),
    }
    before = deployment.get("status") or {}
    complete = not pods.old and len(pods.current) == wanted and available >= wanted
    moved = _has_moved(deployment, before, counts)
    _, unavailable = _bounds(deployment, wanted)
    conditions = {
        "Available": ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        if available >= wanted - unavailable
        else ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
        "Progressing": _progressing(deployment, before, complete=complete, moved=moved, at=at),
    }
    if refusal:
        conditions["ReplicaFailure"] = ("True", "FailedCreate", refusal)
    return {
        "observedGeneration": deployment["metadata"]["generation"],
        **{name: count for name, count in counts.items() if count},
        "conditions": [_condition(before, kind, value, moved=moved, at=at) for kind, value in conditions.items()],
    }


def _progressing(
    deployment: Manifest, before: Manifest, *, complete: bool, moved: bool, at: str
) -> tuple[str, str, str]:
    name = deployment["metadata"]["name"]
    if complete:
        return "True", "NewReplicaSetAvailable", f"Deployment {name!r} has successfully progressed."
    if not moved and seconds_to_deadline(deployment, before, at) <= 0:
        return "False", "ProgressDeadlineExceeded", f"Deployment {name!r} has timed out progressing."
    return "True", "ReplicaSetUpdated", f"Deployment {name!r} is progressing."


def seconds_to_deadline(deployment: Manifest, status: Manifest, at: str) -> float:
    """Return the seconds left to ``progressDeadlineSeconds`` after the last progress that the status tells of."""
    progressing = find_condition(status, "Progressing")
    if progressing is None:
        return float("inf")
    limit = float(deployment["spec"].get("progressDeadlineSeconds", 600))
    return limit - (_time(at) - _time(progressing["lastUpdateTime"])).total_seconds()


def _has_moved(deployment: Manifest, before: Manifest, counts: Mapping[str, int]) -> bool:
    """Return whether anything changed since the status was written."""
    same_spec = before.get("observedGeneration") == deployment["metadata"]["generation"]
    return not same_spec or any(before.get(name, 0) != count for name, count in counts.items())


def _condition(before: Manifest, kind: str, value: tuple[str, str, str], *, moved: bool, at: str) -> Manifest:
    status, reason, message = value
    known = find_condition(before, kind) or {}
    unchanged = not moved and known.get("status") == status and known.get("reason") == reason
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastUpdateTime": known["lastUpdateTime"] if unchanged else at,
        "lastTransitionTime": known["lastTransitionTime"] if known.get("status") == status else at,
    }


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


async def reconcile_deployment(client: KubernetesClient, namespace: str, name: str) -> float | None:
    """Do the next step of one Deployment's rollout and write its status."""
    try:
        deployment = await client.get(DEPLOYMENT, name, namespace)
    except NotFoundError:
        return None
    if "deletionTimestamp" in deployment["metadata"]:
        return None
    labels = deployment["spec"]["selector"].get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    pods = Pods.of(deployment, (await client.list(POD, namespace, label_selector=selector)).items)
    wait = _seconds_until_replacement(pods)
    refusal = ""
    if wait <= 0:
        step = plan(deployment, pods)
        for pod in (*step.delete, *pods.ended):
            await client.delete(
                POD, pod["metadata"]["name"], namespace, propagation="Background", uid=pod["metadata"]["uid"]
            )
        try:
            for _ in range(step.create):
                await client.create(POD, new_pod(deployment), namespace)
        except ApiError as error:
            refusal = str(error)
            await record_event(
                client, deployment, "Warning", reason="FailedCreate", message=refusal, source="deployment-controller"
            )
    status = new_status(deployment, pods, refusal)
    if status != deployment.get("status"):
        await client.replace(DEPLOYMENT, {**deployment, "status": status}, namespace, subresource="status")
    return _next_look(deployment, status, wait, refusal)


def _seconds_until_replacement(pods: Pods) -> float:
    if not pods.ended:
        return 0.0
    youngest = max(_time(pod["metadata"]["creationTimestamp"]) for pod in pods.ended)
    return REPLACEMENT_SECONDS - (datetime.now(UTC) - youngest).total_seconds()


def _next_look(deployment: Manifest, status: Manifest, wait: float, refusal: str) -> float | None:
    """Return when to look again although nothing may have changed."""
    if wait > 0:
        return wait
    if refusal:
        return REPLACEMENT_SECONDS
    progressing = find_condition(status, "Progressing")
    if progressing and progressing["reason"] == "ReplicaSetUpdated":
        return max(1.0, seconds_to_deadline(deployment, status, now()))
    return None
