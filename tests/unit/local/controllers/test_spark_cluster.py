"""The controller of SparkClusters: what it makes, and its states, on a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.local.controllers.spark_cluster import objects, spark_cluster_controller, worker_size
from airflow_provider_sparkml.local.controllers.statefulsets import stateful_set_controller
from airflow_provider_sparkml.resources.spark_cluster import SPARK_CLUSTER, SparkCluster

CLUSTERS = "/apis/spark.apache.org/v1/namespaces/{}/sparkclusters"
GIB = 1024**3


def cluster(namespace: str = "n", **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"name": "c", "image": "sparkml/spark:1", "spark_version": "4.3.0", "workers": 2, **changes}
    manifest = SPARK_CLUSTER.normalize(SparkCluster(**given).to_manifest())
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}}


def made(manifest: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(api.kind, obj["metadata"]["name"]): obj for api, obj in objects(manifest)}


def container(manifest: dict[str, Any], role: str) -> dict[str, Any]:
    pod = made(manifest)["StatefulSet", f"c-{role}"]["spec"]["template"]["spec"]
    found: dict[str, Any] = next(each for each in pod["containers"] if each["name"] == role)
    return found


def test_it_is_made_of_what_upstream_makes() -> None:
    assert list(made(cluster())) == [
        ("Service", "c-master-svc"),
        ("Service", "c-worker-svc"),
        ("StatefulSet", "c-master"),
        ("StatefulSet", "c-worker"),
        ("NetworkPolicy", "c-worker"),
        ("PodDisruptionBudget", "c-worker-pdb"),
    ]
    assert ("PodDisruptionBudget", "c-worker-pdb") not in made(cluster(workers=0))
    sets = {role: made(cluster())["StatefulSet", f"c-{role}"]["spec"] for role in ("master", "worker")}
    assert {role: spec["replicas"] for role, spec in sets.items()} == {"master": 1, "worker": 2}
    for role, spec in sets.items():
        selector = made(cluster())["Service", f"c-{role}-svc"]["spec"]["selector"]
        assert selector.items() <= spec["template"]["metadata"]["labels"].items()


def test_the_programs_listen_on_their_pods_own_address() -> None:
    master, worker = (container(cluster(), role)["args"] for role in ("master", "worker"))
    assert master[:2] == ["class", "org.apache.spark.deploy.master.Master"]
    assert worker[:2] == ["class", "org.apache.spark.deploy.worker.Worker"]
    assert worker[-1] == "spark://c-master-svc:7077"
    for words in (master, worker):
        assert words[words.index("--host") + 1] == "$(SPARK_LOCAL_IP)"


def test_properties_reach_the_program_and_the_author_keeps_variables_and_sidecars() -> None:
    manifest = cluster(spark_conf={"spark.ui.reverseProxy": "true", "spark.master.ui.title": "Two words"})
    sidecar = {"name": "sidecar", "image": "s"}
    own = {"name": "master", "env": [{"name": "A", "value": "1"}]}
    manifest["spec"]["masterSpec"]["statefulSetSpec"]["template"]["spec"]["containers"] = [sidecar, own]
    env = {each["name"]: each.get("value") for each in container(manifest, "master")["env"]}
    assert env["A"] == "1"
    assert '-Dspark.ui.reverseProxy="true" -Dspark.master.ui.title="Two words"' in str(env["SPARK_MASTER_OPTS"])
    pod = made(manifest)["StatefulSet", "c-master"]["spec"]["template"]["spec"]
    assert pod["containers"][0] == sidecar


def test_the_version_stands_in_the_image() -> None:
    assert container(cluster(image="apache/spark:{{SPARK_VERSION}}-x"), "worker")["image"] == "apache/spark:4.3.0-x"


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"cpu": "500m", "memory": "4Gi"}, (1, 3 * GIB)),
        ({"cpu": "3", "memory": "1Gi"}, (3, GIB // 2)),
        ({}, (1, GIB)),
    ],
)
def test_a_worker_offers_its_limits_less_what_it_needs_itself(
    limits: dict[str, str], expected: tuple[int, int]
) -> None:
    assert worker_size({"resources": {"limits": limits}}) == expected


def test_what_is_not_done_here_is_refused() -> None:
    with pytest.raises(InvalidManifestError, match="the local cluster has no HorizontalPodAutoscaler"):
        objects(cluster(max_workers=5))


@asynccontextmanager
async def running(api_server: Any) -> AsyncIterator[None]:
    async with KubernetesClient(kubeconfig_file(api_server.kubeconfig)) as client:
        work = [
            asyncio.create_task(controller.run())
            for controller in (spark_cluster_controller(client), stateful_set_controller(client))
        ]
        try:
            yield
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)


async def until(api_server: Any, path: str, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Return an object as soon as it is as wanted."""
    async with asyncio.timeout(20):
        while True:
            status, obj = await asyncio.to_thread(api_server.request, "GET", path)
            if status == 200 and holds(obj):
                found: dict[str, Any] = obj
                return found
            await asyncio.sleep(0.05)


def state(obj: dict[str, Any]) -> str:
    return str(obj.get("status", {}).get("currentState", {}).get("currentStateSummary", ""))


async def test_it_is_called_healthy_at_once_and_a_lost_worker_comes_again(api_server: Any, namespace: str) -> None:
    path, pods = CLUSTERS.format(namespace), f"/api/v1/namespaces/{namespace}/pods"
    sets = f"/apis/apps/v1/namespaces/{namespace}/statefulsets"
    async with running(api_server):
        status, answer = await asyncio.to_thread(api_server.request, "POST", path, cluster(namespace))
        assert status == 201, answer
        found = await until(api_server, f"{path}/c", lambda obj: state(obj) == "RunningHealthy")
        assert [found["status"]["stateTransitionHistory"][key]["currentStateSummary"] for key in "01"] == [
            "Submitted",
            "RunningHealthy",
        ]
        worker = await until(api_server, f"{pods}/c-worker-1", bool)
        assert worker["spec"]["subdomain"] == "c-worker-svc"
        ready = {"podIP": "127.9.9.9", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        code, answer = await asyncio.to_thread(
            api_server.request, "PATCH", f"{pods}/c-worker-1/status", {"status": ready},
            content_type="application/merge-patch+json",
        )  # fmt: skip
        assert code == 200, answer
        owned = await until(api_server, f"{sets}/c-worker", lambda obj: obj["status"].get("readyReplicas") == 1)
        assert owned["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]

        await asyncio.to_thread(api_server.request, "DELETE", f"{pods}/c-worker-1?gracePeriodSeconds=0")
        again = await until(api_server, f"{pods}/c-worker-1", lambda obj: obj["metadata"] != worker["metadata"])
        assert again["metadata"]["uid"] != worker["metadata"]["uid"]
        await until(api_server, f"{sets}/c-worker", lambda obj: not obj["status"].get("readyReplicas"))


async def test_a_name_that_is_taken_is_a_failure_with_its_cause(api_server: Any, namespace: str) -> None:
    path = CLUSTERS.format(namespace)
    service = {"metadata": {"name": "c-master-svc"}, "spec": {"ports": [{"port": 1}]}}
    status, answer = api_server.request("POST", f"/api/v1/namespaces/{namespace}/services", service)
    assert status == 201, answer
    async with running(api_server):
        status, answer = await asyncio.to_thread(api_server.request, "POST", path, cluster(namespace))
        assert status == 201, answer
        found = await until(api_server, f"{path}/c", lambda obj: state(obj) == "Failed")
    assert 'Resource "c-master-svc" of Kind "Service" already exists' in SPARK_CLUSTER.read(found).message
