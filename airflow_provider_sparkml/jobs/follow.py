"""The job's log in the task's log: followed while the job runs, bounded in lines, bytes, rate and open streams."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING

from airflow_provider_sparkml.exceptions import ApiError, ForbiddenError
from airflow_provider_sparkml.jobs.advice import advise
from airflow_provider_sparkml.jobs.log import JobLog
from airflow_provider_sparkml.jobs.rounds import INTERVAL, Rounds
from airflow_provider_sparkml.resources.base import ApiResource, LogSource, ResourceRef

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient

POD_LOG = ApiResource("", "v1", "pods/log", "Pod")

TASK_LINES = 5_000
"""Most lines of a job's log in one task's log while waiting."""
TASK_BYTES = 2 * 1024 * 1024
"""Most bytes of a job's log read for one task while waiting."""
FIRST_LINES = 500
"""Where a first look starts: a restarted triggerer does not repeat the whole log."""
LINE_CHARS = 2_000
"""Longer lines are cut."""
BURST_LINES = 1_000
"""Lines that may come at once; after them, :data:`LINES_PER_SECOND`."""
LINES_PER_SECOND = 50.0
DRAIN_SECONDS = 5.0
"""How long the end of a job waits for the end of its log."""
_FIRST_PAUSE = INTERVAL / 2
_LONGEST_PAUSE = 300.0

_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d) ?")


def split_timestamp(line: str) -> tuple[str, int, str]:
    """Split a log line that was asked for with ``timestamps=true``.

    :return: the timestamp as written, the same in nanoseconds since the epoch, and the rest of the line; ``("", 0,
        line)`` for a line without one. Nodes write up to nine decimals, fewer when they end in zero, in their own time
        zone: neither strings nor microseconds would compare rightly.
    """
    found = _TIMESTAMP.match(line)
    if found is None:
        return "", 0, line
    seconds = int(datetime.fromisoformat(found[1] + found[3].replace("Z", "+00:00")).timestamp())
    nanoseconds = int((found[2] or "0")[:9].ljust(9, "0"))
    return found[0].rstrip(), seconds * 1_000_000_000 + nanoseconds, line[found.end() :]


class Position:
    """How far a log has been read, exact to the line, so that a new stream repeats nothing.

    ``sinceTime`` includes its own instant (and whole seconds only, on older API servers), and many lines may share an
    instant; so the lines already seen at the last instant are counted.
    """

    __slots__ = ("_at", "_repeats", "_resuming", "_seen", "since")

    def __init__(self) -> None:
        self.since = ""
        self._at = 0
        self._seen = 0
        self._repeats = 0
        self._resuming = False

    def rewind(self) -> None:
        """Expect lines that were seen before: a new stream begins."""
        self._repeats = self._seen
        self._resuming = True

    def is_new(self, timestamp: str, at: int) -> bool:
        """Take note of a line, and return whether it had not been seen."""
        if not timestamp:
            return True
        if self._resuming:
            if at < self._at:
                return False
            if at == self._at and self._repeats:
                self._repeats -= 1
                return False
            # From the first new line on every line is new: the two pipes of a container may be a little out of order.
            self._resuming = False
        if at > self._at:
            self.since, self._at, self._seen = timestamp, at, 1
        elif at == self._at:
            self._seen += 1
        return True


class FollowedLog:
    """Follows the log of one job's main container, over reruns and lost streams.

    A stream is opened by :meth:`visit` only, so the rounds bound how often and how many. While the job writes faster
    than the task's log takes, the stream is simply not read: TCP holds the rest at the API server, at no cost here.
    """

    __slots__ = (
        "_bytes", "_client", "_key", "_lines", "_log", "_not_before", "_off", "_pause", "_position", "_ref", "_rounds",
        "_source", "_task", "_tokens", "_tokens_at", "refused",
    )  # fmt: skip

    def __init__(self, client: KubernetesClient, ref: ResourceRef, rounds: Rounds, log: JobLog) -> None:
        self._client = client
        self._ref = ref
        self._rounds = rounds
        self._log = log
        self._key: tuple[str, LogSource] | None = None
        self._source: LogSource | None = None
        self._position = Position()
        self._task: asyncio.Task[bool] | None = None
        self._lines = 0
        self._bytes = 0
        self._tokens = float(BURST_LINES)
        self._tokens_at = 0.0
        self._not_before = 0.0
        self._pause = _FIRST_PAUSE
        self._off = False
        self.refused = False

    async def visit(self, submission_id: str, source: LogSource | None) -> None:
        """Open a stream if there is something to follow and none is open.

        :param submission_id: identity of the current run: a rerun has a new log, in a pod of the same name.
        :param source: where the log is now.
        """
        if source is None or self._off:
            return
        if self._key != (submission_id, source):
            await self.close()
            self._key, self._source, self._position = (submission_id, source), source, Position()
            self._not_before, self._pause = 0.0, _FIRST_PAUSE
        loop = asyncio.get_running_loop()
        if self.is_open or loop.time() < self._not_before or not self._rounds.may_stream:
            return
        # Until lines come, each new stream is twice as long in coming.
        self._not_before = loop.time() + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        self._rounds.streams += 1
        self._task = loop.create_task(self._read(follow=True))
        self._task.add_done_callback(self._closed)

    async def finish(self) -> bool:
        """Read what is left of the log of a job that has ended, for at most :data:`DRAIN_SECONDS`.

        :return: whether nothing more can be shown: it has been shown to its end, or may not be read.
        """
        if self.refused:
            return True
        if self._source is None or self._off:
            return False
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                if self.is_open and self._task is not None and await asyncio.shield(self._task):
                    return True
                return (not self._off and await self._read(follow=False)) or self.refused
        except TimeoutError:
            return False

    def refuse(self, error: ForbiddenError) -> None:
        """Take note that the log, or where it is, may not be read: say so once, and ask for neither again."""
        if not self.refused:
            self._off = self.refused = True
            advice = advise(error, "get", POD_LOG, self._ref.namespace)
            self._log.warning("The job's log cannot be followed: %s\n%s", error, advice)

    async def close(self) -> None:
        """End the open stream, if there is one."""
        if self.is_open and self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def is_open(self) -> bool:
        """Whether a stream is open."""
        return self._task is not None and not self._task.done()

    def _closed(self, task: asyncio.Task[bool]) -> None:
        self._rounds.streams -= 1

    async def _read(self, *, follow: bool) -> bool:
        """Copy the log to the task's log from where it was left; return whether its end was reached."""
        try:
            async with aclosing(self._open(follow=follow)) as lines:
                async for line in lines:
                    if not await self._take(line):
                        return False
        except ForbiddenError as error:
            self.refuse(error)
        except ApiError:
            # Not started yet, already gone, or the API server is away: the next visit tries again.
            pass
        else:
            return not self._is_spent()
        return False

    def _open(self, *, follow: bool) -> AsyncGenerator[str, None]:
        """Ask for the log from the position on; the API server itself ends it at the limit of bytes."""
        if self._source is None:
            raise ValueError("there is no log to open")
        self._position.rewind()
        since = self._position.since
        return self._client.pod_log(
            self._ref.namespace,
            self._source.pod,
            container=self._source.container,
            follow=follow,
            timestamps=True,
            since_time=since or None,
            tail_lines=None if since else FIRST_LINES,
            limit_bytes=max(1, TASK_BYTES - self._bytes),
        )

    async def _take(self, line: str) -> bool:
        """Write one line unless it is a repeat; return whether more may come."""
        self._bytes += len(line.encode()) + 1
        timestamp, at, text = split_timestamp(line)
        if self._position.is_new(timestamp, at):
            await self._wait_for_token()
            self._pause = _FIRST_PAUSE
            self._lines += 1
            label = self._source.label if self._source is not None else ""
            self._log.info("[%s] %s", label, text if len(text) <= LINE_CHARS else f"{text[:LINE_CHARS]}… (cut)")
        return not self._is_spent()

    def _is_spent(self) -> bool:
        """Return whether the task's share is used up, and say so once."""
        if self._lines < TASK_LINES and self._bytes < TASK_BYTES:
            return False
        if not self._off and self._source is not None:
            self._off = True
            self._log.warning(
                "The job's log is long: following stops after %d lines, its end is shown when the job ends. All of "
                "it: kubectl logs -n %s %s -c %s",
                self._lines, self._ref.namespace, self._source.pod, self._source.container,
            )  # fmt: skip
        return True

    async def _wait_for_token(self) -> None:
        """Keep to the rate: a bucket of :data:`BURST_LINES`, refilled with :data:`LINES_PER_SECOND`."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._tokens = min(BURST_LINES, self._tokens + (now - self._tokens_at) * LINES_PER_SECOND)
        self._tokens_at = now
        if self._tokens < 1:
            # Half a second's worth at once: a timer per line would cost more than the line.
            await asyncio.sleep((1 - self._tokens + LINES_PER_SECOND / 2) / LINES_PER_SECOND)
        self._tokens -= 1


__all__ = ["FollowedLog", "Position", "split_timestamp"]
