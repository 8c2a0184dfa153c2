"""The controller of SparkConnects on a real API server; the test plays the kubelet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.local.controllers.spark_connect import server_pod, spark_connect_controller
from airflow_provider_sparkml.resources.base import Phase
from airflow_provider_sparkml.resources.spark_connect import SPARK_CONNECT, SparkConnectServer

CONNECTS = "/apis/sparkoperator.k8s.io/v1alpha1/namespaces/{}/sparkconnects"


def connect(**changes: Any) -> dict[str, Any]:
    given = {"service_account": "spark", "executor_instances": 2, "spark_conf": {"spark.sql.ansi.enabled": "false"}}
    server = SparkConnectServer(name="c", image="sparkml/spark:1", spark_version="4.3.0", **{**given, **changes})
    manifest = server.to_manifest()
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": "n"}}


def conf_of(pod: dict[str, Any]) -> dict[str, str]:
    words = pod["spec"]["containers"][0]["args"]
    pairs = [setting.partition("=") for flag, setting in pairwise(words) if flag == "--conf"]
    return {key: value for key, _, value in pairs}


def test_the_pod_is_a_driver_whose_program_is_the_server() -> None:
    pod = server_pod(connect(server_memory="512m"))
    container = pod["spec"]["containers"][0]
    assert container["args"][0] == "driver"
    assert container["args"][-3:] == [
        "--class",
        "org.apache.spark.sql.connect.service.SparkConnectServer",
        "spark-internal",
    ]
    assert container["image"] == "sparkml/spark:1"
    assert pod["spec"]["serviceAccountName"] == "spark"
    conf = conf_of(pod)
    assert conf["spark.driver.memory"] == "512m"
    assert conf["spark.executor.instances"] == "2"
    assert conf["spark.sql.ansi.enabled"] == "false"
    assert conf["spark.kubernetes.driver.pod.name"] == pod["metadata"]["name"] == "c-server"
    assert conf["spark.kubernetes.executor.label.sparkoperator.k8s.io/connect-name"] == "c"
    assert container["readinessProbe"]["tcpSocket"]["port"] == int(conf["spark.connect.grpc.binding.port"])


def test_identity_is_not_the_authors_to_change() -> None:
    conf = conf_of(
        server_pod(connect(spark_conf={"spark.kubernetes.driver.pod.name": "other", "spark.driver.port": "1"}))
    )
    assert conf["spark.kubernetes.driver.pod.name"] == "c-server"
    assert conf["spark.driver.port"] == "1"


def test_a_container_of_ones_own_keeps_its_image_and_variables() -> None:
    manifest = connect()
    sidecar = {"name": "sidecar", "image": "s"}
    own = {"name": "spark-kubernetes-driver", "image": "mine", "env": [{"name": "A", "value": "1"}]}
    manifest["spec"]["server"]["template"] = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [sidecar, own]},
    }
    pod = server_pod(manifest)
    first, second = pod["spec"]["containers"]
    assert first == sidecar
    assert (second["image"], second["env"][0]) == ("mine", {"name": "A", "value": "1"})
    assert f"spark.kubernetes.container.image={second['image']}" in second["args"]
    assert pod["metadata"]["labels"]["a"] == "b"
    assert manifest["spec"]["server"]["template"]["spec"]["containers"][1] == own, "the manifest stays as it is"


@asynccontextmanager
async def running(api_server: Any) -> AsyncIterator[None]:
    async with KubernetesClient(kubeconfig_file(api_server.kubeconfig)) as client:
        work = asyncio.create_task(spark_connect_controller(client).run())
        try:
            yield
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


async def until(api_server: Any, path: str, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Return an object as soon as it is as wanted."""
    async with asyncio.timeout(20):
        while True:
            status, obj = await asyncio.to_thread(api_server.request, "GET", path)
            if status == 200 and holds(obj):
                found: dict[str, Any] = obj
                return found
            await asyncio.sleep(0.05)


def post(api_server: Any, path: str, manifest: dict[str, Any]) -> dict[str, Any]:
    status, answer = api_server.request("POST", path, manifest)
    assert status == 201, answer
    made: dict[str, Any] = answer
    return made


async def test_it_is_ready_when_its_pod_is_and_a_lost_pod_comes_again(api_server: Any, namespace: str) -> None:
    path, pods = CONNECTS.format(namespace), f"/api/v1/namespaces/{namespace}/pods"
    manifest = connect(service_account="")
    manifest["metadata"]["namespace"] = namespace
    async with running(api_server):
        post(api_server, path, manifest)
        waiting = await until(api_server, f"{path}/c", lambda obj: obj.get("status", {}).get("server"))
        assert (waiting["status"]["state"], SPARK_CONNECT.read(waiting).phase) == ("NotReady", Phase.PENDING)
        service = await until(api_server, f"/api/v1/namespaces/{namespace}/services/c-server", bool)
        pod = await until(api_server, f"{pods}/c-server", bool)
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        assert [each["port"] for each in service["spec"]["ports"]] == [7078, 7079, 4040, 15002]
        ready = {"podIP": "127.9.9.9", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        code, answer = api_server.request(
            "PATCH", f"{pods}/c-server/status", {"status": ready}, content_type="application/merge-patch+json"
        )
        assert code == 200, answer
        found = await until(api_server, f"{path}/c", lambda obj: obj["status"]["state"] == "Ready")
        assert SPARK_CONNECT.facts(found)["pod_url"] == "sc://127.9.9.9:15002"
        since = found["status"]["startTime"]

        api_server.request("DELETE", f"{pods}/c-server?gracePeriodSeconds=0")
        again = await until(
            api_server, f"{pods}/c-server", lambda obj: obj["metadata"]["uid"] != pod["metadata"]["uid"]
        )
        assert again["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]
        lost = await until(api_server, f"{path}/c", lambda obj: obj["status"]["state"] == "NotReady")
        assert lost["status"]["startTime"] == since


TEMPLATE = {"spec": {"containers": [{"name": "a", "image": "i"}]}}


@pytest.mark.parametrize(
    ("account", "taken", "template", "message"),
    [
        ("", True, None, 'Resource "c-server" of Kind "Pod" already exists and is not managed by SparkConnect'),
        ("", False, TEMPLATE, "spec.executor.template is set: the local cluster has no pod templates of executors"),
        ("nobody", False, None, 'pods "c-server" is forbidden: error looking up service account'),
    ],
)
async def test_what_keeps_it_from_being_ready_is_in_its_condition(
    api_server: Any, namespace: str, account: str, taken: bool, template: Any, message: str
) -> None:
    path = CONNECTS.format(namespace)
    manifest = connect(service_account=account)
    manifest["metadata"]["namespace"] = namespace
    if taken:
        post(api_server, f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": "c-server"}, **TEMPLATE})
    if template:
        manifest["spec"]["executor"]["template"] = template
    async with running(api_server):
        post(api_server, path, manifest)
        found = await until(api_server, f"{path}/c", lambda obj: obj.get("status", {}).get("conditions"))
    assert found["status"]["state"] == "NotReady"
    assert SPARK_CONNECT.read(found).message.startswith(f"Server pod is not ready: {message}")
