"""Watches: history, selections, bookmarks, over chunked HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest


@pytest.fixture
async def session(api_server: Any) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {api_server.token}"}
    async with aiohttp.ClientSession(api_server.url, headers=headers) as session:
        yield session


class ConfigMaps:
    """The ConfigMaps of the test's namespace."""

    def __init__(self, session: aiohttp.ClientSession, namespace: str) -> None:
        self.session = session
        self.path = f"/api/v1/namespaces/{namespace}/configmaps"

    async def put(self, name: str, **labels: str) -> dict[str, Any]:
        body = {"metadata": {"name": name, "labels": labels}}
        async with self.session.post(self.path, json=body) as answer:
            return await answer.json()  # type: ignore[no-any-return]

    async def label(self, name: str, **labels: str | None) -> dict[str, Any]:
        headers = {"Content-Type": "application/merge-patch+json"}
        data = json.dumps({"metadata": {"labels": labels}})
        async with self.session.patch(f"{self.path}/{name}", data=data, headers=headers) as answer:
            return await answer.json()  # type: ignore[no-any-return]

    async def delete(self, name: str) -> None:
        async with self.session.delete(f"{self.path}/{name}") as answer:
            assert answer.status == 200

    async def version(self) -> str:
        async with self.session.get(self.path) as answer:
            return str((await answer.json())["metadata"]["resourceVersion"])

    async def events(self, count: int, **query: str) -> list[dict[str, Any]]:
        """Return the first events of a watch."""
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(10), self.session.get(self.path, params={"watch": "1", **query}) as answer:
            async for line in answer.content:
                found.append(json.loads(line))
                if len(found) == count:
                    break
        return found


@pytest.fixture
def maps(session: aiohttp.ClientSession, namespace: str) -> ConfigMaps:
    return ConfigMaps(session, namespace)


def seen(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"]["name"]) for event in events]


async def test_history_is_replayed_then_changes_come(maps: ConfigMaps) -> None:
    version = await maps.version()
    await maps.put("a")
    watching = asyncio.create_task(maps.events(3, resourceVersion=version))
    await maps.label("a", x="y")
    await maps.delete("a")
    events = await watching
    assert seen(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(versions)
    assert versions[0] > int(version)


async def test_entering_and_leaving_a_selection_is_coming_and_going(maps: ConfigMaps) -> None:
    version = await maps.version()
    await maps.put("a", team="red")
    await maps.label("a", team="blue")
    await maps.label("a", team="blue", more="1")
    await maps.label("a", team=None)
    await maps.put("b", team="blue")
    events = await maps.events(4, resourceVersion=version, labelSelector="team=blue")
    assert seen(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]
    assert events[2]["object"]["metadata"]["labels"]["team"] == "blue", "the state in which it was selected"


async def test_one_object_is_watched_alone(maps: ConfigMaps) -> None:
    version = await maps.version()
    for name in ("a", "b", "a2"):
        await maps.put(name)
    await maps.label("b", x="y")
    events = await maps.events(2, resourceVersion=version, fieldSelector="metadata.name=b")
    assert seen(events) == [("ADDED", "b"), ("MODIFIED", "b")]


async def test_one_object_is_watched_by_its_own_path(maps: ConfigMaps, namespace: str) -> None:
    await maps.put("a")
    await maps.put("b")
    for path, name in ((f"{maps.path}/b", "b"), (f"/api/v1/namespaces/{namespace}", namespace)):
        async with maps.session.get(path, params={"watch": "1", "timeoutSeconds": "1"}) as answer:
            events = [json.loads(line) for line in (await answer.read()).splitlines()]
        assert seen(events) == [("ADDED", name)]


async def test_without_a_version_the_present_comes_first(maps: ConfigMaps) -> None:
    await maps.put("a")
    await maps.label("a", x="y")
    watching = asyncio.create_task(maps.events(2))
    await asyncio.sleep(0.05)
    await maps.put("b")
    events = await watching
    assert seen(events) == [("ADDED", "a"), ("ADDED", "b")]
    assert events[0]["object"]["metadata"]["labels"] == {"x": "y"}


async def test_the_end_of_the_initial_state_is_marked(maps: ConfigMaps) -> None:
    await maps.put("a")
    query = {"sendInitialEvents": "true", "allowWatchBookmarks": "true", "resourceVersionMatch": "NotOlderThan"}
    events = await maps.events(2, **query)
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    last = events[1]["object"]["metadata"]["resourceVersion"]
    await maps.put("b")
    assert seen(await maps.events(1, resourceVersion=last)) == [("ADDED", "b")]


async def test_a_version_that_is_too_old_is_gone(maps: ConfigMaps) -> None:
    (event,) = await maps.events(1, resourceVersion="1")
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_a_watch_ends_when_it_is_told_to(maps: ConfigMaps) -> None:
    async with asyncio.timeout(5):
        assert await maps.events(1, resourceVersion=await maps.version(), timeoutSeconds="1") == []


async def test_a_malformed_watch_is_refused_before_it_begins(maps: ConfigMaps) -> None:
    for query in ({"labelSelector": "a==="}, {"fieldSelector": "spec.x=y"}, {"sendInitialEvents": "true"}):
        async with maps.session.get(maps.path, params={"watch": "1", **query}) as answer:
            assert answer.status == 400


async def test_websocket_says_the_same(maps: ConfigMaps) -> None:
    version = await maps.version()
    await maps.put("a")
    address = f"{maps.path}?watch=true&resourceVersion={version}&allowWatchBookmarks=true"
    async with maps.session.ws_connect(address) as socket:
        first = json.loads((await socket.receive(timeout=5)).data)
        await maps.delete("a")
        second = json.loads((await socket.receive(timeout=5)).data)
    assert seen([first, second]) == [("ADDED", "a"), ("DELETED", "a")]


async def test_websocket_ends_with_the_watch_and_refuses_as_http_does(maps: ConfigMaps) -> None:
    version = await maps.version()
    async with maps.session.ws_connect(f"{maps.path}?watch=true&resourceVersion={version}&timeoutSeconds=1") as socket:
        message = await socket.receive(timeout=5)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED)
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await maps.session.ws_connect(f"{maps.path}?watch=true&labelSelector=a%3D%3D%3D")
    assert caught.value.status == 400


async def test_every_watcher_hears_of_every_change(maps: ConfigMaps) -> None:
    version = await maps.version()
    watching = [asyncio.create_task(maps.events(30, resourceVersion=version)) for _ in range(20)]
    for number in range(10):
        await maps.put(f"c{number}")
        await maps.label(f"c{number}", x="y")
    await asyncio.gather(*(maps.delete(f"c{number}") for number in range(10)))
    for events in await asyncio.gather(*watching):
        assert sorted(seen(events)) == sorted(
            (kind, f"c{number}") for number in range(10) for kind in ("ADDED", "MODIFIED", "DELETED")
        )


async def test_kubectl_watches_tables(maps: ConfigMaps) -> None:
    await maps.put("a")
    headers = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    async with maps.session.get(maps.path, params={"watch": "1"}, headers=headers) as answer:
        event = json.loads(await answer.content.readline())
    assert event["object"]["kind"] == "Table"
    assert event["object"]["rows"][0]["cells"][0] == "a"
