"""How controllers run, against a real API server: nothing missed, nothing stuck, one key at a time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.local.controllers import runtime
from airflow_provider_sparkml.local.controllers.runtime import (
    Controller,
    Key,
    Source,
    changed_keys,
    controller_of,
    owner_key,
    owner_reference,
    record_event,
)
from airflow_provider_sparkml.resources.core import CONFIG_MAP
from tests.conftest import RunningApiServer

SECONDS = 20


@pytest.fixture
async def client(api_server: RunningApiServer) -> AsyncIterator[KubernetesClient]:
    async with KubernetesClient(kubeconfig_file(api_server.kubeconfig)) as client:
        yield client


@contextlib.asynccontextmanager
async def running(controller: Controller) -> AsyncIterator[None]:
    task = asyncio.create_task(controller.run())
    try:
        async with asyncio.timeout(SECONDS):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Seen:
    """Collects the names that a controller is called for in one namespace."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.names: asyncio.Queue[str] = asyncio.Queue()

    async def reconcile(self, namespace: str, name: str) -> None:
        if namespace == self.namespace and name != "kube-root-ca.crt":
            self.names.put_nowait(name)


def config_map(name: str, **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **meta}}


async def test_what_is_there_and_what_comes_changes_and_goes(client: KubernetesClient, namespace: str) -> None:
    await client.create(CONFIG_MAP, config_map("before"), namespace)
    seen = Seen(namespace)
    async with running(Controller("test", client, [Source(CONFIG_MAP)], seen.reconcile)):
        assert await seen.names.get() == "before"
        await client.create(CONFIG_MAP, config_map("after"), namespace)
        assert await seen.names.get() == "after"
        await client.patch(CONFIG_MAP, "before", {"data": {"a": "b"}}, namespace)
        assert await seen.names.get() == "before"
        await client.delete(CONFIG_MAP, "after", namespace, propagation="Background")
        assert await seen.names.get() == "after"


async def test_a_change_of_what_it_owns_concerns_the_owner(client: KubernetesClient, namespace: str) -> None:
    owner = await client.create(CONFIG_MAP, config_map("owner"), namespace)
    seen = Seen(namespace)
    async with running(Controller("test", client, [Source(CONFIG_MAP, owner_key("ConfigMap"))], seen.reconcile)):
        owned = config_map("owned", ownerReferences=[owner_reference(owner)])
        created = await client.create(CONFIG_MAP, owned, namespace)
        assert await seen.names.get() == "owner"
        reference = controller_of(created)
        assert reference is not None
        assert reference["uid"] == owner["metadata"]["uid"]
    assert controller_of(owner) is None


async def test_one_key_at_a_time_and_a_change_meanwhile_is_not_lost(client: KubernetesClient, namespace: str) -> None:
    calls, inside, proceed = itertools.count(1), asyncio.Event(), asyncio.Event()
    done: asyncio.Queue[int] = asyncio.Queue()
    at_once = 0

    async def reconcile(where: str, name: str) -> None:
        nonlocal at_once
        if (where, name) != (namespace, "it"):
            return
        at_once += 1
        assert at_once == 1
        inside.set()
        await proceed.wait()
        at_once -= 1
        done.put_nowait(next(calls))

    await client.create(CONFIG_MAP, config_map("it"), namespace)
    async with running(Controller("test", client, [Source(CONFIG_MAP)], reconcile)):
        await inside.wait()
        other = Seen(namespace)
        async with running(Controller("other", client, [Source(CONFIG_MAP)], other.reconcile)):
            assert await other.names.get() == "it"
            await client.patch(CONFIG_MAP, "it", {"data": {"a": "b"}}, namespace)
            assert await other.names.get() == "it"  # so the change has gone round
        proceed.set()
        assert [await done.get(), await done.get()] == [1, 2]


async def test_a_failure_is_tried_again_and_stops_nobody_else(
    client: KubernetesClient, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    failures = itertools.count()
    done: asyncio.Queue[str] = asyncio.Queue()

    async def reconcile(where: str, name: str) -> None:
        if where == namespace and name == "bad" and next(failures) < 2:
            raise ValueError("not yet")
        if where == namespace:
            done.put_nowait(name)

    async with running(Controller("test", client, [Source(CONFIG_MAP)], reconcile)):
        await client.create(CONFIG_MAP, config_map("bad"), namespace)
        await client.create(CONFIG_MAP, config_map("good"), namespace)
        assert {await done.get(), await done.get()} == {"good", "bad"}
    assert [record.levelname for record in caplog.records if "not yet" in record.message] == ["ERROR", "ERROR"]


async def test_it_looks_again_when_it_is_asked_to(client: KubernetesClient, namespace: str) -> None:
    calls = itertools.count(1)
    done: asyncio.Queue[int] = asyncio.Queue()

    async def reconcile(where: str, name: str) -> float | None:
        if (where, name) != (namespace, "it"):
            return None
        call = next(calls)
        done.put_nowait(call)
        return 0.05 if call < 3 else None

    async with running(Controller("test", client, [Source(CONFIG_MAP)], reconcile)):
        await client.create(CONFIG_MAP, config_map("it"), namespace)
        assert [await done.get() for _ in range(3)] == [1, 2, 3]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(done.get(), 0.3)


async def test_what_went_while_the_server_was_away_is_found(
    start_api_server: Callable[..., RunningApiServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "LAST_RETRY_SECONDS", 0.2)
    first = start_api_server()
    async with KubernetesClient(kubeconfig_file(first.kubeconfig)) as client, asyncio.timeout(60):
        for name in ("kept", "gone"):
            await client.create(CONFIG_MAP, config_map(name), "default")
        async with aclosing(changed_keys(client, CONFIG_MAP, _in_default)) as keys:
            assert {await anext(keys), await anext(keys)} == {("default", "kept"), ("default", "gone")}
            await asyncio.to_thread(first.stop)
            # Somebody else deletes it while this watch is cut.
            second = await asyncio.to_thread(start_api_server, first.state_dir, first.port)
            assert second.request("DELETE", "/api/v1/namespaces/default/configmaps/gone")[0] == 200
            found: set[Key] = set()
            while ("default", "gone") not in found:
                found.add(await anext(keys))


def _in_default(obj: dict[str, Any]) -> list[Key]:
    meta = obj["metadata"]
    return [("default", meta["name"])] if meta["namespace"] == "default" else []


async def test_the_same_event_is_counted(client: KubernetesClient, namespace: str) -> None:
    about = await client.create(CONFIG_MAP, config_map("it"), namespace)
    for message in ("first", "second", "first"):
        await record_event(client, about, "Warning", reason="Failed", message=message, source="test")
    events = await client.events(namespace, about["metadata"]["uid"])
    assert {(event["message"], event["count"]) for event in events} == {("first", 2), ("second", 1)}
    assert {event["source"]["component"] for event in events} == {"test"}
