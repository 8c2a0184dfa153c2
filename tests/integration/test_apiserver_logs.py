"""Logs of pods: any part of a log of any size, followed to its end, with times that never change."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

SECOND = 1_000_000_000


class Pod:
    """A pod whose container writes what the test says, in place of a kubelet."""

    def __init__(self, api_server: Any, namespace: str) -> None:
        self.server = api_server
        self.path = f"/api/v1/namespaces/{namespace}/pods"
        spec = {"nodeName": "node", "containers": [{"name": "main", "image": "x"}]}
        status, made = api_server.request("POST", self.path, {"metadata": {"name": "p"}, "spec": spec})
        assert status == 201
        self.file: Path = api_server.log_path(made["metadata"]["uid"])

    def write(self, text: str) -> None:
        with self.file.open("a") as file:
            file.write(text)

    def set_state(self, restarts: int = 0, **state: Any) -> None:
        container = {
            "name": "main",
            "state": state,
            "restartCount": restarts,
            "ready": False,
            "image": "",
            "imageID": "",
        }
        patch = {"status": {"phase": "Running", "containerStatuses": [container]}}
        path = f"{self.path}/p/status"
        status, _ = self.server.request("PATCH", path, patch, content_type="application/merge-patch+json")
        assert status == 200

    def read(self, **query: Any) -> Any:
        text = "&".join(f"{name}={value}" for name, value in query.items())
        return self.server.request("GET", f"{self.path}/p/log?{text}")


@pytest.fixture
def pod(api_server: Any, namespace: str) -> Pod:
    return Pod(api_server, namespace)


@pytest.fixture
async def session(api_server: Any) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {api_server.token}"}
    async with aiohttp.ClientSession(api_server.url, headers=headers) as session:
        yield session


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "one\ntwo\nthree\n"),
        ({"tailLines": 2}, "two\nthree\n"),
        ({"tailLines": 0}, ""),
        ({"tailLines": 9}, "one\ntwo\nthree\n"),
        ({"limitBytes": 5}, "one\nt"),
        ({"tailLines": 2, "limitBytes": 3}, "two"),
        ({"container": "main"}, "one\ntwo\nthree\n"),
    ],
)
def test_parts_of_a_log(pod: Pod, query: dict[str, Any], expected: str) -> None:
    pod.write("one\ntwo\nthree\n")
    assert pod.read(**query) == (200, expected)


def test_a_last_line_without_an_end_counts(pod: Pod) -> None:
    pod.write("one\ntwo")
    assert pod.read(tailLines=1) == (200, "two")
    status, text = pod.read(timestamps="true", tailLines=1)
    assert (status, text.split(" ", 1)[1]) == (200, "two")


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ({"container": "nope"}, 400, "container nope is not valid for pod p"),
        ({"previous": "true"}, 400, 'previous terminated container "main" in pod "p" not found'),
        ({"tailLines": "-1"}, 400, "tailLines"),
        ({"sinceSeconds": "0"}, 422, "sinceSeconds"),
        ({"limitBytes": "0"}, 422, "limitBytes"),
        ({"sinceTime": "yesterday"}, 400, "sinceTime"),
        ({"sinceTime": "2026-01-01T00:00:00Z", "sinceSeconds": "5"}, 422, "at most one of"),
    ],
)
def test_what_cannot_be_read_is_refused(pod: Pod, query: dict[str, Any], code: int, message: str) -> None:
    pod.write("x\n")
    status, answer = pod.read(**query)
    assert (status, message in answer["message"]) == (code, True)


def test_a_container_that_has_not_started_says_why(pod: Pod) -> None:
    pod.set_state(waiting={"reason": "ImagePullBackOff"})
    status, answer = pod.read()
    assert (status, answer["message"]) == (400, 'container "main" in pod "p" is waiting to start: ImagePullBackOff')


def test_the_former_instance_has_its_own_log(pod: Pod) -> None:
    pod.file.with_name("main.previous.log").write_text("before\n")
    pod.write("now\n")
    assert pod.read(previous="true") == (200, "before\n")
    assert pod.read() == (200, "now\n")


def test_with_several_containers_one_must_be_named(api_server: Any, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    containers = [{"name": name, "image": "x"} for name in ("a", "b")]
    spec = {"nodeName": "node", "containers": containers}
    uid = api_server.request("POST", path, {"metadata": {"name": "p"}, "spec": spec})[1]["metadata"]["uid"]
    api_server.log_path(uid, "b").write_text("from b\n")
    status, answer = api_server.request("GET", f"{path}/p/log")
    assert (status, "choose one of: [a b]" in answer["message"]) == (400, True)
    assert api_server.request("GET", f"{path}/p/log?container=b") == (200, "from b\n")


async def lines_of(answer: aiohttp.ClientResponse, count: int) -> list[str]:
    return [(await answer.content.readline()).decode() for _ in range(count)]


async def test_a_log_is_followed_to_the_end_of_its_container(pod: Pod, session: aiohttp.ClientSession) -> None:
    pod.set_state(running={"startedAt": "2026-01-01T00:00:00Z"})
    pod.write("one\n")
    async with asyncio.timeout(20), session.get(f"{pod.path}/p/log", params={"follow": "true"}) as answer:
        assert await lines_of(answer, 1) == ["one\n"]
        pod.write("two\n")
        assert await lines_of(answer, 1) == ["two\n"]
        pod.write("last")
        await asyncio.to_thread(pod.set_state, terminated={"exitCode": 0})
        assert await answer.content.read() == b"last"


async def test_following_ends_with_the_pod_and_with_a_restart(pod: Pod, session: aiohttp.ClientSession) -> None:
    pod.set_state(running={"startedAt": "2026-01-01T00:00:00Z"})
    pod.write("one\n")
    for end in (
        lambda: pod.set_state(1, running={}),
        lambda: pod.server.request("DELETE", f"{pod.path}/p?gracePeriodSeconds=0"),
    ):
        async with asyncio.timeout(20), session.get(f"{pod.path}/p/log", params={"follow": "true"}) as answer:
            assert await lines_of(answer, 1) == ["one\n"]
            await asyncio.to_thread(end)
            assert await answer.content.read() == b""


async def test_what_was_seen_is_not_seen_again_nor_lost(pod: Pod, session: aiohttp.ClientSession) -> None:
    """A follower that is cut off goes on by the time of its last line."""
    pod.set_state(running={"startedAt": "2026-01-01T00:00:00Z"})
    pod.write("".join(f"line {number}\n" for number in range(50)))
    query = {"follow": "true", "timestamps": "true"}
    async with asyncio.timeout(20), session.get(f"{pod.path}/p/log", params=query) as answer:
        seen = await lines_of(answer, 30)
    pod.write("".join(f"line {number}\n" for number in range(50, 100)))
    await asyncio.to_thread(pod.set_state, terminated={"exitCode": 0})
    last = seen[-1].split(" ", 1)[0]
    async with session.get(f"{pod.path}/p/log", params=query | {"sinceTime": last}) as answer:
        rest = (await answer.text()).splitlines(keepends=True)
    overlap = [line for line in rest if line in seen]
    assert overlap == seen[-1:], "sinceTime includes its own instant, and every line keeps its time"
    texts = [line.split(" ", 1)[1] for line in seen + rest[len(overlap) :]]
    assert texts == [f"line {number}\n" for number in range(100)]


def test_since_leaves_out_what_was_written_before(pod: Pod) -> None:
    pod.write("old\n")
    os.utime(pod.file, ns=(1000 * SECOND, 1000 * SECOND))
    pod.read(timestamps="true")  # whoever asks for times has them noted
    pod.write("new\n")
    assert pod.read(sinceSeconds=60) == (200, "new\n")
    assert pod.read(sinceTime="1970-01-01T00:00:00Z") == (200, "old\nnew\n")
    assert pod.read(sinceTime="2999-01-01T00:00:00Z") == (200, "")


async def test_a_log_of_200_megabytes_takes_no_memory(pod: Pod, session: aiohttp.ClientSession) -> None:
    block = (b"x" * 1023 + b"\n") * 1024
    with pod.file.open("wb") as file:
        for _ in range(200):
            file.write(block)
    tracemalloc.start()
    try:
        size = 0
        async with asyncio.timeout(120), session.get(f"{pod.path}/p/log") as answer:
            async for chunk in answer.content.iter_any():
                size += len(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == 200 * len(block)
    assert peak < 30 * 1024 * 1024, "server and client together"
    status, text = await asyncio.to_thread(pod.read, tailLines=3, timestamps="true")
    assert (status, len(text.splitlines())) == (200, 3)
