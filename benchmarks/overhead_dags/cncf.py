"""The benchmark's application by the cncf provider's operator, deferrable, with its defaults."""

from __future__ import annotations

import json
import os

from airflow.providers.cncf.kubernetes.operators.spark_kubernetes import (
    SparkKubernetesOperator,
)
from airflow.sdk import DAG

with DAG("cncf", schedule=None, catchup=False):
    SparkKubernetesOperator(
        task_id="pi",
        name="pi",
        namespace="default",
        kubernetes_conn_id="cncf",
        template_spec={"spark": json.loads(os.environ["OVERHEAD_APPLICATION"])},
        deferrable=True,
    )
