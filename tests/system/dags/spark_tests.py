"""What the system tests run: no Spark, since the test itself plays the Spark operator."""

from __future__ import annotations

import datetime
import os
import signal
from dataclasses import replace
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, Context, task

from airflow_provider_sparkml.hooks.kubernetes import Cluster
from airflow_provider_sparkml.operators.cleanup import SparkCleanupOperator
from airflow_provider_sparkml.operators.kubernetes import KubernetesDeleteOperator
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.resources.spark import SparkApplication
from airflow_provider_sparkml.retries import InfrastructureRetryPolicy
from airflow_provider_sparkml.sensors.spark import SparkApplicationSensor
from airflow_provider_sparkml.triggers.events import SparkApplicationEventTrigger

APPLICATION = SparkApplication(
    image="example.com/spark:1", main_application_file="local:///a.py", arguments=["{{ dag_run.conf['word'] }}"]
)
QUICK = {"retries": 0, "retry_delay": datetime.timedelta(seconds=1)}


class DiesOnce(SparkApplicationOperator):
    """Its worker is killed on the first try, right after the application was created: no defer, no on_kill."""

    async def start(self, cluster: Cluster, context: Context) -> Any:
        submission = await super().start(cluster, context)
        if context["ti"].try_number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return submission


with DAG("spark", default_args=QUICK, schedule=None):
    SparkApplicationOperator(task_id="run", application=APPLICATION)

with DAG("spark_on_worker", default_args=QUICK, schedule=None):
    SparkApplicationOperator(task_id="run", application=APPLICATION, deferrable=False)

with DAG("spark_function", default_args=QUICK, schedule=None):

    @task
    def words(dag_run: Any = None) -> list[str]:
        return [dag_run.conf["word"], "{{ run_id }}"]

    @task.spark_application(task_id="run")
    def run_words(arguments: list[str]) -> SparkApplication:
        return replace(APPLICATION, arguments=arguments)

    run_words(words())

with DAG("spark_dies_once", default_args={**QUICK, "retries": 1}, schedule=None):
    DiesOnce(task_id="run", application=APPLICATION)

with DAG("spark_retried", default_args={**QUICK, "retries": 2}, schedule=None):
    SparkApplicationOperator(
        task_id="run",
        application=APPLICATION,
        retry_policy=InfrastructureRetryPolicy(delay=datetime.timedelta(seconds=1)),
    )

with DAG("spark_limited", default_args=QUICK, schedule=None):
    SparkApplicationOperator(task_id="run", application=APPLICATION, execution_timeout=datetime.timedelta(seconds=6))

with DAG("spark_mapped", default_args=QUICK, schedule=None):
    SparkApplicationOperator.partial(task_id="run").expand(application=[APPLICATION.to_manifest()] * 2)

with DAG("spark_watched", default_args=QUICK, schedule=None):
    SparkApplicationSensor(task_id="watch", application_name="{{ dag_run.conf['word'] }}", timeout=60)

with DAG("spark_teardown", default_args=QUICK, schedule=None):
    run = SparkApplicationOperator(task_id="run", application=APPLICATION, on_finish="keep")
    down = KubernetesDeleteOperator(task_id="down", kind="SparkApplication", api_version="sparkoperator.k8s.io/v1beta2")
    run >> down.as_teardown()

with DAG("spark_clean_up", default_args=QUICK, schedule=None):
    kept = SparkApplicationOperator(task_id="run", application=APPLICATION, on_finish="keep")
    kept >> SparkCleanupOperator(task_id="clean_up")

ENDED = Asset(
    "spark_ended", watchers=[AssetWatcher(name="spark_ended", trigger=SparkApplicationEventTrigger(name="event-*"))]
)

with DAG("spark_after", default_args=QUICK, schedule=ENDED):

    @task
    def ended(triggering_asset_events: Any = None) -> list[str]:
        events = triggering_asset_events.for_asset(name="spark_ended")
        return sorted(event.extra["payload"]["name"] for event in events)

    ended()
