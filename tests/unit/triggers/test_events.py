"""Ends of jobs as events of an asset: each once, whoever created the job, whatever happens to the triggerer."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from airflow.triggers.shared_stream import AdvanceItem, AdvanceOutcome

from airflow_provider_sparkml.exceptions import InvalidConnectionError, InvalidManifestError
from airflow_provider_sparkml.resources.base import Phase, Verdict
from airflow_provider_sparkml.resources.spark_apache import ApacheSparkApplication
from airflow_provider_sparkml.triggers import events
from airflow_provider_sparkml.triggers.events import ApacheSparkApplicationEventTrigger, SparkApplicationEventTrigger
from tests.unit.conftest import Objects

pytestmark = pytest.mark.usefixtures("connection", "supervisor")


class Store:
    """The state of one asset, as Airflow keeps it."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    async def aget(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        self.values[key] = value


class StoreOfSeveral(Store):
    async def aget(self, key: str, default: Any = None) -> Any:
        raise ValueError("Task has 2 concrete inlets and outlets")


def ended(seconds_ago: float = 0) -> str:
    at = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=seconds_ago)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def create(applications: Objects, name: str, **labels: str) -> None:
    spec = {
        **{"type": "Python", "mode": "cluster", "image": "i:1", "sparkVersion": "4.3.0"},
        **{"mainApplicationFile": "local:///a.py", "driver": {}, "executor": {}},
    }
    kind = {"apiVersion": "sparkoperator.k8s.io/v1beta2", "kind": "SparkApplication"}
    applications.create({**kind, "metadata": {"name": name, "labels": labels}, "spec": spec})


def end(applications: Objects, name: str, state: str = "COMPLETED", *, seconds_ago: float = 0) -> None:
    # What a clock says in the second in which a trigger begins may be before or after.
    applications.set_state(name, state, terminationTime=ended(seconds_ago - 1), submissionID="s")


@asynccontextmanager
async def watching(store: Any, **options: Any) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Run a trigger as a triggerer does; yields what its events say."""
    trigger = options.pop("kind", SparkApplicationEventTrigger)(**options)
    trigger.asset_state_store = store

    async def payloads() -> AsyncIterator[dict[str, Any]]:
        async with aclosing(trigger.run()) as fired:  # type: ignore[type-var]
            async for event in fired:
                yield event.payload

    async with aclosing(payloads()) as stream:
        yield stream


async def first(stream: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    return await asyncio.wait_for(anext(stream), 20)


async def begun(store: Store) -> None:
    async with asyncio.timeout(20):
        while not store.values:
            await asyncio.sleep(0.01)


async def test_an_end_is_an_event_and_what_ended_before_is_none(applications: Objects, namespace: str) -> None:
    store = Store()
    create(applications, "old")
    end(applications, "old", seconds_ago=60)
    create(applications, "new", team="a")
    async with watching(store) as stream:
        waiting = asyncio.ensure_future(first(stream))
        await begun(store)
        await asyncio.to_thread(end, applications, "new", "FAILED")
        payload = await waiting
    assert payload["labels"] == {"team": "a"}
    assert {key: payload[key] for key in ("kind", "name", "namespace", "phase", "state", "submission_id")} == {
        **{"kind": "SparkApplication", "name": "new", "namespace": namespace},
        **{"phase": "FAILED", "state": "FAILED", "submission_id": "s"},
    }


async def test_an_application_of_the_apache_operator_is_told_by_its_history(apache_applications: Objects) -> None:
    store = Store()
    made = ApacheSparkApplication(image="i:1", main_application_file="local:///a.py", name="a")
    apache_applications.create(made.to_manifest())

    def enter(*states: str) -> None:
        history = {
            str(n): {"currentStateSummary": each, "lastTransitionTime": ended(-1)} for n, each in enumerate(states)
        }
        now = {"currentState": history[str(len(states) - 1)], "stateTransitionHistory": history}
        apache_applications.set_status("a", **now)

    async with watching(store, kind=ApacheSparkApplicationEventTrigger) as stream:
        waiting = asyncio.ensure_future(first(stream))
        await begun(store)
        await asyncio.to_thread(enter, "Submitted", "DriverStarted", "Failed")
        await asyncio.to_thread(enter, "Submitted", "DriverStarted", "Failed", "ResourceReleased")
        payload = await waiting
    assert (payload["name"], payload["phase"], payload["state"]) == ("a", "FAILED", "ResourceReleased")


async def test_a_restart_repeats_nothing_and_makes_up_for_what_was_missed(applications: Objects) -> None:
    store = Store()
    for name in ("seen", "missed", "later"):
        create(applications, name)
    async with watching(store) as stream:
        waiting = asyncio.ensure_future(first(stream))
        await begun(store)
        await asyncio.to_thread(end, applications, "seen")
        assert (await waiting)["name"] == "seen"
        # The next one is asked for: Airflow has the event, and so it is kept.
        more = asyncio.ensure_future(first(stream))
        async with asyncio.timeout(20):
            while not store.values[events.KEY]["kept"]:
                await asyncio.sleep(0.01)
        more.cancel()
        await asyncio.gather(more, return_exceptions=True)
    await asyncio.to_thread(end, applications, "missed")
    async with watching(store) as stream:
        assert (await first(stream))["name"] == "missed"
        waiting = asyncio.ensure_future(first(stream))
        await asyncio.to_thread(end, applications, "later")
        assert (await waiting)["name"] == "later"


@pytest.mark.parametrize(
    "options",
    [{"name": "etl-*"}, {"labels": {"team": "a"}}, {"phases": ["SUCCEEDED"]}],
    ids=["by name", "by label", "by how it ended"],
)
async def test_only_those_that_count(applications: Objects, options: Any) -> None:
    store = Store()
    create(applications, "etl-other" if "name" not in options else "other", team="b")
    create(applications, "etl-mine", team="a")
    other = "etl-other" if "name" not in options else "other"
    async with watching(store, **options) as stream:
        waiting = asyncio.ensure_future(first(stream))
        await begun(store)
        await asyncio.to_thread(end, applications, other, "FAILED")
        await asyncio.to_thread(end, applications, "etl-mine")
        assert (await waiting)["name"] == "etl-mine"


async def test_what_is_refused_is_asked_for_again(
    applications: Objects, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(events, "RETRY_SECONDS", 0.05)
    store = Store()
    create(applications, "a")
    working = events.KubernetesApiHook.connect
    failed = False

    def connect(self: Any) -> Any:
        nonlocal failed
        if not failed:
            failed = True
            raise InvalidConnectionError("connection 'x': no such kubeconfig yet")
        return working(self)

    monkeypatch.setattr(events.KubernetesApiHook, "connect", connect)
    async with watching(store) as stream:
        waiting = asyncio.ensure_future(first(stream))
        await begun(store)
        await asyncio.to_thread(end, applications, "a")
        assert (await waiting)["name"] == "a"
    assert "SparkApplication cannot be watched, trying again" in capsys.readouterr().out


async def test_only_what_airflow_has_stored_is_kept(applications: Objects) -> None:
    store = Store()
    trigger = SparkApplicationEventTrigger()
    trigger.asset_state_store = store  # type: ignore[assignment]
    producer = trigger.create_shared_stream_producer(trigger.serialize()[1])
    create(applications, "a")
    batches = []

    async def raw() -> AsyncIterator[Any]:
        async with aclosing(producer.open_stream()) as stream:  # type: ignore[type-var]
            async for batch, same in stream:
                assert batch is same
                batches.append(batch)
                yield batch

    async with aclosing(trigger.filter_shared_stream(raw())) as stream:  # type: ignore[type-var]
        waiting = asyncio.ensure_future(anext(stream))
        await begun(store)
        await asyncio.to_thread(end, applications, "a")
        await asyncio.wait_for(waiting, 20)
        more = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        lost, stored = AdvanceOutcome(acked=0, failed=1), AdvanceOutcome(acked=1, failed=0)
        await producer.advance([AdvanceItem(batches[-1], lost)])
        assert store.values[events.KEY]["kept"] == {}, "a restart tells of it again"
        await producer.advance([AdvanceItem(batches[-1], stored)])
        assert len(store.values[events.KEY]["kept"]) == 1
        more.cancel()
        await asyncio.gather(more, return_exceptions=True)


async def test_several_assets_have_no_memory_of_their_own(
    applications: Objects, capsys: pytest.CaptureFixture[str]
) -> None:
    create(applications, "a")
    async with watching(StoreOfSeveral()) as stream:
        waiting = asyncio.ensure_future(first(stream))
        async with asyncio.timeout(20):
            while "Several assets share this watcher" not in capsys.readouterr().out:
                await asyncio.sleep(0.01)
        await asyncio.to_thread(end, applications, "a")
        assert (await waiting)["name"] == "a"


async def test_memory_does_not_grow_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    memory = await events._Memory.load(store, None)  # type: ignore[arg-type]
    begin = memory.since
    monkeypatch.setattr(events.time, "time", lambda: begin + 4999)
    await memory.keep({f"k{number}": begin + number for number in range(5000)})
    assert memory.since == begin + 4999 - events.OVERLAP_SECONDS
    assert len(store.values[events.KEY]["kept"]) == events.OVERLAP_SECONDS + 1
    # The status of these does not say when they ended.
    await memory.keep({f"u{number}": events.UNKNOWN for number in range(events.MOST_UNKNOWN + 5)})
    assert len(store.values[events.KEY]["kept"]) == events.OVERLAP_SECONDS + 1 + events.MOST_UNKNOWN
    assert f"u{events.MOST_UNKNOWN + 4}" in memory.kept


async def test_a_clock_that_is_ahead_hides_nothing() -> None:
    memory = await events._Memory.load(Store(), None)  # type: ignore[arg-type]
    await memory.keep({"ahead": memory.since + 7200})
    soon = Verdict(Phase.SUCCEEDED, finished_at=ended())
    assert memory.is_new("next", soon)


async def test_a_store_that_is_away_does_not_end_the_watcher(
    applications: Objects, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(events, "RETRY_SECONDS", 0.05)
    store = Store()
    fails = iter([True, True])

    async def away(*args: Any) -> Any:
        if next(fails, False):
            raise RuntimeError("Airflow's API is away")
        return await Store.aget(store, *args)

    monkeypatch.setattr(store, "aget", away)
    create(applications, "a")
    async with watching(store) as stream:
        waiting = asyncio.ensure_future(first(stream))
        await begun(store)
        monkeypatch.setattr(store, "aset", away)  # nothing can be kept any more
        fails = iter([True] * 9)
        await asyncio.to_thread(end, applications, "a")
        assert (await waiting)["name"] == "a"
    assert "could not be read, trying again" in capsys.readouterr().out


@pytest.mark.parametrize("phases", [[], "SUCCEEDED", ["COMPLETED"]])
def test_other_phases_are_refused(phases: Any) -> None:
    with pytest.raises(InvalidManifestError, match="phases is "):
        SparkApplicationEventTrigger(phases=phases)


def test_it_is_the_same_after_airflow_stored_it() -> None:
    trigger = SparkApplicationEventTrigger(namespace="n", name="a*", labels={"b": "c"}, phases=["FAILED"])
    path, kwargs = trigger.serialize()
    assert path == "airflow_provider_sparkml.triggers.events.SparkApplicationEventTrigger"
    assert SparkApplicationEventTrigger(**kwargs).serialize() == (path, kwargs)
    assert trigger.shared_stream_key() != SparkApplicationEventTrigger().shared_stream_key()
