"""SparkApplications run for real: genuine spark-submit, driver and executors, on a local cluster of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from airflow.sdk.definitions.retry_policy import RetryAction

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.exceptions import EvictedError, JobDeletedError, NotFoundError
from airflow_provider_sparkml.jobs.finish import finish
from airflow_provider_sparkml.jobs.leftovers import clean_up
from airflow_provider_sparkml.jobs.outcome import Deadlines
from airflow_provider_sparkml.jobs.submit import Submission, submit
from airflow_provider_sparkml.jobs.wait import wait
from airflow_provider_sparkml.local.controllers.kueue import CLUSTER_QUEUE, LOCAL_QUEUE
from airflow_provider_sparkml.local.controllers.spark_state import state_of
from airflow_provider_sparkml.resources.base import Manifest, Phase, ResourceRef
from airflow_provider_sparkml.resources.code import CodeVolume
from airflow_provider_sparkml.resources.core import CONFIG_MAP, PERSISTENT_VOLUME_CLAIM, POD, SECRET
from airflow_provider_sparkml.resources.leftovers import TYPES, of_application, of_run
from airflow_provider_sparkml.resources.naming import TaskIdentity
from airflow_provider_sparkml.resources.profiles import Profile, apply_profile
from airflow_provider_sparkml.resources.sizing import Node, plan_executors
from airflow_provider_sparkml.resources.spark import (
    API,
    DRIVER_CONTAINER,
    SPARK_APPLICATION,
    Driver,
    Executor,
    SparkApplication,
    Volume,
)
from airflow_provider_sparkml.resources.spark_placement import colocated, guaranteed
from airflow_provider_sparkml.resources.spark_requests import PodRequest, heap_mib, millicores, pod_request, requested
from airflow_provider_sparkml.resources.spark_training import barrier_job
from airflow_provider_sparkml.retries import InfrastructureRetryPolicy
from tests.integration.conftest import ClusterProcess, evict
from tests.integration.jobs.conftest import Told

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]

LOG = logging.getLogger(__name__)

SECONDS = 240
NAMESPACE = "default"
TERMINAL = ("COMPLETED", "FAILED")
VOLUMES = [
    Volume(name="data", mount_path="/data", source={"persistentVolumeClaim": {"claimName": "data"}}),
    Volume.config_map("programs", "/programs", roles=["driver"]),
]

PROGRAMS = {
    # Reads what the application gives it, works on executors long enough to lose one, writes where it is told.
    "whole.py": """
import json, os, pathlib, sys, time
from pyspark.sql import SparkSession

spark = SparkSession.builder.appName("whole").getOrCreate()
sc = spark.sparkContext

def work(i):
    time.sleep(1)
    return i, os.environ["COLOR"], os.environ["SPARK_EXECUTOR_ID"]

sys.stdout.write("working\\n")  # in one piece: the JVM writes to the same log
sys.stdout.flush()
done = sc.parallelize(range(24), 24).map(work).collect()
data = sys.argv[3]
spark.range(100).repartition(2).write.mode("overwrite").parquet(data)
result = {
    "sum": sum(i for i, _, _ in done),
    "colors": sorted({color for _, color, _ in done}),
    "executors": sorted({executor for _, _, executor in done}),
    "arguments": sys.argv[1:3],
    "password": pathlib.Path(os.environ["KEYS"], "password").read_text(),
    "rows": spark.read.parquet(data).count(),
    "conf": spark.conf.get("spark.test.path"),
    "property": sc._jvm.java.lang.System.getProperty("test"),
}
open(os.environ["SPARKML_RESULT_PATH"], "w").write(json.dumps(result))
spark.stop()
""",
    "broken.py": """
def divide():
    return 1 / 0

divide()
""",
    "greedy.py": """
import time
hoard = []
while True:
    hoard.append(bytearray(64 << 20))
    time.sleep(0.05)
""",
    # Waits for its end when it runs for the first time.
    "twice.py": """
import json, os, pathlib, sys, time
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
total = spark.sparkContext.parallelize(range(4), 2).sum()
begun = pathlib.Path(sys.argv[1])
if not begun.exists():
    begun.touch()
    sys.stdout.write("working\\n")
    sys.stdout.flush()
    time.sleep(300)
open(os.environ["SPARKML_RESULT_PATH"], "w").write(json.dumps({"total": total}))
spark.stop()
""",
    # All of its tasks run at once, and hear of each other, as TorchDistributor and horovod.spark need it.
    "barrier.py": """
import json, os
from pyspark import BarrierTaskContext
from pyspark.sql import SparkSession

def meet(rows):
    context = BarrierTaskContext.get()
    yield context.allGather(str(sum(rows)))

spark = SparkSession.builder.getOrCreate()
told = spark.sparkContext.parallelize(range(8), 2).barrier().mapPartitions(meet).collect()
open(os.environ["SPARKML_RESULT_PATH"], "w").write(json.dumps(told))
spark.stop()
""",
    # Runs until somebody makes a file.
    "until.py": """
import pathlib, sys, time
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.1)
spark.stop()
""",
    "patient.py": """
import sys, time
sys.stdout.write("waiting\\n")
sys.stdout.flush()
time.sleep(300)
""",
    # Stands where the image has a program of that name, with a module that the image does not have.
    "pi.py": """
import json, os, helper
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
total = spark.sparkContext.parallelize(range(4), 2).sum()
open(os.environ["SPARKML_RESULT_PATH"], "w").write(json.dumps({"total": total, "from": helper.__file__}))
spark.stop()
""",
    "busy.py": """
import sys, time
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
sys.stdout.write("working\\n")
sys.stdout.flush()
spark.sparkContext.parallelize(range(2), 2).map(lambda i: time.sleep(300)).collect()
""",
}


class Cluster:
    """The cluster, as a user's client and as the machine see it, and as Airflow does with the shipped roles' rights."""

    def __init__(self, process: ClusterProcess, client: KubernetesClient, airflow: KubernetesClient) -> None:
        self.process = process
        self.client = client
        self.airflow = airflow

    async def create(self, name: str, program: str, **spec: Any) -> Manifest:
        complete: Manifest = {
            "type": "Python",
            "mode": "cluster",
            "sparkVersion": "4.3.0",
            "image": "registry.example/spark:4.3.0",
            "mainApplicationFile": f"local:///programs/{program}",
            **spec,
        }
        programs = {"configMaps": [{"name": "programs", "path": "/programs"}]}
        complete["driver"] = {
            "cores": 1,
            "memory": "512m",
            "serviceAccount": "spark",
            **programs,
            **spec.get("driver", {}),
        }
        complete["executor"] = {"cores": 1, "memory": "512m", "instances": 1, **spec.get("executor", {})}
        return await self.client.create(API, {"metadata": {"name": name}, "spec": complete}, NAMESPACE)

    async def until(self, name: str, condition: Callable[[Manifest], Any]) -> Manifest:
        """Return the application as soon as it is as wanted."""
        app: Manifest = {}
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    app = await self.client.get(API, name, NAMESPACE)
                    if condition(app):
                        return app
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(
                f"not as wanted within {SECONDS} s: {json.dumps(app.get('status'), indent=1)}\n{await self.log(name)}"
            )

    async def ended(self, name: str) -> Manifest:
        return await self.until(name, lambda app: state_of(app) in TERMINAL)

    async def driver(self, name: str) -> Manifest:
        return await self.client.get(POD, f"{name}-driver", NAMESPACE)

    async def log(self, name: str) -> str:
        try:
            pod = await self.driver(name)
        except NotFoundError:
            return "(no driver)"
        path = self.process.state / "pods" / pod["metadata"]["uid"] / f"{DRIVER_CONTAINER}.log"
        return path.read_text() if path.exists() else "(no log)"

    async def logged(self, name: str, text: str) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                while text not in await self.log(name):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(f"{text!r} not within {SECONDS} s in the log of {name}:\n{await self.log(name)}")

    async def executors(self, name: str) -> list[Manifest]:
        selector = f"sparkoperator.k8s.io/app-name={name},spark-role=executor"
        return (await self.client.list(POD, NAMESPACE, label_selector=selector)).items

    async def left_of(self, name: str) -> list[str]:
        """Return the objects whose name begins with the application's, or that mention it."""
        found = []
        for api in TYPES:
            items = []
            with contextlib.suppress(NotFoundError):  # a type that the local cluster does not have
                items = (await self.client.list(api, NAMESPACE)).items
            for obj in items:
                labels = (obj["metadata"].get("labels") or {}).values()
                if obj["metadata"]["name"].startswith(f"{name}-") or obj["metadata"]["name"] == name or name in labels:
                    found.append(f"{obj['kind']} {obj['metadata']['name']}")
        return found

    async def nothing_left_of(self, name: str) -> None:
        try:
            async with asyncio.timeout(60):
                while await self.left_of(name):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(f"left of {name}: {await self.left_of(name)}")

    def processes(self, *marks: str) -> list[str]:
        """Return the command lines of processes that run in the cluster's pods, or in those with one of the marks."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                env = " ".join(process.environ().values())
                if any(mark in env for mark in marks or [str(self.process.state / "pods")]):
                    found.append(" ".join(process.cmdline())[:200])
        return found


def pid_of(pod: Manifest) -> int:
    return int(pod["status"]["containerStatuses"][0]["containerID"].removeprefix("process://"))


def requests_of(pod: Manifest) -> PodRequest:
    """Return what Spark has made its container request."""
    requests = pod["spec"]["containers"][0]["resources"]["requests"]
    return PodRequest(millicores(requests["cpu"], "cpu"), heap_mib(requests["memory"], "memory"))


def message_of(app: Manifest) -> str:
    return str(app["status"]["applicationState"].get("errorMessage", ""))


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    process = ClusterProcess(tmp_path / "state")
    process.up()
    try:
        async with (
            KubernetesClient(kubeconfig_file(process.kubeconfig)) as client,
            KubernetesClient(kubeconfig_file(process.airflow_kubeconfig)) as airflow,
        ):
            programs = {"metadata": {"name": "programs"}, "data": PROGRAMS}
            await client.create(CONFIG_MAP, programs, NAMESPACE)
            yield Cluster(process, client, airflow)
    finally:
        process.down()


async def test_two_applications_at_once(cluster: Cluster) -> None:
    """One uses all that an application may say and loses an executor; the other fails, is run again, and fails."""
    client = cluster.client
    await client.create(SECRET, {"metadata": {"name": "keys"}, "stringData": {"password": "s3cret"}}, NAMESPACE)
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    await client.create(PERSISTENT_VOLUME_CLAIM, {"metadata": {"name": "data"}, "spec": claim}, NAMESPACE)
    data = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    node = Node(cpu="2", memory="2600Mi", reserved_cpu="200m", reserved_memory="99Mi")
    (plan,) = plan_executors(node, executor_cores=1, request_per_core="0.9", off_heap="64Mi")
    assert (plan.instances, plan.request) == (2, PodRequest(900, 1250))
    planned = colocated(guaranteed(plan.executor().to_spec(), "executor", {}), "node")
    whole = await cluster.create(
        "whole",
        "whole.py",
        arguments=["--first", "two words", "/data/numbers"],
        sparkConf={"spark.test.path": "/data/from-conf", **plan.spark_conf},
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        driver={
            **data,
            "secrets": [{"name": "keys", "path": "/keys", "secretType": "Generic"}],
            "envVars": {"KEYS": "/keys"},
            "javaOptions": "-Dtest='a b'",
            "labels": {"role": "boss"},
            "memory": "1g",  # enough for Spark's factor to be more than its minimum
        },
        executor={**data, **planned, "env": [{"name": "COLOR", "value": "green"}]},
    )
    policy = {"type": "OnFailure", "onFailureRetries": 1, "onFailureRetryInterval": 1}
    await cluster.create("broken", "broken.py", restartPolicy=policy)

    await cluster.logged("whole", "working")
    async with asyncio.timeout(SECONDS):
        while True:
            running = [pod for pod in await cluster.executors("whole") if pod["status"]["phase"] == "Running"]
            if len(running) == 2:
                break
            await asyncio.sleep(0.1)
    driver = await cluster.driver("whole")
    assert driver["metadata"]["labels"]["role"] == "boss"
    owner = driver["metadata"]["ownerReferences"][0]
    assert owner["kind"] == "SparkApplication"
    assert running[0]["metadata"]["ownerReferences"][0]["name"] == "whole-driver"
    assert requests_of(driver) == pod_request(whole["spec"], "driver") == PodRequest(1000, 1024 + 409)
    for pod in running:
        assert requests_of(pod) == pod_request(whole["spec"], "executor") == plan.request
        resources = pod["spec"]["containers"][0]["resources"]
        assert resources["limits"] == resources["requests"]
        assert pod["status"]["qosClass"] == "Guaranteed"
        (near,) = pod["spec"]["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        chosen = {**near["podAffinityTerm"]["labelSelector"]["matchLabels"]}
        chosen |= dict.fromkeys(near["podAffinityTerm"]["matchLabelKeys"], "whole")
        assert chosen.items() <= pod["metadata"]["labels"].items()
    lost = running[0]["metadata"]["name"]
    os.kill(pid_of(running[0]), signal.SIGKILL)
    app = await cluster.until("whole", lambda app: app["status"].get("executorState", {}).get(lost) == "FAILED")
    assert state_of(app) == "RUNNING"

    app = await cluster.ended("whole")
    assert state_of(app) == "COMPLETED", await cluster.log("whole")
    status = app["status"]
    assert (status["submissionAttempts"], status["executionAttempts"]) == (1, 1)
    assert len(status["executorState"]) >= 3
    assert set(status["executorState"].values()) == {"COMPLETED", "FAILED"}
    assert status["sparkApplicationId"].startswith("spark-")
    held = requested(app) or {}
    assert held["cores"] == 1 + 2 * 0.9
    assert held["core_seconds"] > 24 * 0.9, "its tasks alone slept for 24 s"
    assert status["driverInfo"]["webUIAddress"].endswith(":4040")
    ended = (await cluster.driver("whole"))["status"]["containerStatuses"][0]["state"]["terminated"]
    result = json.loads(ended["message"])
    assert len(result.pop("executors")) >= 2
    (volume,) = (cluster.process.state / "volumes" / NAMESPACE).glob("data-*")
    assert result == {
        "sum": 276,
        "colors": ["green"],
        "arguments": ["--first", "two words"],
        "password": "s3cret",
        "rows": 100,
        "conf": f"{volume}/from-conf",
        "property": "a b",
    }
    assert list((volume / "numbers").glob("*.parquet"))
    for reason in ("SparkApplicationSubmitted", "SparkDriverRunning", "SparkExecutorFailed", "SparkDriverCompleted"):
        assert any(event["reason"] == reason for event in await client.events(NAMESPACE, app["metadata"]["uid"]))

    broken = await cluster.ended("broken")
    assert state_of(broken) == "FAILED"
    assert message_of(broken) == "driver container failed with ExitCode: 1, Reason: Error"
    assert (broken["status"]["submissionAttempts"], broken["status"]["executionAttempts"]) == (2, 2)
    assert "ZeroDivisionError: division by zero" in await cluster.log("broken")

    for name in ("whole", "broken"):
        await client.delete(API, name, NAMESPACE)
        await cluster.nothing_left_of(name)
    assert cluster.processes() == []


async def test_drivers_that_come_to_grief(cluster: Cluster) -> None:
    """Memory, signals, an image that is not there, a program that is not there, a conf that Spark refuses."""
    await cluster.create("greedy", "greedy.py")
    await cluster.create("killed", "patient.py")
    await cluster.create("nowhere", "no-such-program.py")
    await cluster.create("pulling", "patient.py", image="registry.example/no-such-image:1")
    await cluster.create("refused", "patient.py", sparkConf={"spark.kubernetes.driver.limit.cores": "many"})
    await cluster.logged("killed", "waiting")
    os.kill(pid_of(await cluster.driver("killed")), signal.SIGTERM)
    assert message_of(await cluster.ended("killed")) == "driver container failed with ExitCode: 143, Reason: Error"
    assert message_of(await cluster.ended("greedy")) == "driver container failed with ExitCode: 137, Reason: OOMKilled"
    nowhere = await cluster.ended("nowhere")
    assert message_of(nowhere).startswith("driver container failed with ExitCode: ")
    assert "no-such-program.py" in await cluster.log("nowhere")
    refused = await cluster.ended("refused")
    assert message_of(refused).startswith("failed to submit spark application: failed to run spark-submit: ")
    assert "many" in message_of(refused)

    pulling = await cluster.until("pulling", lambda app: state_of(app) == "SUBMITTED")
    assert pulling["status"]["driverInfo"]["podName"] == "pulling-driver"
    driver = await cluster.driver("pulling")
    reason = driver["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]
    assert reason in ("ErrImagePull", "ImagePullBackOff")

    # In whatever phase it was, and though one was deleted without what it owns: a clean-up leaves nothing.
    await orphan(cluster, "greedy")
    for name in ("greedy", "killed", "nowhere", "pulling", "refused"):
        report = await clean_up(cluster.airflow, of_application(NAMESPACE, name=name), dry_run=False, log=LOG)
        assert report.deleted
        assert report.failed == []
        await cluster.nothing_left_of(name)
    assert cluster.processes() == []


async def test_a_crashed_driver_and_its_executors_go_with_a_clean_up_and_nothing_else(cluster: Cluster) -> None:
    """Spark's own clean-up never ran: without this one, Services and ConfigMaps stay as long as the application."""
    await cluster.create("crash", "busy.py")
    other = {"metadata": {"name": "crash-settings", "labels": {"spark-app-name": "crash-2"}}}
    await cluster.client.create(CONFIG_MAP, other, NAMESPACE)
    await cluster.logged("crash", "working")
    await cluster.until("crash", lambda app: "RUNNING" in app["status"].get("executorState", {}).values())
    os.kill(pid_of(await cluster.driver("crash")), signal.SIGKILL)
    async with asyncio.timeout(SECONDS):
        while (await cluster.driver("crash"))["status"]["phase"] != "Failed":
            await asyncio.sleep(0.1)
    left = await cluster.left_of("crash")
    assert len([each for each in left if each.startswith("Service")]) == 2, left

    scope = of_application(NAMESPACE, name="crash")
    report = await clean_up(cluster.airflow, scope, dry_run=False, log=LOG)
    assert report.failed == []
    assert {"Pod", "Service", "ConfigMap"} <= report.to_json()["found"].keys()
    async with asyncio.timeout(60):
        while await cluster.left_of("crash") != ["ConfigMap crash-settings"] or cluster.processes():
            await asyncio.sleep(0.1)
    again = await clean_up(cluster.airflow, scope, dry_run=False, log=LOG)
    assert again.found == []


async def orphan(cluster: Cluster, name: str) -> None:
    """Delete an application as ``kubectl delete --cascade=orphan`` does, and wait until it is gone."""
    await cluster.client.delete(API, name, NAMESPACE, propagation="Orphan")
    async with asyncio.timeout(60):
        while f"SparkApplication {name}" in await cluster.left_of(name):
            await asyncio.sleep(0.1)


async def test_deletion_and_the_death_of_the_cluster_in_mid_run(cluster: Cluster) -> None:
    """Neither leaves a process; a deleted application leaves no object, a cluster that comes up again the truth."""
    first = await cluster.create("first", "busy.py", executor={"memory": "1g"})
    await cluster.create("second", "busy.py")
    for name in ("first", "second"):
        await cluster.logged(name, "working")
    for name in ("first", "second"):
        await cluster.until(name, lambda app: "RUNNING" in app["status"].get("executorState", {}).values())
    driver, executor = pods = [await cluster.driver("first"), *await cluster.executors("first")]
    assert requests_of(driver) == pod_request(first["spec"], "driver") == PodRequest(1000, 512 + 384)
    assert requests_of(executor) == pod_request(first["spec"], "executor") == PodRequest(1000, 1024 + 409)
    await cluster.client.delete(API, "first", NAMESPACE, uid=first["metadata"]["uid"])
    await cluster.nothing_left_of("first")
    assert cluster.processes(*(pod["metadata"]["uid"] for pod in pods)) == []
    assert state_of(await cluster.client.get(API, "second", NAMESPACE)) == "RUNNING"

    pid = int((cluster.process.state / "cluster.pid").read_text())
    assert cluster.processes()
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while cluster.processes():
            await asyncio.sleep(0.05)

    cluster.process.up()
    second = await cluster.ended("second")
    assert state_of(second) == "FAILED"
    assert message_of(second) == "driver container failed with ExitCode: 137, Reason: ContainerStatusUnknown"
    assert second["status"]["executionAttempts"] == 1
    driver = await cluster.driver("second")
    assert (driver["status"]["phase"], driver["status"]["reason"]) == ("Failed", "NodeLost")
    await cluster.client.delete(API, "second", NAMESPACE)
    await cluster.nothing_left_of("second")
    assert cluster.processes() == []


async def test_a_queue_with_room_for_one_lets_one_run_after_the_other(cluster: Cluster) -> None:
    """Held back, admitted and accounted for as by Kueue; the wait for the second one tells what it waits for."""
    client, version = cluster.client, {"apiVersion": "kueue.x-k8s.io/v1beta2"}
    resources = [{"name": name, "nominalQuota": quota} for name, quota in (("cpu", "3"), ("memory", "8Gi"))]
    group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": "default", "resources": resources}]}
    queue = {**version, "kind": "ClusterQueue", "metadata": {"name": "all"}, "spec": {"resourceGroups": [group]}}
    local = {**version, "kind": "LocalQueue", "metadata": {"name": "team"}, "spec": {"clusterQueue": "all"}}
    await client.create(CLUSTER_QUEUE, queue)
    await client.create(LOCAL_QUEUE, local, NAMESPACE)
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    await client.create(PERSISTENT_VOLUME_CLAIM, {"metadata": {"name": "data"}, "spec": claim}, NAMESPACE)
    apps = {}
    for name, program, argument in (("first", "/programs/until.py", "/data/go"), ("second", "/opt/sparkml/pi.py", "2")):
        application = SparkApplication(
            name=name,
            image="sparkml/spark:1",
            main_application_file=f"local://{program}",
            arguments=[argument],
            driver=Driver(memory="512m", service_account="spark"),
            executor=Executor(memory="512m"),
            volumes=VOLUMES,
            queue="team",
        )
        apps[name] = await client.create(API, application.to_manifest(), NAMESPACE)
        assert apps[name]["spec"]["suspend"] is True
    hub, told = WatchHub(cluster.airflow), Told()
    deadlines = Deadlines(queue_seconds=200)
    waiting = asyncio.create_task(
        wait(cluster.airflow, hub, SPARK_APPLICATION, ResourceRef.of(apps["second"]), deadlines, log=told)
    )
    try:
        await told.until("insufficient unused quota for cpu in flavor default, 1 more needed")
        await cluster.until("first", lambda app: state_of(app) == "RUNNING")  # its driver has the volume then
        (volume,) = (cluster.process.state / "volumes" / NAMESPACE).glob("data-*")
        (volume / "go").touch()
        async with asyncio.timeout(SECONDS):
            outcome = await waiting
    finally:
        waiting.cancel()
        await hub.close()
    assert outcome.verdict.phase is Phase.SUCCEEDED, told.text
    assert "QUEUED (SUSPENDED): waiting for Kueue to admit it from queue team" in told.text
    first, second = await cluster.ended("first"), await cluster.ended("second")
    assert state_of(first) == "COMPLETED", await cluster.log("first")
    assert second["status"]["lastSubmissionAttemptTime"] >= first["status"]["terminationTime"]
    for app in (first, second):  # by its name, and by the id that Spark gave it
        named = {"name": "first"} if app is first else {"app_id": second["status"]["sparkApplicationId"]}
        report = await clean_up(cluster.airflow, of_application(NAMESPACE, **named), dry_run=False, log=LOG)
        assert {"SparkApplication", "Pod"} <= report.to_json()["found"].keys()
        await cluster.nothing_left_of(app["metadata"]["name"])


async def test_an_evicted_driver_is_run_again_by_either_owner_and_what_runs_can_be_cleaned_up(cluster: Cluster) -> None:
    """By Airflow in the task's next try, by the operator within one; a clean-up of the run then takes what runs."""
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    await cluster.client.create(PERSISTENT_VOLUME_CLAIM, {"metadata": {"name": "data"}, "spec": claim}, NAMESPACE)
    hub = WatchHub(cluster.airflow)
    policy = {"type": "OnFailure", "onFailureRetries": 1, "onFailureRetryInterval": 1}

    async def begun(task: str, number: int, program: str, restart: Manifest | None = None) -> Submission:
        """Submit what a try of a task runs."""
        application = SparkApplication(
            image="registry.example/spark:4.3.0",
            main_application_file=f"local:///programs/{program}",
            arguments=[f"/data/{task}"],
            driver=Driver(memory="512m", service_account="spark", extra={"terminationGracePeriodSeconds": 5}),
            executor=Executor(memory="512m"),
            volumes=VOLUMES,
        ).to_manifest()
        if restart:
            application["spec"]["restartPolicy"] = restart
        identity = TaskIdentity("test", "d", task, "r", -1, number, 2)
        return await submit(cluster.airflow, SPARK_APPLICATION, application, identity, namespace=NAMESPACE, log=LOG)

    async def ended(job: Submission) -> Any:
        async with asyncio.timeout(SECONDS):
            outcome = await wait(cluster.airflow, hub, SPARK_APPLICATION, job.ref, Deadlines(), log=LOG)
        return await finish(cluster.airflow, SPARK_APPLICATION, outcome, on_finish="delete", log=LOG)

    try:
        by_airflow = await begun("airflow", 1, "twice.py")
        by_operator = await begun("operator", 1, "twice.py", policy)
        for job in (by_airflow, by_operator):
            await cluster.logged(job.ref.name, "working")
            await evict(cluster.process, NAMESPACE, f"{job.ref.name}-driver")
        with pytest.raises((EvictedError, JobDeletedError)) as failed:  # by whether its pod is still there to be read
            await ended(by_airflow)
        assert InfrastructureRetryPolicy().evaluate(failed.value, 1, 2).action is RetryAction.RETRY
        result = await ended(await begun("airflow", 2, "twice.py"))
        assert result["result"] == {"total": 6}
        result = await ended(by_operator)
        assert (result["result"], result["attempts"]) == ({"total": 6}, 2)

        running = await begun("last", 1, "busy.py")
        await cluster.logged(running.ref.name, "working")
        await cluster.until(running.ref.name, lambda app: "RUNNING" in app["status"].get("executorState", {}).values())
        scope = of_run(TaskIdentity("test", "d", "clean", "r", -1, 1, 0), NAMESPACE)
        report = await clean_up(cluster.airflow, scope, dry_run=False, log=LOG)
        assert report.to_json()["deleted"]["SparkApplication"] == 1
        for job in (by_airflow, by_operator, running):
            await cluster.nothing_left_of(job.ref.name)
        assert cluster.processes() == []
    finally:
        await hub.close()


async def test_all_tasks_of_a_barrier_stage_run_at_once(cluster: Cluster) -> None:
    application = SparkApplication(
        name="barrier",
        image="sparkml/spark:1",
        main_application_file="local:///programs/barrier.py",
        driver=Driver(memory="512m", service_account="spark"),
        executor=Executor(instances=2, memory="512m"),
        volumes=[Volume.config_map("programs", "/programs", roles=["driver"])],
    )
    await cluster.client.create(API, barrier_job(application, 2, start_timeout=120), NAMESPACE)
    app = await cluster.ended("barrier")
    assert state_of(app) == "COMPLETED", await cluster.log("barrier")
    ended = (await cluster.driver("barrier"))["status"]["containerStatuses"][0]["state"]["terminated"]
    assert json.loads(ended["message"]) == [["6", "22"], ["6", "22"]]


async def test_code_on_a_volume_runs_instead_of_the_images(cluster: Cluster) -> None:
    edit = "import shutil; shutil.copytree('/programs', '/data/team-a'); open('/data/team-a/helper.py', 'w').close()"
    mounts = {"programs": "/programs", "data": "/data"}
    container = {
        "name": "edit",
        "image": "python:3.11",
        "command": ["python", "-c", edit],
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in mounts.items()],
    }
    volumes = [
        {"name": "programs", "configMap": {"name": "programs"}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "sparkml-data"}},
    ]
    pod = {"restartPolicy": "Never", "containers": [container], "volumes": volumes}
    await cluster.client.create(POD, {"metadata": {"name": "edit"}, "spec": pod}, NAMESPACE)
    async with asyncio.timeout(SECONDS):
        while (await cluster.client.get(POD, "edit", NAMESPACE))["status"]["phase"] != "Succeeded":
            await asyncio.sleep(0.1)
    application = SparkApplication(
        name="edited",
        image="registry.example/spark:4.3.0",
        main_application_file="pi.py",
        driver=Driver(memory="512m", service_account="spark"),
        executor=Executor(memory="512m"),
    ).to_manifest()
    code = CodeVolume(claim="sparkml-data", mount_path="/opt/sparkml", sub_path="team-a", read_only=True)
    await cluster.client.create(API, apply_profile(application, Profile.DEVELOPMENT, code=code), NAMESPACE)
    app = await cluster.ended("edited")
    assert state_of(app) == "COMPLETED", await cluster.log("edited")
    ended = (await cluster.driver("edited"))["status"]["containerStatuses"][0]["state"]["terminated"]
    (volume,) = (cluster.process.state / "volumes" / NAMESPACE).glob("sparkml-data-*")
    assert json.loads(ended["message"]) == {"total": 6, "from": str(volume / "team-a" / "helper.py")}
