"""### A Scala job from before Airflow

Runs a class of a jar that nobody wants to rewrite: it takes in the flights of the last days, and writes how many came
late. Its nine parameters are in the trigger form, and in the `conf` of a run that another system starts. Those that the
program reads reach it by its variables of old: `Bucket_URI`, `Ingestion_Period_Days`, `System_Environment`.

What a shell script did around the job, its pod and its service is done by the task: it tries again, it cleans up, and
it is green only if the job was.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider_sparkml import __version__
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.params import params_env, spark_params
from airflow_provider_sparkml.resources.spark import Driver, DynamicAllocation, Executor, SparkApplication, Volume

with DAG(
    dag_id="legacy_scala",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["example", "spark", "scala"],
    params={
        **spark_params(
            scala_file_name="sparkml.legacy.LateFlights",
            bucket_uri="/data/legacy",
            ingestion_period_days=30,
            executor_maximum=1,
            executor_memory="512m",
            driver_memory="512m",
        ),
        "namespace": Param(
            "default",
            type="string",
            pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
            title="Namespace",
            description="Kubernetes namespace of the job.",
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
    SparkApplicationOperator(
        task_id="late_flights",
        application=SparkApplication(
            type="Scala",
            image=f"sparkml/spark:{__version__}",
            main_application_file="local:///opt/legacy/jobs.jar",
            main_class="{{ params.scala_file_name }}",
            arguments=["/opt/legacy/flights.csv.gz"],
            driver=Driver(
                memory="{{ params.driver_memory }}",
                core_limit="{{ params.core_limit }}",
                service_account="spark",
                env=params_env("bucket_uri", "ingestion_period_days", "system_environment"),
            ),
            executor=Executor(memory="{{ params.executor_memory }}", core_limit="{{ params.core_limit }}"),
            dynamic_allocation=DynamicAllocation(
                min_executors="{{ params.executor_minimum }}", max_executors="{{ params.executor_maximum }}"
            ),
            volumes=[Volume.claim("sparkml-data", "/data")],
        ),
        namespace="{{ params.namespace }}",
        kubernetes_conn_id="{{ params.kubernetes_conn_id }}",
        startup_timeout=timedelta(minutes=15),
        execution_timeout=timedelta(minutes=30),
        retries=1,
        retry_delay=timedelta(seconds=10),
    )
