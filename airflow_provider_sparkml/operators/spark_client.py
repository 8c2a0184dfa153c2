"""The operator that runs a Spark driver in client mode, as a pod of its own."""

from __future__ import annotations

from airflow_provider_sparkml.links.spark import SparkHistoryLink, SparkUILink
from airflow_provider_sparkml.operators.job import JobOperator
from airflow_provider_sparkml.triggers.spark_client import SparkClientModeTrigger


class SparkClientModeOperator(JobOperator):
    """Runs a Spark driver in client mode, in a pod with no Spark operator, and returns its result.

    The driver's container decides: its exit code is the job's, whatever sidecars do. What it writes to the file named
    by ``SPARKML_RESULT_PATH`` comes back as ``result``. Executors, their ConfigMap and the driver's Service belong to
    the pod: they go with it, also after a hard kill.

    :param job: the manifest of the pod: a ``SparkClientPod`` builder's object, a mapping, a path to a YAML or JSON file
        (absolute, or below the DAG's folder or ``template_searchpath``), or YAML text. All of it is templated.

    All other parameters: see :class:`~airflow_provider_sparkml.operators.job.JobOperator`.

    .. code-block:: python

        from airflow_provider_sparkml.operators.spark_client import SparkClientModeOperator
        from airflow_provider_sparkml.resources.spark_client import Driver, Executor, SparkClientPod

        pi = SparkClientModeOperator(
            task_id="pi",
            job=SparkClientPod(
                image="example.com/spark:1",
                main_application_file="local:///opt/sparkml/pi.py",
                driver=Driver(memory="512m", service_account="spark"),
                executor=Executor(instances=2, memory="512m"),
            ),
        )
    """

    trigger_class = SparkClientModeTrigger
    operator_extra_links = (SparkUILink(), SparkHistoryLink())


__all__ = ["SparkClientModeOperator"]
