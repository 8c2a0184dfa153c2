"""PyTorch inside a SparkApplication: TorchDistributor's ranks in the tasks of a barrier stage, by genuine Spark."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.jobs.finish import finish
from airflow_provider_sparkml.jobs.outcome import Deadlines
from airflow_provider_sparkml.jobs.submit import submit
from airflow_provider_sparkml.jobs.wait import wait
from airflow_provider_sparkml.resources.core import CONFIG_MAP
from airflow_provider_sparkml.resources.naming import TaskIdentity
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION, Driver, Executor, SparkApplication, Volume
from airflow_provider_sparkml.resources.spark_training import barrier_job

pytestmark = [pytest.mark.training, pytest.mark.spark, pytest.mark.timeout(900)]

LOG = logging.getLogger(__name__)
SPARKML = Path(sys.executable).with_name("sparkml")
IMAGES = f"--images={Path(__file__).parent / 'images'}"
PROGRAM = """
import json, os
from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

def train():
    import torch
    import torch.distributed as dist
    dist.init_process_group("gloo")
    mine = torch.ones(2) * (dist.get_rank() + 1)
    dist.all_reduce(mine)
    told = {"ranks": dist.get_world_size(), "sum": mine.tolist()}
    dist.destroy_process_group()
    return told

spark = SparkSession.builder.getOrCreate()
told = TorchDistributor(num_processes=2, local_mode=False, use_gpu=False).run(train)
open(os.environ["SPARKML_RESULT_PATH"], "w").write(json.dumps(told))
spark.stop()
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Path]:
    """A local cluster that has an image of Spark and PyTorch; its state."""
    subprocess.run([SPARKML, "images", "build", "spark-torch", IMAGES], check=True, timeout=800)
    state = f"--state-dir={tmp_path}"
    subprocess.run([SPARKML, "cluster", "up", "--detach", state, IMAGES], check=True, timeout=60)
    yield tmp_path
    subprocess.run([SPARKML, "cluster", "down", state], check=True, timeout=60)


async def test_two_ranks_in_two_executors(cluster: Path) -> None:
    application = SparkApplication(
        image="spark-torch:1",
        main_application_file="local:///programs/train.py",
        driver=Driver(memory="512m", service_account="spark"),
        executor=Executor(instances=2, memory="512m"),
        volumes=[Volume.config_map("programs", "/programs", roles=["driver"])],
    )
    job = barrier_job(application, 2, start_timeout=300)
    identity = TaskIdentity("test", "d", "torch", "r", -1, 1, 0)
    async with KubernetesClient(kubeconfig_file(cluster / "kubeconfig")) as admin:
        await admin.create(CONFIG_MAP, {"metadata": {"name": "programs"}, "data": {"train.py": PROGRAM}}, "default")
    async with KubernetesClient(kubeconfig_file(cluster / "airflow-kubeconfig")) as airflow:
        hub = WatchHub(airflow)
        try:
            made = await submit(airflow, SPARK_APPLICATION, job, identity, namespace="default", log=LOG)
            outcome = await wait(airflow, hub, SPARK_APPLICATION, made.ref, Deadlines(), log=LOG)
            result: dict[str, Any] = await finish(airflow, SPARK_APPLICATION, outcome, on_finish="delete", log=LOG)
        finally:
            await hub.close()
    assert result["result"] == {"ranks": 2, "sum": [3.0, 3.0]}
