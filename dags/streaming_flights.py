"""### A stream: started, looked at, upgraded, stopped

Flights arrive as files, some of them twice; a Structured Streaming program writes each of them once, and keeps in
RocksDB which it has seen. The stream outlives the task that starts it. The *upgrade* lets more days arrive: the version
before ends its batch, and the new one goes on from its checkpoint: no flight is lost, and none is written twice.

A stream of your own is ensured by one task, and never stopped by its DAG; here everything is over in the end.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider_sparkml import __version__
from airflow_provider_sparkml.operators.kubernetes import KubernetesDeleteOperator
from airflow_provider_sparkml.operators.spark_streaming import (
    SparkStreamingApplicationOperator,
    SparkStreamingStopOperator,
)
from airflow_provider_sparkml.resources.spark import Driver, Executor, RestartPolicy, SparkApplication, Volume
from airflow_provider_sparkml.resources.spark_presets import RocksDBStateStore, apply_presets
from airflow_provider_sparkml.sensors.spark_streaming import SparkStreamingSensor

NAME = "flights-stream"
FOLDER = "/data/streaming_flights"


def flights(days: str) -> dict:
    """Return the stream in which so many days' flights arrive."""
    return apply_presets(
        SparkApplication(
            name=NAME,
            image=f"sparkml/spark:{__version__}",
            main_application_file="local:///opt/sparkml/stream.py",
            arguments=["--source", f"{FOLDER}/arrivals", "--out", f"{FOLDER}/flights", "--replay", days],
            driver=Driver(memory="512m", service_account="spark"),
            executor=Executor(instances=1, memory="512m"),
            restart_policy=RestartPolicy(type="Always"),
            volumes=[Volume.claim("sparkml-data", "/data")],
            spark_conf={"spark.sql.shuffle.partitions": "2"},
        ),
        [RocksDBStateStore()],
    )


with DAG(
    dag_id="streaming_flights",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["example", "spark", "streaming"],
    default_args={
        "namespace": "{{ params.namespace }}",
        "kubernetes_conn_id": "{{ params.kubernetes_conn_id }}",
        "retries": 1,
        "retry_delay": timedelta(seconds=10),
    },
    params={
        "days": Param(
            4,
            type="integer",
            minimum=2,
            maximum=365,
            title="Days",
            description="How many days' flights have arrived after the upgrade; before it, two.",
        ),
        "namespace": Param(
            "default",
            type="string",
            pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
            title="Namespace",
            description="Kubernetes namespace of the stream.",
        ),
        "kubernetes_conn_id": Param(
            "kubernetes_default",
            type="string",
            minLength=1,
            title="Connection",
            description="Airflow connection of type kubernetes.",
        ),
    },
) as dag:
    start = SparkStreamingApplicationOperator(
        task_id="start",
        application=flights("2"),
        checkpoint_location=f"{FOLDER}/checkpoint",
        min_uptime=timedelta(seconds=3),
    )
    upgrade = SparkStreamingApplicationOperator(
        task_id="upgrade",
        application=flights("{{ params.days }}"),
        checkpoint_location=f"{FOLDER}/checkpoint",
        min_uptime=timedelta(seconds=3),
    )
    started, upgraded = (
        SparkStreamingSensor(
            task_id=task_id,
            application_name=NAME,
            window=timedelta(seconds=3),
            max_silence=timedelta(minutes=5),
            timeout=600,
        )
        for task_id in ("started", "upgraded")
    )
    stop = SparkStreamingStopOperator(task_id="stop", application_name=NAME)
    # Also when something has failed; the checkpoint stays.
    delete = KubernetesDeleteOperator(
        task_id="delete", kind="SparkApplication", api_version="sparkoperator.k8s.io/v1beta2", name=NAME
    )
    start >> started >> upgrade >> upgraded >> stop >> delete.as_teardown(setups=start)
