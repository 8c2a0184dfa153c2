"""Logs of pods: the kubelet's file, from where the client wants it, followed until the container has ended."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from airflow_provider_sparkml.local.api.call import Call
from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.handlers import find
from airflow_provider_sparkml.local.api.logtimes import LineTimes, format_time, parse_time
from airflow_provider_sparkml.local.api.status import Cause, StatusError, bad_request, bad_value
from airflow_provider_sparkml.local.api.types import ResourceType
from airflow_provider_sparkml.resources.base import Manifest

CHUNK_BYTES = 256 * 1024
"""What is read and sent at once: a log of any size takes this much memory."""

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 0.5
_NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part of a log, and how.

    :param since_ns: only what was written from this time on, in nanoseconds since the epoch.
    :param tail_lines: only the last lines.
    :param limit_bytes: only so many bytes.
    """

    follow: bool
    timestamps: bool
    since_ns: int | None
    tail_lines: int | None
    limit_bytes: int | None


async def log(cluster: Cluster, call: Call, kind: ResourceType, request: web.BaseRequest) -> web.StreamResponse:
    """Answer ``pods/log``.

    :raises StatusError: 404 for a missing pod; 400 for a container that it does not have, or that has no log.
    """
    pod = find(cluster, call, kind).load()
    container = _container(pod, call.query.get("container", ""))
    wanted = _wanted(call)
    if not pod["spec"].get("nodeName"):
        return web.Response(status=204)
    path = _log_file(cluster, pod, container, previous=call.flag("previous"))
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    reader = _Reader(cluster, pod, container, path, wanted)
    async with aclosing(reader.chunks()) as chunks:
        async for chunk in chunks:
            await response.write(chunk)
    await response.write_eof()
    return response


def _wanted(call: Call) -> Wanted:
    """Return which part of a log a request asks for.

    :raises StatusError: 400 or 422 for parameters that make no sense.
    """
    seconds, moment = call.number("sinceSeconds"), call.query.get("sinceTime", "")
    since: int | None = None
    if seconds is not None and moment:
        raise _invalid(bad_value("sinceSeconds", seconds, "at most one of sinceTime or sinceSeconds may be specified"))
    if seconds is not None:
        if seconds < 1:
            raise _invalid(bad_value("sinceSeconds", seconds, "must be greater than 0"))
        since = time.time_ns() - seconds * _NANO
    elif moment:
        try:
            since = parse_time(moment)
        except ValueError as error:
            raise bad_request(f'sinceTime: parsing time "{moment}": {error}') from None
    limit = call.number("limitBytes")
    if limit == 0:
        raise _invalid(bad_value("limitBytes", 0, "must be greater than 0"))
    return Wanted(call.flag("follow"), call.flag("timestamps"), since, call.number("tailLines"), limit)


def _invalid(cause: Cause) -> StatusError:
    details = {"group": "", "kind": "PodLogOptions", "causes": [cause.to_json()]}
    return StatusError(422, "Invalid", f'PodLogOptions "" is invalid: {cause.field}: {cause.message}', details)


def _container(pod: Manifest, name: str) -> str:
    """Return the container whose log is meant.

    :raises StatusError: 400 when there is none of that name, or more than one to choose from.
    """
    spec, meta = pod["spec"], pod["metadata"]
    names = [each["name"] for each in spec["containers"]]
    others = [each["name"] for each in spec.get("initContainers") or ()]
    name = name or (meta.get("annotations") or {}).get("kubectl.kubernetes.io/default-container", "")
    if not name:
        if len(names) == 1:
            return str(names[0])
        choices = f"[{' '.join(names)}]" + (f" or one of the init containers: [{' '.join(others)}]" if others else "")
        raise bad_request(f"a container name must be specified for pod {meta['name']}, choose one of: {choices}")
    if name not in (*names, *others):
        raise bad_request(f"container {name} is not valid for pod {meta['name']}")
    return name


def _status(pod: Manifest, container: str) -> dict[str, Any]:
    """Return a container's status, empty while it has none."""
    status = pod.get("status") or {}
    every = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return next((each for each in every if each["name"] == container), {})


def _log_file(cluster: Cluster, pod: Manifest, container: str, *, previous: bool) -> Path:
    """Return the file with the log.

    :raises StatusError: 400 when there is no log, as the container has not run (before).
    """
    meta, name = pod["metadata"], pod["metadata"]["name"]
    path = cluster.log_path(meta["uid"], f"{container}.previous" if previous else container)
    if path.exists():
        return path
    if previous:
        raise bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
    state = _status(pod, container).get("state") or {"waiting": {"reason": "ContainerCreating"}}
    if "waiting" in state:
        reason = state["waiting"].get("reason") or "ContainerCreating"
        raise bad_request(f'container "{container}" in pod "{name}" is waiting to start: {reason}')
    raise bad_request(f'container "{container}" in pod "{name}" has no log: its file is gone')


class _Reader:
    """Reads one log file, as far as it goes or as it grows."""

    def __init__(self, cluster: Cluster, pod: Manifest, container: str, path: Path, wanted: Wanted) -> None:
        self._cluster = cluster
        self._key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        self._uid = pod["metadata"]["uid"]
        self._container = container
        self._restarts = _status(pod, container).get("restartCount", 0)
        self._path = path
        self._wanted = wanted
        self._left = wanted.limit_bytes
        self._changed = asyncio.Event()
        self._times = LineTimes(path, _started_ns(pod, container)) if self._needs_times else None

    @property
    def _needs_times(self) -> bool:
        return self._wanted.timestamps or self._wanted.since_ns is not None

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield the log in pieces."""
        stop = self._cluster.store.listen("/pods", *self._key, lambda event: self._changed.set())
        try:
            with self._path.open("rb", buffering=0) as file:
                self._offset = self._first_offset(file.fileno())
                async with aclosing(self._read(file.fileno())) as pieces:
                    async for piece in pieces:
                        if self._left is None:
                            yield piece
                            continue
                        yield piece[: self._left]
                        self._left -= min(len(piece), self._left)
                        if not self._left:
                            return
        finally:
            stop()

    def _first_offset(self, descriptor: int) -> int:
        """Return where the wanted part begins."""
        stat = os.fstat(descriptor)
        begin = 0
        if self._times is not None:
            self._times.mark(stat.st_size, stat.st_mtime_ns, time.time_ns())
        if self._times is not None and self._wanted.since_ns is not None:
            begin = _line_start(descriptor, self._times.find(self._wanted.since_ns))
            if begin < stat.st_size and self._times.at(begin) < self._wanted.since_ns:
                begin = _next_line(descriptor, begin, stat.st_size)
        if self._wanted.tail_lines is not None:
            begin = max(begin, _tail(descriptor, stat.st_size, self._wanted.tail_lines))
        return begin

    async def _read(self, descriptor: int) -> AsyncGenerator[bytes]:
        """Yield what is there and, when it is followed, what comes, until the container has ended."""
        pause = _FIRST_PAUSE
        rest = b""
        while True:
            ended = not self._wanted.follow or self._has_ended(descriptor)
            stat = os.fstat(descriptor)
            if self._times is not None:
                self._times.mark(stat.st_size, stat.st_mtime_ns, time.time_ns())
            while self._offset + len(rest) < stat.st_size:
                size = min(CHUNK_BYTES, stat.st_size - self._offset - len(rest))
                data = rest + os.pread(descriptor, size, self._offset + len(rest))
                rest = b""
                if self._wanted.timestamps:  # whole lines only, as each gets its time
                    whole = data.rfind(b"\n") + 1
                    data, rest = (data[:whole], data[whole:]) if whole else (b"", data)
                yield self._stamped(data)
                self._offset += len(data)
                pause = _FIRST_PAUSE
            if ended:
                if rest:
                    yield self._stamped(rest)
                return
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def _stamped(self, data: bytes) -> bytes:
        """Return lines with their times before them, if that is wanted."""
        if self._times is None or not self._wanted.timestamps:
            return data
        lines, offset = [], self._offset
        for line in data.splitlines(keepends=True) if b"\r" not in data else _lines(data):
            lines.append(format_time(self._times.at(offset)).encode() + b" " + line)
            offset += len(line)
        return b"".join(lines)

    def _has_ended(self, descriptor: int) -> bool:
        """Return whether nobody will write to the file any more."""
        record = self._cluster.store.get("/pods", *self._key)
        if record is None or record.uid != self._uid:
            return True
        pod = record.load()
        status = _status(pod, self._container)
        if "terminated" in (status.get("state") or {}) or status.get("restartCount", 0) != self._restarts:
            return True
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return True
        try:
            return self._path.stat().st_ino != os.fstat(descriptor).st_ino
        except FileNotFoundError:
            return True


def _started_ns(pod: Manifest, container: str) -> int:
    """Return when a container started, 0 when its status does not say."""
    state = _status(pod, container).get("state") or {}
    text = next((each.get("startedAt") for each in state.values() if each.get("startedAt")), None)
    return parse_time(text) if text else 0


def _lines(data: bytes) -> list[bytes]:
    """Split at line feeds alone: a carriage return is part of a line, as progress bars have it."""
    return [line + b"\n" for line in data.split(b"\n")[:-1]] + (
        [data.rpartition(b"\n")[2]] if data[-1:] != b"\n" else []
    )


def _line_start(descriptor: int, offset: int) -> int:
    """Return where the line begins that holds a byte."""
    while offset > 0:
        begin = max(0, offset - 4096)
        found = os.pread(descriptor, offset - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        offset = begin
    return 0


def _next_line(descriptor: int, offset: int, end: int) -> int:
    """Return where the line after the one at an offset begins, the end when there is none."""
    while offset < end:
        data = os.pread(descriptor, min(4096, end - offset), offset)
        found = data.find(b"\n")
        if found >= 0:
            return offset + found + 1
        offset += len(data)
    return end


def _tail(descriptor: int, size: int, lines: int) -> int:
    """Return where the last lines begin, reading backwards no further than that."""
    if lines == 0:
        return size
    end = size
    if size and os.pread(descriptor, 1, size - 1) == b"\n":
        end -= 1
    while end > 0:
        begin = max(0, end - CHUNK_BYTES)
        data = os.pread(descriptor, end - begin, begin)
        found = len(data)
        while lines and (found := data.rfind(b"\n", 0, found)) >= 0:
            lines -= 1
            if lines == 0:
                return begin + found + 1
        end = begin
    return 0
