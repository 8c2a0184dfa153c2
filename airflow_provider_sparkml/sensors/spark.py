"""The sensor that waits for a SparkApplication, whoever created it."""

from __future__ import annotations

from typing import Any

from airflow_provider_sparkml.sensors.job import JobSensor
from airflow_provider_sparkml.triggers.spark import SparkApplicationSensorTrigger


class SparkApplicationSensor(JobSensor):
    """Waits until a SparkApplication has ended, and returns its result; it never changes or deletes it.

    An application that does not exist yet, or not any more, is waited for, up to the sensor's ``timeout``. A state that
    is unknown for a while is no failure. An application that failed raises the same exceptions as
    :class:`~airflow_provider_sparkml.operators.spark.SparkApplicationOperator`; with ``soft_fail`` the task is skipped.

    :param application_name: ``metadata.name`` of the SparkApplication. Templated.
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
    trigger_class = SparkApplicationSensorTrigger
    name_field = "application_name"

    def __init__(self, *, application_name: str, **kwargs: Any) -> None:
        super().__init__(job_name=application_name, **kwargs)


__all__ = ["SparkApplicationSensor"]
