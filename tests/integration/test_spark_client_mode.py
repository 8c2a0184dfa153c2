"""Spark's client mode for real: drivers in pods of their own, executors, and what is left when a pod dies hard."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.exceptions import ContainerKilledError
from airflow_provider_sparkml.jobs.finish import finish
from airflow_provider_sparkml.jobs.outcome import Deadlines, Outcome
from airflow_provider_sparkml.jobs.submit import Submission, submit
from airflow_provider_sparkml.jobs.wait import wait
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import CONFIG_MAP, POD, SERVICE
from airflow_provider_sparkml.resources.naming import TaskIdentity
from airflow_provider_sparkml.resources.spark_client import (
    SPARK_CLIENT_POD,
    Driver,
    Executor,
    SparkClientPod,
    Volume,
)
from tests.integration.conftest import ClusterProcess

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

NAMESPACE = "default"
SECONDS = 120
log = logging.getLogger(__name__)

PROGRAMS = {
    "whole.py": """
import json, os, time
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
sc = spark.sparkContext

def work(i):
    return i, os.environ["SPARK_EXECUTOR_ID"], os.environ["COLOR"]

executors = sc.parallelize(range(4), 2).map(work).collect()
conf = dict(sc.getConf().getAll())
result = {
    "sum": sum(i for i, _, _ in executors),
    "executors": sorted({executor for _, executor, _ in executors}),
    "colors": sorted({color for _, _, color in executors}),
    "id": sc.applicationId,
    "prefix": conf["spark.kubernetes.executor.podNamePrefix"],
}
open(os.environ["SPARKML_RESULT_PATH"], "w").write(json.dumps(result))
spark.stop()
""",
    # A pod that knows nothing of this package but one file, as a notebook's does.
    "foreign.py": """
import os, time
from driver_service import driver_service, prepare_driver_service
from pyspark.sql import SparkSession

options = {"service_account": os.environ["ACCOUNT"]}
with driver_service(**options) as conf:
    assert prepare_driver_service(**options) == conf
    conf["spark.executor.memory"] = "512m"
    sc = SparkSession.builder.config(map=conf).getOrCreate().sparkContext
    assert sc.parallelize(range(4), 2).sum() == 6
    sc.parallelize(range(1), 1).map(lambda i: time.sleep(300)).collect()
""",
    "driver_service.py": files("airflow_provider_sparkml").joinpath("driver_service.py").read_text(),
}


class Cluster:
    """The local cluster, as a user sees it, and as a task does with the rights of the shipped roles."""

    def __init__(self, process: ClusterProcess, client: KubernetesClient, airflow: KubernetesClient) -> None:
        self.process = process
        self.client = client
        self.airflow = airflow
        self.hub = WatchHub(airflow)

    async def submit(self, task: str, job: SparkClientPod) -> Submission:
        identity = TaskIdentity("t", "client", task, "run", -1, 1, 0)
        return await submit(self.airflow, SPARK_CLIENT_POD, job.to_manifest(), identity, namespace=NAMESPACE, log=log)

    async def ended(self, submission: Submission) -> Outcome:
        deadlines = Deadlines(None, SECONDS, None)
        async with asyncio.timeout(SECONDS):
            return await wait(self.airflow, self.hub, SPARK_CLIENT_POD, submission.ref, deadlines, log=log)

    async def pods(self, selector: str) -> list[Manifest]:
        return (await self.client.list(POD, NAMESPACE, label_selector=selector)).items

    async def running(self, selector: str) -> Manifest:
        """Return the first pod of a selector as soon as it runs."""
        found: list[Manifest] = []

        async def one_runs() -> bool:
            found[:] = [pod for pod in await self.pods(selector) if pod["status"]["phase"] == "Running"]
            return bool(found)

        await self.until(one_runs, f"no pod of {selector} runs")
        return found[0]

    async def until(self, condition: Callable[[], Any], otherwise: str) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                while not await condition():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            logs = [path.read_text()[-3000:] for path in (self.process.state / "pods").glob("*/*.log")]
            pytest.fail("\n".join([otherwise, *logs]))

    async def nothing_is_left(self) -> None:
        """Wait until there is no pod, no Service and no ConfigMap of Spark's any more, and no process of a pod."""

        async def nothing() -> bool:
            return not [
                *await self.pods(""),
                *await self.made(SERVICE),
                *await self.made(CONFIG_MAP),
                *self.processes(),
            ]

        await self.until(nothing, "something is left")

    async def made(self, api: Any) -> list[str]:
        names = [item["metadata"]["name"] for item in (await self.client.list(api, NAMESPACE)).items]
        return [name for name in names if name not in ("kubernetes", "kube-root-ca.crt", "programs")]

    def processes(self) -> list[int]:
        return [each.pid for each in psutil.process_iter() if str(self.process.state / "pods") in environment(each)]


def environment(process: psutil.Process) -> str:
    try:
        return " ".join(process.environ().values())
    except psutil.Error:
        return ""


def pid_of(pod: Manifest) -> int:
    return int(pod["status"]["containerStatuses"][0]["containerID"].removeprefix("process://"))


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    process = ClusterProcess(tmp_path / "state")
    process.up()
    try:
        async with (
            KubernetesClient(kubeconfig_file(process.kubeconfig)) as client,
            KubernetesClient(kubeconfig_file(process.airflow_kubeconfig)) as airflow,
        ):
            await client.create(CONFIG_MAP, {"metadata": {"name": "programs"}, "data": PROGRAMS}, NAMESPACE)
            cluster = Cluster(process, client, airflow)
            yield cluster
            await cluster.hub.close()
    finally:
        process.down()


def foreign(name: str) -> Manifest:
    """Return a pod as somebody else might start it."""
    container = {
        "name": "base",
        "image": "spark:1",
        "command": ["python", "/programs/foreign.py"],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "ACCOUNT", "value": "/var/run/secrets/kubernetes.io/serviceaccount"},
        ],
        "volumeMounts": [{"name": "programs", "mountPath": "/programs"}],
    }
    volume = {"name": "programs", "configMap": {"name": "programs"}}
    spec = {"restartPolicy": "Never", "serviceAccountName": "spark", "containers": [container], "volumes": [volume]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


async def test_a_driver_returns_its_result_and_what_dies_hard_leaves_nothing(cluster: Cluster) -> None:
    """Two drivers at once: a job's, and one in a pod that somebody else has started, which is killed in mid run."""
    job = SparkClientPod(
        image="registry.example/spark:4.3.0",
        main_application_file="local:///programs/whole.py",
        driver=Driver(memory="512Mi", service_account="spark"),
        executor=Executor(instances=1, memory="512Mi", env={"COLOR": "green"}),
        volumes=[Volume.config_map("programs", "/programs", roles=["driver"])],
    )
    client = cluster.client
    await client.create(POD, foreign("notebook"), NAMESPACE)
    submission = await cluster.submit("whole", job)
    name, uid = submission.ref.name, submission.ref.uid
    service = await client.get(SERVICE, name, NAMESPACE)
    assert service["metadata"]["ownerReferences"][0]["uid"] == uid
    selector = ",".join(f"{key}={value}" for key, value in service["spec"]["selector"].items())

    executor = await cluster.running(f"spark-app-selector={name},spark-role=executor")
    assert executor["metadata"]["name"].startswith(f"{name}-exec-")
    assert executor["metadata"]["ownerReferences"][0]["uid"] == uid
    assert [pod["metadata"]["name"] for pod in await cluster.pods(selector)] == [name], "it selects the driver alone"
    outcome = await cluster.ended(submission)
    result = await finish(cluster.airflow, SPARK_CLIENT_POD, outcome, on_finish="delete", log=log)
    assert result["result"] == {"sum": 6, "executors": ["1"], "colors": ["green"], "id": name, "prefix": name}
    assert result["spark_application_id"] == result["driver_pod"] == name

    notebook = await client.get(POD, "notebook", NAMESPACE)
    own = f"driver-{notebook['metadata']['uid']}"
    executor = await cluster.running(f"spark-app-selector={own},spark-role=executor")
    assert executor["metadata"]["ownerReferences"][0]["name"] == "notebook"
    service = await client.get(SERVICE, own, NAMESPACE)
    assert service["spec"]["selector"].items() <= notebook["metadata"]["labels"].items()
    assert await cluster.made(CONFIG_MAP), "the executors' configuration"
    await client.delete(POD, "notebook", NAMESPACE, propagation="Background", grace_seconds=0)
    await cluster.nothing_is_left()


async def test_a_driver_that_is_killed_is_no_fault_of_the_program(cluster: Cluster) -> None:
    """SIGKILL before it has begun to compute; a real Spark is not needed to be killed."""
    job = SparkClientPod(
        image="registry.example/spark:4.3.0",
        main_application_file="local:///programs/whole.py",
        driver=Driver(memory="512Mi", service_account="spark"),
        executor=Executor(memory="512Mi"),
        volumes=[Volume.config_map("programs", "/programs", roles=["driver"])],
    )
    submission = await cluster.submit("killed", job)
    pod = await cluster.running("spark-role=driver,task_id=killed")
    os.kill(pid_of(pod), signal.SIGKILL)
    outcome = await cluster.ended(submission)
    assert outcome.verdict.retryable
    with pytest.raises(ContainerKilledError):
        await finish(cluster.airflow, SPARK_CLIENT_POD, outcome, on_finish="delete", log=log)
    await cluster.nothing_is_left()
