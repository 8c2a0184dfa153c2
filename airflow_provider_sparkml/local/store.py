"""All objects of the cluster: in memory for reading, in SQLite for keeping, with the history that watches replay."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import sqlite3
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from airflow_provider_sparkml.resources.base import Manifest

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace (empty for objects without one) and name."""

EventType = Literal["ADDED", "MODIFIED", "DELETED"]

HISTORY_EVENTS = 10_000
"""How many events of a type are remembered; a watch from further back is answered 410."""

RESTART_GAP = 1_000
"""By how much the version jumps at a start: what was seen but not yet on disk at a crash never shares a version."""


def encode(obj: object) -> bytes:
    """Return compact JSON."""
    return json.dumps(obj, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One version of one object, kept as the JSON that is served; parsed only when it must change.

    :param key: its namespace and name.
    :param uid: its UID.
    :param version: its resource version.
    :param data: the object as JSON.
    :param labels: its labels.
    :param fields: what field selectors of its type can select by.
    """

    key: Key
    uid: str
    version: int
    data: bytes
    labels: Mapping[str, str]
    fields: Mapping[str, str]

    def load(self) -> Manifest:
        """Return the object as a dict of the caller's own."""
        obj: Manifest = json.loads(self.data)
        return obj

    def field(self, name: str) -> str:
        """Return a selectable field's value, empty when it has none."""
        if name == "metadata.name":
            return self.key[1]
        if name == "metadata.namespace":
            return self.key[0]
        return self.fields.get(name, "")


@dataclass(slots=True, eq=False)
class Event:
    """One change of one object.

    :param type: what happened.
    :param version: resource version of the change.
    :param record: the object after it; of a deleted one, the last state with the version of the deletion.
    :param before: the object before it, ``None`` when it was created.
    """

    type: EventType
    version: int
    record: Record
    before: Record | None
    _frames: dict[str, bytes] = field(default_factory=dict)

    def frame(self, kind: EventType) -> bytes:
        """Return the line of a watch for this event, made once however many watch.

        :param kind: ``DELETED`` while the object lives on says that it left the watch's selection: then the line
            carries its former state.
        """
        if kind not in self._frames:
            data = self.record.data
            if kind == "DELETED" and self.type == "MODIFIED" and self.before is not None:
                former = self.before.load()
                former["metadata"]["resourceVersion"] = str(self.version)
                data = encode(former)
            self._frames[kind] = b'{"type":"%s","object":%s}\n' % (kind.encode(), data)
        return self._frames[kind]


Listener = Callable[[Event], None]


class TooOldError(Exception):
    """The history no longer reaches back to that version."""

    def __init__(self, version: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {version} ({oldest})")


class _Collection:
    """The objects of one type, and their latest events."""

    def __init__(self, oldest: int) -> None:
        self.objects: dict[str, dict[str, Record]] = defaultdict(dict)
        self.events: deque[Event] = deque()
        self.oldest = oldest  # history is complete after this version
        self.listeners: dict[tuple[str | None, str | None], set[Listener]] = {}

    def remember(self, event: Event) -> None:
        self.events.append(event)
        if len(self.events) > HISTORY_EVENTS:
            self.oldest = self.events.popleft().version

    def announce(self, event: Event) -> None:
        """Tell those who listen to all, to the namespace, or to the one object."""
        namespace, name = event.record.key
        for address in ((None, None), (namespace, None), (namespace, name), (None, name)):
            for listener in tuple(self.listeners.get(address, ())):
                listener(event)


class Store:
    """Objects by type, namespace and name. Belongs to one event loop, so a method without ``await`` is atomic.

    A change is in memory at once, and on disk, in one transaction with others, before :meth:`durable` returns;
    only then watches hear of it. The process may be killed at any moment: what was acknowledged is there.

    :param path: the SQLite file; made when absent.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._collections: dict[str, _Collection] = {}
        self._pending: list[tuple[str, Event]] = []
        self._next: asyncio.Future[None] | None = None  # done when what is pending is on disk
        self._writing: asyncio.Future[None] | None = None  # done when what is being written is on disk
        self._committer: asyncio.Task[None] | None = None
        self._oldest = 0
        self.version = 0
        self.committed = 0

    async def open(self) -> None:
        """Read what is on disk."""
        loop = asyncio.get_running_loop()
        self._connection = await loop.run_in_executor(self._disk, self._connect)
        await self._load()
        self.version += RESTART_GAP
        self.committed = self._oldest = self.version
        for collection in self._collections.values():
            collection.oldest = self.version

    async def close(self) -> None:
        """Wait until everything is on disk, and let go of the file."""
        if self._committer is not None:
            await asyncio.wait([self._committer])
        await asyncio.get_running_loop().run_in_executor(self._disk, self._connection.close)
        self._disk.shutdown()

    def get(self, storage: str, namespace: str, name: str) -> Record | None:
        """Return an object, or ``None``.

        :param storage: the type, ``group/plural``.
        """
        collection = self._collections.get(storage)
        return collection.objects[namespace].get(name) if collection else None

    def select(self, storage: str, namespace: str | None) -> list[Record]:
        """Return the objects of a type by namespace and name, of all namespaces when that is ``None``."""
        collection = self._collections.get(storage)
        if collection is None:
            return []
        if namespace is not None:
            return [record for _, record in sorted(collection.objects.get(namespace, {}).items())]
        return [record for _, names in sorted(collection.objects.items()) for _, record in sorted(names.items())]

    def select_at(self, storage: str, namespace: str | None, version: int) -> list[Record]:
        """Return what :meth:`select` would have returned at a former version.

        :raises TooOldError: when the history does not reach back so far.
        """
        collection = self._collection(storage)
        if version < collection.oldest:
            raise TooOldError(version, collection.oldest)
        then: dict[Key, Record | None] = {}
        for event in reversed(collection.events):
            if event.version <= version:
                break
            then[event.record.key] = event.before
        records = {record.key: record for record in self.select(storage, namespace)}
        for key, record in then.items():
            if namespace in (None, key[0]):
                records.pop(key, None)
                if record is not None:
                    records[key] = record
        return [records[key] for key in sorted(records)]

    def storages(self) -> Iterator[str]:
        """Yield the types that have ever had objects."""
        yield from tuple(self._collections)

    def next_version(self) -> int:
        """Return a new version; whoever takes one must use it in the next :meth:`put` or :meth:`remove`."""
        self.version += 1
        return self.version

    def put(self, storage: str, record: Record) -> None:
        """Create or replace an object; its version must be the newest."""
        collection = self._collection(storage)
        namespace, name = record.key
        before = collection.objects[namespace].get(name)
        collection.objects[namespace][name] = record
        self._change(storage, Event("ADDED" if before is None else "MODIFIED", record.version, record, before))

    def remove(self, storage: str, last: Record) -> None:
        """Delete an object.

        :param last: its last state, at the version of the deletion.
        """
        collection = self._collection(storage)
        namespace, name = last.key
        before = collection.objects[namespace].pop(name)
        self._change(storage, Event("DELETED", last.version, last, before))

    async def durable(self) -> None:
        """Wait until all changes made so far are on disk.

        :raises OSError: they could not be written; then they are undone in memory as well.
        """
        last = self._next or self._writing
        if last is not None:
            await asyncio.shield(last)

    def replay(self, storage: str, version: int) -> Iterable[Event]:
        """Return the committed events of a type after a version.

        :raises TooOldError: when the history does not reach back so far.
        """
        collection = self._collection(storage)
        if version < collection.oldest:
            raise TooOldError(version, collection.oldest)
        later = itertools.takewhile(lambda event: event.version > version, reversed(collection.events))
        return [event for event in later if event.version <= self.committed][::-1]

    def listen(self, storage: str, namespace: str | None, name: str | None, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with every event from now on, once it is on disk.

        :param namespace: only of this namespace.
        :param name: only of objects of this name.
        :returns: a function that ends it.
        """
        listeners = self._collection(storage).listeners
        listeners.setdefault((namespace, name), set()).add(listener)

        def stop() -> None:
            listeners[(namespace, name)].discard(listener)
            if not listeners[(namespace, name)]:
                del listeners[(namespace, name)]

        return stop

    def _collection(self, storage: str) -> _Collection:
        if storage not in self._collections:
            self._collections[storage] = _Collection(self._oldest)
        return self._collections[storage]

    def _change(self, storage: str, event: Event) -> None:
        self._collection(storage).remember(event)
        self._pending.append((storage, event))
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        if self._committer is None:
            self._committer = asyncio.create_task(self._commit(), name="store commits")

    async def _commit(self) -> None:
        """Write what is pending, batch after batch: while one is written, the next gathers."""
        loop = asyncio.get_running_loop()
        while self._pending and self._next is not None:
            batch, self._pending = self._pending, []
            self._writing, self._next = self._next, None
            try:
                await loop.run_in_executor(self._disk, self._write, batch)
            except sqlite3.Error as error:
                await self._give_up(self._writing, OSError(f"the cluster's state cannot be written to disk: {error}"))
            else:
                self.committed = batch[-1][1].version
                for storage, event in batch:
                    self._collections[storage].announce(event)
                self._writing.set_result(None)
            self._writing = None
        self._committer = None

    async def _give_up(self, writing: asyncio.Future[None], error: OSError) -> None:
        """Go back to what is on disk, and tell whoever waits for what is not."""
        log.error("%s", error)
        failed = [writing] + ([self._next] if self._next else [])
        self._pending, self._next = [], None
        version = self.version
        await self._load()
        self.version = version  # a version that was seen is never given twice
        for collection in self._collections.values():
            while collection.events and collection.events[-1].version > self.committed:
                collection.events.pop()
        for future in failed:
            future.set_exception(error)
            future.exception()  # nobody may be waiting

    def _connect(self) -> sqlite3.Connection:
        # It holds Secrets. SQLite gives its files beside this one the same mode.
        self._path.touch(mode=0o600)
        self._path.chmod(0o600)
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")  # survives a killed process; only a power cut may lose the last
        connection.execute(
            "CREATE TABLE IF NOT EXISTS objects (storage TEXT, namespace TEXT, name TEXT, version INTEGER, "
            "fields TEXT, data BLOB, PRIMARY KEY (storage, namespace, name)) WITHOUT ROWID"
        )
        connection.execute("CREATE TABLE IF NOT EXISTS latest (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER)")
        return connection

    async def _load(self) -> None:
        """Replace the objects in memory by those on disk; histories and listeners stay."""
        rows, version = await asyncio.get_running_loop().run_in_executor(self._disk, self._read)
        for collection in self._collections.values():
            collection.objects.clear()
        for storage, namespace, name, number, fields, data in rows:
            meta = json.loads(data)["metadata"]
            record = Record((namespace, name), meta["uid"], number, data, meta.get("labels") or {}, json.loads(fields))
            self._collection(storage).objects[namespace][name] = record
        self.version = version

    def _read(self) -> tuple[list[tuple[str, str, str, int, str, bytes]], int]:
        rows = self._connection.execute(
            "SELECT storage, namespace, name, version, fields, data FROM objects"
        ).fetchall()
        latest = self._connection.execute("SELECT version FROM latest").fetchone()
        return rows, latest[0] if latest else 0

    def _write(self, batch: list[tuple[str, Event]]) -> None:
        """Write events in one transaction."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for storage, event in batch:
                record = event.record
                if event.type == "DELETED":
                    connection.execute(
                        "DELETE FROM objects WHERE storage = ? AND namespace = ? AND name = ?", (storage, *record.key)
                    )
                else:
                    row = (storage, *record.key, record.version, json.dumps(dict(record.fields)), record.data)
                    connection.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?)", row)
            connection.execute("INSERT OR REPLACE INTO latest VALUES (1, ?)", (batch[-1][1].version,))
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
