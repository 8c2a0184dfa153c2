"""The sensor of every kind of job: waits for one, whoever created it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_sparkml.exceptions import (
    ApiUnavailableError,
    JobFailedError,
    NamespaceNotFoundError,
    NotFoundError,
    ResourceTypeNotFoundError,
)
from airflow_provider_sparkml.hooks.kubernetes import Cluster, KubernetesApiHook
from airflow_provider_sparkml.resources.base import Manifest, Phase, Resource, ResourceRef
from airflow_provider_sparkml.triggers.deferral import default_deferrable, defer, is_stray, rebuild_error
from airflow_provider_sparkml.triggers.sensor import JobSensorTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_sparkml.jobs.outcome import Outcome

T = TypeVar("T")


class JobSensor(BaseSensorOperator):
    """Waits until a job has ended, and returns its result; it never changes or deletes it.

    A job that does not exist yet, or not any more, is waited for, up to the sensor's ``timeout``. A state that is
    unknown for a while is no failure. A job that failed raises the same exceptions as the kind's operator; with
    ``soft_fail`` the task is skipped.

    :param job_name: ``metadata.name`` of the job. Templated.
    :param namespace: its namespace; by default the connection's, else ``default``. Templated.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``. Templated.
    :param deferrable: wait in the triggerer, by the watch that all share there; otherwise ``mode`` and
        ``poke_interval`` count. Default: ``AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE`` if it is set, else ``True``.
    """

    trigger_class: type[JobSensorTrigger]
    """The trigger; its ``resource`` is the kind."""
    name_field: ClassVar[str] = "job_name"
    """The templated field that has the job's name."""
    template_fields: Sequence[str] = ("job_name", "namespace", "kubernetes_conn_id")

    def __init__(
        self,
        *,
        job_name: str,
        namespace: str | None = None,
        kubernetes_conn_id: str | None = KubernetesApiHook.default_conn_name,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        setattr(self, self.name_field, job_name)
        self.namespace = namespace
        self.kubernetes_conn_id = kubernetes_conn_id
        self.deferrable = default_deferrable() if deferrable is None else deferrable

    def execute(self, context: Context) -> Any:
        """Look once; unless that settles it, go on looking, or defer."""
        if not self.deferrable:
            return super().execute(context)
        namespace, outcome, result = self._run(self._look())
        if outcome is not None:
            return result
        trigger = self.trigger_class(
            name=self._name,
            namespace=namespace,
            kubernetes_conn_id=self.kubernetes_conn_id,
            **self.trigger_arguments(),
        )
        raise defer(trigger, self.execute_complete.__name__, until=time.time() + self.timeout)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once; Airflow calls this again and again."""
        _, outcome, result = self._run(self._look())
        return PokeReturnValue(outcome is not None, result)

    def execute_complete(
        self,
        context: Context,
        event: dict[str, Any],
        trigger: dict[str, Any] | None = None,
        until: float | None = None,
    ) -> dict[str, Any]:
        """Return the result of the job that the trigger saw end.

        :param event: what the trigger has fired.
        :param trigger: the trigger's arguments, as this task deferred with them.
        :param until: epoch seconds of the sensor's time-out.
        :raises JobFailedError: why it did not succeed.
        """
        if trigger is not None and is_stray(event, trigger):
            self.log.warning("Waiting on: an event came that is not of the trigger that this task waits for: %s", event)
            raise defer(self.trigger_class(**trigger), self.execute_complete.__name__, until=until)
        return self._run(self._conclude(event))

    @property
    def _name(self) -> str:
        return str(getattr(self, self.name_field))

    @property
    def resource(self) -> Resource:
        """The kind."""
        return self.trigger_class.resource

    def trigger_arguments(self) -> dict[str, Any]:
        """Return what this kind's trigger takes beyond what all take."""
        return {}

    async def prepare(self, cluster: Cluster) -> None:
        """Find out what has to be asked of the cluster before anything else."""

    async def name_in(self, cluster: Cluster, namespace: str) -> str | None:
        """Return the job's name; ``None`` while it has none."""
        return self._name

    async def namespace_in(self, cluster: Cluster) -> str:
        """Return where the job is."""
        return self.namespace or await cluster.default_namespace()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine; a failed job skips the task if that is wanted."""
        from airflow.sdk.exceptions import AirflowSkipException

        try:
            return asyncio.run(work)
        except Exception as error:
            if self.never_fail or (self.soft_fail and isinstance(error, JobFailedError)):
                raise AirflowSkipException(str(error)) from error
            raise

    async def _look(self) -> tuple[str, Outcome | None, dict[str, Any] | None]:
        """Return the namespace, and how the job ended, with its result; ``None`` while it has not."""
        from airflow_provider_sparkml.jobs.outcome import Outcome
        from airflow_provider_sparkml.jobs.wait import describe

        async with KubernetesApiHook(self.kubernetes_conn_id).connect() as cluster:
            await self.prepare(cluster)
            namespace = await self.namespace_in(cluster)
            obj = await self._get(cluster, namespace)
            if obj is None:
                return namespace, None, None
            ref, verdict = ResourceRef.of(obj), self.resource.read(obj)
            self.log.info("%s: %s", ref, describe(verdict, obj))
            if not verdict.phase.is_terminal:
                return namespace, None, None
            outcome = Outcome(ref, verdict)
            return namespace, outcome, await self.judge(cluster, outcome, obj)

    async def _get(self, cluster: Cluster, namespace: str) -> Manifest | None:
        """Return the job, or ``None`` when there is none, or the API server cannot say now."""
        from airflow_provider_sparkml.jobs.advice import explained

        try:
            name = await self.name_in(cluster, namespace)
            if name is None:
                return None
            with explained("get", self.resource.api, namespace):
                return await cluster.client.get(self.resource.api, name, namespace)
        except (NamespaceNotFoundError, ResourceTypeNotFoundError):
            raise
        except NotFoundError:
            self.log.info("%s %s/%s does not exist", self.resource.api.kind, namespace, self._name)
        except ApiUnavailableError as error:
            self.log.warning("The API server is away: %s", error)
        return None

    async def _conclude(self, event: dict[str, Any]) -> dict[str, Any]:
        """Judge what the trigger saw end."""
        from airflow_provider_sparkml.jobs.outcome import Outcome

        if "error" in event:
            raise rebuild_error(event["error"])
        outcome = Outcome.from_json(event["outcome"])
        async with KubernetesApiHook(self.kubernetes_conn_id).connect() as cluster:
            await self.prepare(cluster)
            obj = await self._get(cluster, outcome.ref.namespace)
            same = obj is not None and obj["metadata"]["uid"] == outcome.ref.uid
            return await self.judge(cluster, outcome, obj if same else None)

    async def judge(self, cluster: Cluster, outcome: Outcome, obj: Manifest | None) -> dict[str, Any]:
        """Return the result of a job that has ended, or raise why there is none."""
        from airflow_provider_sparkml.jobs.finish import explain, read_result

        if outcome.verdict.phase is Phase.FAILED:
            raise await explain(cluster.client, self.resource, outcome, obj, kept=True, log=self.log)
        return await read_result(cluster.client, self.resource, outcome, obj, self.log)


__all__ = ["JobSensor"]
