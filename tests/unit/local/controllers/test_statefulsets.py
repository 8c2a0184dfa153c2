"""The StatefulSet controller's decisions: which pods to create and to delete, and what to say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.local.controllers.deployments import template_hash
from airflow_provider_sparkml.local.controllers.statefulsets import HASH_LABEL, new_pod, new_status, plan

Manifest = dict[str, Any]


def stateful_set(*, replicas: int = 2, image: str = "v1", policy: str = "Parallel", **spec: Any) -> Manifest:
    labels = {"app": "db"}
    return {
        "metadata": {"name": "db", "namespace": "ns", "uid": "s-1", "generation": 3},
        "spec": {
            "replicas": replicas,
            "podManagementPolicy": policy,
            "updateStrategy": {"type": "RollingUpdate"},
            "serviceName": "db-svc",
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}},
            **spec,
        },
    }


class Node:
    """Stands for API server and kubelet: a pod that is deleted is gone at once, and ready when the test says so."""

    def __init__(self) -> None:
        self.pods: dict[int, Manifest] = {}

    def step(self, owner: Manifest) -> bool:
        """Do what one reconciliation does; return whether there was anything to do."""
        step = plan(owner, self.pods)
        for pod in step.delete:
            del self.pods[int(pod["metadata"]["name"].rpartition("-")[2])]
        for index in step.create:
            assert index not in self.pods, "never two of one name"
            self.pods[index] = {**new_pod(owner, index), "status": {"phase": "Running"}}
        return bool(step.create or step.delete)

    def set_ready(self, index: int, ready: bool = True) -> None:
        self.pods[index]["status"]["conditions"] = [{"type": "Ready", "status": str(ready)}]

    def end(self, index: int) -> None:
        self.pods[index]["status"] = {"phase": "Failed"}


def test_a_pod_has_a_name_of_its_own_and_a_host_name_behind_the_service() -> None:
    pod = new_pod(stateful_set(), 1)
    assert pod["metadata"]["name"] == pod["spec"]["hostname"] == "db-1"
    assert (pod["spec"]["subdomain"], pod["spec"]["restartPolicy"]) == ("db-svc", "Always")
    assert pod["metadata"]["labels"] == {
        "app": "db",
        HASH_LABEL: template_hash(stateful_set()),
        "statefulset.kubernetes.io/pod-name": "db-1",
        "apps.kubernetes.io/pod-index": "1",
    }


def test_all_are_made_at_once_or_one_after_the_other() -> None:
    assert plan(stateful_set(replicas=3), {}).create == (0, 1, 2)
    node, ordered = Node(), stateful_set(replicas=3, policy="OrderedReady")
    for index in range(3):
        assert node.step(ordered)
        assert list(node.pods) == list(range(index + 1))
        assert not node.step(ordered), "the next waits for this one"
        node.set_ready(index)


def test_one_that_has_ended_is_made_anew_under_its_name() -> None:
    node, db = Node(), stateful_set()
    node.step(db)
    node.end(0)
    node.step(db)
    assert list(node.pods) == [1]
    node.step(db)
    assert sorted(node.pods) == [0, 1]


def test_the_last_ones_go_first() -> None:
    node = Node()
    node.step(stateful_set(replicas=3))
    assert [pod["metadata"]["name"] for pod in plan(stateful_set(replicas=1), node.pods).delete] == ["db-2", "db-1"]


def test_an_update_replaces_one_at_a_time_from_the_last() -> None:
    node = Node()
    node.step(stateful_set(image="v1"))
    node.set_ready(0)
    node.set_ready(1)
    new = stateful_set(image="v2")
    node.step(new)
    assert list(node.pods) == [0]
    node.step(new)
    assert not node.step(new), "the other waits until this one is ready"
    node.set_ready(1)
    node.step(new)
    assert list(node.pods) == [1]


def test_on_delete_nothing_is_replaced() -> None:
    node = Node()
    node.step(stateful_set(image="v1"))
    assert not node.step(stateful_set(image="v2", updateStrategy={"type": "OnDelete"}))


def test_the_status_counts_what_is_there() -> None:
    node, db = Node(), stateful_set()
    node.step(db)
    node.set_ready(0)
    status = new_status(db, node.pods)
    assert (status["observedGeneration"], status["replicas"], status["readyReplicas"]) == (3, 2, 1)
    node.pods[0]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert "readyReplicas" not in new_status(db, node.pods)


EVENTS = st.one_of(
    st.tuples(st.just("ready"), st.integers(0, 4)),
    st.tuples(st.just("unready"), st.integers(0, 4)),
    st.tuples(st.just("end"), st.integers(0, 4)),
    st.tuples(st.just("lose"), st.integers(0, 4)),
    st.tuples(st.just("scale"), st.integers(0, 4)),
    st.tuples(st.just("image"), st.integers(1, 3)),
)


@pytest.mark.parametrize("policy", ["Parallel", "OrderedReady"])
@given(events=st.lists(EVENTS, max_size=12))
def test_whatever_happens_it_comes_to_what_is_wanted(policy: str, events: list[tuple[str, int]]) -> None:
    node, replicas, image = Node(), 2, "v1"
    for what, number in events:
        if what == "scale":
            replicas = number
        elif what == "image":
            image = f"v{number}"
        elif number in node.pods:
            {
                "ready": node.set_ready,
                "unready": lambda index: node.set_ready(index, False),
                "end": node.end,
                "lose": node.pods.pop,
            }[what](number)
        node.step(stateful_set(replicas=replicas, image=image, policy=policy))
    wanted = stateful_set(replicas=replicas, image=image, policy=policy)
    for _ in range(40):
        for index, pod in node.pods.items():
            if pod["status"]["phase"] == "Running":
                node.set_ready(index)
        if not node.step(wanted):
            break
    assert sorted(node.pods) == list(range(replicas))
    assert {pod["metadata"]["labels"][HASH_LABEL] for pod in node.pods.values()} <= {template_hash(wanted)}
