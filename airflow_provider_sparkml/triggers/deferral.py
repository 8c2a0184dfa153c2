"""What a task and its trigger have to agree on: whether to defer, and how an event tells an outcome or an error."""

from __future__ import annotations

import os
import traceback
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import conf
from airflow.triggers.base import TriggerEvent

from airflow_provider_sparkml import exceptions

if TYPE_CHECKING:
    from airflow_provider_sparkml.jobs.log import JobLog
    from airflow_provider_sparkml.jobs.outcome import Outcome


def default_deferrable() -> bool:
    """Return what ``AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE`` says if it is set, else ``True``.

    A ``false`` in ``airflow.cfg`` is no choice of anybody's: Airflow writes that file itself, with all its defaults.
    """
    chosen = "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE" in os.environ
    return conf.getboolean("operators", "default_deferrable") if chosen else True


async def event_of(work: Coroutine[Any, Any, Outcome], log: JobLog) -> TriggerEvent:
    """Await an outcome and return it as an event; whatever breaks the wait becomes an event too.

    An exception that left the trigger would reach the task as a mere "trigger failure", without its class.
    """
    payload: dict[str, Any]
    try:
        payload = {"outcome": (await work).to_json()}
    except Exception as error:  # noqa: BLE001 - see above
        log.warning("The wait broke off: %s", "".join(traceback.format_exception(error)))
        payload = {"error": {"type": type(error).__name__, "message": str(error)}}
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]


def rebuild_error(described: Mapping[str, str]) -> Exception:
    """Return the exception that broke the wait: of its own class if that is ours, else a ``TriggerError``.

    :param described: ``error`` of an event of :func:`event_of`.
    """
    found = getattr(exceptions, described["type"], None)
    if isinstance(found, type) and issubclass(found, exceptions.SparkMLError):
        return found(described["message"])
    return exceptions.TriggerError(
        f"the wait in the triggerer broke off with {described['type']}: {described['message']}\n"
        "The triggerer's part of this task's log shows where. The job was not touched: a retry goes on with it."
    )


__all__ = ["default_deferrable", "event_of", "rebuild_error"]
