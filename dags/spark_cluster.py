"""### A standalone Spark cluster for the length of a run

A setup task starts a SparkCluster (of the Apache Spark operator); a plain container, by Airflow's own pod operator,
runs `spark-submit` on it; a teardown task stops the cluster, whatever happened in between.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG, Param
from kubernetes.client import models as k8s

from airflow_provider_sparkml import __version__
from airflow_provider_sparkml.operators.spark_cluster import SparkClusterOperator, SparkClusterStopOperator
from airflow_provider_sparkml.resources.spark_cluster import SparkCluster

with DAG(
    dag_id="spark_cluster",
    schedule=None,
    catchup=False,
    doc_md=__doc__,
    tags=["example", "spark"],
    params={
        "workers": Param(
            2,
            type="integer",
            minimum=1,
            maximum=20,
            title="Workers",
            description="How many workers the cluster has.",
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
            description="Kubernetes namespace of the cluster.",
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
        "kubernetes_conn_id": "{{ params.kubernetes_conn_id }}",
        "retries": 1,
        "retry_delay": timedelta(seconds=10),
    },
) as dag:
    start = SparkClusterOperator(
        task_id="start",
        cluster=SparkCluster(
            image=f"sparkml/spark:{__version__}", spark_version="4.3.0", workers="{{ params.workers }}"
        ),
        namespace="{{ params.namespace }}",
        startup_timeout=timedelta(minutes=15),
    )
    address = k8s.V1EnvVarSource(field_ref=k8s.V1ObjectFieldSelector(field_path="status.podIP"))
    pi = KubernetesPodOperator(
        task_id="pi",
        namespace="{{ params.namespace }}",
        image=f"sparkml/spark:{__version__}",
        # The image's entry point runs spark-submit; the workers reach the driver at its pod's address.
        arguments=[
            "submit",
            "--master",
            "{{ ti.xcom_pull(task_ids='start')['master_url'] }}",
            *("--conf", "spark.driver.host=$(POD_IP)"),
            *("--conf", "spark.driver.bindAddress=$(POD_IP)"),
            *("--executor-memory", "512m"),
            "/opt/sparkml/pi.py",
            "{{ params.partitions }}",
        ],
        env_vars=[k8s.V1EnvVar(name="POD_IP", value_from=address)],
        # The cluster's NetworkPolicy lets these pods in.
        labels={"spark-role": "driver"},
        deferrable=True,
    )
    stop = SparkClusterStopOperator(task_id="stop", cluster=start.output)

    start >> pi >> stop.as_teardown(setups=start)
