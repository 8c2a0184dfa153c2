"""Warning events of a job and its driver pod, each told once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow_provider_sparkml.exceptions import ApiError, ForbiddenError
from airflow_provider_sparkml.jobs.advice import advise
from airflow_provider_sparkml.jobs.log import JobLog
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import EVENT

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient


MOST_LINES = 100
"""Most events told for one task: some controllers write a new message every few seconds."""


def warnings_of(events: Iterable[Manifest]) -> list[Manifest]:
    """Return the events that warn, in their order."""
    return [event for event in events if event.get("type") == "Warning"]


def describe_event(event: Manifest) -> str:
    """Return one line on an event: reason, what it is about, how often, and its message."""
    about = event.get("involvedObject") or event.get("regarding") or {}
    count = event.get("count") or (event.get("series") or {}).get("count") or 1
    times = f" (x{count})" if count > 1 else ""
    message = " ".join(str(event.get("message") or event.get("note") or "").split())
    return f"{event.get('reason', '')} {about.get('kind', '')} {about.get('name', '')}{times}: {message}"


def _key(event: Manifest) -> tuple[Any, Any]:
    """Return what makes two events the same news: a repeat differs in count and time only."""
    return event.get("reason"), event.get("message") or event.get("note")


class WarningEvents:
    """Tells the warning events of one job."""

    __slots__ = ("_client", "_log", "_namespace", "_off", "_told")

    def __init__(self, client: KubernetesClient, namespace: str, log: JobLog) -> None:
        self._client = client
        self._namespace = namespace
        self._log = log
        self._told: set[int] = set()
        self._off = False

    async def visit(self, *uids: str) -> None:
        """Fetch the events of some objects, and tell the warnings among them that were not told before."""
        if self._off:
            return
        try:
            for uid in uids:
                for event in warnings_of(await self._client.events(self._namespace, uid)):
                    news = hash(_key(event))
                    if news not in self._told and len(self._told) < MOST_LINES:
                        self._told.add(news)
                        self._log.warning("%s", describe_event(event))
        except ForbiddenError as error:
            self._off = True
            self._log.info("No events will be shown: %s\n%s", error, advise(error, "list", EVENT, self._namespace))
        except ApiError:
            # The API server is away for the moment; the next visit asks again.
            pass


__all__ = ["WarningEvents", "describe_event", "warnings_of"]
