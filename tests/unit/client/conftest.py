"""A scripted HTTP server: what the client tests speak to, since only the wire may be faked."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer

from airflow_provider_sparkml.client import transport
from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_dict
from airflow_provider_sparkml.client.transport import Timeouts
from airflow_provider_sparkml.resources.base import ApiResource

APPS = ApiResource("sparkoperator.k8s.io", "v1beta2", "sparkapplications", "SparkApplication")
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Wire:
    """Answers each path with its scripted answers in turn, the last one for ever, and records what came."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    scripts: dict[str, list[Handler]] = field(default_factory=lambda: defaultdict(list))

    def on(self, path: str, *answers: Handler) -> None:
        self.scripts[path] = list(answers)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        path = unquote(request.path)
        self.seen.append(
            Seen(request.method, path, dict(request.query), dict(request.headers), json.loads(body) if body else None)
        )
        script = self.scripts.get(path)
        if not script:
            return web.Response(status=404, text="404 page not found\n")
        return await (script.pop(0) if len(script) > 1 else script[0])(request)

    def config(self, user: dict[str, Any] | None = None, **cluster: Any) -> dict[str, Any]:
        """Return a kubeconfig for this server."""
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "wire", "user": "me", "namespace": "team"}}],
            "clusters": [{"name": "wire", "cluster": {"server": self.url, **cluster}}],
            "users": [{"name": "me", "user": user or {}}],
        }


class Answers:
    """What a scripted server may answer."""

    @staticmethod
    def obj(body: Any, status: int = 200, **headers: str) -> Handler:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            return web.json_response(body, status=status, headers=headers)

        return answer

    @staticmethod
    def text(body: str | bytes, status: int = 200, **headers: str) -> Handler:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            return web.Response(body=body, status=status, headers=headers)

        return answer

    @classmethod
    def status(cls, code: int, reason: str = "", message: str = "", headers: Any = None, **details: Any) -> Handler:
        body = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message or reason,
            "reason": reason,
            "details": details,
            "code": code,
        }
        return cls.obj(body, code, **(headers or {}))

    @staticmethod
    def drop() -> Handler:
        """Close the connection without a word, after the request was read."""

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        return answer

    @staticmethod
    def stream(*chunks: bytes, cut: bool = False, hold: asyncio.Event | None = None) -> Handler:
        """Send chunks; then end properly, or cut the connection, or first wait for an event."""

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            for chunk in chunks:
                await response.write(chunk)
                await asyncio.sleep(0.01)  # so that chunks do not arrive as one
            if hold is not None:
                await hold.wait()
            if cut:
                assert request.transport is not None
                request.transport.abort()
            else:
                await response.write_eof()
            return response

        return answer


def spark_app(name: str, version: int = 1, state: str = "", **spec: Any) -> dict[str, Any]:
    """Return a SparkApplication as an API server would."""
    return {
        "apiVersion": APPS.api_version,
        "kind": APPS.kind,
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "generation": 1,
            "managedFields": [{"manager": "test"}],
        },
        "spec": {"image": "spark", "mainApplicationFile": "local:///x.py", **spec},
        "status": {"applicationState": {"state": state}} if state else {},
    }


def event(kind: str, obj: dict[str, Any]) -> bytes:
    """Return a watch event as it stands on the wire."""
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


@pytest.fixture
def answers() -> type[Answers]:
    return Answers


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    scripted = Wire()
    server = RawTestServer(scripted.handle)
    await server.start_server()
    scripted.url = f"http://{server.host}:{server.port}"
    yield scripted
    await server.close()


@pytest.fixture
async def client(wire: Wire) -> AsyncIterator[KubernetesClient]:
    timeouts = Timeouts(total=5, request=2, connect=2)
    async with KubernetesClient(kubeconfig_dict(wire.config({"token": "good"})), timeouts=timeouts) as opened:
        yield opened


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Take the jitter's lower end, 0, and return the upper ends that were asked for."""
    asked: list[float] = []

    def uniform(low: float, high: float) -> float:
        asked.append(high)
        return low

    monkeypatch.setattr(transport.random, "uniform", uniform)
    return asked  # type: ignore[return-value]
