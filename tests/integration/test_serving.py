"""Models served by the local cluster: real pods, real processes, real HTTP requests."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.resources.base import Manifest, Phase
from airflow_provider_sparkml.resources.core import DEPLOYMENT, PERSISTENT_VOLUME_CLAIM, POD, SERVICE
from airflow_provider_sparkml.resources.serving import INFERENCE_SERVICE
from tests.integration.conftest import SCRIPTS, ClusterProcess, until
from tests.integration.programs import image

API = INFERENCE_SERVICE.api
SERVER = """
import http.server, os, signal, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = sys.argv[1].encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
# As in any cluster, requests come until all have heard that the pod goes: it serves them, and ends then.
signal.signal(signal.SIGTERM, lambda *_: threading.Timer(3, os._exit, [0]).start())
http.server.ThreadingHTTPServer((os.environ["POD_IP"], 8080), Handler).serve_forever()
"""
"""A model server of ten lines, which answers its argument."""


def custom(text: str, *, program: str = SERVER, **predictor: Any) -> Manifest:
    """An InferenceService with a container of the user's own."""
    container = {
        "name": "scorer",
        "image": "sparkml/onnxserver:1",
        "command": ["python", "-u", "-c", program, text],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
    }
    return {"metadata": {"name": "scorer"}, "spec": {"predictor": {"containers": [container], **predictor}}}


def onnx(path: Path | str, name: str = "model", format_: str = "onnx") -> Manifest:
    model = {"modelFormat": {"name": format_}, "storageUri": str(path)}
    return {"metadata": {"name": name}, "spec": {"predictor": {"model": model}}}


async def apply(client: KubernetesClient, namespace: str, manifest: Manifest) -> Manifest:
    return await client.apply(API, manifest, namespace, field_manager="test")


def is_ready(obj: Manifest | None) -> bool:
    return obj is not None and INFERENCE_SERVICE.read(obj).phase is Phase.SUCCEEDED


def has_failed(obj: Manifest | None) -> bool:
    return obj is not None and INFERENCE_SERVICE.read(obj).phase is Phase.FAILED


def is_rolled_out(generation: int) -> Any:
    def condition(obj: Manifest | None) -> bool:
        status = (obj or {}).get("status", {})
        return status.get("observedGeneration", 0) >= generation and status.get("updatedReplicas") == status.get(
            "replicas"
        ) == status.get("readyReplicas")

    return condition


async def pods_of(client: KubernetesClient, namespace: str) -> list[Manifest]:
    return (await client.list(POD, namespace)).items


async def get(url: str) -> str:
    async with httpx.AsyncClient(timeout=60) as http:  # on a machine that does everything else as well
        return (await http.get(url)).raise_for_status().text


@contextlib.asynccontextmanager
async def requests_going_on(url: str) -> AsyncIterator[list[str]]:
    """Ask again and again, each time anew, and collect the answers; a request that fails fails the test."""
    answers: list[str] = []

    async def ask() -> None:
        while True:
            answers.append(await get(url))
            await asyncio.sleep(0.01)

    # The group ends the test at the first request that fails, and tells of that.
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(ask())
        yield answers
        asking.cancel()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``columns`` and ``text`` with a model each."""
    directory = tmp_path_factory.mktemp("models")
    program = Path(__file__).with_name("onnx_models.py")
    subprocess.run([image("spark").prefix / "bin" / "python", program, directory], check=True)
    return directory


async def fill_claim(client: KubernetesClient, namespace: str, source: Path) -> None:
    """Make a claim ``models`` and copy a folder into it as ``flights/1``, by a pod as any job would."""
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    await client.create(PERSISTENT_VOLUME_CLAIM, {"metadata": {"name": "models"}, "spec": claim}, namespace)
    volumes = {
        "source": {"hostPath": {"path": str(source)}},
        "claim": {"persistentVolumeClaim": {"claimName": "models"}},
    }
    container = {
        "name": "main",
        "image": "sparkml/onnxserver:1",
        "command": ["sh", "-c", "mkdir -p /claim/flights && cp -r /source /claim/flights/1"],
        "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in volumes],
    }
    spec = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": name, **volume} for name, volume in volumes.items()],
    }
    await client.create(POD, {"metadata": {"name": "fill"}, "spec": spec}, namespace)
    await until(client, POD, namespace, "fill", lambda obj: obj and obj["status"].get("phase") == "Succeeded")
    await client.delete(POD, "fill", namespace)


@pytest.mark.serving
async def test_a_model_is_served_from_a_claim_and_goes_without_a_trace(
    local_cluster: ClusterProcess, cluster_client: KubernetesClient, cluster_namespace: str, models: Path
) -> None:
    client, namespace = cluster_client, cluster_namespace
    await fill_claim(client, namespace, models / "columns")
    await apply(client, namespace, onnx("pvc://models/flights/1"))
    served = await until(client, API, namespace, "model", is_ready)
    url = served["status"]["url"]
    data = {"a": [1.0, 2.0], "b": [5.0, 6.0]}
    inputs = [{"name": k, "shape": [2, 1], "datatype": "FP32", "data": v} for k, v in data.items()]
    answer = httpx.post(f"{url}/v2/models/model/infer", json={"inputs": inputs}).raise_for_status().json()
    assert answer["model_name"] == "model"
    assert {output["name"]: output["data"] for output in answer["outputs"]}["sum"] == [6.0, 8.0]
    assert served["status"]["modelStatus"]["states"]["activeModelState"] == "Loaded"
    kubectl = [SCRIPTS / "kubectl", f"--kubeconfig={local_cluster.kubeconfig}", "-n", namespace]
    subprocess.run([*kubectl, "delete", "isvc", "model", "--timeout=30s"], check=True, stdout=subprocess.DEVNULL)
    for kind in (DEPLOYMENT, SERVICE):
        await until(client, kind, namespace, "model-predictor", lambda obj: obj is None)
    for pod in await pods_of(client, namespace):
        await until(client, POD, namespace, pod["metadata"]["name"], lambda obj: obj is None)
    with pytest.raises(httpx.ConnectError):
        await get(url)


@pytest.mark.serving
async def test_a_model_that_does_not_load_is_told_of_soon_and_a_good_one_heals_it(
    cluster_client: KubernetesClient, cluster_namespace: str, models: Path, tmp_path: Path
) -> None:
    client, namespace = cluster_client, cluster_namespace
    (tmp_path / "model.onnx").write_bytes(b"this is no model")
    await apply(client, namespace, onnx(tmp_path))
    failed = await until(client, API, namespace, "model", has_failed)
    status = failed["status"]["modelStatus"]
    assert (status["transitionStatus"], status["states"]["targetModelState"]) == ("BlockedByFailedLoad", "FailedToLoad")
    assert status["lastFailureInfo"]["reason"] == "ModelLoadFailed"
    assert "cannot be loaded" in status["lastFailureInfo"]["message"]
    assert status["lastFailureInfo"]["exitCode"] == 1
    await apply(client, namespace, onnx(models / "columns"))
    healed = await until(client, API, namespace, "model", is_ready)
    assert healed["status"]["modelStatus"]["transitionStatus"] == "UpToDate"


async def test_what_nobody_here_serves_is_said_at_once(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    client, namespace = cluster_client, cluster_namespace
    await apply(client, namespace, onnx("pvc://models/1", format_="sklearn"))
    failed = await until(client, API, namespace, "model", has_failed, seconds=5)
    status = failed["status"]["modelStatus"]
    assert status["transitionStatus"] == "InvalidSpec"
    assert status["lastFailureInfo"]["reason"] == "NoSupportingRuntime"
    assert "'sklearn'" in status["lastFailureInfo"]["message"]
    assert (await client.list(DEPLOYMENT, namespace)).items == []
    async with asyncio.timeout(5):  # the event comes right after the status
        while not (events := await client.events(namespace, failed["metadata"]["uid"])):
            await asyncio.sleep(0.02)
    assert [(event["type"], event["reason"]) for event in events] == [("Warning", "NoSupportingRuntime")]


async def test_an_image_that_does_not_exist_is_said_at_once(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    client, namespace = cluster_client, cluster_namespace
    manifest = custom("a")
    manifest["spec"]["predictor"]["containers"][0]["image"] = "team/nowhere:1"
    await apply(client, namespace, manifest)
    failed = await until(client, API, namespace, "scorer", has_failed, seconds=15)
    assert failed["status"]["modelStatus"]["lastFailureInfo"]["reason"] == "RuntimeUnhealthy"
    assert "nowhere" in failed["status"]["modelStatus"]["lastFailureInfo"]["message"]


async def test_a_new_version_takes_over_without_a_failed_request(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    client, namespace = cluster_client, cluster_namespace
    await apply(client, namespace, custom("one"))
    url = (await until(client, API, namespace, "scorer", is_ready))["status"]["url"]
    async with requests_going_on(url) as answers:
        await apply(client, namespace, custom("two"))
        await until(client, DEPLOYMENT, namespace, "scorer-predictor", is_rolled_out(2))
        while "two" not in answers:
            await asyncio.sleep(0.01)
        for pod in await pods_of(client, namespace):
            if "deletionTimestamp" in pod["metadata"]:
                await until(client, POD, namespace, pod["metadata"]["name"], lambda obj: obj is None)
    assert answers == sorted(answers)  # never back to the old version
    served = await until(client, API, namespace, "scorer", is_ready)
    assert served["status"]["url"] == url
    assert len(await pods_of(client, namespace)) == 1


async def test_a_new_version_that_crashes_leaves_the_old_one_serving(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    client, namespace = cluster_client, cluster_namespace
    await apply(client, namespace, custom("one"))
    url = (await until(client, API, namespace, "scorer", is_ready))["status"]["url"]
    async with requests_going_on(url) as answers:
        await apply(client, namespace, custom("two", program="raise SystemExit('no GPU here')"))
        failed = await until(client, API, namespace, "scorer", has_failed)
    assert set(answers) == {"one"}
    status = failed["status"]["modelStatus"]
    assert status["states"] == {"activeModelState": "Loaded", "targetModelState": "FailedToLoad"}
    assert next(c["status"] for c in failed["status"]["conditions"] if c["type"] == "Ready") == "True"


async def test_replicas_share_the_work_and_a_lost_pod_is_replaced(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    client, namespace = cluster_client, cluster_namespace
    program = SERVER.replace("sys.argv[1].encode()", "os.environ['HOSTNAME'].encode()")
    await apply(client, namespace, custom("", program=program, minReplicas=2))
    await until(client, DEPLOYMENT, namespace, "scorer-predictor", is_rolled_out(1))
    url = (await until(client, API, namespace, "scorer", is_ready))["status"]["url"]
    names = {pod["metadata"]["name"] for pod in await pods_of(client, namespace)}
    assert len(names) == 2
    assert {await get(url) for _ in range(4)} == names
    lost = min(names)
    async with requests_going_on(url) as answers:
        await client.delete(POD, lost, namespace, propagation="Background")
        await until(client, POD, namespace, lost, lambda obj: obj is None)
        await until(
            client,
            DEPLOYMENT,
            namespace,
            "scorer-predictor",
            lambda obj: obj and obj["status"].get("readyReplicas") == 2,
        )
    assert answers[-1] in {pod["metadata"]["name"] for pod in await pods_of(client, namespace)}
    assert lost not in {pod["metadata"]["name"] for pod in await pods_of(client, namespace)}


async def test_a_service_is_stopped_and_started_by_its_annotation(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    client, namespace = cluster_client, cluster_namespace
    await apply(client, namespace, custom("one"))
    await until(client, API, namespace, "scorer", is_ready)
    stop = {"metadata": {"annotations": {"serving.kserve.io/stop": "true"}}}
    await client.patch(API, "scorer", stop, namespace)
    stopped = await until(
        client, API, namespace, "scorer", lambda obj: obj and INFERENCE_SERVICE.read(obj).phase is Phase.QUEUED
    )
    assert "url" not in stopped["status"]
    for kind in (DEPLOYMENT, SERVICE):
        await until(client, kind, namespace, "scorer-predictor", lambda obj: obj is None)
    await client.patch(API, "scorer", {"metadata": {"annotations": {"serving.kserve.io/stop": None}}}, namespace)
    again = await until(client, API, namespace, "scorer", is_ready)
    assert await get(again["status"]["url"]) == "one"


async def test_a_refused_pod_is_told_of_and_made_when_there_is_room(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    from airflow_provider_sparkml.resources.base import ApiResource

    client, namespace = cluster_client, cluster_namespace
    quota = ApiResource("", "v1", "resourcequotas", "ResourceQuota")
    await client.create(quota, {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}, namespace)
    await apply(client, namespace, custom("one"))
    refused = await until(
        client,
        API,
        namespace,
        "scorer",
        lambda obj: any(c.get("reason") == "FailedCreate" for c in (obj or {}).get("status", {}).get("conditions", [])),
    )
    message = next(c["message"] for c in refused["status"]["conditions"] if c["type"] == "PredictorReady")
    assert "quota" in message
    await client.delete(quota, "none", namespace)
    await until(client, API, namespace, "scorer", is_ready)


async def test_a_restarted_cluster_serves_at_the_same_address(tmp_path: Path) -> None:
    from airflow_provider_sparkml.client.credentials import kubeconfig_file

    cluster = ClusterProcess(tmp_path / "state")
    urls = []
    cluster.up()
    try:
        for _ in range(2):
            async with KubernetesClient(kubeconfig_file(cluster.kubeconfig)) as client:
                if not urls:
                    await apply(client, "default", custom("one"))

                served = await until(client, API, "default", "scorer", is_ready)
                urls.append(served["status"]["url"])
                assert await get(urls[-1]) == "one"
            cluster.down()
            with pytest.raises(httpx.ConnectError):
                await get(urls[-1])
            if len(urls) == 1:
                cluster.up()
    finally:
        cluster.down()
    assert urls[0] == urls[1]
