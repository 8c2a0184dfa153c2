"""Retry policies for tasks of this package: what lies outside of the program is tried again, and nothing else is."""

from __future__ import annotations

import random
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

from airflow_provider_sparkml.exceptions import (
    InvalidManifestError,
    JobDeletedError,
    JobFailedError,
    JobTimeoutError,
    PermanentError,
    RetryableError,
)
from airflow_provider_sparkml.resources.naming import first_try

if TYPE_CHECKING:
    from airflow.sdk import Context

_MOST_DOUBLINGS = 32


class InfrastructureRetryPolicy(RetryPolicy):
    """Tries again what the cluster has done to a job, with growing pauses; ends the task at once for all else it knows.

    Tried again: an eviction, a preemption, a lost node, lost executors, a full quota, trouble with the API server, a
    job that somebody deleted (every ``RetryableError``). Not tried again, however many ``retries`` are left: a program
    that failed, a lack of memory, an image that cannot be pulled, a wrong manifest (every ``PermanentError``). What is
    neither, such as an exception of a callback, is left to the task's own ``retries`` and ``retry_delay``.

    .. code-block:: python

        from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
        from airflow_provider_sparkml.resources.spark import SparkApplication
        from airflow_provider_sparkml.retries import InfrastructureRetryPolicy

        nightly = SparkApplicationOperator(
            task_id="nightly",
            application=SparkApplication(image="example.com/spark:1", main_application_file="local:///opt/app/main.py"),
            retries=5,
            retry_policy=InfrastructureRetryPolicy(),
        )

    :param delay: the pause before the first retry: a ``timedelta``. Each further one is twice as long. Of each, a part
        of up to half is left out at random, so that jobs that went together do not all come back together.
    :param max_delay: the longest pause.
    :raises InvalidManifestError: a pause is no positive time, or the first is longer than the longest.
    """

    def __init__(self, delay: timedelta = timedelta(seconds=30), max_delay: timedelta = timedelta(minutes=10)) -> None:
        if not timedelta(0) < delay <= max_delay:
            raise InvalidManifestError(
                f"delay is {delay!r} and max_delay is {max_delay!r}: give positive times, the former the shorter one"
            )
        self.delay = delay
        self.max_delay = max_delay

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Return what Airflow is to do after a failure.

        :param exception: what ended the try.
        :param try_number: which try it was, from 1.
        :param max_tries: Airflow's counter: the last try is one more.
        :param context: the task's context: its ``retries`` tell the first try of a task that was cleared.
        """
        name = type(exception).__name__
        if isinstance(exception, PermanentError):
            return RetryDecision.fail(f"{name}: the next try would fail in the same way")
        if not isinstance(exception, RetryableError):
            return RetryDecision.default()
        retries = max_tries if context is None else getattr(context.get("task"), "retries", None) or 0
        number = try_number - first_try(max_tries, retries) + 1
        return RetryDecision.retry(self._pause(number), f"{name}: its cause lies outside of the program")

    def _pause(self, number: int) -> timedelta:
        """Return how long to wait before the n-th retry."""
        whole = min(self.max_delay, self.delay * 2 ** min(max(0, number - 1), _MOST_DOUBLINGS))
        pause: timedelta = whole * random.uniform(0.5, 1.0)  # noqa: S311 - it spreads load, and guards nothing
        return pause

    def serialize(self) -> dict[str, Any]:
        """Return the policy as a JSON-safe dict; :meth:`deserialize` is its inverse."""
        return {
            "__type": f"{__name__}.{type(self).__qualname__}",
            "delay": self.delay.total_seconds(),
            "max_delay": self.max_delay.total_seconds(),
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> InfrastructureRetryPolicy:
        """Rebuild the policy from :meth:`serialize`."""
        return cls(timedelta(seconds=data["delay"]), timedelta(seconds=data["max_delay"]))


class OperatorRetryPolicy(RetryPolicy):
    """Leaves the retries of a job to its Kubernetes operator; a task with ``retry_owner="operator"`` has it.

    A job that its operator has given up is not tried again by Airflow. What the operator cannot mend is: a submission
    that was refused, a job that somebody deleted, one that a deadline ended.

    :param beneath: the policy for all that; ``None`` for the task's own ``retries`` and ``retry_delay``.
    """

    def __init__(self, beneath: RetryPolicy | None = None) -> None:
        self.beneath = beneath

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Return what Airflow is to do after a failure; the parameters are those of Airflow's ``RetryPolicy``."""
        if isinstance(exception, JobFailedError) and not isinstance(exception, (JobDeletedError, JobTimeoutError)):
            return RetryDecision.fail("the job's own operator has tried as often as it should (retry_owner='operator')")
        if self.beneath is None:
            return RetryDecision.default()
        return self.beneath.evaluate(exception, try_number, max_tries, context)

    def serialize(self) -> dict[str, Any]:
        """Return the policy as a JSON-safe dict; :meth:`deserialize` is its inverse."""
        beneath = None
        if self.beneath is not None:
            kind = type(self.beneath)
            beneath = {"class": f"{kind.__module__}.{kind.__qualname__}", "policy": self.beneath.serialize()}
        return {"__type": f"{__name__}.{type(self).__qualname__}", "beneath": beneath}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> OperatorRetryPolicy:
        """Rebuild the policy from :meth:`serialize`."""
        beneath = data["beneath"]
        if beneath is None:
            return cls()
        module, _, name = beneath["class"].rpartition(".")
        return cls(getattr(import_module(module), name).deserialize(beneath["policy"]))


__all__ = ["InfrastructureRetryPolicy", "OperatorRetryPolicy"]
