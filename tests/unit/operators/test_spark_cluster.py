"""SparkClusters on a real API server: started once, waited for until usable, stopped; the test plays the operator."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_sparkml.exceptions import (
    ForbiddenError,
    InvalidManifestError,
    JobFailedError,
    StartupTimeoutError,
)
from airflow_provider_sparkml.jobs.spark_cluster import what_is_missing
from airflow_provider_sparkml.operators.spark_cluster import SparkClusterOperator, SparkClusterStopOperator
from airflow_provider_sparkml.resources.spark_cluster import SparkCluster
from tests.shipped_roles import take_away, to_add

CLUSTER = SparkCluster(image="i", spark_version="4.3.0", workers="2")

pytestmark = pytest.mark.usefixtures("connection", "supervisor")


class Operator:
    """Does what the Apache Spark operator and the StatefulSet controller do, when the test says so."""

    def __init__(self, clusters: Any, sets: Any) -> None:
        self.clusters, self.sets = clusters, sets

    def set_state(self, state: str, message: str = "") -> None:
        entered = {"currentStateSummary": state, "message": message}
        name = self.clusters.one()["metadata"]["name"]
        self.clusters.set_status(name, currentState=entered, stateTransitionHistory={"0": entered})

    def make_sets(self, owner: dict[str, Any] | None = None) -> None:
        """Make the StatefulSets, and call the cluster healthy at once, as the operator does."""
        cluster = owner or self.clusters.one()
        name = self.clusters.one()["metadata"]["name"]
        reference = {"apiVersion": "spark.apache.org/v1", "kind": "SparkCluster", "name": name, "controller": True}
        for role in ("master", "worker"):
            labels = {"role": role}
            template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": role, "image": "i"}]}}
            spec = {"selector": {"matchLabels": labels}, "template": template, "serviceName": f"{name}-{role}-svc"}
            metadata = {
                "name": f"{name}-{role}",
                "ownerReferences": [{**reference, "uid": cluster["metadata"]["uid"]}],
            }
            self.sets.create({"metadata": metadata, "spec": spec})
        self.set_state("RunningHealthy")

    def set_ready(self, role: str, count: int) -> None:
        name = self.clusters.one()["metadata"]["name"]
        self.sets.set_status(f"{name}-{role}", replicas=2, readyReplicas=count)


@pytest.fixture
def world(spark_clusters: Any, stateful_sets: Any) -> Operator:
    return Operator(spark_clusters, stateful_sets)


def operator(**kwargs: Any) -> SparkClusterOperator:
    return SparkClusterOperator(task_id="t", cluster=CLUSTER, **kwargs)


def start(context: Any, **kwargs: Any) -> Any:
    """Start until it defers, and return the trigger."""
    with pytest.raises(TaskDeferred) as deferred:
        operator(**kwargs).execute(context)
    return deferred.value.trigger


async def fire(trigger: Any) -> dict[str, Any]:
    (event,) = [event async for event in trigger.run()]
    payload: dict[str, Any] = event.payload
    return payload


async def ready(world: Operator, context: Any) -> dict[str, Any]:
    """Start a cluster, bring it up pod by pod, and return what the task returns."""
    trigger = await asyncio.to_thread(start, context)
    waiting = asyncio.create_task(fire(trigger))
    await asyncio.to_thread(world.make_sets)
    for role, count in (("worker", 1), ("master", 1), ("worker", 2)):
        assert not waiting.done()
        await asyncio.to_thread(world.set_ready, role, count)
    event = await asyncio.wait_for(waiting, 20)
    return await asyncio.to_thread(operator().execute_complete, context, event, trigger.serialize()[1])


async def test_it_tells_where_drivers_connect_and_the_teardown_stops_this_very_cluster(
    world: Operator, namespace: str, task_context: Any
) -> None:
    context = task_context()
    told = await ready(world, context)
    name = world.clusters.one()["metadata"]["name"]
    assert told["master_url"] == f"spark://{name}-master-svc.{namespace}.svc:7077"
    assert told["workers"] == 2
    for cluster in ({**told, "uid": "another"}, json.dumps(told)):
        assert world.clusters.one(), "another of the same name is left alone"
        stop = SparkClusterStopOperator(task_id="s", cluster=cluster)
        await asyncio.to_thread(stop.execute, context)
    assert world.clusters.all() == []
    await asyncio.to_thread(stop.execute, context)  # once more is fine


async def test_healthy_is_not_ready(world: Operator, task_context: Any) -> None:
    """The operator calls it healthy at once; one without pods ends by its time-out, and is deleted."""
    context = task_context()
    trigger = await asyncio.to_thread(start, context, startup_timeout=1.5)
    waiting = asyncio.create_task(fire(trigger))
    await asyncio.to_thread(world.make_sets)
    await asyncio.to_thread(world.set_ready, "master", 1)
    event = await asyncio.wait_for(waiting, 20)
    with pytest.raises(StartupTimeoutError, match="0 of 2 workers are ready"):
        await asyncio.to_thread(operator().execute_complete, context, event)
    assert world.clusters.all() == []


async def test_a_scheduling_failure_is_told_and_the_cluster_deleted(world: Operator, task_context: Any) -> None:
    """Upstream, a failed one is written to again and again; it must not stay."""
    context = task_context()
    trigger = await asyncio.to_thread(start, context)
    await asyncio.to_thread(world.set_state, "SchedulingFailure", "services is forbidden")
    event = await asyncio.wait_for(fire(trigger), 20)
    with pytest.raises(JobFailedError, match="services is forbidden"):
        await asyncio.to_thread(operator().execute_complete, context, event)
    assert world.clusters.all() == []


async def test_a_cluster_that_is_deleted_meanwhile_ends_the_wait(world: Operator, task_context: Any) -> None:
    trigger = await asyncio.to_thread(start, task_context())
    waiting = asyncio.create_task(fire(trigger))
    name = world.clusters.one()["metadata"]["name"]
    await asyncio.to_thread(world.clusters.delete, name)
    event = await asyncio.wait_for(waiting, 20)
    assert event["outcome"]["deleted"]


def test_a_retry_goes_on_with_the_live_cluster(world: Operator, task_context: Any) -> None:
    first = start(task_context(try_number=1, max_tries=1))
    world.make_sets()
    assert start(task_context(try_number=2, max_tries=1)).ref == first.ref
    assert len(world.clusters.all()) == 1


async def test_a_kill_deletes_it_though_the_operator_calls_it_healthy(world: Operator, task_context: Any) -> None:
    trigger = await asyncio.to_thread(start, task_context())
    await asyncio.to_thread(world.make_sets)
    await trigger.on_kill()
    assert world.clusters.all() == []


@pytest.mark.parametrize("cluster", [None, "", "[]", {"name": "a"}])
def test_what_is_no_cluster_cannot_be_stopped(cluster: Any, task_context: Any) -> None:
    with pytest.raises(InvalidManifestError, match=r"cluster is .*: set it to the output of a SparkClusterOperator"):
        SparkClusterStopOperator(task_id="s", cluster=cluster).execute(task_context())


def stateful_set(ready_pods: int, uid: str = "u", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"ownerReferences": [{"uid": uid}], **metadata}, "status": {"readyReplicas": ready_pods}}


@pytest.mark.parametrize(
    ("master", "worker", "missing"),
    [
        (stateful_set(1), stateful_set(2), ""),
        (stateful_set(1), stateful_set(3), ""),
        (None, None, "the master is not ready, 0 of 2 workers are ready"),
        (stateful_set(1), {"metadata": {"ownerReferences": [{"uid": "u"}]}}, "0 of 2 workers are ready"),
        (stateful_set(1, uid="former"), stateful_set(2), "the master is not ready"),
        (stateful_set(1), stateful_set(2, deletionTimestamp="now"), "0 of 2 workers are ready"),
        (stateful_set(1), {"metadata": {}, "status": {"readyReplicas": 2}}, "0 of 2 workers are ready"),
    ],
)
def test_what_is_missing(master: Any, worker: Any, missing: str) -> None:
    cluster = {"metadata": {"uid": "u"}, "spec": {"clusterTolerations": {"instanceConfig": {"initWorkers": 2}}}}
    assert what_is_missing(cluster, {"master": master, "worker": worker}) == missing


def test_a_cluster_that_begins_without_workers_needs_its_master_only() -> None:
    cluster = {"metadata": {"uid": "u"}, "spec": {"clusterTolerations": {"instanceConfig": {"initWorkers": 0}}}}
    assert what_is_missing(cluster, {"master": stateful_set(1)}) == ""


@pytest.mark.parametrize("verb", ["create", "get", "list", "delete"])
async def test_without_one_right(
    verb: str, world: Operator, api_server: Any, namespace: str, task_context: Any
) -> None:
    missing = ("spark.apache.org", "sparkclusters", verb)
    context = task_context()
    await asyncio.to_thread(take_away, api_server, namespace, "spark_cluster", missing)

    async def run() -> None:
        told = await ready(world, context)
        await asyncio.to_thread(SparkClusterStopOperator(task_id="s", cluster=told).execute, context)

    with pytest.raises(ForbiddenError, match=re.escape(to_add(missing))):
        await run()


async def test_without_the_right_to_see_its_pods_nobody_can_tell_when_it_is_usable(
    world: Operator, api_server: Any, namespace: str, task_context: Any
) -> None:
    missing = ("apps", "statefulsets", "list")
    await asyncio.to_thread(take_away, api_server, namespace, "spark_cluster", missing)
    context = task_context()
    trigger = await asyncio.to_thread(start, context)
    event = await asyncio.wait_for(fire(trigger), 20)
    with pytest.raises(ForbiddenError, match=re.escape(to_add(missing))):
        await asyncio.to_thread(operator().execute_complete, context, event, trigger.serialize()[1])
