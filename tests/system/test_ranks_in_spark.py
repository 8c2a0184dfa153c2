"""Ranks inside a SparkApplication, by genuine Spark: TorchDistributor's in a barrier stage, and horovod.spark's."""

from __future__ import annotations

import logging
import shutil
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
ROOT = Path(__file__).parents[2]
TELL = """
import json, os
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
open(os.environ["SPARKML_RESULT_PATH"], "w").write(json.dumps(run()))
spark.stop()
"""
TORCH = """
from pyspark.ml.torch.distributor import TorchDistributor

def train():
    import torch
    import torch.distributed as dist
    dist.init_process_group("gloo")
    mine = torch.ones(2) * (dist.get_rank() + 1)
    dist.all_reduce(mine)
    told = {"ranks": dist.get_world_size(), "sum": mine.tolist()}
    dist.destroy_process_group()
    return told

def run():
    return TorchDistributor(num_processes=2, local_mode=False, use_gpu=False).run(train)
"""
HOROVOD = """
def train():
    import horovod.torch as hvd
    import torch
    hvd.init()
    total = hvd.allreduce(torch.ones(2) * (hvd.rank() + 1), op=hvd.Sum)
    return {"ranks": hvd.size(), "sum": total.tolist()}

def run():
    import horovod.spark
    return horovod.spark.run(train, num_proc=2, use_gloo=True)[0]
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A local cluster that has an image of Spark, PyTorch and Horovod; its state."""
    images = tmp_path_factory.mktemp("images") / "images"
    shutil.copytree(Path(__file__).parent / "images", images)
    shutil.copytree(ROOT / "images/horovod/rootfs/opt/horovod", images / "spark-ranks/rootfs/opt/horovod")
    subprocess.run([SPARKML, "images", "build", "spark-ranks", f"--images={images}"], check=True, timeout=800)
    place = tmp_path_factory.mktemp("cluster")
    state = f"--state-dir={place}"
    subprocess.run([SPARKML, "cluster", "up", "--detach", state, f"--images={images}"], check=True, timeout=60)
    yield place
    subprocess.run([SPARKML, "cluster", "down", state], check=True, timeout=60)


@pytest.mark.parametrize("framework", ["torch", "horovod"])
async def test_two_ranks_in_two_executors(cluster: Path, framework: str) -> None:
    program = {"torch": TORCH, "horovod": HOROVOD}[framework] + TELL
    application = SparkApplication(
        image="spark-ranks:1",
        main_application_file="local:///programs/train.py",
        driver=Driver(memory="512m", service_account="spark"),
        executor=Executor(instances=2, memory="512m"),
        volumes=[Volume.config_map(framework, "/programs", roles=["driver"])],
    )
    job = barrier_job(application, 2, start_timeout=300, horovod=framework == "horovod")
    identity = TaskIdentity("test", "d", framework, "r", -1, 1, 0)
    async with KubernetesClient(kubeconfig_file(cluster / "kubeconfig")) as admin:
        await admin.create(CONFIG_MAP, {"metadata": {"name": framework}, "data": {"train.py": program}}, "default")
    async with KubernetesClient(kubeconfig_file(cluster / "airflow-kubeconfig")) as airflow:
        hub = WatchHub(airflow)
        try:
            made = await submit(airflow, SPARK_APPLICATION, job, identity, namespace="default", log=LOG)
            outcome = await wait(airflow, hub, SPARK_APPLICATION, made.ref, Deadlines(), log=LOG)
            result: dict[str, Any] = await finish(airflow, SPARK_APPLICATION, outcome, on_finish="delete", log=LOG)
        finally:
            await hub.close()
    assert result["result"] == {"ranks": 2, "sum": [3.0, 3.0]}
