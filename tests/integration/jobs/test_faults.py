"""A wait bears a network that cuts its watch, and an API server that has forgotten where it was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_dict
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.jobs.outcome import Deadlines
from airflow_provider_sparkml.jobs.wait import wait
from airflow_provider_sparkml.resources.base import Phase
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION

GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}
HOP_BY_HOP = {"transfer-encoding", "connection", "content-length", "host", "keep-alive"}


class Proxy:
    """Stands between client and API server; spoils the watches that pass through it."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.gone = 0
        self.forbidden: set[str] = set()
        self.watches = 0
        self.open: set[asyncio.Task[None]] = set()
        self.session = aiohttp.ClientSession()

    def cut(self) -> None:
        for task in self.open:
            task.cancel()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        watching = "watch" in request.query
        self.watches += watching
        if watching and "watch" in self.forbidden:
            body = {"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": "no watch", "code": 403}
            return web.json_response(body, status=403)
        if watching and self.gone:
            self.gone -= 1
            return web.Response(text=json.dumps(GONE) + "\n")
        response = web.StreamResponse()
        forwarding = asyncio.create_task(self._forward(request, response))
        if watching:
            self.open.add(forwarding)
        try:
            await forwarding
        except asyncio.CancelledError:
            request.transport.abort()
        finally:
            self.open.discard(forwarding)
        return response

    async def _forward(self, request: web.Request, response: web.StreamResponse) -> None:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
        url, data = f"{self.target}{request.raw_path}", await request.read()
        async with self.session.request(request.method, url, headers=headers, data=data or None) as answer:
            response.set_status(answer.status)
            response.headers.update({k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP})
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)


@pytest.fixture
async def proxy(api_server) -> AsyncIterator[Proxy]:
    proxy = Proxy(api_server.url)
    yield proxy
    proxy.cut()
    await proxy.session.close()


@pytest.fixture
async def through(api_server, proxy, namespace) -> AsyncIterator[KubernetesClient]:
    """A client whose requests pass through the proxy."""
    token = yaml.safe_load(api_server.airflow_kubeconfig(namespace).read_text())["users"][0]["user"]["token"]
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    async with TestServer(app) as server:
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": str(server.make_url("")).rstrip("/")}}],
            "users": [{"name": "u", "user": {"token": token}}],
        }
        async with KubernetesClient(kubeconfig_dict(config)) as client:
            yield client


@pytest.fixture
async def waiting(through, told, start) -> AsyncIterator[tuple[str, asyncio.Task]]:
    """A wait through the proxy: the name of its job, and its task."""
    ref = (await start()).ref
    hub = WatchHub(through, poll_seconds=0.1)
    task = asyncio.create_task(wait(through, hub, SPARK_APPLICATION, ref, Deadlines(), log=told))
    await told.until("PENDING")
    yield ref.name, task
    task.cancel()
    await asyncio.wait([task])
    await hub.close()


async def seen(told, operator, name, states):
    for state in states:
        await operator.write(name, state)
        await told.until(state)


async def test_a_watch_that_is_cut_again_and_again(proxy, operator, told, waiting):
    name, task = waiting
    for state in ("SUBMITTED", "SUSPENDED", "RESUMING", "UNKNOWN", "FAILING"):
        async with asyncio.timeout(20):
            while not proxy.open:
                await asyncio.sleep(0.01)
        proxy.cut()
        await seen(told, operator, name, [state])
    proxy.cut()
    await operator.write(name, "COMPLETED")
    assert (await asyncio.wait_for(task, 20)).verdict.phase is Phase.SUCCEEDED


async def test_410_gone(proxy, operator, told, waiting):
    name, task = waiting
    async with asyncio.timeout(20):
        while not proxy.open:
            await asyncio.sleep(0.01)
    proxy.gone = 3
    proxy.cut()
    await seen(told, operator, name, ["SUBMITTED", "FAILING"])
    await operator.write(name, "COMPLETED")
    assert (await asyncio.wait_for(task, 20)).verdict.phase is Phase.SUCCEEDED
    assert proxy.gone == 0


async def test_deleted_while_the_watch_was_away(proxy, operator, told, waiting, client, namespace):
    name, task = waiting
    await seen(told, operator, name, ["SUSPENDED"])
    proxy.gone = 1
    proxy.cut()
    await client.delete(SPARK_APPLICATION.api, name, namespace, propagation="Background")
    outcome = await asyncio.wait_for(task, 20)
    assert outcome.deleted
    assert outcome.verdict.phase is Phase.QUEUED


async def test_where_watching_is_forbidden_it_polls(proxy, operator, told, through, start):
    proxy.forbidden = {"watch"}
    ref = (await start()).ref
    hub = WatchHub(through, poll_seconds=0.1)
    task = asyncio.create_task(wait(through, hub, SPARK_APPLICATION, ref, Deadlines(), log=told))
    await seen(told, operator, ref.name, ["SUBMITTED", "FAILING"])
    await operator.write(ref.name, "COMPLETED")
    assert (await asyncio.wait_for(task, 20)).verdict.phase is Phase.SUCCEEDED
    await hub.close()
