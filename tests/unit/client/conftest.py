"""A scripted HTTP server: what the client tests speak to, since only the wire may be faked."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

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
        path = request.path
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
    server = RawTestServer(lambda request: scripted.handle(request))  # noqa: PLW0108 - fixtures replace it
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


class Collection:
    """The SparkApplications of one namespace as an API server serves them, with faults on demand."""

    def __init__(self) -> None:
        self.path = APPS.path("team")
        self.objects: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[int, str, dict[str, Any]]] = []
        self.version = 10
        self.oldest = 0  # versions before this are compacted away
        self.refuse: dict[str, Handler] = {}  # verb → its answer for now
        self.counts: Counter[str] = Counter()
        self.resumed_from: list[str] = []
        self.silent = False  # whether watches are behind: events are kept back
        self._watches: set[asyncio.Event] = set()
        self._cut = asyncio.Event()

    # --- what happens in the cluster ---

    def put(self, name: str, state: str = "") -> None:
        kind = "MODIFIED" if name in self.objects else "ADDED"
        self.version += 1
        obj = spark_app(name, self.version, state)
        self.objects[name] = obj
        self._record(kind, obj)

    def delete(self, name: str) -> None:
        self.version += 1
        obj = self.objects.pop(name)
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        self._record("DELETED", obj)

    def bookmark(self) -> None:
        self.version += 1
        self._record("BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}})

    def send_garbage(self) -> None:
        self._record("MODIFIED", {"metadata": {"resourceVersion": "x", "no-name": True}})

    def compact(self) -> None:
        self.oldest = self.version
        self.history.clear()

    def cut(self) -> None:
        """Break all watches off."""
        self._cut.set()
        self._cut = asyncio.Event()

    def release(self) -> None:
        """Let watches catch up."""
        self.silent = False
        self._wake()

    # --- what tests wait for ---

    async def reached(self, **counts: int) -> None:
        """Wait until so many requests of a verb have come; ``watching=n`` until so many watches are open."""

        def enough() -> bool:
            now = {**self.counts, "watching": len(self._watches)}
            return all(now.get(verb, 0) >= count for verb, count in counts.items())

        async with asyncio.timeout(10):
            while not enough():
                await asyncio.sleep(0.005)

    # --- the server ---

    def _record(self, kind: str, obj: dict[str, Any]) -> None:
        self.history.append((self.version, kind, obj))
        self._wake()

    def _wake(self) -> None:
        for watch in self._watches:
            watch.set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        verb = "get" if request.path != self.path else "watch" if "watch" in request.query else "list"
        self.counts[verb] += 1
        if verb in self.refuse:
            return await self.refuse[verb](request)
        if verb == "get":
            obj = self.objects.get(request.path.rpartition("/")[2])
            answer = Answers.obj(obj) if obj else Answers.status(404, "NotFound", name="x")
            return await answer(request)
        if verb == "list":
            items = list(self.objects.values())
            return await Answers.obj({"metadata": {"resourceVersion": str(self.version)}, "items": items})(request)
        return await self._watch(request)

    async def _watch(self, request: web.BaseRequest) -> web.StreamResponse:
        version = int(request.query["resourceVersion"])
        self.resumed_from.append(str(version))
        if version < self.oldest:
            return await Answers.status(410, "Expired", "too old resource version")(request)
        response = web.StreamResponse()
        await response.prepare(request)
        news, cut = asyncio.Event(), self._cut
        self._watches.add(news)
        try:
            while not cut.is_set():
                news.clear()
                for number, kind, obj in [] if self.silent else list(self.history):
                    if number > version:
                        await response.write(event(kind, obj))
                        version = number
                waits = [asyncio.ensure_future(each.wait()) for each in (news, cut)]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for each in waits:
                    each.cancel()
            assert request.transport is not None
            request.transport.abort()
        finally:
            self._watches.discard(news)
        return response


@pytest.fixture
def collection(wire: Wire) -> Collection:
    """The SparkApplications of namespace ``team``, served by ``wire``."""
    served = Collection()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await served.handle(request)

    wire.handle = handle  # type: ignore[method-assign]
    return served
