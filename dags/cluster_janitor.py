"""### Sweeps up what Spark jobs have left behind

Every night: SparkApplications of this Airflow that ended long ago, with their pods, Services, ConfigMaps and volumes,
and what is left of applications that are gone. At first it only lists them, in the task's log and its XCom: set
`dry_run` to false when the list is what you want to go.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider_sparkml.operators.cleanup import SparkCleanupOperator

with DAG(
    dag_id="cluster_janitor",
    schedule="@daily",
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["example", "spark", "clean-up"],
    params={
        "older_than_hours": Param(
            24,
            type="integer",
            minimum=0,
            maximum=24 * 365,
            title="Age",
            description="Hours since the end of what is cleaned up.",
        ),
        "dry_run": Param(
            True,
            type="boolean",
            title="Dry run",
            description="List what is left, and delete nothing.",
        ),
        "namespace": Param(
            "default",
            type="string",
            pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
            title="Namespace",
            description="Kubernetes namespace that is cleaned up.",
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
    SparkCleanupOperator(
        task_id="sweep",
        older_than="{{ params.older_than_hours * 3600 }}",
        dry_run="{{ params.dry_run }}",
        namespace="{{ params.namespace }}",
        kubernetes_conn_id="{{ params.kubernetes_conn_id }}",
        retries=2,
        retry_delay=timedelta(minutes=1),
    )
