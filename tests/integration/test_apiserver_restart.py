"""The API server's process: it starts quickly, listens once, and what it acknowledged outlives its murder."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import LocalClusterError
from airflow_provider_sparkml.local.apiserver import ApiServer

SERVE = """
import asyncio, sys
from pathlib import Path
from airflow_provider_sparkml.local.apiserver import ApiServer

async def main():
    server = ApiServer(Path(sys.argv[1]))
    print(await server.start(), server.admin_token, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class ServerProcess:
    """An API server in a process of its own, to be killed."""

    def __init__(self, state_dir: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(state_dir)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url, self.token = self.process.stdout.readline().split()

    def request(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)  # type: ignore[no-any-return]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


def test_what_was_acknowledged_outlives_a_kill(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    path = "/api/v1/namespaces/default/configmaps"
    server.request("GET", path)
    acknowledged: list[str] = []

    def create(worker: int) -> None:
        try:
            for number in itertools.count():
                made = server.request("POST", path, {"metadata": {"name": f"c-{worker}-{number}"}})
                acknowledged.append(made["metadata"]["name"])
        except OSError:
            return  # killed

    workers = [threading.Thread(target=create, args=(worker,)) for worker in range(4)]
    for worker in workers:
        worker.start()
    while len(acknowledged) < 50:
        time.sleep(0.01)
    server.kill()
    for worker in workers:
        worker.join()
    again = ServerProcess(tmp_path)
    try:
        assert again.token == server.token
        found = {item["metadata"]["name"] for item in again.request("GET", path)["items"]}
        assert set(acknowledged) <= found
        assert len(found) <= len(acknowledged) + 4, "nothing but what was under way besides"
    finally:
        again.kill()


def test_a_restarted_server_goes_on(start_api_server: Callable[..., Any]) -> None:
    first = start_api_server()
    path = "/api/v1/namespaces/default/configmaps"
    definition = {
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
            ],
        },
    }
    assert first.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)[0] == 201
    _, made = first.request("POST", path, {"metadata": {"name": "c"}})
    first.stop()
    second = start_api_server(first.state_dir, first.port)
    assert second.request("GET", f"{path}/c") == (200, made)
    assert second.request("GET", "/apis/example.com/v1/namespaces/default/things")[0] == 200
    old = made["metadata"]["resourceVersion"]
    status, event = second.request("GET", f"{path}?watch=1&timeoutSeconds=1&resourceVersion={old}")
    assert (status, event["object"]["code"]) == (200, 410), "whoever watched must list anew"
    changed = {"data": {"a": "b"}}
    assert second.request("PATCH", f"{path}/c", changed, content_type="application/merge-patch+json")[0] == 200


async def test_a_taken_port_is_refused_and_leaves_nothing_open(tmp_path: Path) -> None:
    first = ApiServer(tmp_path / "a")
    url = await first.start()
    port = int(url.rpartition(":")[2])
    second = ApiServer(tmp_path / "b")
    with pytest.raises(LocalClusterError, match=f"cannot listen on 127.0.0.1:{port}.*choose another --port"):
        await second.start(port=port)
    await first.stop()
    assert await second.start(port=port) == url
    await second.stop()


async def test_it_is_ready_in_less_than_a_second(tmp_path: Path) -> None:
    server = ApiServer(tmp_path)
    before = time.process_time()
    await server.start()
    assert time.process_time() - before < 1.0
    await server.stop()


async def test_watches_do_not_hold_up_the_end(tmp_path: Path) -> None:
    server = ApiServer(tmp_path)
    url = await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    head = f"GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.admin_token}\r\n\r\n"
    writer.write(head.encode())
    assert b"200" in await reader.readline()
    async with asyncio.timeout(10):
        await server.stop()
    writer.close()
