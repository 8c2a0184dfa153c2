"""A kubelet's log endpoint over HTTP, and a log that keeps what it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_dict

START = datetime(2026, 11, 22, 10, tzinfo=UTC)


class Told:
    """A job log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []

    def info(self, msg, /, *args):
        self.lines.append(msg % args)

    def warning(self, msg, /, *args):
        self.warnings.append(msg % args)
        self.lines.append(msg % args)

    @property
    def driver(self) -> list[str]:
        return [line.removeprefix("[driver] ") for line in self.lines if line.startswith("[driver] ")]


@dataclass
class LogServer:
    """Serves one container's log as a kubelet does, and breaks off when told to."""

    lines: list[tuple[datetime, str]] = field(default_factory=list)
    ended: bool = False
    cut_after: int | None = None
    refuse: tuple[int, str] | None = None
    requests: list[dict[str, str]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    open_streams: int = 0
    sent_bytes: int = 0

    def write(self, *texts: str, at: float = 0.0) -> None:
        """Append lines, all of one instant: seconds after the start."""
        self.lines += [(START + timedelta(seconds=at), text) for text in texts]
        self.poke()

    def end(self) -> None:
        self.ended = True
        self.poke()

    def poke(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        self.requests.append(query)
        if self.refuse is not None:
            status, reason = self.refuse
            body = {"kind": "Status", "status": "Failure", "reason": reason, "message": reason, "code": status}
            return web.json_response(body, status=status)
        since = datetime.fromisoformat(query["sinceTime"]).replace(microsecond=0) if "sinceTime" in query else START
        first = max(0, len(self.lines) - int(query["tailLines"])) if "tailLines" in query else 0
        response = web.StreamResponse()
        await response.prepare(request)
        self.open_streams += 1
        try:
            await self._send(response, query, first, since)
        except ConnectionError:
            pass
        finally:
            self.open_streams -= 1
        return response

    async def _send(self, response: web.StreamResponse, query: dict[str, str], index: int, since: datetime) -> None:
        left = int(query.get("limitBytes", 1 << 60))
        while True:
            changed = self.changed
            while index < len(self.lines):
                at, text = self.lines[index]
                index += 1
                if at < since:
                    continue
                stamp = at.isoformat().replace("+00:00", "Z")
                data = (f"{stamp} {text}\n" if "timestamps" in query else f"{text}\n").encode()[:left]
                left -= len(data)
                self.sent_bytes += len(data)
                await response.write(data)
                if left <= 0:
                    return
                if self.cut_after is not None:
                    self.cut_after -= 1
                    if self.cut_after <= 0:
                        self.cut_after = None
                        return
            if self.ended or "follow" not in query:
                return
            await changed.wait()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def log_server() -> LogServer:
    return LogServer()


@pytest.fixture
async def client(log_server) -> AsyncIterator[KubernetesClient]:
    app = web.Application()
    app.router.add_get("/api/v1/namespaces/team-a/pods/{pod}/log", log_server.handle)
    async with TestServer(app) as server:
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": str(server.make_url("")).rstrip("/")}}],
            "users": [{"name": "u", "user": {}}],
        }
        async with KubernetesClient(kubeconfig_dict(json.loads(json.dumps(config)))) as client:
            yield client
