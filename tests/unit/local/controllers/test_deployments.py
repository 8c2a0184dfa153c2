"""The Deployment controller's decisions: what to create, what to delete, what to say."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.local.controllers.deployments import (
    HASH_LABEL,
    Pods,
    find_condition,
    is_ready,
    new_pod,
    new_status,
    plan,
    template_hash,
    wanted_replicas,
)

Manifest = dict[str, Any]
T0 = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T00:30:00Z"


def deployment(*, replicas: int = 1, image: str = "v1", **spec: Any) -> Manifest:
    labels = {"app": "web"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "ns", "uid": "d-1", "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}},
            **spec,
        },
    }


class Node:
    """Stands for API server and kubelet: makes pods from manifests, and lets the test decide when they are ready."""

    def __init__(self) -> None:
        self.pods: list[Manifest] = []
        self._serial = itertools.count()

    def create(self, owner: Manifest, *, ready: bool = False) -> Manifest:
        serial = next(self._serial)
        pod = new_pod(owner)
        pod["metadata"] |= {
            "name": f"{pod['metadata']['generateName']}{serial}",
            "namespace": "ns",
            "uid": f"p-{serial}",
            "creationTimestamp": f"2026-01-01T00:{serial // 60:02}:{serial % 60:02}Z",
        }
        pod["status"] = {"phase": "Running"}
        self.pods.append(pod)
        self.set_ready(pod, ready)
        return pod

    def set_ready(self, pod: Manifest, ready: bool) -> None:
        pod["status"]["conditions"] = [{"type": "Ready", "status": str(ready)}]

    def step(self, owner: Manifest) -> None:
        """Do what one reconciliation does."""
        step = plan(owner, Pods.of(owner, self.pods))
        for pod in step.delete:
            self.pods.remove(pod)
        for _ in range(step.create):
            self.create(owner)


def test_pods_are_made_until_there_are_enough() -> None:
    node, web = Node(), deployment(replicas=3)
    node.step(web)
    assert len(node.pods) == 3
    node.step(web)
    assert len(node.pods) == 3


def test_a_pod_belongs_to_its_deployment_and_carries_the_hash() -> None:
    web = deployment()
    pod = new_pod(web)
    assert pod["metadata"]["ownerReferences"][0]["uid"] == "d-1"
    assert pod["metadata"]["ownerReferences"][0]["controller"] is True
    assert pod["metadata"]["labels"] == {"app": "web", HASH_LABEL: template_hash(web)}
    assert pod["spec"]["restartPolicy"] == "Always"
    assert "labels" in web["spec"]["template"]["metadata"]
    assert HASH_LABEL not in web["spec"]["template"]["metadata"]["labels"]


def test_the_hash_follows_the_template_alone() -> None:
    assert template_hash(deployment(replicas=1)) == template_hash(deployment(replicas=5))
    assert template_hash(deployment(image="v1")) != template_hash(deployment(image="v2"))


def test_the_new_pod_is_ready_before_the_old_one_goes() -> None:
    node = Node()
    old = node.create(deployment(image="v1"), ready=True)
    web = deployment(image="v2")
    node.step(web)
    node.step(web)
    assert old in node.pods
    assert len(node.pods) == 2
    node.set_ready(node.pods[1], True)
    node.step(web)
    assert old not in node.pods
    assert len(node.pods) == 1


def test_an_old_pod_that_does_not_serve_goes_at_once() -> None:
    node = Node()
    broken = node.create(deployment(image="broken"))
    node.step(deployment(image="v2"))
    assert broken not in node.pods


def test_recreate_waits_until_the_old_ones_are_gone() -> None:
    node = Node()
    old = node.create(deployment(image="v1"), ready=True)
    web = deployment(image="v2", strategy={"type": "Recreate"})
    step = plan(web, Pods.of(web, node.pods))
    assert (step.create, step.delete) == (0, (old,))
    old["metadata"]["deletionTimestamp"] = T0
    assert plan(web, Pods.of(web, node.pods)).create == 0
    assert plan(web, Pods.of(web, [])).create == 1


def test_scaling_down_gives_up_the_pod_that_is_not_ready_first() -> None:
    node, web = Node(), deployment(replicas=2)
    kept = node.create(web, ready=True)
    starting = node.create(web)
    kept_too = node.create(web, ready=True)
    step = plan(web, Pods.of(web, node.pods))
    assert step.delete == (starting,)
    assert kept is not kept_too


def test_pods_of_others_are_left_alone() -> None:
    node = Node()
    foreign = node.create(deployment())
    foreign["metadata"]["ownerReferences"][0]["uid"] = "another"
    web = deployment()
    assert plan(web, Pods.of(web, node.pods)).delete == ()
    assert plan(web, Pods.of(web, node.pods)).create == 1


@given(
    replicas=st.integers(1, 6),
    surge=st.sampled_from([0, 1, 2, "25%", "100%"]),
    unavailable=st.sampled_from([0, 1, "25%", "50%"]),
    choices=st.lists(st.integers(0, 100), max_size=40),
)
def test_a_rollout_keeps_its_bounds_and_ends(
    replicas: int, surge: int | str, unavailable: int | str, choices: list[int]
) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    old, new = (deployment(replicas=replicas, image=image, strategy=rolling) for image in ("v1", "v2"))
    node = Node()
    for _ in range(replicas):
        node.create(old, ready=True)
    most_extra = surge if isinstance(surge, int) else -(-int(surge[:-1]) * replicas // 100)
    most_missing = unavailable if isinstance(unavailable, int) else int(unavailable[:-1]) * replicas // 100
    if not most_extra and not most_missing:
        most_missing = 1

    def check() -> None:
        assert len(node.pods) <= replicas + most_extra
        assert sum(map(is_ready, node.pods)) >= replicas - most_missing

    for choice in choices:  # pods become ready in any order, between any two steps
        node.step(new)
        check()
        waiting = [pod for pod in node.pods if not is_ready(pod)]
        if waiting:
            node.set_ready(waiting[choice % len(waiting)], True)
    for _ in range(4 * replicas + 4):
        node.step(new)
        check()
        for pod in node.pods:
            node.set_ready(pod, True)
    assert {pod["metadata"]["labels"][HASH_LABEL] for pod in node.pods} == {template_hash(new)}
    assert len(node.pods) == replicas
    assert new_status(new, Pods.of(new, node.pods))["updatedReplicas"] == replicas


def status_of(web: Manifest, node: Node, at: str = T0, refusal: str = "") -> Manifest:
    return new_status(web, Pods.of(web, node.pods), refusal, at=at)


def reason(status: Manifest, kind: str) -> tuple[str, str]:
    condition = find_condition(status, kind)
    assert condition is not None
    return condition["status"], condition["reason"]


def test_status_while_starting_and_when_complete() -> None:
    node, web = Node(), deployment()
    pod = node.create(web)
    web["status"] = status_of(web, node)
    assert reason(web["status"], "Available") == ("False", "MinimumReplicasUnavailable")
    assert reason(web["status"], "Progressing") == ("True", "ReplicaSetUpdated")
    assert web["status"]["unavailableReplicas"] == 1
    node.set_ready(pod, True)
    status = status_of(web, node)
    assert reason(status, "Available") == ("True", "MinimumReplicasAvailable")
    assert reason(status, "Progressing") == ("True", "NewReplicaSetAvailable")
    counts = {key: value for key, value in status.items() if key.endswith("eplicas")}
    assert counts == {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}


def test_status_of_a_rollout_does_not_count_old_pods_as_updated() -> None:
    node, web = Node(), deployment(image="v2")
    node.create(deployment(image="v1"), ready=True)
    web["metadata"]["generation"] = 2
    status = status_of(web, node)
    assert status["observedGeneration"] == 2
    assert "updatedReplicas" not in status
    assert status["availableReplicas"] == 1
    assert reason(status, "Progressing") == ("True", "ReplicaSetUpdated")


def test_the_deadline_counts_from_the_last_progress() -> None:
    node, web = Node(), deployment(progressDeadlineSeconds=600)
    node.create(web)
    web["status"] = status_of(web, node, T0)
    web["status"] = status_of(web, node, "2026-01-01T00:09:59Z")
    assert reason(web["status"], "Progressing") == ("True", "ReplicaSetUpdated")
    late = status_of(web, node, "2026-01-01T00:10:00Z")
    assert reason(late, "Progressing") == ("False", "ProgressDeadlineExceeded")
    web["spec"]["replicas"] = 2
    web["metadata"]["generation"] = 2
    assert reason(status_of(web, node, LATER), "Progressing") == ("True", "ReplicaSetUpdated")


def test_a_status_that_says_the_same_is_the_same() -> None:
    node, web = Node(), deployment()
    node.create(web, ready=True)
    web["status"] = status_of(web, node, T0)
    assert status_of(web, node, LATER) == web["status"]


def test_a_refused_pod_is_told_of() -> None:
    status = status_of(deployment(), Node(), refusal="pods is forbidden: exceeded quota")
    assert find_condition(status, "ReplicaFailure") == {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "pods is forbidden: exceeded quota",
        "lastUpdateTime": T0,
        "lastTransitionTime": T0,
    }


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_pod_that_ended_does_not_count(phase: str) -> None:
    node, web = Node(), deployment()
    pod = node.create(web, ready=True)
    pod["status"]["phase"] = phase
    pods = Pods.of(web, node.pods)
    assert pods.ended == (pod,)
    assert plan(web, pods).create == 1


def test_one_pod_is_wanted_where_nothing_is_said() -> None:
    web = deployment()
    del web["spec"]["replicas"]
    assert wanted_replicas(web) == 1
