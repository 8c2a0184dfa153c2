"""Whether a stream is healthy: it runs, is not started again and again, and begins batches; looked at from outside.

Spark 4.3 has no REST resource for Structured Streaming (``/streaming`` is that of the former DStreams). But each batch
is a Spark job whose ``description`` names its query and its number (``StreamExecution.getBatchDescriptionString``), in
the same ``/jobs`` that progress is read from; so nothing has to be switched on in the application.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_sparkml.exceptions import ApiError, ForbiddenError, StreamUnhealthyError
from airflow_provider_sparkml.jobs.advice import explained
from airflow_provider_sparkml.jobs.log import JobLog
from airflow_provider_sparkml.jobs.progress import POD_PROXY
from airflow_provider_sparkml.jobs.wait import describe
from airflow_provider_sparkml.resources.base import Manifest, Phase
from airflow_provider_sparkml.resources.spark import API, SPARK_APPLICATION
from airflow_provider_sparkml.resources.spark_stream import attempts_of

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient
    from airflow_provider_sparkml.client.watch import WatchHub

_BATCH = re.compile(r"(?:(?P<name>.*?)(?:<br/>|\n))?id = (?P<id>[0-9a-f-]+).*?batch = (?P<batch>\d+)", re.DOTALL)
_LOOK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Expected:
    """What is asked of a stream.

    :param window: for how many seconds it is looked at.
    :param max_restarts: how many restarts within these are borne.
    :param max_silence: after how many seconds without a new batch it counts as stuck; ``None``: batches are not asked
        for, since a source may have nothing to give.
    """

    window: float = 60.0
    max_restarts: int = 0
    max_silence: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-safe dict."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Health:
    """What was seen of a healthy stream.

    :param restarts: within the window.
    :param batches: by the query's name, or its id where it has none: number and time of the newest batch seen.
    """

    name: str
    namespace: str
    restarts: int = 0
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-safe dict."""
        return asdict(self)


def newest_batches(jobs: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the newest batch of each streaming query, by its name or id: ``batch`` and ``began`` (RFC 3339).

    :param jobs: the answer of ``/api/v1/applications/<id>/jobs`` (Spark's ``JobData``).
    """
    found: dict[str, dict[str, Any]] = {}
    for job in jobs:
        told = _BATCH.search(job.get("description") or "")
        if told is None:
            continue
        query, number = (told["name"] or told["id"]).strip(), int(told["batch"])
        if query not in found or found[query]["batch"] < number:
            found[query] = {"batch": number, "began": _rfc3339(job.get("submissionTime") or "")}
    return found


def _rfc3339(time_text: str) -> str:
    """Return a time as Spark writes it, ``2026-11-23T07:00:00.000GMT``, in the usual form."""
    return time_text.removesuffix("GMT") + ("Z" if time_text.endswith("GMT") else "")


async def observe(
    client: KubernetesClient, hub: WatchHub, namespace: str, name: str, expected: Expected, *, log: JobLog
) -> Health:
    """Look at a stream until it has been healthy for a while; one that does not run yet is waited for.

    :param expected: what is asked of it.
    :raises StreamUnhealthyError: it has ended, restarts too often, or begins no batches.
    :raises ForbiddenError: batches are asked for and may not be read.
    """
    look = _Look(client, namespace, name, expected, log=log)
    changes = hub.follow(API, namespace, name, fresh=True)
    async with aclosing(changes):
        pending = asyncio.ensure_future(anext(changes))
        try:
            while True:
                done, _ = await asyncio.wait({pending}, timeout=look.pause())
                if done:
                    look.take_in(pending.result())
                    pending = asyncio.ensure_future(anext(changes))
                if await look.is_enough():
                    return look.health()
        finally:
            pending.cancel()
            await asyncio.wait({pending})


class _Look:
    """One look at one stream."""

    def __init__(self, client: KubernetesClient, namespace: str, name: str, expected: Expected, *, log: JobLog) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._expected = expected
        self._log = log
        self._obj: Manifest | None = None
        self._told = ""
        self._began: float | None = None
        self._base = 0  # attempts that were before
        self._restarts = 0
        self._batches: dict[str, dict[str, Any]] = {}
        self._due = 0.0
        self._moved = 0.0  # when a new batch was last seen

    def pause(self) -> float | None:
        """Return for how many seconds nothing but a change is worth a look."""
        if self._began is None:
            return None
        moments = [self._began + self._expected.window, self._due]
        if self._expected.max_silence is not None:
            moments.append(self._moved + self._expected.max_silence)
        return max(0.05, min(moments) - time.monotonic())

    def take_in(self, obj: Manifest | None) -> None:
        """Take note of the object.

        :raises StreamUnhealthyError: it has ended, or restarts too often.
        """
        self._obj = obj
        line = "does not exist" if obj is None else describe(SPARK_APPLICATION.read(obj), obj)
        if line != self._told:
            self._told = line
            self._log.info("%s %s/%s: %s", API.kind, self._namespace, self._name, line)
        if obj is None:
            return
        verdict = SPARK_APPLICATION.read(obj)
        if verdict.phase.is_terminal:
            raise StreamUnhealthyError(f"stream {self._name} has ended: {line}")
        attempts = attempts_of(obj)
        if self._began is None:
            if verdict.state == "RUNNING":
                self._began = self._moved = time.monotonic()
                self._base = attempts
            return
        # Another start of the stream counts from one again: a person's doing, and no restart.
        self._base = min(self._base, attempts)
        self._restarts = max(self._restarts, attempts - self._base)
        if self._restarts > self._expected.max_restarts:
            raise StreamUnhealthyError(
                f"stream {self._name} was started again {self._restarts} times within {self._expected.window:g} s, "
                f"more than max_restarts={self._expected.max_restarts}: {line}\n"
                f"kubectl logs -n {self._namespace} {self._name}-driver"
            )

    async def is_enough(self) -> bool:
        """Look at the batches when that is due; return whether the window is over and all is well.

        :raises StreamUnhealthyError: no batch was begun for too long.
        """
        now = time.monotonic()
        if self._began is None or self._obj is None:
            return False
        over = now >= self._began + self._expected.window
        if over or now >= self._due:
            self._due = now + min(_LOOK_SECONDS, max(1.0, self._expected.window / 4))
            await self._read_batches()
        limit = self._expected.max_silence
        if limit is not None and time.monotonic() - self._moved > limit:
            raise StreamUnhealthyError(
                f"stream {self._name} has begun no batch for {limit:g} s (max_silence); the last ones: "
                f"{self._batches or 'none'}\nIs there anything to read? Does a batch take longer than that?"
            )
        seen = limit is None or bool(self._batches)
        return over and seen and SPARK_APPLICATION.read(self._obj).phase is Phase.RUNNING

    def health(self) -> Health:
        """Return what was seen."""
        return Health(self._name, self._namespace, self._restarts, self._batches)

    async def _read_batches(self) -> None:
        """Ask the driver for its newest batches; one that cannot be asked now has none."""
        address = SPARK_APPLICATION.progress(self._obj or {})
        if address is None:
            return
        try:
            with explained("get", POD_PROXY, self._namespace):
                applications = await self._client.pod_proxy_get(self._namespace, *address, "/api/v1/applications")
                path = f"/api/v1/applications/{applications[0]['id']}/jobs"
                batches = newest_batches(await self._client.pod_proxy_get(self._namespace, *address, path))
        except ForbiddenError:
            if self._expected.max_silence is not None:
                raise
            return
        except (ApiError, LookupError, TypeError):
            return  # the driver is on its way up or down; the next look asks again
        self._note(batches)

    def _note(self, batches: dict[str, dict[str, Any]]) -> None:
        if batches == self._batches or not batches:
            return
        began = [_seconds_ago(batch["began"]) for batch in batches.values()]
        self._moved = max(self._moved, time.monotonic() - min(began)) if not self._batches else time.monotonic()
        self._batches = batches
        self._log.info("Batches: %s", ", ".join(f"{query}: {seen['batch']}" for query, seen in sorted(batches.items())))


def _seconds_ago(moment: str) -> float:
    try:
        return max(0.0, time.time() - datetime.fromisoformat(moment).timestamp())
    except ValueError:
        return 0.0


__all__ = ["Expected", "Health", "newest_batches", "observe"]
