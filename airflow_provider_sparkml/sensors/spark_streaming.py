"""The sensor that looks whether a stream is healthy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from airflow_provider_sparkml.exceptions import InvalidManifestError, JobFailedError
from airflow_provider_sparkml.hooks.kubernetes import KubernetesApiHook
from airflow_provider_sparkml.resources.fields import is_whole
from airflow_provider_sparkml.triggers.deferral import (
    default_deferrable,
    defer,
    is_stray,
    rebuild_error,
    timeout_seconds,
)
from airflow_provider_sparkml.triggers.spark_streaming import SparkStreamingSensorTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class SparkStreamingSensor(BaseSensorOperator):
    """Looks at a stream for a while, and succeeds if it was healthy all along; it never changes anything.

    Healthy: it runs, was not started again more than ``max_restarts`` times, and, with ``max_silence``, has begun a
    batch lately. A stream that does not run yet is waited for, up to the sensor's ``timeout``. One that has ended,
    restarts or is stuck raises ``StreamUnhealthyError``; with ``soft_fail`` the task is skipped.

    It returns ``name``, ``namespace``, ``restarts`` and ``batches``: number and time of the newest batch of each query,
    as Spark's REST API tells them (the connection needs ``get`` on ``pods/proxy``).

    :param application_name: ``metadata.name`` of the stream, whoever made it. Templated.
    :param window: for how long it is looked at; a ``timedelta`` or seconds.
    :param max_restarts: how many restarts within the window are borne.
    :param max_silence: how old the newest batch may be. ``None``: a stream without batches is fine, since its source
        may have nothing to give.
    :param namespace: its namespace; by default the connection's, else ``default``. Templated.
    :param kubernetes_conn_id: an Airflow connection of type ``kubernetes``. Templated.
    :param deferrable: look on in the triggerer. Default: ``AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE`` if it is set, else
        ``True``.

    .. code-block:: python

        from datetime import timedelta

        from airflow_provider_sparkml.sensors.spark_streaming import SparkStreamingSensor

        healthy = SparkStreamingSensor(
            task_id="healthy",
            application_name="clicks",
            window=timedelta(minutes=2),
            max_silence=timedelta(minutes=5),
        )
    """

    template_fields: Sequence[str] = ("application_name", "namespace", "kubernetes_conn_id")

    def __init__(
        self,
        *,
        application_name: str,
        window: timedelta | float = 60.0,
        max_restarts: int = 0,
        max_silence: timedelta | float | None = None,
        namespace: str | None = None,
        kubernetes_conn_id: str | None = KubernetesApiHook.default_conn_name,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.application_name = application_name
        if window is None:
            raise InvalidManifestError("window is None: set for how long the stream is looked at, such as 60 seconds")
        if not is_whole(max_restarts) or max_restarts < 0:
            raise InvalidManifestError(f"max_restarts is {max_restarts!r}: set it to a whole number, at least 0")
        self.expected = {
            "window": timeout_seconds("window", window),
            "max_restarts": max_restarts,
            "max_silence": timeout_seconds("max_silence", max_silence),
        }
        self.namespace = namespace
        self.kubernetes_conn_id = kubernetes_conn_id
        self.deferrable = default_deferrable() if deferrable is None else deferrable

    def execute(self, context: Context) -> Any:
        """Look on, here or in the triggerer."""
        trigger = asyncio.run(self._trigger())
        if self.deferrable:
            raise defer(trigger, self.execute_complete.__name__, until=time.time() + self.timeout)
        return asyncio.run(self._observe(trigger))

    def execute_complete(
        self,
        context: Context,
        event: dict[str, Any],
        trigger: dict[str, Any] | None = None,
        until: float | None = None,
    ) -> dict[str, Any]:
        """Return what the trigger has seen.

        :raises StreamUnhealthyError: why it is not healthy.
        """
        if trigger is not None and is_stray(event, trigger):
            self.log.warning("Waiting on: an event came that is not of the trigger that this task waits for: %s", event)
            raise defer(SparkStreamingSensorTrigger(**trigger), self.execute_complete.__name__, until=until)
        if "error" in event:
            self._fail(rebuild_error(event["error"]))
        seen: dict[str, Any] = event["outcome"]
        return seen

    async def _trigger(self) -> SparkStreamingSensorTrigger:
        namespace = self.namespace
        if not namespace:
            async with KubernetesApiHook(self.kubernetes_conn_id).connect() as cluster:
                namespace = await cluster.default_namespace()
        return SparkStreamingSensorTrigger(
            name=self.application_name,
            namespace=namespace,
            kubernetes_conn_id=self.kubernetes_conn_id,
            expected=self.expected,
        )

    async def _observe(self, trigger: SparkStreamingSensorTrigger) -> dict[str, Any]:
        from airflow.sdk.exceptions import AirflowSensorTimeout

        try:
            async with asyncio.timeout(self.timeout):
                return (await trigger.observe()).to_json()
        except TimeoutError:
            raise AirflowSensorTimeout(f"stream {self.application_name} was not seen healthy in time") from None
        except JobFailedError as error:
            self._fail(error)
            raise

    def _fail(self, error: Exception) -> None:
        """Raise the error; skip the task instead if that is wanted."""
        from airflow.sdk.exceptions import AirflowSkipException

        if self.never_fail or (self.soft_fail and isinstance(error, JobFailedError)):
            raise AirflowSkipException(str(error)) from error
        raise error


__all__ = ["SparkStreamingSensor"]
