"""What the operators of servers share: started by a setup task for the tasks in between, stopped by its teardown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.hooks.kubernetes import Cluster
from airflow_provider_sparkml.operators.base import ClusterOperator
from airflow_provider_sparkml.operators.job import JobOperator
from airflow_provider_sparkml.resources.base import ApiResource, Phase, ResourceRef

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_sparkml.jobs.outcome import Outcome


class ServerOperator(JobOperator):
    """Starts a server, exactly once per run of the DAG, and waits until it can be used.

    It goes on until its :class:`StopServerOperator` stops it. One that does not become ready is deleted, with the
    reason in the task's log.

    :param startup_timeout: how long it may take until it can be used.

    All other parameters but ``on_finish``: see :class:`~airflow_provider_sparkml.operators.job.JobOperator`.
    """

    def __init__(self, *, startup_timeout: timedelta | float | None = timedelta(minutes=10), **kwargs: Any) -> None:
        super().__init__(startup_timeout=startup_timeout, on_finish="keep", **kwargs)

    async def conclude(self, cluster: Cluster, context: Context, outcome: Outcome) -> dict[str, Any]:
        """Return where it is; of one that is not ready nothing is kept."""
        self.on_finish = "keep" if outcome.verdict.phase is Phase.SUCCEEDED else "delete"
        return await super().conclude(cluster, context, outcome)


class StopServerOperator(ClusterOperator):
    """Stops a server; one that is gone, or another of the same name, is left alone.

    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``. Templated.
    """

    api: ClassVar[ApiResource]
    """The kind; set by each subclass."""
    started_by: ClassVar[type[ServerOperator]]
    """Whose output is taken; likewise."""
    field: ClassVar[str]
    """The parameter that takes it; likewise."""

    def execute(self, context: Context) -> None:
        """Delete it."""
        self.run_async(self._stop(self._ref()))

    def _ref(self) -> ResourceRef:
        """Return which server."""
        output = getattr(self, self.field)
        try:
            told = json.loads(output) if isinstance(output, str) else output
        except ValueError:
            told = None
        if not isinstance(told, Mapping) or not all(told.get(name) for name in ("name", "namespace", "uid")):
            raise InvalidManifestError(
                f"{self.field} is {output!r}: set it to the output of a {self.started_by.__name__}, "
                "which has name, namespace and uid"
            )
        return ResourceRef(self.api.api_version, self.api.kind, told["namespace"], told["name"], told["uid"])

    async def _stop(self, ref: ResourceRef) -> None:
        from airflow_provider_sparkml.jobs.cleanup import kill

        async with self.hook.connect() as cluster:
            await kill(cluster.client, self.api, ref, log=self.log)


__all__ = ["ServerOperator", "StopServerOperator"]
