"""Watches: the present state or the history first, then every change, over chunked HTTP or WebSocket."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from functools import partial

from aiohttp import web

from airflow_provider_sparkml.local.api.call import Call
from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.reads import Selection, parse_version, selection_of
from airflow_provider_sparkml.local.api.status import StatusError, bad_request, expired
from airflow_provider_sparkml.local.api.types import ResourceType
from airflow_provider_sparkml.local.store import Event, EventType, Record, Store, TooOldError, encode

LONGEST_BACKLOG = 20_000
"""Events that a watcher may lag behind before it is cut off; it comes again from where it was, or lists anew."""

_BOOKMARK_SECONDS = 60.0
_TIMEOUT_SECONDS = 1800.0

Present = Callable[[EventType, Event | Record], bytes]
"""An event, or an object of the initial state → the line of the watch."""


class Watcher:
    """One client's view of one collection: changes become lines, in order."""

    def __init__(self, selection: Selection, since: int, present: Present) -> None:
        self._selection = selection
        self.since = since
        self._present = present
        self._lines: deque[bytes] = deque()
        self._woken = asyncio.Event()
        self.overrun = False

    def hear(self, event: Event) -> None:
        """Take note of a change; called for every change of the collection."""
        kind = self._seen_as(event)
        if kind is None or event.version <= self.since:
            return
        if len(self._lines) >= LONGEST_BACKLOG:
            self.overrun = True
        else:
            self._lines.append(self._present(kind, event))
        self._woken.set()

    def _seen_as(self, event: Event) -> EventType | None:
        """Return what an event is to this client: an object that enters its selection is new to it."""
        selection = self._selection
        after = event.type != "DELETED" and selection.matches(event.record)
        before = event.before is not None and selection.matches(event.before)
        if after:
            return "MODIFIED" if before else "ADDED"
        return "DELETED" if before else None

    def show(self, record: Record) -> None:
        """Take note of an object that is there from the beginning."""
        if self._selection.matches(record):
            self._lines.append(self._present("ADDED", record))

    async def next(self, seconds: float) -> bytes:
        """Return all lines that have come, waiting for the first; empty after so many seconds without one."""
        if not self._lines and not self.overrun:
            self._woken.clear()
            try:
                async with asyncio.timeout(max(seconds, 0.0)):
                    await self._woken.wait()
            except TimeoutError:
                return b""
        lines = b"".join(self._lines)
        self._lines.clear()
        return lines


def present_stored(kind: EventType, change: Event | Record) -> bytes:
    """Return a line with the object as it is stored, shared by all watchers."""
    if isinstance(change, Event):
        return change.frame(kind)
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), change.data)


async def watch(
    cluster: Cluster, call: Call, kind: ResourceType, request: web.BaseRequest, present: Present
) -> web.StreamResponse:
    """Answer a watch until it times out or the client leaves.

    :raises StatusError: before anything is sent, for a malformed request.
    """
    selection = selection_of(call, kind)
    text = call.query.get("resourceVersion", "")
    since = parse_version(text)
    initial = call.flag("sendInitialEvents")
    if initial and call.query.get("resourceVersionMatch") != "NotOlderThan":
        raise bad_request("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    seconds = call.number("timeoutSeconds") or _TIMEOUT_SECONDS * (1 + random.random())  # noqa: S311 - spreads load
    store = cluster.store
    from_present = initial or since == 0
    watcher = Watcher(selection, store.version if from_present else since, present)
    namespace = (call.target.namespace or None) if kind.api.namespaced else None
    opening = b""
    stop = store.listen(kind.storage, namespace, selection.name, watcher.hear)
    try:
        if from_present:
            for record in store.select(kind.storage, namespace):
                watcher.show(record)
            if initial and call.flag("allowWatchBookmarks"):
                opening = bookmark(kind, store.version, initial=True)
        else:
            try:
                for event in store.replay(kind.storage, since):
                    if namespace in (None, event.record.key[0]):
                        watcher.hear(event)
            except TooOldError as error:
                return await _respond(request, _refusal(expired(str(error))))
        channel = await _open(request)
        bookmarks = call.flag("allowWatchBookmarks")
        mark = partial(_progress, store, kind, watcher) if bookmarks else None
        await _stream(channel, watcher, opening, seconds, mark)
        return channel.response
    finally:
        stop()


async def _stream(
    channel: _Chunked | _Socket, watcher: Watcher, opening: bytes, seconds: float, mark: Callable[[], bytes] | None
) -> None:
    """Send what the watcher hears until its time is up.

    :param opening: what follows the initial state.
    :param mark: gives the line for when nothing happened for a while.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    pause = _BOOKMARK_SECONDS if mark else seconds
    try:
        await channel.send(await watcher.next(0) + opening)
        while not watcher.overrun and (left := end - loop.time()) > 0:
            lines = await watcher.next(min(left, pause))
            await channel.send(lines or (mark() if mark else b""))
    except ConnectionError:
        return  # the client left
    await channel.close()


class _Chunked:
    """An answer over plain HTTP: a line for each event."""

    def __init__(self) -> None:
        self.response = web.StreamResponse(headers={"Content-Type": "application/json"})
        self.response.enable_chunked_encoding()

    async def send(self, lines: bytes) -> None:
        if lines:
            await self.response.write(lines)

    async def close(self) -> None:
        await self.response.write_eof()


class _Socket:
    """An answer over WebSocket: a text message for each event."""

    def __init__(self) -> None:
        self.response = web.WebSocketResponse(heartbeat=30)
        self._reader: asyncio.Task[None] | None = None

    async def send(self, lines: bytes) -> None:
        if self._reader is None:
            self._reader = asyncio.create_task(self._read(asyncio.current_task()))
        for line in lines.splitlines():
            await self.response.send_str(line.decode())

    async def _read(self, handler: asyncio.Task[object] | None) -> None:
        """Notice that the client closes: only reading tells."""
        async for _ in self.response:
            pass
        if handler is not None and not handler.done():
            handler.cancel()

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
        await self.response.close()


async def _open(request: web.BaseRequest) -> _Chunked | _Socket:
    """Begin the answer, as WebSocket when the client asks for that."""
    channel = _Socket() if request.headers.get("Upgrade", "").lower() == "websocket" else _Chunked()
    await channel.response.prepare(request)
    return channel


async def _respond(request: web.BaseRequest, line: bytes) -> web.StreamResponse:
    """Answer a watch with one line."""
    channel = await _open(request)
    await channel.send(line)
    await channel.close()
    return channel.response


def _refusal(error: StatusError) -> bytes:
    return encode({"type": "ERROR", "object": error.to_json()}) + b"\n"


def bookmark(kind: ResourceType, version: int, *, initial: bool = False) -> bytes:
    """Return the line that says how far a watch has come.

    :param initial: the initial state is complete.
    """
    meta: dict[str, object] = {"resourceVersion": str(version)}
    if initial:
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    obj = {"kind": kind.api.kind, "apiVersion": kind.api.api_version, "metadata": meta}
    return encode({"type": "BOOKMARK", "object": obj}) + b"\n"


def _progress(store: Store, kind: ResourceType, watcher: Watcher) -> bytes:
    """Return the bookmark of a watch that has sent everything so far."""
    return bookmark(kind, max(store.committed, watcher.since))
