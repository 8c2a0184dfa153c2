"""What Airflow adds to a Spark job: its wall time through Airflow, minus the same spark-submit by hand.

    python -m benchmarks.overhead [--runs 5]

Starts a local cluster and a real Airflow, and runs the smallest application by hand, by this provider's operator, and
by the cncf provider's, in turn. JSON on stdout: medians in seconds, the overhead, and where the seconds go.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.local.controllers.spark_properties import (
    Target,
    format_properties,
    submission_arguments,
    submission_properties,
)
from airflow_provider_sparkml.local.controllers.spark_templates import pod_template
from airflow_provider_sparkml.local.images import ImageStore, default_cache, default_folders
from airflow_provider_sparkml.local.java import find_java_home
from airflow_provider_sparkml.resources.core import POD
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION, Driver, Executor, SparkApplication
from benchmarks.progress import steps
from demo.airflow import Airflow, AirflowApi
from demo.stack import sparkml

DAGS = Path(__file__).with_name("overhead_dags")
ATTEMPT_SECONDS = 300.0
MANIFEST = SparkApplication(
    name="pi",
    image="spark:4.3.0",
    main_application_file="local:///opt/sparkml/pi.py",
    arguments=["2"],
    driver=Driver(memory="512m", service_account="spark"),
    executor=Executor(instances=1, memory="512m"),
).to_manifest()


@contextmanager
def stack(folder: Path) -> Iterator[tuple[Path, AirflowApi]]:
    """Run a local cluster and an Airflow with the benchmark's DAGs; yield the kubeconfig and Airflow's API.

    Our operator acts with the rights of the shipped roles; the peer's, for which these are not made, with all.
    """
    cluster = folder / "cluster"
    kubeconfigs = {"kubernetes_default": cluster / "airflow-kubeconfig", "cncf": cluster / "kubeconfig"}
    connections = {name: {"kube_config_path": str(path)} for name, path in kubeconfigs.items()}
    airflow = Airflow(folder / "airflow", DAGS, connections)
    sparkml("images", "build", "spark", quiet=True)
    sparkml("cluster", "up", "--detach", f"--state-dir={cluster}", quiet=True)
    try:
        os.environ["OVERHEAD_APPLICATION"] = json.dumps(MANIFEST)
        airflow.start()
        try:
            airflow.wait_until_healthy()
            api = AirflowApi(airflow)
            for dag_id in ("ours", "cncf"):
                api.wait_for_dag(dag_id)
            yield cluster / "kubeconfig", api
            api.close()
        finally:
            airflow.stop()
    finally:
        sparkml("cluster", "down", f"--state-dir={cluster}", quiet=True)


def through_airflow(api: AirflowApi, dag_id: str) -> dict[str, float]:
    """Run a DAG of one task; return seconds from the POST to its success, and what the task instance tells."""
    began = time.time()
    run_id = api.trigger(dag_id, {})
    while (state := api.run_state(dag_id, run_id)) in ("queued", "running"):
        if time.time() - began > ATTEMPT_SECONDS:
            raise SystemExit(f"{dag_id}: no end after {ATTEMPT_SECONDS:.0f} s")
        time.sleep(0.05)
    wall = time.time() - began
    (instance,) = api.task_instances(dag_id, run_id)
    if state != "success":
        raise SystemExit(f"{dag_id}: {state}: {json.dumps(api.task_log(instance)[-3:])}")
    times = {"wall": wall, "to_task_start": moment(instance["start_date"]) - began}
    if dag_id == "ours":
        result = api.result(dag_id, run_id, "pi")
        times["to_spark_submit"] = moment(result["started_at"]) - began
        times["spark_submitted_to_end"] = moment(result["finished_at"]) - moment(result["started_at"])
        times["end_to_task_success"] = moment(instance["end_date"]) - moment(result["finished_at"])
    return times


def moment(text: str) -> float:
    """Return epoch seconds of an RFC 3339 time."""
    return datetime.fromisoformat(text).timestamp()


async def by_hand(kubeconfig: Path) -> float:
    """Run spark-submit in cluster mode until the application has ended; return the seconds."""
    images = ImageStore(default_folders(), default_cache())
    image = await images.pull("spark", progress=lambda line: None)
    source = kubeconfig_file(kubeconfig)
    credentials = await source.load()
    bearer = dict(credentials.headers)["Authorization"].removeprefix("Bearer ")
    # The local cluster's controllers submit over plain HTTP on the same port: by hand it goes the same way.
    server = credentials.server.replace("https://", "http://", 1)
    app = json.loads(json.dumps(MANIFEST))
    app["metadata"] |= {"name": f"hand-{uuid.uuid4().hex[:8]}", "namespace": "default", "uid": str(uuid.uuid4())}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        token = place / "token"
        token.touch(mode=0o600)
        token.write_text(bearer)
        target = Target(server, token)
        templates = {role: place / f"{role}.yaml" for role in ("driver", "executor")}
        properties = submission_properties(app, str(uuid.uuid4()), target, templates)
        properties["spark.kubernetes.submission.waitAppCompletion"] = "true"
        for role, path in templates.items():
            template = pod_template(app, role)
            template.get("metadata", {}).pop("ownerReferences", None)  # by hand there is no SparkApplication
            path.write_text(json.dumps(template))
        (place / "spark.properties").write_text(format_properties(properties))
        command = [
            str(image.prefix / "bin" / "spark-submit"),
            *submission_arguments(app, place / "spark.properties", target),
        ]
        java = await asyncio.to_thread(find_java_home, default_cache())
        environment = {
            "PATH": f"{image.prefix / 'bin'}:{os.defpath}",
            "HOME": name,
            "JAVA_HOME": str(java),
            "KUBECONFIG": f"{name}/none",
        }
        began = time.monotonic()
        done = await asyncio.to_thread(
            subprocess.run, command, env=environment, cwd=name, capture_output=True, text=True, check=False
        )
        seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"spark-submit failed: {done.stderr[-2000:]}")
    async with KubernetesClient(source) as client:
        await client.delete(POD, properties["spark.kubernetes.driver.pod.name"], "default")
    return seconds


async def forget(kubeconfig: Path) -> None:
    """Delete what an operator has left, so that it does not slow down the next run."""
    async with KubernetesClient(kubeconfig_file(kubeconfig)) as client:
        for item in (await client.list(SPARK_APPLICATION.api, "default")).items:
            await client.delete(SPARK_APPLICATION.api, item["metadata"]["name"], "default")


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure."""
    return {key: round(statistics.median(run[key] for run in runs), 2) for key in runs[0]}


def main() -> None:
    """Parse the command line, run all contenders in turn, and print the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs of each contender (default: 5)")
    options = parser.parse_args()
    runs: dict[str, list[dict[str, float]]] = {"by_hand": [], "ours": [], "cncf": []}
    with tempfile.TemporaryDirectory(prefix="sparkml-overhead-") as folder, stack(Path(folder)) as (kubeconfig, api):
        for number in steps(range(1, options.runs + 1), "runs of each"):
            for contender, results in runs.items():
                if contender == "by_hand":
                    results.append({"wall": asyncio.run(by_hand(kubeconfig))})
                else:
                    results.append(through_airflow(api, contender))
                    asyncio.run(forget(kubeconfig))
                print(f"{number}/{options.runs} {contender}: {results[-1]['wall']:.1f} s", file=sys.stderr)
    found: dict[str, Any] = {contender: medians(results) for contender, results in runs.items()}
    for contender in ("ours", "cncf"):
        found[contender]["overhead"] = round(found[contender]["wall"] - found["by_hand"]["wall"], 2)
    print(json.dumps({"runs": options.runs, **found}, indent=2))


if __name__ == "__main__":
    main()
