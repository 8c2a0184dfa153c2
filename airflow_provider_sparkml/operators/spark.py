"""The operator that runs a SparkApplication."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from airflow_provider_sparkml.links.spark import SparkHistoryLink, SparkUILink
from airflow_provider_sparkml.operators.job import JobOperator
from airflow_provider_sparkml.triggers.job import JobTrigger
from airflow_provider_sparkml.triggers.spark import ApacheSparkApplicationTrigger, SparkApplicationTrigger
from airflow_provider_sparkml.triggers.versions import of_version


class SparkApplicationOperator(JobOperator):
    """Runs a SparkApplication and returns its result.

    The application is submitted exactly once, whatever dies meanwhile: a retry after a crash goes on with the live one,
    a retry after a failure starts anew, and a task that was cleared really runs again. The task's log shows phases,
    warning events, the driver's log and the progress of its stages. It is marked as failed with the cause in the first
    line of the exception.

    What the driver writes to the file named by its variable ``SPARKML_RESULT_PATH`` (JSON, at most 4096 bytes) comes
    back as ``result`` in the returned dict, next to ``name``, ``namespace``, ``uid``, ``phase``, ``attempts``,
    ``spark_application_id``, ``submission_id``, ``driver_pod``, ``started_at``, ``finished_at`` and ``ui_url``.

    :param application: the manifest: a ``SparkApplication`` builder's object, a mapping, a path to a YAML or JSON file
        (absolute, or below the DAG's folder or ``template_searchpath``), or YAML text. All of it is templated.
    :param api_version: ``sparkoperator.k8s.io/v1beta2`` for the Kubeflow Spark operator's, ``spark.apache.org/v1`` for
        the Apache Spark operator's.

    All other parameters: see :class:`~airflow_provider_sparkml.operators.job.JobOperator`.

    .. code-block:: python

        from datetime import timedelta

        from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
        from airflow_provider_sparkml.resources.spark import Driver, Executor, SparkApplication

        pi = SparkApplicationOperator(
            task_id="pi",
            application=SparkApplication(
                image="example.com/spark:1",
                main_application_file="local:///opt/sparkml/pi.py",
                arguments=["{{ params.partitions }}"],
                driver=Driver(memory="512m", service_account="spark"),
                executor=Executor(instances=2, memory="512m"),
            ),
            startup_timeout=timedelta(minutes=10),
        )
    """

    template_fields = ("application", *(field for field in JobOperator.template_fields if field != "job"))
    template_fields_renderers: ClassVar[dict[str, str]] = {"application": "yaml", "labels": "json"}
    manifest_field = "application"
    trigger_class: type[JobTrigger] = SparkApplicationTrigger
    operator_extra_links = (SparkUILink(), SparkHistoryLink())

    def __init__(
        self,
        *,
        application: Any,
        api_version: Literal["sparkoperator.k8s.io/v1beta2", "spark.apache.org/v1"] = "sparkoperator.k8s.io/v1beta2",
        **kwargs: Any,
    ) -> None:
        super().__init__(job=application, **kwargs)
        self.api_version = api_version
        self.trigger_class = of_version(api_version, SparkApplicationTrigger, ApacheSparkApplicationTrigger)


__all__ = ["SparkApplicationOperator"]
