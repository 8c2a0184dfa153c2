"""The list of Spark's properties is that of the genuine Spark; what is misspelt is seen, what is one's own is not."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sparkml.local.images import ImageStore, default_cache, default_folders
from airflow_provider_sparkml.local.java import find_java_home
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION
from airflow_provider_sparkml.resources.spark_keys import PREFIXES, VERSION, known_keys, nearest, unknown_keys

SCRIPT = Path(__file__).parents[3] / "scripts" / "spark_keys.py"


@pytest.mark.spark
@pytest.mark.timeout(300)
def test_they_are_those_of_the_image_s_own_spark() -> None:
    spark = asyncio.run(ImageStore(default_folders(), default_cache()).pull("spark"))
    python = spark.prefix / "bin" / "python"
    environment = {
        "PATH": os.environ["PATH"], "JAVA_HOME": str(find_java_home(default_cache())), "SPARK_LOCAL_IP": "127.0.0.1",
    }  # fmt: skip
    done = subprocess.run([python, SCRIPT], env=environment, check=True, capture_output=True, text=True)
    assert frozenset(done.stdout.split()) == known_keys(), "run scripts/spark_keys.py, as it says"
    version = subprocess.run(
        [python, "-c", "import pyspark; print(pyspark.__version__)"], check=True, capture_output=True, text=True
    )
    assert version.stdout.startswith(f"{VERSION}.")


def test_there_are_about_as_many_as_spark_has() -> None:
    assert 1500 < len(known_keys()) < 2500
    assert {"spark.executor.memory", ["spark.kubernetes", "executor", "node", "selector", "x"][0]} & known_keys()
    assert all(prefix.startswith("spark.") and prefix.endswith(".") for prefix in PREFIXES)


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("spark.executor.memmory", "spark.executor.memory"),
        ("spark.sql.shuffle.partition", "spark.sql.shuffle.partitions"),
        ("spark.eventlog.enabled", "spark.eventLog.enabled"),
        ("spark.executor.colour", ""),
    ],
)
def test_what_nobody_reads(key: str, near: str) -> None:
    assert unknown_keys([key]) == {key: near}
    assert nearest(key) == near


@pytest.mark.parametrize(
    "key",
    [
        "spark.executor.memory",
        "spark.hadoop.fs.s3a.endpoint",
        "spark.kubernetes.executor.node.selector.pool",
        "spark.executor.resource.gpu.amount",
        "spark.celeborn.master.endpoints",
        "spark.sql.catalog.lake",
        "spark.acme.threshold",
        "acme.threshold",
    ],
)
def test_what_somebody_reads(key: str) -> None:
    assert unknown_keys([key]) == {}


def test_an_application_with_a_misspelt_property_is_warned_of() -> None:
    manifest: dict[str, Any] = {"spec": {"sparkConf": {"spark.executor.instancs": "3", "spark.executor.memory": "1g"}}}
    assert SPARK_APPLICATION.lint(manifest) == [
        "spec.sparkConf['spark.executor.instancs'] is no property of Spark 4.3, which ignores it; did you mean "
        "'spark.executor.instances'?"
    ]
