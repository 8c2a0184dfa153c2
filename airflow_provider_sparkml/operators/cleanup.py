"""The operator that cleans up what Spark jobs have left behind: of a run, of an application, or by age."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import TriggerRule

from airflow_provider_sparkml.exceptions import CleanupIncompleteError, InvalidManifestError
from airflow_provider_sparkml.operators.base import ClusterOperator, task_identity

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_sparkml.jobs.leftovers import Report
    from airflow_provider_sparkml.resources.leftovers import Scope


class SparkCleanupOperator(ClusterOperator):
    """Deletes what Spark jobs have left behind, and nothing that is not theirs; it may run again and again.

    Without more it cleans up what the tasks of this DAG run have made, whatever its state. With ``application`` or
    ``application_id`` it is one application's, whoever made it; with ``older_than`` what this Airflow has made and what
    ended long ago.

    It is a teardown task from the start, and runs when all tasks before it are done: a failed job stays failed, and a
    failed clean-up does not fail the run. ``.as_teardown(setups=…)`` works as with any task.

    It returns ``namespace``, ``dry_run``, ``found`` and ``deleted`` (numbers by kind), ``objects`` (the first 100),
    ``skipped`` (types that are not installed or not allowed) and ``failed``.

    :param application: name of a SparkApplication. Templated.
    :param application_id: the id that Spark gave it, ``spark-…``. Templated.
    :param older_than: clean up what ended so long ago: a ``timedelta`` or seconds, also as text. Templated.
    :param owner_labels: with ``older_than``: whose jobs these are is told by these labels, all of them, instead of by
        the labels and annotations of this Airflow. Templated.
    :param dry_run: list only. Templated, as the field ``listing_only``: ``True`` or ``False``.
    :param namespace: where; by default the connection's, else ``default``. Templated.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``. Templated.

    .. code-block:: python

        from airflow_provider_sparkml.operators.cleanup import SparkCleanupOperator

        clean_up = SparkCleanupOperator(task_id="clean_up", namespace="data")
    """

    # BaseOperator.dry_run() is a method, so the field has another name than its parameter.
    template_fields = (
        "application", "application_id", "older_than", "owner_labels", "listing_only", "namespace", "kubernetes_conn_id"
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = {"owner_labels": "json"}

    def __init__(
        self,
        *,
        application: str | None = None,
        application_id: str | None = None,
        older_than: timedelta | float | str | None = None,
        owner_labels: Mapping[str, str] | None = None,
        dry_run: bool | str = False,
        trigger_rule: str = TriggerRule.ALL_DONE,
        **kwargs: Any,
    ) -> None:
        super().__init__(trigger_rule=trigger_rule, **kwargs)
        self.is_teardown = True
        if older_than is not None and (application is not None or application_id is not None):
            raise InvalidManifestError(
                f"older_than={older_than!r} and an application are given: name an application, or give an age"
            )
        if owner_labels is not None and (older_than is None or not owner_labels):
            raise InvalidManifestError(
                f"owner_labels={owner_labels!r}: give at least one label, together with older_than"
            )
        self.application = application
        self.application_id = application_id
        self.older_than = older_than
        self.owner_labels = owner_labels
        self.listing_only = dry_run

    def execute(self, context: Context) -> dict[str, Any]:
        """Clean up.

        :return: the report.
        :raises InvalidManifestError: a field is not what it has to be after rendering.
        :raises CleanupIncompleteError: the API server failed at a part; the rest is done, and a retry goes on.
        """
        report = self.run_async(self._clean_up(context, listing_only=_flag("dry_run", self.listing_only)))
        if report.failed:
            raise CleanupIncompleteError(
                f"the clean-up of namespace {report.namespace} is not complete: {report.failed[0]}"
                + (f", and {len(report.failed) - 1} more" if len(report.failed) > 1 else "")
            )
        return report.to_json()

    async def _clean_up(self, context: Context, *, listing_only: bool) -> Report:
        from airflow_provider_sparkml.jobs.leftovers import clean_up

        for field in ("application", "application_id", "older_than"):
            # Rendered to nothing, it must not come to mean the whole run.
            if getattr(self, field) is not None and not str(getattr(self, field)).strip():
                raise InvalidManifestError(f"{field} is empty after rendering: give a value, or leave {field} out")
        async with self.hook.connect() as cluster:
            namespace = self.namespace or await cluster.default_namespace()
            scope = self._scope(context, namespace)
            return await clean_up(cluster.client, scope, dry_run=listing_only, log=self.log)

    def _scope(self, context: Context, namespace: str) -> Scope:
        """Return what the fields say is to be cleaned up."""
        from airflow_provider_sparkml.resources.leftovers import Scope, of_age, of_application, of_run

        if self.application is not None or self.application_id is not None:
            return of_application(namespace, name=self.application or "", app_id=self.application_id or "")
        if self.older_than is None:
            return of_run(task_identity(context), namespace)
        ended_before = datetime.now(UTC) - _age(self.older_than)
        if self.owner_labels is None:
            return of_age(task_identity(context), namespace, ended_before)
        empty = [key for key, value in self.owner_labels.items() if not key or not value]
        if empty:
            raise InvalidManifestError(f"owner_labels[{empty[0]!r}] is empty after rendering: give a value")
        return Scope(namespace, labels=dict(self.owner_labels), ended_before=ended_before)


def _age(value: timedelta | float | str) -> timedelta:
    """Return an age.

    :raises InvalidManifestError: it is none.
    """
    try:
        age = value if isinstance(value, timedelta) else timedelta(seconds=float(value))
        if age >= timedelta(0):
            datetime.now(UTC) - age  # there is such a time
            return age
    except (ValueError, OverflowError):
        pass
    raise InvalidManifestError(f"older_than is {value!r}: give a timedelta or seconds, not negative")


def _flag(name: str, value: bool | str) -> bool:
    """Return a flag that a template may have rendered to text.

    :raises InvalidManifestError: it is neither.
    """
    if isinstance(value, bool):
        return value
    if value in ("True", "False"):
        return value == "True"
    raise InvalidManifestError(f"{name} is {value!r}: it must be True or False")


__all__ = ["SparkCleanupOperator"]
