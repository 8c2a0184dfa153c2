"""SparkApplications of spark.apache.org run for real: genuine spark-submit, driver and executor, on a local cluster."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.exceptions import JobFailedError
from airflow_provider_sparkml.jobs.finish import finish
from airflow_provider_sparkml.jobs.outcome import Deadlines, Outcome
from airflow_provider_sparkml.jobs.wait import wait
from airflow_provider_sparkml.resources.base import Manifest, ResourceRef
from airflow_provider_sparkml.resources.core import CONFIG_MAP, POD
from airflow_provider_sparkml.resources.spark import Driver, Executor, Volume
from airflow_provider_sparkml.resources.spark_apache import APACHE_SPARK_APPLICATION, API, ApacheSparkApplication
from tests.integration.conftest import ClusterProcess

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

SECONDS = 200
NAMESPACE = "default"
LOG = logging.getLogger(__name__)
PROGRAMS = {
    "sum.py": """
import json, os, sys
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
done = spark.sparkContext.parallelize(range(int(sys.argv[1])), 2).map(lambda i: (i, os.environ["COLOR"])).collect()
sys.stdout.write("added up\\n")  # in one piece: the JVM writes to the same log
sys.stdout.flush()
result = {"sum": sum(i for i, _ in done), "colors": sorted({color for _, color in done})}
with open(os.environ["SPARKML_RESULT_PATH"], "w") as file:
    json.dump(result, file)
spark.stop()
""",
    "broken.py": "raise ValueError('no such column')",
}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[KubernetesClient]:
    """A client, with the rights that the shipped roles give Airflow, of a cluster of its own that has the programs."""
    process = ClusterProcess(tmp_path / "state")
    process.up()
    try:
        async with KubernetesClient(kubeconfig_file(process.kubeconfig)) as admin:
            await admin.create(CONFIG_MAP, {"metadata": {"name": "programs"}, "data": PROGRAMS}, NAMESPACE)
        async with KubernetesClient(kubeconfig_file(process.airflow_kubeconfig)) as airflow:
            yield airflow
    finally:
        process.down()


def application(name: str, program: str, **fields: Any) -> Manifest:
    built = ApacheSparkApplication(
        image="registry.example/spark:4.3.0",
        main_application_file=f"local:///programs/{program}",
        name=name,
        driver=Driver(memory="512Mi", service_account="spark"),
        executor=Executor(memory="512Mi"),
        volumes=[Volume.config_map("programs", "/programs", roles=["driver"])],
        **fields,
    )
    manifest = APACHE_SPARK_APPLICATION.with_env(
        APACHE_SPARK_APPLICATION.normalize(built.to_manifest()), {"COLOR": "red"}
    )
    APACHE_SPARK_APPLICATION.check(manifest)
    return manifest


async def ended(client: KubernetesClient, obj: Manifest) -> Outcome:
    hub = WatchHub(client)
    try:
        async with asyncio.timeout(SECONDS):
            return await wait(client, hub, APACHE_SPARK_APPLICATION, ResourceRef.of(obj), Deadlines(), log=LOG)
    finally:
        await hub.close()


async def test_a_success_with_its_result_and_a_failure_with_its_cause(
    client: KubernetesClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    good = await client.create(API, application("good", "sum.py", arguments=[10], init_executors=1), NAMESPACE)
    bad = await client.create(API, application("bad", "broken.py"), NAMESPACE)
    outcome = await ended(client, good)
    stored = await client.get(API, "good", NAMESPACE)
    result = await finish(client, APACHE_SPARK_APPLICATION, outcome, on_finish="delete", log=LOG)
    assert result["result"] == {"sum": 45, "colors": ["red"]}
    assert (result["phase"], result["attempts"]) == ("SUCCEEDED", 1)
    assert (result["spark_application_id"], result["driver_pod"]) == ("good-0", "good-0-driver")
    assert "[driver] added up" in caplog.text
    states = [each["currentStateSummary"] for _, each in sorted(stored["status"]["stateTransitionHistory"].items())]
    assert states == [
        "Submitted", "DriverRequested", "DriverStarted", "DriverReady", "RunningHealthy", "Succeeded",
        "TerminatedWithoutReleaseResources",
    ]  # fmt: skip
    failed = await ended(client, bad)
    with pytest.raises(JobFailedError, match="ValueError: no such column"):
        await finish(client, APACHE_SPARK_APPLICATION, failed, on_finish="delete", log=LOG)
    async with asyncio.timeout(60):
        while (await client.list(API, NAMESPACE)).items or (await client.list(POD, NAMESPACE)).items:
            await asyncio.sleep(0.1)
