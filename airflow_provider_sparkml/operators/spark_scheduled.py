"""The operators of schedules of the Spark operator: ensured, suspended, resumed, and run now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_sparkml.exceptions import NotFoundError
from airflow_provider_sparkml.hooks.kubernetes import Cluster, KubernetesApiHook
from airflow_provider_sparkml.links.spark import SparkHistoryLink, SparkUILink
from airflow_provider_sparkml.operators.base import ClusterOperator, task_identity
from airflow_provider_sparkml.operators.deferring import DeferringOperator
from airflow_provider_sparkml.operators.job import JobOperator
from airflow_provider_sparkml.resources.base import Manifest, Phase, ResourceRef, plain
from airflow_provider_sparkml.resources.spark_scheduled import API, SCHEDULED_SPARK_APPLICATION, application_of
from airflow_provider_sparkml.triggers.job import JobTrigger
from airflow_provider_sparkml.triggers.spark import SparkApplicationTrigger
from airflow_provider_sparkml.triggers.spark_scheduled import ScheduledSparkApplicationTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_sparkml.jobs.outcome import Outcome
    from airflow_provider_sparkml.jobs.submit import Submission


class ScheduledSparkApplicationOperator(DeferringOperator):
    """Ensures that the Spark operator goes by a schedule; the schedule outlives the task.

    None of that name: it is created. Another one: it is changed, and a changed time counts at once, not only after the
    next run. The same again changes nothing. What is somebody else's is never touched. A manifest without ``suspend``
    leaves that as it is.

    It returns ``name``, ``namespace``, ``uid``, ``schedule``, ``suspended``, ``next_run``, ``last_run`` and
    ``last_run_name``.

    :param scheduled_application: the manifest: a ``ScheduledSparkApplication`` builder's object, a mapping, a path to a
        YAML or JSON file, or YAML text. All of it is templated; ``{{ }}`` is rendered in this task, not in each run.

    ``namespace``, ``kubernetes_conn_id``, ``deferrable``, ``startup_timeout``, ``labels``: as for
    :class:`~airflow_provider_sparkml.operators.spark.SparkApplicationOperator`.

    .. code-block:: python

        from airflow_provider_sparkml.operators.spark_scheduled import ScheduledSparkApplicationOperator
        from airflow_provider_sparkml.resources.spark import SparkApplication
        from airflow_provider_sparkml.resources.spark_scheduled import ScheduledSparkApplication

        nightly = ScheduledSparkApplicationOperator(
            task_id="nightly",
            scheduled_application=ScheduledSparkApplication(
                name="nightly",
                schedule="0 3 * * *",
                time_zone="Europe/Berlin",
                template=SparkApplication(
                    image="example.com/spark:1", main_application_file="local:///opt/nightly.py"
                ),
            ),
        )
    """

    template_fields: Sequence[str] = ("scheduled_application", "namespace", "labels", "kubernetes_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"scheduled_application": "yaml", "labels": "json"}
    manifest_field = "scheduled_application"
    trigger_class: type[JobTrigger] = ScheduledSparkApplicationTrigger
    owns_adopted = False

    def __init__(
        self,
        *,
        scheduled_application: Any,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(namespace=namespace, labels=labels, **kwargs)
        self.scheduled_application = self.plain(scheduled_application)
        self.only_a_path_is_a_file()

    async def start(self, cluster: Cluster, context: Context) -> Submission:
        """Apply the manifest."""
        from airflow_provider_sparkml.jobs.schedules import ensure
        from airflow_provider_sparkml.resources.profiles import apply_profile

        manifest = apply_profile(self.manifest(), await self.profile())
        for warning in self.resource.lint(self.resource.normalize(manifest)):
            self.log.warning("%s", warning)
        namespace = await self.namespace_of(cluster, manifest)
        created_by = task_identity(context).key
        return await ensure(cluster.client, manifest, namespace=namespace, created_by=created_by, log=self.log)

    async def conclude(self, cluster: Cluster, context: Context, outcome: Outcome) -> dict[str, Any]:
        """Return what is known of the schedule, or raise why it is not in force."""
        from airflow_provider_sparkml.jobs.schedules import conclude

        return await conclude(cluster.client, outcome, created_by=task_identity(context).key, log=self.log)

    async def abandon(self, cluster: Cluster, context: Context) -> None:
        """Delete the schedule if this task has created it and it is not in force yet."""
        from airflow_provider_sparkml.jobs.cleanup import kill
        from airflow_provider_sparkml.jobs.deploy import has_created

        manifest = self.manifest()
        namespace = await self.namespace_of(cluster, manifest)
        try:
            obj = await cluster.client.get(API, manifest["metadata"]["name"], namespace)
        except NotFoundError:
            return
        in_force = SCHEDULED_SPARK_APPLICATION.read(obj).phase is Phase.SUCCEEDED
        if has_created(obj, task_identity(context).key) and not in_force:
            await kill(cluster.client, API, ResourceRef.of(obj), log=self.log)


class _SetsSuspended(ClusterOperator):
    """Suspends a schedule or resumes it, as the subclass says."""

    template_fields: Sequence[str] = ("schedule_name", "namespace", "kubernetes_conn_id")
    suspended: ClassVar[bool]

    def __init__(
        self,
        *,
        schedule_name: str,
        namespace: str | None = None,
        kubernetes_conn_id: str | None = KubernetesApiHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(namespace=namespace, kubernetes_conn_id=kubernetes_conn_id, **kwargs)
        self.schedule_name = schedule_name

    def execute(self, context: Context) -> dict[str, Any]:
        """Do so.

        :return: what is known of the schedule.
        """
        return self.run_async(self._set())

    async def _set(self) -> dict[str, Any]:
        from airflow_provider_sparkml.jobs.schedules import set_suspended

        async with self.hook.connect() as cluster:
            namespace = self.namespace or await cluster.default_namespace()
            return await set_suspended(cluster.client, self.schedule_name, namespace, self.suspended, self.log)


class ScheduledSparkApplicationSuspendOperator(_SetsSuspended):
    """Suspends a schedule: no run begins until it is resumed; one that goes on is left alone.

    It returns what :class:`ScheduledSparkApplicationOperator` returns.

    :param schedule_name: ``metadata.name`` of the ScheduledSparkApplication. Templated.

    .. code-block:: python

        from airflow_provider_sparkml.operators.spark_scheduled import ScheduledSparkApplicationSuspendOperator

        suspend = ScheduledSparkApplicationSuspendOperator(task_id="suspend", schedule_name="nightly")
    """

    suspended = True


class ScheduledSparkApplicationResumeOperator(_SetsSuspended):
    """Resumes a schedule. A run that fell due while it was suspended begins at once, but only one.

    It returns what :class:`ScheduledSparkApplicationOperator` returns.

    :param schedule_name: ``metadata.name`` of the ScheduledSparkApplication. Templated.

    .. code-block:: python

        from airflow_provider_sparkml.operators.spark_scheduled import ScheduledSparkApplicationResumeOperator

        resume = ScheduledSparkApplicationResumeOperator(task_id="resume", schedule_name="nightly")
    """

    suspended = False


class ScheduledSparkApplicationRunOperator(JobOperator):
    """Runs now what a schedule runs by the clock: a copy of its template, as a SparkApplication of this task's own.

    It is submitted exactly once, waited for, and returns the result, as by
    :class:`~airflow_provider_sparkml.operators.spark.SparkApplicationOperator`. It is no run of the schedule: neither
    its policy nor its history knows of it, and a suspended schedule can be run as well.

    :param schedule_name: ``metadata.name`` of the ScheduledSparkApplication. Templated.

    All other parameters: see :class:`~airflow_provider_sparkml.operators.job.JobOperator`.

    .. code-block:: python

        from airflow_provider_sparkml.operators.spark_scheduled import ScheduledSparkApplicationRunOperator

        now = ScheduledSparkApplicationRunOperator(task_id="now", schedule_name="nightly")
    """

    template_fields = ("schedule_name", *(field for field in JobOperator.template_fields if field != "job"))
    template_fields_renderers: ClassVar[dict[str, str]] = {"labels": "json"}
    manifest_field = "schedule_name"
    trigger_class: type[JobTrigger] = SparkApplicationTrigger
    operator_extra_links = (SparkUILink(), SparkHistoryLink())

    def __init__(self, *, schedule_name: str, **kwargs: Any) -> None:
        super().__init__(job=schedule_name, **kwargs)
        self.schedule_name = schedule_name
        self.template_ext = ()
        self._application: Manifest | None = None

    async def start(self, cluster: Cluster, context: Context) -> Submission:
        """Copy the template, and submit it or adopt the live one of this chain of attempts."""
        from airflow_provider_sparkml.jobs.schedules import existing

        namespace = self.namespace or await cluster.default_namespace()
        self._application = application_of(await existing(cluster.client, self.schedule_name, namespace))
        self._template = self._application
        return await super().start(cluster, context)

    def manifest(self) -> Manifest:
        """Return the SparkApplication; as much of it as the name is, before the schedule was read."""
        return self.labelled(plain(self._application or {"metadata": {"name": self.schedule_name}}))


__all__ = [
    "ScheduledSparkApplicationOperator",
    "ScheduledSparkApplicationResumeOperator",
    "ScheduledSparkApplicationRunOperator",
    "ScheduledSparkApplicationSuspendOperator",
]
