"""### A schedule of the Spark operator

Puts a schedule into force by which the Spark operator itself, and not Airflow, runs a job (π by throwing darts); waits
for its next run and returns what that has computed; suspends the schedule and deletes it, whatever happened in between.
A schedule of your own would stay: leave the last two tasks out.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider_sparkml import __version__
from airflow_provider_sparkml.operators.kubernetes import KubernetesDeleteOperator
from airflow_provider_sparkml.operators.spark_scheduled import (
    ScheduledSparkApplicationOperator,
    ScheduledSparkApplicationSuspendOperator,
)
from airflow_provider_sparkml.resources.spark import Driver, Executor, SparkApplication
from airflow_provider_sparkml.resources.spark_scheduled import ScheduledSparkApplication
from airflow_provider_sparkml.sensors.spark_scheduled import ScheduledSparkApplicationSensor

NAME = "{{ params.schedule_name }}"

with DAG(
    dag_id="spark_schedule",
    schedule=None,
    catchup=False,
    max_active_runs=1,  # they would share the schedule
    doc_md=__doc__,
    tags=["example", "spark"],
    params={
        "schedule": Param(
            "@every 1m",
            type="string",
            minLength=1,
            title="Schedule",
            description="Five fields of cron, @hourly and its like, or @every 1m.",
        ),
        "schedule_name": Param(
            "pi-by-the-clock",
            type="string",
            pattern="^[a-z]([a-z0-9-]{0,34}[a-z0-9])?$",
            title="Name",
            description="Name of the ScheduledSparkApplication.",
        ),
        "partitions": Param(
            4,
            type="integer",
            minimum=1,
            maximum=1000,
            title="Partitions",
            description="How many tasks throw darts; each throws 100,000.",
        ),
        "namespace": Param(
            "default",
            type="string",
            pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
            title="Namespace",
            description="Kubernetes namespace of the schedule.",
        ),
        "kubernetes_conn_id": Param(
            "kubernetes_default",
            type="string",
            minLength=1,
            title="Connection",
            description="Airflow connection of type kubernetes.",
        ),
    },
    default_args={
        "namespace": "{{ params.namespace }}",
        "kubernetes_conn_id": "{{ params.kubernetes_conn_id }}",
        "retries": 1,
        "retry_delay": timedelta(seconds=10),
    },
) as dag:
    ensure = ScheduledSparkApplicationOperator(
        task_id="ensure",
        scheduled_application=ScheduledSparkApplication(
            name=NAME,
            schedule="{{ params.schedule }}",
            template=SparkApplication(
                image=f"sparkml/spark:{__version__}",
                main_application_file="local:///opt/sparkml/pi.py",
                arguments=["{{ params.partitions }}"],
                driver=Driver(memory="512m", service_account="spark"),
                executor=Executor(instances=1, memory="512m"),
            ),
        ),
        startup_timeout=timedelta(minutes=5),
    )
    next_run = ScheduledSparkApplicationSensor(task_id="next_run", schedule_name=NAME, timeout=24 * 3600)
    suspend = ScheduledSparkApplicationSuspendOperator(task_id="suspend", schedule_name=NAME)
    remove = KubernetesDeleteOperator(
        task_id="remove", kind="ScheduledSparkApplication", api_version="sparkoperator.k8s.io/v1beta2", name=NAME
    )

    ensure >> next_run >> suspend >> remove.as_teardown(setups=ensure)
