"""The store: versions, history, snapshots, and that what was acknowledged is there after any end of the process."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from airflow_provider_sparkml.local import store as module
from airflow_provider_sparkml.local.store import Event, Record, Store, TooOldError, encode

PODS = "/pods"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(tmp_path / "objects.sqlite")
    await store.open()
    yield store
    await store.close()


def record(version: int, name: str, namespace: str = "default", **labels: str) -> Record:
    meta = {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "labels": labels,
    }
    return Record(
        (namespace, name), meta["uid"], version, encode({"metadata": meta}), labels, {"status.phase": "Pending"}
    )


def put(store: Store, name: str, namespace: str = "default", **labels: str) -> Record:
    made = record(store.next_version(), name, namespace, **labels)
    store.put(PODS, made)
    return made


def remove(store: Store, name: str) -> None:
    store.remove(PODS, record(store.next_version(), name))


async def test_objects_come_sorted_by_namespace_and_name(store: Store) -> None:
    put(store, "b", "z")
    put(store, "b", "a")
    put(store, "a", "z")
    assert [each.key for each in store.select(PODS, None)] == [("a", "b"), ("z", "a"), ("z", "b")]
    assert [each.key for each in store.select(PODS, "z")] == [("z", "a"), ("z", "b")]
    assert store.select("/services", None) == []


async def test_a_reopened_store_has_what_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "objects.sqlite"
    first = Store(path)
    await first.open()
    kept = put(first, "kept", team="a")
    put(first, "gone")
    remove(first, "gone")
    await first.durable()
    # Not closed: as if the process had been killed.
    second = Store(path)
    await second.open()
    found = second.get(PODS, "default", "kept")
    assert found is not None
    assert (found.data, found.labels, found.field("status.phase")) == (kept.data, {"team": "a"}, "Pending")
    assert second.get(PODS, "default", "gone") is None
    assert second.version > first.version, "a version seen before the crash is never given again"
    with pytest.raises(TooOldError):
        second.replay(PODS, kept.version)
    await first.close()
    await second.close()


async def test_listeners_hear_of_a_change_only_when_it_is_on_disk(store: Store, tmp_path: Path) -> None:
    heard: list[bool] = []

    def listen(event: Event) -> None:
        with sqlite3.connect(tmp_path / "objects.sqlite") as connection:
            heard.append(connection.execute("SELECT count(*) FROM objects").fetchone()[0] == 1)

    store.listen(PODS, None, None, listen)
    put(store, "a")
    assert heard == []
    await store.durable()
    assert heard == [True]


@pytest.mark.parametrize(
    ("namespace", "name", "expected"),
    [(None, None, ["a", "b", "c"]), ("x", None, ["a", "b"]), ("x", "b", ["b"]), (None, "c", ["c"]), ("y", "a", [])],
)
async def test_a_listener_hears_of_its_own_alone(
    store: Store, namespace: str | None, name: str | None, expected: list[str]
) -> None:
    heard: list[str] = []
    stop = store.listen(PODS, namespace, name, lambda event: heard.append(event.record.key[1]))
    put(store, "a", "x")
    put(store, "b", "x")
    put(store, "c", "y")
    await store.durable()
    assert heard == expected
    stop()
    put(store, "a", "x")
    await store.durable()
    assert heard == expected


async def test_events_are_replayed_in_order_after_a_version(store: Store) -> None:
    first = put(store, "a")
    put(store, "a", stage="b")
    remove(store, "a")
    await store.durable()
    assert [event.type for event in store.replay(PODS, first.version - 1)] == ["ADDED", "MODIFIED", "DELETED"]
    assert [event.type for event in store.replay(PODS, first.version)] == ["MODIFIED", "DELETED"]
    assert store.replay(PODS, store.version) == []


async def test_a_former_moment_can_be_listed(store: Store) -> None:
    put(store, "a")
    put(store, "b")
    moment = store.version
    put(store, "c")
    put(store, "a", changed="yes")
    remove(store, "b")
    then = store.select_at(PODS, "default", moment)
    assert [each.key[1] for each in then] == ["a", "b"]
    assert then[0].labels == {}
    assert [each.key[1] for each in store.select(PODS, "default")] == ["a", "c"]


async def test_history_has_an_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HISTORY_EVENTS", 3)
    versions = [put(store, f"p{number}").version for number in range(5)]
    await store.durable()
    assert len(list(store.replay(PODS, versions[1]))) == 3
    with pytest.raises(TooOldError, match="too old resource version"):
        store.replay(PODS, versions[0])
    with pytest.raises(TooOldError):
        store.select_at(PODS, None, versions[0])


async def test_a_change_that_cannot_be_written_is_undone_and_reported(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "kept")
    await store.durable()
    heard: list[Event] = []
    store.listen(PODS, None, None, heard.append)

    def fail(batch: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "_write", fail)
        lost = put(store, "lost")
        with pytest.raises(OSError, match="disk is full"):
            await store.durable()
    assert store.get(PODS, "default", "lost") is None
    assert store.get(PODS, "default", "kept") is not None
    assert heard == []
    assert put(store, "next").version > lost.version
    await store.durable()
    assert [event.record.key[1] for event in heard] == ["next"]


async def test_many_writers_share_transactions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    write = store._write

    def count(batch: list[tuple[str, Event]]) -> None:
        batches.append(len(batch))
        write(batch)

    monkeypatch.setattr(store, "_write", count)

    async def change(number: int) -> None:
        put(store, f"p{number}")
        await store.durable()

    await asyncio.gather(*(change(number) for number in range(200)))
    assert sum(batches) == 200
    assert len(batches) < 20


async def test_leaving_a_selection_shows_the_former_state_with_the_new_version(store: Store) -> None:
    put(store, "a", team="x")
    put(store, "a", team="y")
    await store.durable()
    event = list(store.replay(PODS, store.version - 1))[-1]
    frame = event.frame("DELETED")
    assert b'"team":"x"' in frame
    assert f'"resourceVersion":"{store.version}"'.encode() in frame
    assert event.frame("DELETED") is frame, "serialised once, however many watch"
