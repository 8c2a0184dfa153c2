"""The sensor that waits for a SparkApplication, whoever created it."""

from __future__ import annotations

from typing import Any, Literal

from airflow_provider_sparkml.sensors.job import JobSensor
from airflow_provider_sparkml.triggers.sensor import JobSensorTrigger
from airflow_provider_sparkml.triggers.spark import ApacheSparkApplicationSensorTrigger, SparkApplicationSensorTrigger
from airflow_provider_sparkml.triggers.versions import of_version


class SparkApplicationSensor(JobSensor):
    """Waits until a SparkApplication has ended, and returns its result; it never changes or deletes it.

    An application that does not exist yet, or not any more, is waited for, up to the sensor's ``timeout``. A state that
    is unknown for a while is no failure. An application that failed raises the same exceptions as
    :class:`~airflow_provider_sparkml.operators.spark.SparkApplicationOperator`; with ``soft_fail`` the task is skipped.

    :param application_name: ``metadata.name`` of the SparkApplication. Templated.
    :param api_version: ``sparkoperator.k8s.io/v1beta2`` for the Kubeflow Spark operator's, ``spark.apache.org/v1`` for
        the Apache Spark operator's.
    :param namespace: its namespace; by default the connection's, else ``default``. Templated.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``. Templated.
    :param deferrable: wait in the triggerer, by the watch that all share there; otherwise ``mode`` and
        ``poke_interval`` count. Default: ``AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE`` if it is set, else ``True``.

    .. code-block:: python

        from airflow_provider_sparkml.sensors.spark import SparkApplicationSensor

        nightly = SparkApplicationSensor(
            task_id="nightly",
            application_name="nightly-{{ ds_nodash }}",
            namespace="data",
            timeout=4 * 3600,
        )
    """

    template_fields = ("application_name", *(field for field in JobSensor.template_fields if field != "job_name"))
    trigger_class: type[JobSensorTrigger] = SparkApplicationSensorTrigger
    name_field = "application_name"

    def __init__(
        self,
        *,
        application_name: str,
        api_version: Literal["sparkoperator.k8s.io/v1beta2", "spark.apache.org/v1"] = "sparkoperator.k8s.io/v1beta2",
        **kwargs: Any,
    ) -> None:
        super().__init__(job_name=application_name, **kwargs)
        self.api_version = api_version
        self.trigger_class = of_version(api_version, SparkApplicationSensorTrigger, ApacheSparkApplicationSensorTrigger)


__all__ = ["SparkApplicationSensor"]
