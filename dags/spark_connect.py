"""### A Spark Connect server for the length of a run

A setup task starts a Spark Connect server with executors of its own, a plain Python function uses it through
`pyspark-client`, and a teardown task stops it, whatever happened in between. The function needs neither Java nor Spark:
it runs in a virtual environment of its own, with packages from PyPI.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param, task

from airflow_provider_sparkml import __version__
from airflow_provider_sparkml.operators.spark_connect import (
    SparkConnectServerOperator,
    SparkConnectServerStopOperator,
)
from airflow_provider_sparkml.resources.spark_connect import SparkConnectServer


@task.virtualenv(
    requirements=["pyspark-client==4.2.0", "pandas<3"],
    system_site_packages=False,
    retries=1,
    retry_delay=timedelta(seconds=10),
    execution_timeout=timedelta(minutes=15),
)
def squares(server: dict[str, str], numbers: str) -> dict[str, int]:
    """Add up squares on the server's executors.

    :param server: where it is; a worker in the cluster could use ``url``, the Service's name, as well as ``pod_url``.
    :param numbers: how many; a text, as templates render to.
    :return: the sum, and how many partitions it came from.
    """
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as F  # noqa: N812

    spark = SparkSession.builder.remote(server["pod_url"]).getOrCreate()
    try:
        table = spark.range(0, int(numbers), numPartitions=2).withColumn("partition", F.spark_partition_id())
        row = table.agg(F.sum(F.col("id") * F.col("id")), F.count_distinct("partition")).first()
        return {"sum": row[0], "partitions": row[1]}
    finally:
        spark.stop()


with DAG(
    dag_id="spark_connect",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["example", "spark"],
    params={
        "numbers": Param(
            1000,
            type="integer",
            minimum=2,
            maximum=1_000_000,
            title="Numbers",
            description="The squares of so many numbers, from 0, are added up.",
        ),
        "namespace": Param(
            "default",
            type="string",
            pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
            title="Namespace",
            description="Kubernetes namespace of the server.",
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
    start = SparkConnectServerOperator(
        task_id="start",
        server=SparkConnectServer(
            image=f"sparkml/spark:{__version__}",
            spark_version="4.3.0",
            service_account="spark",
            server_memory="512m",
            executor_memory="512m",
        ),
        namespace="{{ params.namespace }}",
        kubernetes_conn_id="{{ params.kubernetes_conn_id }}",
        startup_timeout=timedelta(minutes=15),
        retries=1,
        retry_delay=timedelta(seconds=10),
    )
    stop = SparkConnectServerStopOperator(
        task_id="stop", server=start.output, kubernetes_conn_id="{{ params.kubernetes_conn_id }}"
    )
    squares(start.output, "{{ params.numbers }}") >> stop.as_teardown(setups=start)
