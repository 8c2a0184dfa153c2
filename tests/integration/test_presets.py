"""Presets in a genuine run: event log, RocksDB, Prometheus and decommissioning do what they say, all in one go."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.local.controllers.spark_state import state_of
from airflow_provider_sparkml.resources.core import CONFIG_MAP, PERSISTENT_VOLUME_CLAIM, POD
from airflow_provider_sparkml.resources.spark import (
    API,
    DRIVER_CONTAINER,
    SPARK_APPLICATION,
    Driver,
    Executor,
    SparkApplication,
    Volume,
)
from airflow_provider_sparkml.resources.spark_presets import (
    Decommission,
    EventLog,
    FallbackStorage,
    Preset,
    Prometheus,
    RocksDBStateStore,
    ShuffleInMemory,
)
from tests.integration.conftest import ClusterProcess, until

pytestmark = [pytest.mark.spark, pytest.mark.timeout(300)]

PROGRAM = """
import json, os, pathlib, sys, urllib.request
from pyspark.sql import SparkSession

data = pathlib.Path(sys.argv[1])
(data / "events").mkdir()
spark = SparkSession.builder.appName("presets").getOrCreate()
spark.range(100).selectExpr("id % 5 AS key").write.parquet(str(data / "in"))
stream = spark.readStream.schema("key LONG").parquet(str(data / "in")).groupBy("key").count()
counts, seen = [], []

def ask(path):
    with urllib.request.urlopen(spark.sparkContext.uiWebUrl + path) as answer:
        return answer.read().decode()

def batch(rows, _):
    counts.extend((row.key, row["count"]) for row in rows.collect())
    seen.append("spark_streaming_counts" in ask("/metrics/prometheus"))  # gone as soon as the query has ended

query = (
    stream.writeStream.foreachBatch(batch).queryName("counts").outputMode("complete")
    .option("checkpointLocation", str(data / "checkpoint")).trigger(availableNow=True).start()
)
query.awaitTermination()
metrics = [operator["customMetrics"] for operator in query.lastProgress["stateOperators"]]

result = {
    "counts": sorted(counts),
    "rocksdb": any(name.startswith("rocksdb") for each in metrics for name in each),
    "changelog": bool(list((data / "checkpoint").rglob("*.changelog"))),
    "driver": "_driver_" in ask("/metrics/prometheus"),
    "executors": "metrics_executor" in ask("/metrics/executors/prometheus"),
    "streaming": any(seen),
    "decommission": spark.sparkContext.getConf().get("spark.decommission.enabled"),
    "application": spark.sparkContext.applicationId,
}
spark.stop()
result["events"] = sorted(path.name for path in (data / "events").rglob("events_*"))
open(os.environ["SPARKML_RESULT_PATH"], "w").write(json.dumps(result))
"""


async def test_what_presets_set_works_in_spark(cluster_client: KubernetesClient, local_cluster: ClusterProcess) -> None:
    client, namespace, name = cluster_client, "default", "presets"
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    await client.create(PERSISTENT_VOLUME_CLAIM, {"metadata": {"name": name}, "spec": claim}, namespace)
    await client.create(CONFIG_MAP, {"metadata": {"name": name}, "data": {"presets.py": PROGRAM}}, namespace)
    presets: list[Preset] = [
        EventLog("file:///data/events"),
        RocksDBStateStore(),
        Prometheus(streaming=True),
        Decommission(),
        FallbackStorage("file:///data/fallback"),
        ShuffleInMemory(),
    ]
    application = SparkApplication(
        image="spark:4.3.0",
        main_application_file="local:///programs/presets.py",
        arguments=["/data"],
        driver=Driver(memory="512m", service_account="spark"),
        executor=Executor(memory="512m"),
        volumes=[Volume.claim(name, "/data"), Volume.config_map(name, "/programs", name="programs")],
        spark_conf={"spark.sql.shuffle.partitions": 1},
        presets=presets,
        name=name,
    )
    manifest = SPARK_APPLICATION.normalize(application.to_manifest())
    SPARK_APPLICATION.check(manifest)
    await client.create(API, manifest, namespace)
    try:
        ended = await until(
            client, API, namespace, name, lambda app: app and state_of(app) in ("COMPLETED", "FAILED"), seconds=200
        )
        pod = await client.get(POD, f"{name}-driver", namespace)
        log = local_cluster.state / "pods" / pod["metadata"]["uid"] / f"{DRIVER_CONTAINER}.log"
        assert state_of(ended) == "COMPLETED", log.read_text()[-6000:]
        (status,) = pod["status"]["containerStatuses"]
        result: dict[str, Any] = json.loads(status["state"]["terminated"]["message"])
    finally:
        for api in (API, CONFIG_MAP, PERSISTENT_VOLUME_CLAIM):
            await client.delete(api, name, namespace)
    assert pod["metadata"]["annotations"]["prometheus.io/path"] == "/metrics/prometheus"
    application_id = result.pop("application")
    assert result.pop("events") == [f"events_1_{application_id}.zstd"]
    assert result == {
        "counts": [[key, 20] for key in range(5)],
        "rocksdb": True,
        "changelog": True,
        "driver": True,
        "executors": True,
        "streaming": True,
        "decommission": "true",
    }
