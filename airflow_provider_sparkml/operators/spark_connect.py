"""The operators that start a Spark Connect server for the tasks in between, and stop it: a setup and its teardown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.hooks.kubernetes import Cluster
from airflow_provider_sparkml.operators.base import ClusterOperator
from airflow_provider_sparkml.operators.job import JobOperator
from airflow_provider_sparkml.resources.base import Phase, ResourceRef
from airflow_provider_sparkml.resources.spark_connect import API
from airflow_provider_sparkml.triggers.job import JobTrigger
from airflow_provider_sparkml.triggers.spark_connect import SparkConnectServerTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_sparkml.jobs.outcome import Outcome


class SparkConnectServerOperator(JobOperator):
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

    template_fields = ("server", *(field for field in JobOperator.template_fields if field != "job"))
    template_fields_renderers: ClassVar[dict[str, str]] = {"server": "yaml", "labels": "json"}
    manifest_field = "server"
    trigger_class: type[JobTrigger] = SparkConnectServerTrigger

    def __init__(
        self, *, server: Any, startup_timeout: timedelta | float | None = timedelta(minutes=10), **kwargs: Any
    ) -> None:
        super().__init__(job=server, startup_timeout=startup_timeout, on_finish="keep", **kwargs)
        self.server = self.plain(server)

    async def conclude(self, cluster: Cluster, context: Context, outcome: Outcome) -> dict[str, Any]:
        """Return where clients connect; of a server that is not ready nothing is kept."""
        self.on_finish = "keep" if outcome.verdict.phase is Phase.SUCCEEDED else "delete"
        return await super().conclude(cluster, context, outcome)


class SparkConnectServerStopOperator(ClusterOperator):
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

    def __init__(self, *, server: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.server = server

    def execute(self, context: Context) -> None:
        """Delete it."""
        self.run_async(self._stop(self._ref()))

    def _ref(self) -> ResourceRef:
        """Return which server."""
        import json

        try:
            told = json.loads(self.server) if isinstance(self.server, str) else self.server
        except ValueError:
            told = None
        if not isinstance(told, Mapping) or not all(told.get(name) for name in ("name", "namespace", "uid")):
            raise InvalidManifestError(
                f"server is {self.server!r}: set it to the output of a SparkConnectServerOperator, "
                "which has name, namespace and uid"
            )
        return ResourceRef(API.api_version, API.kind, told["namespace"], told["name"], told["uid"])

    async def _stop(self, ref: ResourceRef) -> None:
        from airflow_provider_sparkml.jobs.cleanup import kill

        async with self.hook.connect() as cluster:
            await kill(cluster.client, API, ref, log=self.log)


__all__ = ["SparkConnectServerOperator", "SparkConnectServerStopOperator"]
