"""The benchmark's application by this provider's operator."""

from __future__ import annotations

import json
import os

from airflow.sdk import DAG

from airflow_provider_sparkml.operators.spark import SparkApplicationOperator

with DAG("ours", schedule=None, catchup=False):
    SparkApplicationOperator(task_id="pi", application=json.loads(os.environ["OVERHEAD_APPLICATION"]))
