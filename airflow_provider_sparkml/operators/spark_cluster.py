"""The operators that start a standalone Spark cluster for other tasks, and stop it: a setup and its teardown."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_provider_sparkml.operators.servers import ServerOperator, StopServerOperator
from airflow_provider_sparkml.resources.spark_cluster import API
from airflow_provider_sparkml.triggers.job import JobTrigger
from airflow_provider_sparkml.triggers.spark_cluster import SparkClusterTrigger


class SparkClusterOperator(ServerOperator):
    """Starts a SparkCluster (``spark.apache.org/v1``), exactly once per run of the DAG, and waits until it can be used.

    That is later than its ``RunningHealthy``, which the operator writes before any pod runs: when the master and as
    many workers as it begins with are ready. It returns ``name``, ``namespace``, ``uid``, ``master_url``
    (``spark://<name>-master-svc.<namespace>.svc:7077``), ``ui_url`` and ``workers``. The cluster goes on until
    :class:`SparkClusterStopOperator` stops it. One that does not become ready is deleted, with the reason in the task's
    log.

    :param cluster: the manifest: a ``SparkCluster`` builder's object, a mapping, a path to a YAML or JSON file, or YAML
        text. All of it is templated.
    :param startup_timeout: how long it may take until master and workers are ready.

    All other parameters but ``on_finish``: see :class:`~airflow_provider_sparkml.operators.job.JobOperator`.

    .. code-block:: python

        from airflow.sdk import DAG
        from airflow_provider_sparkml.operators.spark_cluster import SparkClusterOperator, SparkClusterStopOperator
        from airflow_provider_sparkml.resources.spark_cluster import SparkCluster

        with DAG("shared_cluster", schedule=None):
            start = SparkClusterOperator(
                task_id="start", cluster=SparkCluster(image="apache/spark:4.2.0", spark_version="4.2.0", workers=2)
            )
            stop = SparkClusterStopOperator(task_id="stop", cluster=start.output)
            with stop.as_teardown(setups=start):
                ...  # tasks that use start.output, a dict with "master_url"
    """

    template_fields = ("cluster", *(field for field in ServerOperator.template_fields if field != "job"))
    template_fields_renderers: ClassVar[dict[str, str]] = {"cluster": "yaml", "labels": "json"}
    manifest_field = "cluster"
    trigger_class: type[JobTrigger] = SparkClusterTrigger

    def __init__(self, *, cluster: Any, **kwargs: Any) -> None:
        super().__init__(job=cluster, **kwargs)
        self.cluster = self.plain(cluster)


class SparkClusterStopOperator(StopServerOperator):
    """Stops a SparkCluster; one that is gone, or another of the same name, is left alone.

    :param cluster: what :class:`SparkClusterOperator` has returned. Templated.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``. Templated.

    .. code-block:: python

        from airflow_provider_sparkml.operators.spark_cluster import SparkClusterStopOperator

        stop = SparkClusterStopOperator(
            task_id="stop", cluster="{{ ti.xcom_pull(task_ids='start') | tojson }}"
        )
    """

    template_fields = ("cluster", "kubernetes_conn_id")
    api = API
    started_by = SparkClusterOperator
    field = "cluster"

    def __init__(self, *, cluster: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cluster = cluster


__all__ = ["SparkClusterOperator", "SparkClusterStopOperator"]
