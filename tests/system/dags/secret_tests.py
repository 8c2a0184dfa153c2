"""Tasks that handle a password: it comes from an Airflow connection, and goes into a Kubernetes Secret."""

from __future__ import annotations

import datetime
from typing import Any

from airflow.sdk import DAG

from airflow_provider_sparkml.operators.kubernetes import KubernetesApplyOperator, KubernetesGetOperator
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.resources.spark import Driver, Secret, SparkApplication

PASSWORD = "{{ conn.warehouse.password }}"
QUICK = {"retries": 0, "retry_delay": datetime.timedelta(seconds=1), "kubernetes_conn_id": "inline"}


def secret(**parts: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "warehouse"}, **parts}


with DAG("secrets", default_args=QUICK, schedule=None):
    apply = KubernetesApplyOperator(
        task_id="apply", manifests=secret(stringData={"password": PASSWORD, "pin": "{{ conn.warehouse.login }}"})
    )
    mapped = KubernetesApplyOperator.partial(task_id="mapped").expand(
        manifests=[secret(stringData={"password": PASSWORD})]
    )
    get = KubernetesGetOperator(task_id="get", kind="Secret", api_version="v1", name="warehouse")
    run = SparkApplicationOperator(
        task_id="run",
        application=SparkApplication(
            image="example.com/spark:1",
            main_application_file="local:///a.py",
            driver=Driver(secrets=[Secret(name="warehouse", env={"PASSWORD": "password"})]),
        ),
    )
    # The API server quotes what it refuses.
    refused = KubernetesApplyOperator(task_id="refused", manifests=secret(stringData={"password": PASSWORD, "k": 5}))
    unreadable = KubernetesApplyOperator(
        task_id="unreadable", manifests=f"apiVersion: v1\nkind: Secret\nstringData: {{password: '{PASSWORD}\n"
    )
    apply >> mapped >> get >> [run, refused, unreadable]
