"""What queued jobs ask for, and whether there is room: sums, quotas, and Kueue's words for what is short."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.local.controllers.kueue_quota import PodSet, assign, plus, pod_sets
from airflow_provider_sparkml.resources.kubeflow_v1 import PyTorchJob
from airflow_provider_sparkml.resources.spark import DynamicAllocation, Executor, SparkApplication
from airflow_provider_sparkml.resources.trainer import Trainer, TrainJob
from airflow_provider_sparkml.resources.training import Replica
from airflow_provider_sparkml.resources.training_pods import TrainingPods

GIB = 1024**3
SHORT = "couldn't assign flavors to pod set"


def queue(flavors: dict[str, dict[str, str]] | None = None) -> dict[str, Any]:
    """Return a ClusterQueue of one group."""
    stated = flavors if flavors is not None else {"default": {"cpu": "4", "memory": "8Gi"}}
    covered = list(next(iter(stated.values())))
    listed = [
        {"name": name, "resources": [{"name": each, "nominalQuota": quota} for each, quota in quotas.items()]}
        for name, quotas in stated.items()
    ]
    return {"spec": {"resourceGroups": [{"coveredResources": covered, "flavors": listed}]}}


def pods(cpu: str, count: int = 1, name: str = "main") -> PodSet:
    return PodSet(name, count, {"cpu": Decimal(cpu)})


def totals(job: dict[str, Any]) -> dict[str, tuple[int, dict[str, Decimal]]]:
    return {each.name: (each.count, dict(each.requests)) for each in pod_sets(job)}


def test_a_spark_application_asks_for_what_its_pods_will_request() -> None:
    app = SparkApplication(
        image="i", main_application_file="local:///x.py", executor=Executor(instances=3, cores=2, memory="1g")
    )
    found = totals(app.to_manifest())
    assert found["driver"][0] == 1
    assert found["executor"] == (3, {"cpu": Decimal(2), "memory": Decimal((1024 + 409) * 1024**2)})


def test_executors_that_come_and_go_count_as_many_as_there_are_at_first() -> None:
    dynamic = DynamicAllocation(initial_executors=2, min_executors=1, max_executors=9)
    app = SparkApplication(image="i", main_application_file="local:///x.py", dynamic_allocation=dynamic)
    assert totals(app.to_manifest())["executor"][0] == 2


def test_replicas_of_training_jobs_count() -> None:
    replica = Replica(image="i", command=["train"], cpu="2", memory="1Gi", replicas=2)
    job = PyTorchJob(worker=replica).to_manifest()
    assert totals(job)["worker"] == (2, {"cpu": Decimal(2), "memory": Decimal(GIB)})
    (launched,) = totals(TrainingPods(pods=replica).to_manifest()).values()
    assert launched == (2, {"cpu": Decimal(2), "memory": Decimal(GIB)})
    trainer = Trainer(num_nodes=3, resources_per_node={"cpu": "1", "memory": "2Gi"})
    assert totals(TrainJob(runtime="torch", trainer=trainer).to_manifest())["node"] == (
        3,
        {"cpu": Decimal(1), "memory": Decimal(2 * GIB)},
    )


def test_limits_stand_in_for_requests() -> None:
    container = {"resources": {"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "250m"}}}
    job = {"kind": "Job", "spec": {"parallelism": 2, "template": {"spec": {"containers": [container, container]}}}}
    assert totals(job) == {"main": (2, {"cpu": Decimal("0.5"), "memory": Decimal(2 * GIB)})}


def test_what_fits_is_counted_in_the_first_flavor_with_room() -> None:
    both = queue({"small": {"cpu": "2"}, "large": {"cpu": "8"}})
    found = assign([pods("1", name="driver"), pods("2", count=2, name="executor")], both, {})
    assert found.problem == ""
    assert found.flavors == {"driver": {"cpu": "small"}, "executor": {"cpu": "large"}}
    assert found.used == {("small", "cpu"): 1, ("large", "cpu"): 4}


@pytest.mark.parametrize(
    ("wanted", "used", "problem"),
    [
        (
            [pods("3")],
            {("default", "cpu"): Decimal("2.5")},
            f"{SHORT} main: insufficient unused quota for cpu in flavor default, 1.5 more needed",
        ),
        (
            [pods("1"), pods("5", name="executor")],
            {},
            "couldn't assign flavors to pod set executor: insufficient quota for cpu in flavor default, previously "
            "considered podsets requests (0) + current podset request (5) > maximum capacity (4)",
        ),
        (
            [pods("3"), pods("2", name="executor")],
            {},
            f"{SHORT} executor: insufficient unused quota for cpu in flavor default, 1 more needed",
        ),
        (
            [PodSet("main", 1, {"nvidia.com/gpu": Decimal(1)})],
            {},
            "couldn't assign flavors to pod set main: resource nvidia.com/gpu unavailable in ClusterQueue",
        ),
    ],
)  # fmt: skip
def test_what_is_short_is_said(wanted: list[PodSet], used: Any, problem: str) -> None:
    assert assign(wanted, queue(), used).problem == problem


def test_pods_are_counted_where_the_queue_covers_them() -> None:
    few = queue({"default": {"cpu": "100", "pods": "2"}})
    assert assign([pods("1", count=2)], few, {}).problem == ""
    assert "insufficient quota for pods" in assign([pods("1", count=3)], few, {}).problem


@given(st.lists(st.integers(1, 5), max_size=20), st.integers(0, 12))
def test_never_more_than_the_quota_is_given_away(asked: list[int], quota: int) -> None:
    limited = queue({"default": {"cpu": str(quota)}})
    used: Any = {}
    for each in asked:
        found = assign([pods(str(each))], limited, used)
        fits = used.get(("default", "cpu"), 0) + each <= quota
        assert (found.problem == "") is fits
        used = plus(used, found.used)
    assert used.get(("default", "cpu"), 0) <= quota
