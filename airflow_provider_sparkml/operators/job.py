"""The life of a job as an Airflow task, for every kind: submit, wait (deferred or not), finish, kill."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from airflow_provider_sparkml.exceptions import ApiError, InvalidManifestError, JobFailedError
from airflow_provider_sparkml.hooks.kubernetes import Cluster
from airflow_provider_sparkml.operators.base import ManifestOperator, task_identity
from airflow_provider_sparkml.resources import naming
from airflow_provider_sparkml.resources.base import Manifest, Phase, Resource, ResourceRef
from airflow_provider_sparkml.triggers.deferral import default_deferrable, rebuild_error
from airflow_provider_sparkml.triggers.job import JobTrigger, push_links

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_sparkml.jobs.outcome import Deadlines, Outcome
    from airflow_provider_sparkml.jobs.submit import Submission

OnFinish = Literal["delete", "delete_on_success", "keep"]
"""What becomes of a job's object after its end."""


class JobOperator(ManifestOperator):
    """Submits a job, waits for its end without holding a worker, and returns what is worth knowing.

    Subclasses say which kind: :attr:`resource`, :attr:`trigger_class`.

    :param application: the manifest: an object of the kind's builder, a mapping, a path to a YAML or JSON file
        (absolute, or below the DAG's folder or ``template_searchpath``), or YAML text. All of it is templated.
    :param namespace: the Kubernetes namespace; by default the manifest's, else the connection's, else ``default``.
        Templated.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``. Templated.
    :param deferrable: wait in the triggerer. Default: ``[operators] default_deferrable`` where somebody has set it,
        else ``True``.
    :param queue_timeout: how long the job may wait for admission (suspended, Kueue, YuniKorn, Volcano), counted from
        its creation; a ``timedelta`` or seconds. ``None``: for ever.
    :param startup_timeout: how long it may then take until it runs; likewise.
    :param on_finish: what becomes of the job's object: ``delete`` it, ``delete_on_success``, or ``keep`` it.
    :param labels: labels to add to the manifest's. Templated.

    ``execution_timeout`` of Airflow's is counted from the start of the try, deferred or not, and ends the job too.
    """

    template_fields = ("application", "namespace", "labels", "kubernetes_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"application": "yaml", "labels": "json"}
    manifest_field = "application"

    resource: ClassVar[Resource]
    trigger_class: ClassVar[type[JobTrigger]]

    def __init__(
        self,
        *,
        application: Any,
        deferrable: bool | None = None,
        queue_timeout: timedelta | float | None = None,
        startup_timeout: timedelta | float | None = None,
        on_finish: OnFinish = "delete",
        labels: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(labels=labels, **kwargs)
        self.application = self.plain(application)
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.queue_timeout = timeout_seconds("queue_timeout", queue_timeout)
        self.startup_timeout = timeout_seconds("startup_timeout", startup_timeout)
        if on_finish not in get_args(OnFinish):
            raise InvalidManifestError(f"on_finish is {on_finish!r}: set it to one of {', '.join(get_args(OnFinish))}")
        self.on_finish = on_finish
        self.only_a_path_is_a_file()

    def execute(self, context: Context) -> Any:
        """Submit, then defer or wait.

        :return: the result dict, when it waits itself.
        """
        from airflow.sdk.exceptions import TaskDeferred

        if not self.deferrable:
            return self.run_async(self._submit_and_wait(context))
        submission, deadlines = self.run_async(self._submit_only(context))
        raise TaskDeferred(
            trigger=self.trigger_class(
                ref=submission.ref.to_json(),
                deadlines=deadlines.to_json(),
                kubernetes_conn_id=self.kubernetes_conn_id,
            ),
            method_name=self.execute_complete.__name__,
        )

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Finish what the trigger has waited for.

        :return: the result dict.
        :raises JobFailedError: why the job did not succeed.
        """
        return self.run_async(self._finish_deferred(context, event))

    async def _submit_only(self, context: Context) -> tuple[Submission, Deadlines]:
        async with self._cluster(context) as cluster:
            return await self._submit(cluster, context)

    async def _submit_and_wait(self, context: Context) -> dict[str, Any]:
        from airflow_provider_sparkml.jobs.wait import wait

        async def on_change(obj: Manifest) -> None:
            await push_links(context["ti"], self.trigger_class.links(obj), self.log)

        async with self._cluster(context) as cluster:
            submission, deadlines = await self._submit(cluster, context)
            outcome = await wait(
                cluster.client, cluster.hub, self.resource, submission.ref, deadlines, log=self.log, on_change=on_change
            )
            return await self._finish(cluster, outcome)

    async def _finish_deferred(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        from airflow_provider_sparkml.jobs.outcome import Outcome

        async with self._cluster(context) as cluster:
            if "error" in event:
                raise rebuild_error(event["error"])
            return await self._finish(cluster, Outcome.from_json(event["outcome"]))

    async def _submit(self, cluster: Cluster, context: Context) -> tuple[Submission, Deadlines]:
        from airflow_provider_sparkml.jobs.submit import submit

        manifest = self.manifest()
        namespace = await self.namespace_of(cluster, manifest)
        identity = task_identity(context)
        if identity.max_tries != self.retries:
            await self._delete_orphans(cluster, identity, namespace)
        submission = await submit(
            cluster.client,
            self.resource,
            manifest,
            identity,
            namespace=namespace,
            log=self.log,
            on_finish=self.on_finish,
        )
        await push_links(context["ti"], self.trigger_class.links(submission.obj), self.log)
        return submission, self._deadlines(context, submission)

    async def _finish(self, cluster: Cluster, outcome: Outcome) -> dict[str, Any]:
        from airflow_provider_sparkml.jobs.finish import finish

        return await finish(cluster.client, self.resource, outcome, on_finish=self.on_finish, log=self.log)

    def _deadlines(self, context: Context, submission: Submission) -> Deadlines:
        """Return when to give up; counted from what a restart does not change."""
        from airflow_provider_sparkml.jobs.outcome import Deadlines, epoch

        created = epoch(submission.obj["metadata"].get("creationTimestamp", ""))
        queue = self.queue_timeout
        limit = self.execution_timeout
        return Deadlines(
            queue_until=None if queue is None or created is None else created + queue,
            startup_seconds=self.startup_timeout,
            execute_until=None if limit is None else context["ti"].start_date.timestamp() + limit.total_seconds(),
        )

    @asynccontextmanager
    async def _cluster(self, context: Context) -> AsyncIterator[Cluster]:
        """Open the cluster, and leave no job behind that nobody will ever take up again.

        A job that failed was dealt with by ``finish``. Any other error leaves the job to the next try, if there is
        one. A kill, or Airflow's own time-out, ends it in any case.
        """
        async with self.hook.connect() as cluster:
            try:
                yield cluster
            except JobFailedError:
                raise
            except Exception:
                if context["ti"].try_number > context["ti"].max_tries:
                    await self._delete_own(cluster, context)
                raise
            except BaseException:
                await self._delete_own(cluster, context)
                raise

    async def _delete_own(self, cluster: Cluster, context: Context) -> None:
        """Delete this task's job, wherever it was broken off; one that has succeeded is left for a retry to take."""
        identity = task_identity(context)
        try:
            namespace = await self.namespace_of(cluster, self.manifest())
            for item in await self._items(cluster, namespace, naming.selector(identity)):
                if naming.is_ours(item, identity) and self.resource.read(item).phase is not Phase.SUCCEEDED:
                    await self._kill(cluster, item)
        except (ApiError, InvalidManifestError) as error:
            self.log.warning("Nothing of this task could be deleted: %s", error)

    async def _delete_orphans(self, cluster: Cluster, identity: naming.TaskIdentity, namespace: str) -> None:
        """Delete what this task left running before a person cleared it.

        The trigger does so when it is there to learn of the clear; this is for a triggerer that was down just then.
        """
        labels = naming.job_labels(identity, 1)
        keys = (naming.MANAGED_BY, "dag_id", "task_id", "run_id", "map_index")
        same = naming.job_annotations(identity)
        del same[f"{naming.PREFIX}/max-tries"]
        for item in await self._items(cluster, namespace, ",".join(f"{key}={labels[key]}" for key in keys)):
            annotations = item["metadata"].get("annotations") or {}
            former = not naming.is_ours(item, identity) and same.items() <= annotations.items()
            if former and not (self.on_finish == "keep" and self.resource.read(item).phase.is_terminal):
                await self._kill(cluster, item)

    async def _items(self, cluster: Cluster, namespace: str, selector: str) -> list[Manifest]:
        """Return the jobs that a selector selects, but not those that are consumed, or being deleted already."""
        from airflow_provider_sparkml.jobs.submit import with_type

        found = await cluster.client.list(self.resource.api, namespace, label_selector=selector)
        return [
            with_type(item, self.resource)
            for item in found.items
            if not naming.is_consumed(item) and not item["metadata"].get("deletionTimestamp")
        ]

    async def _kill(self, cluster: Cluster, item: Manifest) -> None:
        from airflow_provider_sparkml.jobs.cleanup import kill

        await kill(cluster.client, ResourceRef.of(item), log=self.log)


def timeout_seconds(name: str, value: timedelta | float | None) -> float | None:
    """Return a time-out in seconds.

    :raises InvalidManifestError: it is not a positive time.
    """
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds <= 0:
        raise InvalidManifestError(f"{name} is {value!r}: give a positive timedelta or seconds, or None for no limit")
    return float(seconds)


__all__ = ["JobOperator", "OnFinish", "timeout_seconds"]
