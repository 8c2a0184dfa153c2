"""The sensor that waits for a run of a schedule of the Spark operator."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_sparkml.exceptions import InvalidManifestError, NotFoundError
from airflow_provider_sparkml.hooks.kubernetes import Cluster
from airflow_provider_sparkml.sensors.job import JobSensor
from airflow_provider_sparkml.triggers.sensor import JobSensorTrigger
from airflow_provider_sparkml.triggers.spark_scheduled import ScheduledSparkApplicationSensorTrigger, run_since

if TYPE_CHECKING:
    from airflow.sdk import Context, PokeReturnValue


class ScheduledSparkApplicationSensor(JobSensor):
    """Waits until a run of a ScheduledSparkApplication has ended, and returns its result; it changes nothing.

    Of the runs that began at or after ``since`` it takes the last. A run that fails raises the same exceptions as
    :class:`~airflow_provider_sparkml.operators.spark.SparkApplicationOperator`; one that is deleted before its end, as
    the policy ``Replace`` has it, is passed over.

    :param schedule_name: ``metadata.name`` of the ScheduledSparkApplication. Templated.
    :param since: ISO 8601 time, with its zone; by default the start of the DAG run. Templated.

    ``namespace``, ``kubernetes_conn_id``, ``deferrable``: as for
    :class:`~airflow_provider_sparkml.sensors.spark.SparkApplicationSensor`.

    .. code-block:: python

        from airflow_provider_sparkml.sensors.spark_scheduled import ScheduledSparkApplicationSensor

        nightly = ScheduledSparkApplicationSensor(task_id="nightly", schedule_name="nightly", timeout=24 * 3600)
    """

    template_fields = ("schedule_name", "since", *(field for field in JobSensor.template_fields if field != "job_name"))
    trigger_class: type[JobSensorTrigger] = ScheduledSparkApplicationSensorTrigger
    name_field = "schedule_name"

    def __init__(self, *, schedule_name: str, since: str | datetime | None = None, **kwargs: Any) -> None:
        super().__init__(job_name=schedule_name, **kwargs)
        self.since = since.isoformat() if isinstance(since, datetime) else since
        self._since = ""
        self._run_name = ""

    def execute(self, context: Context) -> Any:
        """Look once; unless that settles it, go on looking, or defer."""
        self._since = self._moment(context)
        return super().execute(context)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once; Airflow calls this again and again."""
        self._since = self._moment(context)
        return super().poke(context)

    def execute_complete(
        self,
        context: Context,
        event: dict[str, Any],
        trigger: dict[str, Any] | None = None,
        until: float | None = None,
    ) -> dict[str, Any]:
        """Return the result of the run that the trigger saw end."""
        self._run_name = str(((event.get("outcome") or {}).get("ref") or {}).get("name") or "")
        return super().execute_complete(context, event, trigger, until)

    def trigger_arguments(self) -> dict[str, Any]:
        """Return the time."""
        return {"since": self._since}

    async def name_in(self, cluster: Cluster, namespace: str) -> str | None:
        """Return the name of the run; ``None`` while there is none."""
        from airflow_provider_sparkml.jobs.advice import explained
        from airflow_provider_sparkml.resources.spark_scheduled import API

        if self._run_name:
            return self._run_name
        try:
            with explained("get", API, namespace):
                schedule = await cluster.client.get(API, self._name, namespace)
        except NotFoundError as error:
            if type(error) is not NotFoundError:
                raise
            self.log.info("%s %s/%s does not exist", API.kind, namespace, self._name)
            return None
        return run_since(schedule, self._since) or None

    def _moment(self, context: Context) -> str:
        """Return since when a run counts."""
        if self.since:
            try:
                moment = datetime.fromisoformat(str(self.since))
            except ValueError:
                raise InvalidManifestError(f"since is {self.since!r}: give an ISO 8601 time") from None
        else:
            run = context["dag_run"]
            moment = run.start_date or run.run_after
        return moment.replace(tzinfo=moment.tzinfo or UTC).isoformat()


__all__ = ["ScheduledSparkApplicationSensor"]
