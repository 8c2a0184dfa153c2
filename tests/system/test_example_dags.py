"""Every DAG in dags/, started through the REST API of a real Airflow, with genuine Spark on the local cluster."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.resources import naming
from airflow_provider_sparkml.resources.base import ApiResource
from airflow_provider_sparkml.resources.core import CONFIG_MAP, POD, SERVICE, STATEFUL_SET
from airflow_provider_sparkml.resources.naming import TaskIdentity
from airflow_provider_sparkml.resources.serving import INFERENCE_SERVICE
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION
from airflow_provider_sparkml.resources.spark_cluster import SPARK_CLUSTER
from airflow_provider_sparkml.resources.spark_connect import SPARK_CONNECT
from airflow_provider_sparkml.resources.spark_scheduled import API as SCHEDULED

pytestmark = [pytest.mark.airflow, pytest.mark.spark, pytest.mark.timeout(900)]

RUN_SECONDS = 800.0
# Small enough to be quick, large enough to learn something.
SMALL = {"rows": 20_000, "trees": 3, "gbt_depth": 3, "forest_depth": 4, "kubernetes_conn_id": "local_cluster"}
SCALA = {"ingestion_period_days": 7, "system_environment": "staging", "executor_maximum": 1}

Names = Callable[[ApiResource], list[str]]


@pytest.fixture
def names(local_cluster: Path) -> Names:
    """Return a function: type → names of its objects in namespace ``default``."""

    async def listed(api: ApiResource) -> list[str]:
        async with KubernetesClient(kubeconfig_file(local_cluster)) as client:
            return [item["metadata"]["name"] for item in (await client.list(api, "default")).items]

    return lambda api: asyncio.run(listed(api))


def until_ended(run: Any) -> str:
    """Wait for a run's end and return its state."""
    deadline = time.monotonic() + RUN_SECONDS
    while (state := run.airflow.call("GET", run.path)["state"]) in ("queued", "running"):
        assert time.monotonic() < deadline, states(run)
        time.sleep(0.5)
    return str(state)


def states(run: Any) -> dict[str, str]:
    """Return the state of each task instance."""
    instances = run.airflow.call("GET", f"{run.path}/taskInstances")["task_instances"]
    return {f"{ti['task_id']}[{ti['map_index']}]": ti["state"] for ti in instances}


def spark_objects(names: Names) -> list[str]:
    """Return what is left of Spark: applications, their pods, services and ConfigMaps."""
    left = names(SPARK_APPLICATION.api)
    for api in (POD, SERVICE, CONFIG_MAP):
        left += [name for name in names(api) if "driver" in name or "exec" in name or "ui-svc" in name]
    return left


def until_no_spark(names: Names) -> None:
    """Wait until nothing of Spark is left; deletion is in the foreground, but a killed task does not wait for it."""
    deadline = time.monotonic() + 60
    while left := spark_objects(names):
        assert time.monotonic() < deadline, left
        time.sleep(0.5)


@pytest.fixture(scope="module")
def small_runs(airflow: Any, local_cluster: Path) -> dict[str, Any]:
    """Runs of the small examples, side by side: while one waits for Airflow or for a JVM, another works."""
    given: dict[str, Any] = {name: {"partitions": 2} for name in ("spark_pi", "spark_client_mode", "spark_schedule")}
    given |= {"legacy_scala": SCALA, "spark_connect": {"numbers": 100}, "spark_cluster": {"partitions": 2}}
    # So late that no second run begins before the first has ended and the schedule is gone.
    given["spark_schedule"]["schedule"] = "@every 30s"
    runs = {name: airflow.trigger(name, kubernetes_conn_id="local_cluster", **conf) for name, conf in given.items()}
    for run in runs.values():
        until_ended(run)
    return runs


def test_spark_pi(small_runs: dict[str, Any], names: Names) -> None:
    run = small_runs["spark_pi"]
    assert until_ended(run) == "success", run.log("pi")[-6000:]
    result = run.xcom("pi")
    assert result["phase"] == "SUCCEEDED"
    assert 3.0 < result["result"]["pi"] < 3.3
    log = run.log("pi", run.task("pi")["try_number"])
    # Earlier phases may be over before the triggerer of a busy machine looks.
    for told in ("Created SparkApplication default/spark-pi-pi-", "SUCCEEDED", "[driver]"):
        assert told in log
    until_no_spark(names)


def test_spark_client_mode(small_runs: dict[str, Any], names: Names) -> None:
    """No SparkApplication: the task's own pod is the driver, and nothing of it stays."""
    run = small_runs["spark_client_mode"]
    assert until_ended(run) == "success", run.log("pi")[-6000:]
    result = run.xcom("pi")
    assert 3.0 < result["result"]["pi"] < 3.3
    log = run.log("pi", run.task("pi")["try_number"])
    for told in ("Created Pod default/spark-client-mode-pi-", "SUCCEEDED", "[driver]"):
        assert told in log
    until_no_spark(names)
    assert not [name for api in (POD, SERVICE) for name in names(api) if name.startswith("spark-client-mode-")]


def test_spark_schedule(small_runs: dict[str, Any], names: Names) -> None:
    """The run is the Spark operator's own, named after the schedule; nothing of the schedule stays."""
    run = small_runs["spark_schedule"]
    assert until_ended(run) == "success", run.log("next_run")[-6000:]
    result = run.xcom("next_run")
    assert result["name"].startswith("pi-by-the-clock-")
    assert 3.0 < result["result"]["pi"] < 3.3
    assert run.xcom("suspend")["suspended"] is True
    assert names(SCHEDULED) == []
    until_no_spark(names)


def test_spark_connect(small_runs: dict[str, Any], names: Names) -> None:
    """A function that has nothing but ``pyspark-client`` computes on the server's executors; the server is gone."""
    run = small_runs["spark_connect"]
    assert until_ended(run) == "success", run.log("squares")[-6000:]
    assert run.xcom("squares") == {"sum": sum(number**2 for number in range(100)), "partitions": 2}
    assert run.xcom("start")["pod_url"].startswith("sc://127.")
    assert names(SPARK_CONNECT.api) == []
    until_no_spark(names)
    assert not [name for api in (POD, SERVICE) for name in names(api) if name.startswith("spark-connect-")]


def test_spark_cluster(small_runs: dict[str, Any], names: Names) -> None:
    """A container of Airflow's own pod operator runs its job on the workers of the setup; all of it is gone."""
    run = small_runs["spark_cluster"]
    assert until_ended(run) == "success", run.log("pi")[-6000:]
    started = run.xcom("start")
    assert started["master_url"] == f"spark://{started['name']}-master-svc.default.svc:7077"
    assert started["workers"] == 2
    assert "π is about 3." in run.log("pi", run.task("pi")["try_number"])
    assert names(SPARK_CLUSTER.api) == []
    until_no_spark(names)
    left = [name for api in (STATEFUL_SET, POD, SERVICE) for name in names(api)]
    assert not [name for name in left if name.startswith("spark-cluster-")]


def test_legacy_scala(small_runs: dict[str, Any], names: Names) -> None:
    """Its parameters reach a class of a jar: what it answers follows from them, and from the data."""
    run = small_runs["legacy_scala"]
    assert until_ended(run) == "success", run.log("late_flights")[-6000:]
    result = run.xcom("late_flights")["result"]
    assert result.pop("table").endswith("/legacy/staging/carriers")
    # The flights of 25 to 31 December 2013, counted in the CSV file.
    assert result == {
        "environment": "staging", "days": 7, "last_day": "2013-12-31", "carriers": 15, "flights": 6064, "late": 1400,
    }  # fmt: skip
    until_no_spark(names)


def test_streaming_flights(airflow: Any, names: Names, local_cluster: Path) -> None:
    """No flight is lost in the upgrade, and none repeated, though files of the new version repeat the old one's."""
    run = airflow.trigger("streaming_flights", days=4, kubernetes_conn_id="local_cluster")
    assert until_ended(run) == "success", states(run)
    assert run.xcom("upgrade")["start"] == 2
    assert run.xcom("stop")["stopped"] == "gracefully"
    assert "was asked to stop" in run.log("upgrade", run.task("upgrade")["try_number"])
    (folder,) = (local_cluster.parent / "volumes" / "default").glob("sparkml-data*/streaming_flights")
    # What the file sink has committed; parts of a batch that was broken off are no output.
    written = flight_ids(folder / "flights" / name for name in logged(folder / "flights" / "_spark_metadata"))
    read = logged(folder / "checkpoint" / "flights" / "sources" / "0")
    days = {name: flight_ids([folder / "arrivals" / name]) for name in read}
    # The sensor has seen the new version begin a batch: one that brings again what the version before had read.
    assert set(days["day-002.json"]) & set(days["day-003.json"])
    assert sorted(written) == sorted(set().union(*days.values()))
    assert list((folder / "checkpoint" / "flights" / "state").rglob("*.changelog"))  # RocksDB's
    until_no_spark(names)


def logged(folder: Path) -> set[str]:
    """Return the names of the files in a log that Structured Streaming keeps, of a file source or a file sink."""
    lines = [line for file in folder.glob("[0-9]*") for line in file.read_text().splitlines() if line.startswith("{")]
    return {Path(json.loads(line)["path"]).name for line in lines}


def flight_ids(files: Iterable[Path]) -> list[int]:
    """Return the flights of files of JSON lines, in the order in which they stand there."""
    return [json.loads(line)["id"] for file in files for line in file.read_text().splitlines()]


def test_preprocess_train_serve(airflow: Any, names: Names, local_cluster: Path) -> None:
    """Real flights are forecast far better than by chance, and not as only a leak would: ``dep_delay`` gives 0.90."""
    # The third model, and all the rows, are the demo's.
    models = ["gbt", "logistic_regression"]
    run = airflow.trigger("preprocess_train_serve", models=models, **SMALL)
    assert until_ended(run) == "success", states(run)
    trials = run.airflow.call("GET", f"{run.path}/taskInstances/train/listMapped")["task_instances"]
    assert {ti["rendered_map_index"] for ti in trials} == set(models)
    facts, best = run.xcom("preprocess")["result"], run.xcom("pick_best")
    assert (facts["rows_read"], facts["rows_without_arrival"]) == (336_776, 9_430)
    assert 0.69 < best["metrics"]["auc"] < 0.78
    assert best["metrics"]["log_loss"] < best["baseline"]["log_loss"]
    assert 0 < best["base_rate"] < 0.6
    # The public service is what is left, and it answers as Spark did.
    assert names(INFERENCE_SERVICE.api) == ["flight-delay"]
    until_no_spark(names)
    service, sample = run.xcom("deploy"), run.xcom("export")["result"]["sample"]
    tensor = {"name": "features", "shape": [len(sample["rows"]), len(sample["rows"][0])], "datatype": "FP32"}
    body = {"inputs": [{**tensor, "data": sample["rows"]}], "outputs": [{"name": "probability"}]}
    answer = httpx.post(f"{service['url']}/v2/models/flight-delay/infer", json=body, timeout=30).raise_for_status()
    assert answer.json()["outputs"][0]["data"][1::2] == pytest.approx(sample["probability"], abs=1e-4)
    events = run.airflow.call("GET", f"/assets/events?source_dag_id={run.dag_id}&source_run_id={run.run_id}")
    extras = {event["extra"].get("name", "dataset"): event["extra"] for event in events["asset_events"]}
    assert set(extras) == {"flight-delay", "dataset"}
    # Which run made the model: in its asset's event, and beside it as the program wrote it.
    made = extras["flight-delay"]["run_manifest"]
    assert (made["run_id"], made["params"]["rows"], made["metrics"]) == (run.run_id, 20_000, best["metrics"])
    assert made["inputs"] == {"flights_dataset": facts["fingerprint"]}
    assert made["spark_application_id"] == run.xcom("export")["spark_application_id"]
    assert made["image_digest"].startswith("sparkml://spark-")
    path = made["model_uri"].removeprefix("pvc://sparkml-data/")
    (beside,) = (local_cluster.parent / "volumes" / "default").glob(f"sparkml-data*/{path}/run.json")
    same = ("run_id", "params", "metrics", "parameters", "inputs", "model_uri", "spark_application_id", "image")
    written = json.loads(beside.read_text())
    assert {key: written[key] for key in same} == {key: made[key] for key in same}


def test_failures_are_told_and_leave_nothing_running(airflow: Any, names: Names) -> None:
    """One run's training is failed in the middle; the program of another, at the same time, has too few flights."""
    served = names(INFERENCE_SERVICE.api)
    run = airflow.trigger("preprocess_train_serve", models=["logistic_regression"], **SMALL)
    other = airflow.trigger("preprocess_train_serve", **{**SMALL, "rows": 3})
    deadline = time.monotonic() + RUN_SECONDS
    while not any("-serve-train-" in name and name.endswith("-driver") for name in names(POD)):
        assert time.monotonic() < deadline, states(run)
        time.sleep(0.5)
    run.airflow.call("PATCH", f"{run.path}/taskInstances/train/0", {"new_state": "failed"})
    assert until_ended(run) == "failed"
    found = states(run)
    assert found["train[0]"] == "failed"
    assert found["deploy[-1]"] == "upstream_failed"

    assert until_ended(other) == "failed"
    assert "ApplicationError: The driver ended with exit code 1: " in other.log("preprocess")
    assert other.task("preprocess")["try_number"] == 1, "a failing program is not tried again"
    until_no_spark(names)
    assert names(INFERENCE_SERVICE.api) == served, "what was served before stays"


def test_the_janitor_lists_and_then_deletes_what_ended_long_ago(airflow: Any, applications: Any) -> None:
    run = airflow.trigger("spark", word="x")
    running = applications.until(run)
    tenant = running["metadata"]["annotations"][f"{naming.PREFIX}/tenant"]
    mine, foreign = (
        TaskIdentity(where, "dag", "task", run.run_id, -1, 1, 0) for where in (tenant, f"{tenant}/another")
    )
    for name, who in (("long-ago", mine), ("of-another", foreign)):
        metadata = {"name": name, "labels": naming.job_labels(who, 1), "annotations": naming.job_annotations(who)}
        made = applications.create({**running, "metadata": metadata})
        applications.set_state(made, "FAILED", terminationTime="2026-01-01T00:00:00Z")

    for dry_run, left in ((True, 3), (False, 2)):
        janitor = airflow.trigger("cluster_janitor", namespace=running["metadata"]["namespace"], dry_run=dry_run)
        janitor.until("sweep", "success")
        report = janitor.xcom("sweep")
        assert "SparkApplication long-ago" in report["objects"]
        assert report["dry_run"] is dry_run
        names = {item["metadata"]["name"] for item in applications.of(run)}
        assert names >= {"of-another", running["metadata"]["name"]}
        assert len(names) == left
    applications.delete("of-another")
    run.mark("run", "failed")
    applications.until_gone(run)
