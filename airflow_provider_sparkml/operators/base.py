"""The life of a job as an Airflow task, for every kind: submit, wait (deferred or not), finish, kill."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from configparser import ConfigParser
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_args

from airflow.sdk import BaseOperator, conf

from airflow_provider_sparkml.exceptions import (
    ApiError,
    InvalidManifestError,
    JobFailedError,
    TaskKilledError,
)
from airflow_provider_sparkml.hooks.kubernetes import Cluster, KubernetesApiHook
from airflow_provider_sparkml.resources import naming
from airflow_provider_sparkml.resources.base import Manifest, Phase, Resource, ResourceRef
from airflow_provider_sparkml.resources.manifests import load_manifest
from airflow_provider_sparkml.triggers.job import JobTrigger, push_links, rebuild_error

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_sparkml.jobs.outcome import Deadlines, Outcome
    from airflow_provider_sparkml.jobs.submit import Submission

T = TypeVar("T")

_MANIFEST_FILES = (".yaml", ".yml", ".json")

OnFinish = Literal["delete", "delete_on_success", "keep"]
"""What becomes of a job's object after its end."""


class ClusterOperator(BaseOperator):
    """Runs coroutines against the cluster of an Airflow connection; the base of all operators of this package.

    :param namespace: the Kubernetes namespace; by default the manifest's, else the connection's, else ``default``.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``.
    """

    def __init__(
        self,
        *,
        namespace: str | None = None,
        kubernetes_conn_id: str | None = KubernetesApiHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.namespace = namespace
        self.kubernetes_conn_id = kubernetes_conn_id
        self._cancel: Callable[[], object] | None = None
        self._killed = False

    def run_async(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end; :meth:`on_kill` cancels it, and it may still clean up then.

        :raises TaskKilledError: :meth:`on_kill` was called.
        """

        async def main() -> T:
            task = asyncio.current_task()
            if task is not None:
                self._cancel = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel)
            try:
                return await work
            except asyncio.CancelledError:
                if self._killed:
                    raise TaskKilledError(f"task {self.task_id} was told to end while it ran") from None
                raise
            finally:
                self._cancel = None

        return asyncio.run(main())

    def on_kill(self) -> None:
        """Break off what runs. Airflow calls this from a signal handler, so the event loop itself does the rest."""
        self._killed = True
        if self._cancel is not None:
            self._cancel()


class JobOperator(ClusterOperator):
    """Submits a job, waits for its end without holding a worker, and returns what is worth knowing.

    Subclasses say which kind: :attr:`resource`, :attr:`trigger_class`.

    :param application: the manifest: an object of the kind's builder, a mapping, a path to a YAML or JSON file
        (absolute, or below the DAG's folder or ``template_searchpath``), or YAML text. All of it is templated.
    :param deferrable: wait in the triggerer. Default: ``[operators] default_deferrable`` where somebody has set it,
        else ``True``.
    :param queue_timeout: how long the job may wait for admission (suspended, Kueue, YuniKorn, Volcano); a ``timedelta``
        or seconds. ``None``: for ever.
    :param startup_timeout: how long it may then take until it runs; likewise.
    :param on_finish: what becomes of the job's object: ``delete`` it, ``delete_on_success``, or ``keep`` it.
    :param labels: labels to add to the manifest's. Templated.

    ``execution_timeout`` of Airflow's is counted from the start of the try, deferred or not, and ends the job too.
    """

    template_fields = ("application", "namespace", "labels", "kubernetes_conn_id")
    template_ext: Sequence[str] = _MANIFEST_FILES
    template_fields_renderers: ClassVar[dict[str, str]] = {"application": "yaml", "labels": "json"}

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
        super().__init__(**kwargs)
        self.application = _plain(application)
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.queue_timeout = _seconds("queue_timeout", queue_timeout)
        self.startup_timeout = _seconds("startup_timeout", startup_timeout)
        if on_finish not in get_args(OnFinish):
            raise InvalidManifestError(f"on_finish is {on_finish!r}: set it to one of {', '.join(get_args(OnFinish))}")
        self.on_finish = on_finish
        self.labels = labels
        self._only_a_path_is_a_file()

    # --- rendering ---

    def _only_a_path_is_a_file(self) -> None:
        """Keep Airflow from taking every text that ends in ``.yaml``, deep in a manifest, for a template file."""
        text = self.application
        if not (isinstance(text, str) and "\n" not in text and text.endswith(_MANIFEST_FILES)):
            self.template_ext = ()

    def resolve_template_files(self) -> None:
        """Read the file that ``application`` names; Airflow's own loader knows relative paths only."""
        path = self.application
        if self.template_ext and isinstance(path, str) and os.path.isabs(path) and Path(path).is_file():
            self.application = Path(path).read_text(encoding="utf-8")
            self._only_a_path_is_a_file()
        super().resolve_template_files()

    def prepare_template(self) -> None:
        """Take the content of the file for what it is; Airflow calls this after reading it."""
        self._only_a_path_is_a_file()

    def render_template(self, content: Any, *args: Any, **kwargs: Any) -> Any:
        """Render as Airflow does; a file that is not there is bad input."""
        from jinja2 import TemplateNotFound

        try:
            return super().render_template(content, *args, **kwargs)
        except TemplateNotFound as error:
            raise InvalidManifestError(
                f"application is {content!r}, but there is no such file: give an absolute path, or one below the "
                f"folder of the DAG file or template_searchpath ({error.message})"
            ) from None

    def manifest(self) -> Manifest:
        """Return the manifest that the rendered fields give, a copy of its own.

        :raises InvalidManifestError: naming the field, its value and the fix.
        """
        manifest = load_manifest(self.application)
        if self.labels:
            metadata = manifest.setdefault("metadata", {})
            metadata["labels"] = {**(metadata.get("labels") or {}), **self.labels}
        return manifest

    # --- the life of the task ---

    def execute(self, context: Context) -> Any:
        """Submit, then defer or wait.

        :return: the result dict, when it waits itself.
        """
        if not self.deferrable:
            return self.run_async(self._submit_and_wait(context))
        submission, deadlines = self.run_async(self._submit_only(context))
        self.defer(
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
        submission = await submit(
            cluster.client,
            self.resource,
            manifest,
            task_identity(context),
            namespace=await self._namespace(cluster, manifest),
            log=self.log,
            on_finish=self.on_finish,
        )
        await push_links(context["ti"], self.trigger_class.links(submission.obj), self.log)
        return submission, self._deadlines(context, submission)

    async def _finish(self, cluster: Cluster, outcome: Outcome) -> dict[str, Any]:
        from airflow_provider_sparkml.jobs.finish import finish

        return await finish(cluster.client, self.resource, outcome, on_finish=self.on_finish, log=self.log)

    async def _namespace(self, cluster: Cluster, manifest: Manifest) -> str:
        """Return where the job goes."""
        stated = (manifest.get("metadata") or {}).get("namespace")
        return self.namespace or stated or await cluster.default_namespace()

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

    # --- when the task is broken off ---

    @asynccontextmanager
    async def _cluster(self, context: Context) -> AsyncIterator[Cluster]:
        """Open the cluster, and leave no job behind that nobody will ever take up again.

        A job that failed was dealt with by ``finish``. Any other error leaves the job to the next try, if there is
        one. A kill, or Airflow's own time-out, ends it in any case.
        """
        async with KubernetesApiHook(self.kubernetes_conn_id).connect() as cluster:
            try:
                yield cluster
            except JobFailedError:
                raise
            except Exception:
                ti = context["ti"]
                if ti.try_number > ti.max_tries:
                    await self._delete_own(cluster, context)
                raise
            except BaseException:
                await self._delete_own(cluster, context)
                raise

    async def _delete_own(self, cluster: Cluster, context: Context) -> None:
        """Delete this task's job, wherever it was broken off; one that has succeeded is left for a retry to take."""
        from airflow_provider_sparkml.jobs.cleanup import kill
        from airflow_provider_sparkml.jobs.submit import with_type

        identity = task_identity(context)
        try:
            namespace = await self._namespace(cluster, self.manifest())
            found = await cluster.client.list(self.resource.api, namespace, label_selector=naming.selector(identity))
            for item in (with_type(item, self.resource) for item in found.items):
                taken = naming.is_consumed(item) or self.resource.read(item).phase is Phase.SUCCEEDED
                if naming.is_ours(item, identity) and not taken:
                    await kill(cluster.client, ResourceRef.of(item), log=self.log)
        except (ApiError, InvalidManifestError) as error:
            self.log.warning("Nothing of this task could be deleted: %s", error)


def task_identity(context: Context) -> naming.TaskIdentity:
    """Return who a job belongs to."""
    ti = context["ti"]
    return naming.TaskIdentity(
        # Two Airflows that share a namespace stay apart by where they are served.
        tenant=conf.get("api", "base_url", fallback=""),
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        run_id=ti.run_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        try_number=ti.try_number,
        max_tries=ti.max_tries,
    )


def default_deferrable() -> bool:
    """Return ``[operators] default_deferrable`` if somebody has set it, else ``True``.

    Airflow ships that option as ``false``; read in the usual way it would hide that nobody has chosen.
    """
    section, option = "operators", "default_deferrable"
    chosen = f"AIRFLOW__{section}__{option}".upper() in os.environ or ConfigParser.has_option(conf, section, option)
    return conf.getboolean(section, option) if chosen else True


def _plain(application: Any) -> Any:
    """Return what Airflow can template and show: a builder's object as a mapping, a path object as text."""
    if hasattr(application, "to_manifest"):
        return application.to_manifest()
    return os.fspath(application) if isinstance(application, os.PathLike) else application


def _seconds(name: str, value: timedelta | float | None) -> float | None:
    """Return a time-out in seconds.

    :raises InvalidManifestError: it is not a positive time.
    """
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds <= 0:
        raise InvalidManifestError(
            f"{name} is {value!r}: give a timedelta or seconds, more than 0, or None for no limit"
        )
    return float(seconds)


__all__ = ["ClusterOperator", "JobOperator", "OnFinish", "default_deferrable", "task_identity"]
