"""### A Spark driver without the Spark operator

Computes π like `spark_pi`, but with the driver in a pod that the task itself creates (Spark's client mode): no operator
and no CRD is needed. Executors and the driver's Service belong to that pod, and go with it.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider_sparkml import __version__
from airflow_provider_sparkml.operators.spark_client import SparkClientModeOperator
from airflow_provider_sparkml.resources.spark_client import Driver, Executor, SparkClientPod

with DAG(
    dag_id="spark_client_mode",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["example", "spark"],
    params={
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
    SparkClientModeOperator(
        task_id="pi",
        job=SparkClientPod(
            image=f"sparkml/spark:{__version__}",
            main_application_file="local:///opt/sparkml/pi.py",
            arguments=["{{ params.partitions }}"],
            driver=Driver(memory="512m", service_account="spark"),
            executor=Executor(instances=1, memory="512m"),
        ),
        namespace="{{ params.namespace }}",
        kubernetes_conn_id="{{ params.kubernetes_conn_id }}",
        startup_timeout=timedelta(minutes=15),
        execution_timeout=timedelta(minutes=30),
        retries=1,
        retry_delay=timedelta(seconds=10),
    )
