"""The service proxy, connection by connection, with real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from airflow_provider_sparkml.exceptions import LocalClusterError
from airflow_provider_sparkml.local.controllers import services
from airflow_provider_sparkml.local.controllers.services import (
    Endpoint,
    Listener,
    free_node_port,
    target_port,
)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[Endpoint]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        yield host, port
    finally:
        server.close()


@contextlib.asynccontextmanager
async def proxying(*endpoints: Endpoint) -> AsyncIterator[tuple[Listener, Endpoint]]:
    """A listener in front of some pods."""
    listener = Listener()
    port = await listener.start(0)
    listener.point_at(list(endpoints))
    try:
        yield listener, ("127.0.0.1", port)
    finally:
        await listener.close()


def pod(name: bytes) -> Handler:
    """A pod that answers each line with its name and the line, and says goodbye at the end."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(name + b":" + line)
            await writer.drain()
        writer.write(b"bye\n")
        await writer.drain()
        writer.close()

    return handle


async def ask(endpoint: Endpoint, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*endpoint)
    writer.write(text)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def test_both_directions_and_both_ends_are_passed_on() -> None:
    async with listening(pod(b"a")) as a, proxying(a) as (_, front):
        assert await ask(front, b"one\ntwo\n") == b"a:one\na:two\nbye\n"


async def test_large_answers_pass_whole() -> None:
    size = 5_000_000

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"x" * size)
        await writer.drain()
        writer.close()

    async with listening(flood) as a, proxying(a) as (_, front):
        assert await ask(front, b"go\n") == b"x" * size


async def test_ready_pods_take_turns() -> None:
    async with listening(pod(b"a")) as a, listening(pod(b"b")) as b, proxying(a, b) as (_, front):
        answers = [await ask(front, b"\n") for _ in range(4)]
    assert sorted(answer[:1] for answer in answers) == [b"a", b"a", b"b", b"b"]


async def test_new_connections_follow_a_rollout_and_open_ones_stay() -> None:
    async with listening(pod(b"a")) as a, listening(pod(b"b")) as b, proxying(a) as (listener, front):
        reader, writer = await asyncio.open_connection(*front)
        writer.write(b"1\n")
        assert await reader.readline() == b"a:1\n"
        listener.point_at([b])
        assert (await ask(front, b"2\n")).startswith(b"b:2\n")
        writer.write(b"3\n")
        assert await reader.readline() == b"a:3\n"
        writer.close()


async def test_a_connection_waits_for_the_first_ready_pod() -> None:
    async with listening(pod(b"a")) as a, proxying() as (listener, front):
        reader, writer = await asyncio.open_connection(*front)
        writer.write(b"1\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readline(), 0.1)
        listener.point_at([a])
        assert await reader.readline() == b"a:1\n"
        writer.close()


async def test_a_pod_that_just_went_is_passed_over() -> None:
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))
        dead: Endpoint = gone.getsockname()
        async with listening(pod(b"a")) as a, proxying(dead, a) as (_, front):
            for _ in range(3):
                assert (await ask(front, b"1\n")).startswith(b"a:1\n")


async def test_with_no_pod_the_connection_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "ENDPOINT_WAIT_SECONDS", 0.1)
    async with proxying() as (_, front), asyncio.timeout(5):
        assert await ask(front, b"1\n") == b""


async def test_a_pod_that_dies_in_the_middle_ends_the_connection() -> None:
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.transport.abort()

    async with listening(die) as a, proxying(a) as (_, front), asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(*front)
        writer.write(b"1\n")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


async def test_a_node_port_is_the_same_again_unless_it_is_taken() -> None:
    first = await free_node_port("ns/web/80", set())
    assert first in services.NODE_PORTS
    assert await free_node_port("ns/web/80", set()) == first
    assert await free_node_port("ns/web/80", {first}) != first
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", first))
        other.listen()
        assert await free_node_port("ns/web/80", set()) != first


async def test_a_full_range_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "NODE_PORTS", range(30000, 30002))
    with pytest.raises(LocalClusterError, match="all ports from 30000 to 30001"):
        await free_node_port("x", {30000, 30001})


@pytest.mark.parametrize(
    ("port", "found"),
    [({"port": 80, "targetPort": 9000}, 9000), ({"port": 80}, 80), ({"port": 80, "targetPort": "http"}, 8080)],
)
def test_target_ports(port: dict[str, object], found: int) -> None:
    spec = {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]}
    assert target_port({"spec": spec}, port) == found
