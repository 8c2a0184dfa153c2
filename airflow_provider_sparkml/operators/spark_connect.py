"""The operators that start a Spark Connect server for the tasks in between, and stop it: a setup and its teardown."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_provider_sparkml.operators.servers import ServerOperator, StopServerOperator
from airflow_provider_sparkml.resources.spark_connect import API
from airflow_provider_sparkml.triggers.job import JobTrigger
from airflow_provider_sparkml.triggers.spark_connect import SparkConnectServerTrigger


class SparkConnectServerOperator(ServerOperator):
    """Starts a Spark Connect server, exactly once per run of the DAG, and waits until clients can connect.

    It returns ``name``, ``namespace``, ``uid``, ``url`` (by the Service's name, for clients inside of the cluster),
    ``pod_url`` (by the pod's address) and ``server_pod``. The server goes on until
    :class:`SparkConnectServerStopOperator` stops it. One that does not become ready is deleted, with the reason in the
    task's log.

    :param server: the manifest: a ``SparkConnectServer`` builder's object, a mapping, a path to a YAML or JSON file, or
        YAML text. All of it is templated.
    :param startup_timeout: how long it may take until clients can connect. The Spark operator never says that a server
        has failed, so this is what ends the wait.

    All other parameters but ``on_finish``: see :class:`~airflow_provider_sparkml.operators.job.JobOperator`.

    .. code-block:: python

        from airflow.sdk import DAG
        from airflow_provider_sparkml.operators.spark_connect import (
            SparkConnectServerOperator,
            SparkConnectServerStopOperator,
        )
        from airflow_provider_sparkml.resources.spark_connect import SparkConnectServer

        with DAG("connect", schedule=None):
            start = SparkConnectServerOperator(
                task_id="start",
                server=SparkConnectServer(
                    image="example.com/spark:1", spark_version="4.3.0", service_account="spark"
                ),
            )
            stop = SparkConnectServerStopOperator(task_id="stop", server=start.output)
            with stop.as_teardown(setups=start):
                ...  # tasks that use start.output, a dict with "url"
    """

    template_fields = ("server", *(field for field in ServerOperator.template_fields if field != "job"))
    template_fields_renderers: ClassVar[dict[str, str]] = {"server": "yaml", "labels": "json"}
    manifest_field = "server"
    trigger_class: type[JobTrigger] = SparkConnectServerTrigger

    def __init__(self, *, server: Any, **kwargs: Any) -> None:
        super().__init__(job=server, **kwargs)
        self.server = self.plain(server)


class SparkConnectServerStopOperator(StopServerOperator):
    """Stops a Spark Connect server; one that is gone, or another of the same name, is left alone.

    :param server: what :class:`SparkConnectServerOperator` has returned. Templated.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``. Templated.

    .. code-block:: python

        from airflow_provider_sparkml.operators.spark_connect import SparkConnectServerStopOperator

        stop = SparkConnectServerStopOperator(
            task_id="stop", server="{{ ti.xcom_pull(task_ids='start') | tojson }}"
        )
    """

    template_fields = ("server", "kubernetes_conn_id")
    api = API
    started_by = SparkConnectServerOperator
    field = "server"

    def __init__(self, *, server: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.server = server


__all__ = ["SparkConnectServerOperator", "SparkConnectServerStopOperator"]
