"""What a task and its trigger have to agree on: whether to defer, and how an event tells an outcome or an error."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from airflow.sdk import conf
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_sparkml import exceptions

if TYPE_CHECKING:
    from airflow.sdk.exceptions import TaskDeferred


class Told(Protocol):
    """What a wait ends with."""

    def to_json(self) -> dict[str, Any]:
        """Return it as an event can carry it."""


def default_deferrable() -> bool:
    """Return what ``AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE`` says if it is set, else ``True``.

    A ``false`` in ``airflow.cfg`` is no choice of anybody's: Airflow writes that file itself, with all its defaults.
    """
    chosen = "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE" in os.environ
    return conf.getboolean("operators", "default_deferrable") if chosen else True


def timeout_seconds(name: str, value: timedelta | float | None) -> float | None:
    """Return a time-out in seconds.

    :raises InvalidManifestError: it is not a positive time.
    """
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise exceptions.InvalidManifestError(
            f"{name} is {value!r}: give a positive timedelta or seconds, or None for no limit"
        )
    return float(seconds)


def defer(trigger: BaseTrigger, method: str, *, until: float | None = None) -> TaskDeferred:
    """Return the exception that defers a task until its trigger fires; the method is told what it waits for.

    :param method: name of the method to call with ``event``, and with ``trigger``, the trigger's arguments.
    :param until: epoch seconds at which Airflow itself ends the wait, handed to the method too. Airflow's own end of a
        wait skips ``on_kill``, so it is only for triggers that have nothing to delete.
    """
    from airflow.sdk.exceptions import TaskDeferred

    kwargs = {"trigger": trigger.serialize()[1]}
    if until is None:
        return TaskDeferred(trigger=trigger, method_name=method, kwargs=kwargs)
    left = timedelta(seconds=max(0.0, until - time.time()))
    return TaskDeferred(trigger=trigger, method_name=method, kwargs={**kwargs, "until": until}, timeout=left)


async def event_of(trigger: BaseTrigger, work: Coroutine[Any, Any, Told]) -> TriggerEvent:
    """Await an outcome and return it as an event; whatever breaks the wait becomes an event too.

    An exception that left the trigger would reach the task as a mere "trigger failure", without its class.
    """
    payload: dict[str, Any] = {"trigger": trigger.serialize()[1]}
    try:
        payload["outcome"] = (await work).to_json()
    except Exception as error:  # noqa: BLE001 - see above
        trigger.log.warning("The wait broke off: %s", "".join(traceback.format_exception(error)))
        payload["error"] = {"type": type(error).__name__, "message": str(error)}
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]


def is_stray(event: Mapping[str, Any], trigger: Mapping[str, Any] | None) -> bool:
    """Return whether an event is not of the trigger that a task waits for.

    Airflow delivers events by the number of the trigger. SQLite gives the number of a trigger that was removed, since
    its task was cleared, to the next one, while the former may still be about to fire.

    :param event: of :func:`event_of`.
    :param trigger: the arguments of the trigger that the task waits for; ``None`` when that is not known.
    """
    return trigger is not None and event.get("trigger") != trigger


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


__all__ = ["default_deferrable", "defer", "event_of", "is_stray", "rebuild_error", "timeout_seconds"]
