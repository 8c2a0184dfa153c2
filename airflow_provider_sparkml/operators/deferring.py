"""The course of every task that starts something and waits for it: deferred or not, finished or broken off."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_sparkml.exceptions import ApiError, InvalidManifestError, JobFailedError
from airflow_provider_sparkml.hooks.kubernetes import Cluster
from airflow_provider_sparkml.operators.base import ManifestOperator
from airflow_provider_sparkml.resources.base import Manifest, Resource
from airflow_provider_sparkml.triggers.deferral import (
    default_deferrable,
    defer,
    is_stray,
    rebuild_error,
    timeout_seconds,
)
from airflow_provider_sparkml.triggers.job import JobTrigger, push_links

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_sparkml.jobs.outcome import Deadlines, Outcome
    from airflow_provider_sparkml.jobs.submit import Submission
    from airflow_provider_sparkml.resources.profiles import Profile


class DeferringOperator(ManifestOperator):
    """Starts, waits in the triggerer or on the worker, and concludes; subclasses say what each of these means.

    :param deferrable: wait in the triggerer. Default: ``AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE`` if it is set, else
        ``True``.
    :param startup_timeout: how long it may take until it runs; a ``timedelta`` or seconds. ``None``: for ever.
    """

    trigger_class: type[JobTrigger]
    """The trigger; its ``resource`` is the kind."""

    @property
    def resource(self) -> Resource:
        """The kind."""
        return self.trigger_class.resource

    def __init__(
        self, *, deferrable: bool | None = None, startup_timeout: timedelta | float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.startup_timeout = timeout_seconds("startup_timeout", startup_timeout)

    @abstractmethod
    async def start(self, cluster: Cluster, context: Context) -> Submission:
        """Start it, or find what an earlier try has started."""

    @abstractmethod
    async def conclude(self, cluster: Cluster, context: Context, outcome: Outcome) -> dict[str, Any]:
        """Return the task's result, or raise why there is none."""

    @abstractmethod
    async def abandon(self, cluster: Cluster, context: Context) -> None:
        """Delete what this task has started and nobody will take up again."""

    def deadlines(self, context: Context, submission: Submission) -> Deadlines:
        """Return when to give up; counted from what a restart does not change."""
        from airflow_provider_sparkml.jobs.outcome import Deadlines

        limit = self.execution_timeout
        return Deadlines(
            startup_seconds=self.startup_timeout,
            execute_until=None if limit is None else context["ti"].start_date.timestamp() + limit.total_seconds(),
        )

    def execute(self, context: Context) -> Any:
        """Start, then defer or wait.

        :return: the result dict, when it waits itself.
        """
        if not self.deferrable:
            return self.run_async(self._start_and_wait(context))
        raise defer(self.run_async(self._start(context)), self.execute_complete.__name__)

    def execute_complete(
        self, context: Context, event: dict[str, Any], trigger: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Conclude what the trigger has waited for.

        :param event: what the trigger has fired.
        :param trigger: the trigger's arguments, as this task deferred with them.
        :return: the result dict.
        :raises JobFailedError: why it did not succeed.
        """
        if trigger is not None and is_stray(event, trigger):
            self.log.warning("Waiting on: an event came that is not of the trigger that this task waits for: %s", event)
            raise defer(self.trigger_class(**trigger), self.execute_complete.__name__)
        return self.run_async(self._conclude_deferred(context, event))

    async def _start(self, context: Context) -> JobTrigger:
        async with self._cluster(context) as cluster:
            return await self._started(cluster, context)

    async def _start_and_wait(self, context: Context) -> dict[str, Any]:
        async def on_change(obj: Manifest) -> None:
            await push_links(context["ti"], self.trigger_class.links(obj), self.log)

        async with self._cluster(context) as cluster:
            trigger = await self._started(cluster, context)
            return await self.conclude(cluster, context, await trigger.wait(cluster, self.log, on_change))

    async def _conclude_deferred(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        from airflow_provider_sparkml.jobs.outcome import Outcome

        async with self._cluster(context) as cluster:
            if "error" in event:
                raise rebuild_error(event["error"])
            return await self.conclude(cluster, context, Outcome.from_json(event["outcome"]))

    async def _started(self, cluster: Cluster, context: Context) -> JobTrigger:
        """Start, and return the trigger that knows how to wait for it."""
        submission = await self.start(cluster, context)
        await push_links(context["ti"], self.trigger_class.links(submission.obj), self.log)
        return self.trigger_class(
            ref=submission.ref.to_json(),
            deadlines=self.deadlines(context, submission).to_json(),
            kubernetes_conn_id=self.kubernetes_conn_id,
            may_delete=not submission.adopted or self.owns_adopted,
            **self.trigger_arguments(),
        )

    async def profile(self) -> Profile | None:
        """Return the profile that the connection or the Variable chooses, and say which."""
        from airflow_provider_sparkml.hooks.profile import chosen_profile

        profile = await chosen_profile(self.hook)
        if profile is not None:
            self.log.info("Profile: %s", profile)
        return profile

    def trigger_arguments(self) -> dict[str, Any]:
        """Return what this kind's trigger takes beyond what all take."""
        return {}

    async def prepare(self, cluster: Cluster) -> None:
        """Find out what has to be asked of the cluster before anything else."""

    owns_adopted: ClassVar[bool] = True
    """Whether what an earlier try has started is this task's to delete as well."""

    @asynccontextmanager
    async def _cluster(self, context: Context) -> AsyncIterator[Cluster]:
        """Open the cluster, and leave nothing behind that nobody will ever take up again.

        :meth:`conclude` has dealt with what failed. Any other error leaves all to the next try, if there is one. A
        kill, or Airflow's own time-out, ends it in any case.
        """
        async with self.hook.connect() as cluster:
            await self.prepare(cluster)
            try:
                yield cluster
            except JobFailedError:
                raise
            except Exception as error:
                if self._is_last_try(context, error):
                    await self._abandon(cluster, context)
                raise
            except BaseException:
                await self._abandon(cluster, context)
                raise

    def _is_last_try(self, context: Context, error: Exception) -> bool:
        """Return whether no try follows one that this error ends: none is left, or the task's policy says so."""
        from airflow.sdk.definitions.retry_policy import RetryAction

        ti = context["ti"]
        if ti.try_number > ti.max_tries or self.retry_policy is None:
            return bool(ti.try_number > ti.max_tries)
        try:
            decision = self.retry_policy.evaluate(error, ti.try_number, ti.max_tries, context)
        except Exception:  # noqa: BLE001 - Airflow goes on without a policy that fails, and says so
            return False
        return decision.action is RetryAction.FAIL

    async def _abandon(self, cluster: Cluster, context: Context) -> None:
        """Abandon, and let no trouble with that hide why."""
        try:
            await self.abandon(cluster, context)
        except (ApiError, InvalidManifestError) as error:
            self.log.warning("Nothing that this task has started could be deleted: %s", error)


__all__ = ["DeferringOperator", "timeout_seconds"]
