"""The operators of streams: SparkApplications that go on for ever, ensured, upgraded, stopped and rolled back."""

from __future__ import annotations

import sys
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from airflow_provider_sparkml.exceptions import (
    ConflictError,
    ExecutionTimeoutError,
    InvalidManifestError,
    NotFoundError,
)
from airflow_provider_sparkml.hooks.kubernetes import Cluster
from airflow_provider_sparkml.links.spark import SparkHistoryLink, SparkUILink
from airflow_provider_sparkml.operators.base import task_identity
from airflow_provider_sparkml.operators.deferring import DeferringOperator, timeout_seconds
from airflow_provider_sparkml.resources.base import Manifest, ResourceRef
from airflow_provider_sparkml.resources.fields import is_whole
from airflow_provider_sparkml.resources.spark import API
from airflow_provider_sparkml.resources.spark_stream import Record, attempts_of, prepare
from airflow_provider_sparkml.triggers.job import JobTrigger
from airflow_provider_sparkml.triggers.spark_streaming import (
    SparkStreamingApplicationTrigger,
    SparkStreamingStopTrigger,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_sparkml.jobs.outcome import Deadlines, Outcome
    from airflow_provider_sparkml.jobs.streams import Plan, Wanted
    from airflow_provider_sparkml.jobs.submit import Submission

OnStreamChange = Literal["upgrade", "fail"]
"""What happens when another version of the stream runs."""


class _StartsStream(DeferringOperator):
    """Waits until a stream is healthy; subclasses say how it gets its version."""

    trigger_class = SparkStreamingApplicationTrigger
    owns_adopted = False
    operator_extra_links = (SparkUILink(), SparkHistoryLink())

    def __init__(
        self,
        *,
        min_uptime: timedelta | float = 30.0,
        startup_timeout: timedelta | float | None = timedelta(minutes=15),
        stop_timeout: timedelta | float = timedelta(minutes=5),
        max_restarts: int = 2,
        stop_on_kill: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(startup_timeout=startup_timeout, **kwargs)
        self.min_uptime = timeout_seconds("min_uptime", min_uptime)
        self.stop_timeout = timeout_seconds("stop_timeout", stop_timeout)
        if not is_whole(max_restarts) or max_restarts < 0:
            raise InvalidManifestError(f"max_restarts is {max_restarts!r}: set it to a whole number, at least 0")
        self.max_restarts = max_restarts
        self.stop_on_kill = stop_on_kill
        self._plan: Plan | None = None

    @abstractmethod
    async def put_into_force(self, cluster: Cluster, wanted: Wanted) -> Submission:
        """See to it that the wanted version is in force, or follows."""

    @property
    def upgrades(self) -> bool:
        """Whether another version may take the place of the one in force."""
        return True

    @property
    def goes_on(self) -> bool:
        """Whether the version goes on from the checkpoint of the one before."""
        return True

    @property
    def rolls_back(self) -> bool:
        """Whether the version before comes back into force when the new one does not become healthy."""
        return True

    async def start(self, cluster: Cluster, context: Context) -> Submission:
        """Ensure the stream, and plan what it has to come to."""
        from airflow_provider_sparkml.jobs.streams import Plan, Wanted

        wanted = Wanted(
            by=task_identity(context).key,
            compatible=self.goes_on,
            upgrade=self.upgrades,
            stop_seconds=self.stop_timeout or 0.0,
        )
        submission = await self.put_into_force(cluster, wanted)
        record = Record.of(submission.obj)
        if record is None:
            raise ConflictError("the stream was changed by somebody else as soon as it was there", status=409)
        self._plan = Plan(
            version=(record.following or record.current).hash,
            min_uptime=self.min_uptime or 0.0,
            startup_seconds=self.startup_timeout,
            max_restarts=self.max_restarts,
            roll_back=self.rolls_back,
            start=record.start,
            # The run that goes on is none of this task's restarts, nor are those before it.
            attempts=max(0, attempts_of(submission.obj) - 1) if record.healthy else 0,
            since=time.time(),
        )
        # What a kill leaves alone is decided here, not by who has created the object.
        return replace(submission, adopted=not self.stop_on_kill)

    def trigger_arguments(self) -> dict[str, Any]:
        """Return the plan."""
        return {"plan": self._plan.to_json()} if self._plan else {}

    def deadlines(self, context: Context, submission: Submission) -> Deadlines:
        """Return when to give up; the start-up clock is the stream's own, from each of its starts."""
        return replace(super().deadlines(context, submission), startup_seconds=None)

    async def conclude(self, cluster: Cluster, context: Context, outcome: Outcome) -> dict[str, Any]:
        """Return what is known of the healthy stream, or raise why it is not."""
        from airflow_provider_sparkml.jobs.stream_course import conclude
        from airflow_provider_sparkml.jobs.streams import let_go

        try:
            return await conclude(
                cluster.client, outcome, by=task_identity(context).key, roll_back=self.rolls_back, log=self.log
            )
        except ExecutionTimeoutError:
            await let_go(cluster.client, outcome.ref, delete=self.stop_on_kill, log=self.log)
            raise

    async def abandon(self, cluster: Cluster, context: Context) -> None:
        """Leave the stream running; delete it only on a kill, and if that was asked for."""
        from airflow_provider_sparkml.jobs.streams import let_go

        # What breaks a task off from outside is no Exception where the coroutine sees it.
        killed = not isinstance(sys.exception(), Exception)
        name, namespace = await self.where(cluster)
        try:
            obj = await cluster.client.get(API, name, namespace)
        except NotFoundError:
            return
        record = Record.of(obj)
        if record is not None and record.by == task_identity(context).key:
            await let_go(cluster.client, ResourceRef.of(obj), delete=killed and self.stop_on_kill, log=self.log)

    @abstractmethod
    async def where(self, cluster: Cluster) -> tuple[str, str]:
        """Return name and namespace of the stream."""


class SparkStreamingApplicationOperator(_StartsStream):
    """Ensures that a stream runs in the version that the manifest describes, and is healthy; then the task ends.

    The stream is a SparkApplication that keeps its name and outlives the task. None of that name: it is created. The
    same version running: nothing changes. Stopped or failed: it is started again. Another version: that one is asked to
    stop, ends its batch, and the new one goes on from its checkpoint; if the new one does not become healthy, the one
    before comes back into force, and the task fails with the reason. What is somebody else's is never touched.

    A kill, a time-out or ``mark failed`` leaves the stream alone; an upgrade that had begun is called off.

    It returns ``name``, ``namespace``, ``uid``, ``version``, ``checkpoint_location``, ``start``, ``restarts``,
    ``spark_application_id``, ``submission_id``, ``driver_pod`` and ``ui_url``.

    :param application: the manifest, with ``metadata.name`` and a ``restartPolicy`` of type ``Always`` or
        ``OnFailure``: a ``SparkApplication`` builder's object, a mapping, a path to a YAML or JSON file, or YAML text.
        Templated; what changes with each run makes each run an upgrade.
    :param checkpoint_location: a directory that outlives the pods. Programs find it as
        ``spark.sql.streaming.checkpointLocation``, and in ``SPARKML_CHECKPOINT_URI``. Templated.
    :param compatible: whether this version can go on from the checkpoint of the one before; if not, it needs another
        ``checkpoint_location``, and begins anew there.
    :param on_change: what happens when another version runs: ``upgrade``, or ``fail``.
    :param roll_back: bring the version before back into force when this one does not become healthy. A first version
        has none before it: it is deleted.
    :param min_uptime: for how long it has to run with all its executors to count as healthy.
    :param startup_timeout: how long that may take, from each start.
    :param stop_timeout: how long the version before may take to stop by itself; then the operator ends it.
    :param max_restarts: how many restarts are borne meanwhile.
    :param stop_on_kill: delete the stream when the task is killed.

    ``namespace``, ``kubernetes_conn_id``, ``deferrable``, ``labels``: as for
    :class:`~airflow_provider_sparkml.operators.spark.SparkApplicationOperator`; labels are those of the creation.

    .. code-block:: python

        from airflow_provider_sparkml.operators.spark_streaming import SparkStreamingApplicationOperator
        from airflow_provider_sparkml.resources.spark import Driver, Executor, RestartPolicy, SparkApplication

        clicks = SparkStreamingApplicationOperator(
            task_id="clicks",
            application=SparkApplication(
                name="clicks",
                image="example.com/clicks:7",
                main_application_file="local:///opt/app/clicks.py",
                driver=Driver(memory="1g", service_account="spark"),
                executor=Executor(instances=2, memory="2g"),
                restart_policy=RestartPolicy(type="Always"),
            ),
            checkpoint_location="s3a://streams/clicks",
        )
    """

    template_fields: Sequence[str] = (
        "application", "checkpoint_location", "namespace", "labels", "kubernetes_conn_id",
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = {"application": "yaml", "labels": "json"}
    manifest_field = "application"

    def __init__(
        self,
        *,
        application: Any,
        checkpoint_location: str | None = None,
        compatible: bool = True,
        on_change: OnStreamChange = "upgrade",
        roll_back: bool = True,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(namespace=namespace, labels=labels, **kwargs)
        self.application = self.plain(application)
        self.checkpoint_location = checkpoint_location
        self.compatible = compatible
        if on_change not in get_args(OnStreamChange):
            raise InvalidManifestError(f"on_change is {on_change!r}: set it to 'upgrade' or 'fail'")
        self.on_change = on_change
        self.roll_back = roll_back
        self.only_a_path_is_a_file()

    @property
    def upgrades(self) -> bool:
        """Whether ``on_change`` says so."""
        return self.on_change == "upgrade"

    @property
    def goes_on(self) -> bool:
        """Whether the author says so."""
        return self.compatible

    @property
    def rolls_back(self) -> bool:
        """Whether ``roll_back`` says so."""
        return self.roll_back

    def manifest(self) -> Manifest:
        """Return the manifest that the rendered fields give, with its checkpoint location."""
        return prepare(super().manifest(), self.checkpoint_location)

    async def put_into_force(self, cluster: Cluster, wanted: Wanted) -> Submission:
        """Create the stream, change it, or find that nothing is to be done."""
        from airflow_provider_sparkml.jobs.streams import ensure
        from airflow_provider_sparkml.resources.profiles import apply_profile

        manifest = apply_profile(self.manifest(), await self.profile())
        for warning in self.resource.lint(manifest):
            self.log.warning("%s", warning)
        namespace = await self.namespace_of(cluster, manifest)
        return await ensure(cluster.client, manifest, wanted, namespace=namespace, log=self.log)

    async def where(self, cluster: Cluster) -> tuple[str, str]:
        """Return what the manifest says."""
        manifest = self.manifest()
        return str(manifest["metadata"]["name"]), await self.namespace_of(cluster, manifest)


class _ByName(DeferringOperator):
    """What the operators of an existing stream have in common: its name, and no manifest."""

    template_fields: Sequence[str] = ("application_name", "namespace", "kubernetes_conn_id")
    manifest_field = "application_name"

    def __init__(self, *, application_name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.application_name = application_name
        self.template_ext = ()

    def manifest(self) -> Manifest:
        """Return as much of a manifest as the name is."""
        return {"metadata": {"name": self.application_name}}

    async def where(self, cluster: Cluster) -> tuple[str, str]:
        """Return name and namespace of the stream."""
        return self.application_name, self.namespace or await cluster.default_namespace()


class SparkStreamingRollbackOperator(_ByName, _StartsStream):
    """Brings the version of a stream that was healthy before the present one back into force.

    It is an upgrade backwards: the present version ends its batch, and the former one goes on from the checkpoint.

    :param application_name: the stream. Templated.

    All other parameters: see :class:`SparkStreamingApplicationOperator`, but for those on a manifest.

    .. code-block:: python

        from airflow_provider_sparkml.operators.spark_streaming import SparkStreamingRollbackOperator

        back = SparkStreamingRollbackOperator(task_id="back", application_name="clicks")
    """

    @property
    def rolls_back(self) -> bool:
        """Nothing is behind the version before."""
        return False

    async def put_into_force(self, cluster: Cluster, wanted: Wanted) -> Submission:
        """Make the former version follow the present one."""
        from airflow_provider_sparkml.jobs.streams import restore

        name, namespace = await self.where(cluster)
        return await restore(cluster.client, name, namespace, wanted, self.log)


class SparkStreamingStopOperator(_ByName):
    """Stops a stream: its program is asked to, ends its batch and then itself; the object stays, and can be ensured.

    A program hears it when it calls ``stop_when_asked`` (``images/spark/rootfs/opt/sparkml/streams.py``). One that
    does not stop within ``stop_timeout`` is deleted with its object; its checkpoint stays. A stream that is not there,
    or has stopped, is fine.

    It returns ``name``, ``namespace`` and ``stopped``: ``gracefully``, ``deleted``, or ``absent``.

    :param application_name: the stream. Templated.
    :param stop_timeout: how long it may take to stop by itself.

    ``namespace``, ``kubernetes_conn_id``, ``deferrable``: as for :class:`SparkStreamingApplicationOperator`.

    .. code-block:: python

        from airflow_provider_sparkml.operators.spark_streaming import SparkStreamingStopOperator

        stop = SparkStreamingStopOperator(task_id="stop", application_name="clicks")
    """

    trigger_class: type[JobTrigger] = SparkStreamingStopTrigger
    owns_adopted = False

    def __init__(self, *, stop_timeout: timedelta | float = timedelta(minutes=5), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stop_timeout = timeout_seconds("stop_timeout", stop_timeout)

    def execute(self, context: Context) -> Any:
        """Ask the stream to stop, then defer or wait; one that is not there has stopped."""
        try:
            return super().execute(context)
        except _NothingToStopError as nothing:
            return {"name": nothing.name, "namespace": nothing.namespace, "stopped": "absent"}

    async def start(self, cluster: Cluster, context: Context) -> Submission:
        """Note on the stream that it is to stop."""
        from airflow_provider_sparkml.jobs.streams import ask_to_stop

        name, namespace = await self.where(cluster)
        submission = await ask_to_stop(cluster.client, name, namespace, self.stop_timeout or 0.0, self.log)
        if submission is None:
            raise _NothingToStopError(name, namespace)
        return replace(submission, adopted=True)

    async def conclude(self, cluster: Cluster, context: Context, outcome: Outcome) -> dict[str, Any]:
        """Return how it stopped."""
        from airflow_provider_sparkml.jobs.stream_course import conclude_stop

        return await conclude_stop(cluster.client, outcome)

    async def abandon(self, cluster: Cluster, context: Context) -> None:
        """Change nothing: the stop was asked for."""


class _NothingToStopError(NotFoundError):
    """There is no such stream."""

    def __init__(self, name: str, namespace: str) -> None:
        super().__init__(f"there is no stream {namespace}/{name}", status=404)
        self.name = name
        self.namespace = namespace


__all__ = [
    "SparkStreamingApplicationOperator",
    "SparkStreamingRollbackOperator",
    "SparkStreamingStopOperator",
]
