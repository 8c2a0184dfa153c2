"""Requests forwarded to pods and services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

MERGE = "application/merge-patch+json"


async def echo(request: web.Request) -> web.StreamResponse:
    """Tell what arrived."""
    if request.path == "/moved":
        return web.Response(status=302, headers={"Location": "/jobs/"})
    if request.path == "/broken":
        return web.Response(status=500, text="broken")
    return web.json_response(
        {
            "method": request.method,
            "path": request.path_qs,
            "headers": dict(request.headers),
            "body": (await request.read()).decode(),
        }
    )


@pytest.fixture
async def backend() -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.fixture
async def session(api_server: Any) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {api_server.token}"}
    async with aiohttp.ClientSession(api_server.url, headers=headers) as session:
        yield session


@pytest.fixture
def core(api_server: Any, namespace: str, backend: int) -> str:
    """A pod ``p`` that serves, and a service ``s`` in front of it."""
    core = f"/api/v1/namespaces/{namespace}"
    container = {"name": "a", "image": "x", "ports": [{"name": "http", "containerPort": backend}]}
    pod = {"metadata": {"name": "p", "labels": {"app": "p"}}, "spec": {"containers": [container]}}
    assert api_server.request("POST", f"{core}/pods", pod)[0] == 201
    ready = {"podIP": "127.0.0.1", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    assert api_server.request("PATCH", f"{core}/pods/p/status", {"status": ready}, content_type=MERGE)[0] == 200
    ports = [{"name": "web", "port": 80, "targetPort": "http"}]
    service = {"metadata": {"name": "s"}, "spec": {"selector": {"app": "p"}, "ports": ports}}
    assert api_server.request("POST", f"{core}/services", service)[0] == 201
    return core


async def test_a_pods_port_is_reached(session: aiohttp.ClientSession, core: str, backend: int) -> None:
    path = f"{core}/pods/p:{backend}/proxy/api/v1/applications?status=running&x=%2F"
    async with session.get(URL(path, encoded=True)) as answer:
        assert answer.status == 200
        seen = await answer.json()
    assert seen["path"] == "/api/v1/applications?status=running&x=%2F"
    assert "Authorization" not in seen["headers"], "the token is for the API server alone"
    assert seen["headers"]["Host"] == f"127.0.0.1:{backend}"


async def test_a_body_goes_along(session: aiohttp.ClientSession, core: str) -> None:
    async with session.post(f"{core}/pods/http:p:http/proxy/v2/models/m/infer", json={"inputs": []}) as answer:
        seen = await answer.json()
    assert (seen["method"], seen["body"], seen["headers"]["Content-Type"]) == (
        "POST",
        '{"inputs": []}',
        "application/json",
    )


async def test_a_service_leads_to_its_ready_pod(session: aiohttp.ClientSession, core: str) -> None:
    for name in ("s", "s:80", "s:web", "http:s:web"):
        async with session.get(f"{core}/services/{name}/proxy/healthz") as answer:
            assert (await answer.json())["path"] == "/healthz"


async def test_answers_come_back_as_they_are(session: aiohttp.ClientSession, core: str) -> None:
    async with session.get(f"{core}/services/s/proxy/broken") as answer:
        assert (answer.status, await answer.text()) == (500, "broken")
    async with session.get(f"{core}/services/s/proxy/moved", allow_redirects=False) as answer:
        assert answer.headers["Location"] == f"{core}/services/s/proxy/jobs/"


async def test_what_cannot_be_reached_is_refused(
    session: aiohttp.ClientSession, core: str, api_server: Any, unused_port: int
) -> None:
    for path, status in (
        (f"pods/p:{unused_port}/proxy/", 503),
        ("pods/absent:80/proxy/", 404),
        ("pods/p:nonsense/proxy/", 400),
        ("services/absent/proxy/", 404),
        ("services/s:81/proxy/", 503),
    ):
        async with session.get(f"{core}/{path}") as answer:
            assert (answer.status, (await answer.json())["kind"]) == (status, "Status"), path
    not_ready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    api_server.request("PATCH", f"{core}/pods/p/status", not_ready, content_type=MERGE)
    async with session.get(f"{core}/services/s/proxy/") as answer:
        assert answer.status == 503


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
