"""The command line of the pods' ssh, which takes what OpenSSH's takes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from airflow_provider_sparkml.local.pods import ssh
from airflow_provider_sparkml.local.pods.ssh import parse


@pytest.mark.parametrize(
    ("line", "options", "host", "command"),
    [
        (["zero.ring", "echo", "a b"], {}, "zero.ring", "echo a b"),
        (
            ["-x", "root@zero", "-p", "1", "-o", "ConnectTimeout=3", "c"],
            {"x": "", "p": "1", "connecttimeout": "3"},
            "zero",
            "c",
        ),
        (["h", "c", "-p", "1"], {}, "h", "c -p 1"),
        (["-o", "ConnectionAttempts=10", "h", "c"], {"connectionattempts": "10"}, "h", "c"),
        (["-oPort 23", "-tti", "key", "h", "c"], {"port": "23", "t": "", "i": "key"}, "h", "c"),
        (["-p2", "-l", "me", "h"], {"p": "2", "l": "me"}, "h", ""),
        (["-De"], {"D": "e"}, "", ""),
    ],
)
def test_options_end_at_the_command(line: list[str], options: dict[str, str], host: str, command: str) -> None:
    assert parse(line) == (options, host, command)


class Output:
    """What a command's output is passed on to; each write is seen by itself, as datagrams are."""

    def __init__(self) -> None:
        self.source = asyncio.StreamReader()
        self.theirs, self.ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ours.setblocking(False)
        self.copying = asyncio.create_task(ssh.copy(self.source, self.theirs.fileno()))

    async def written(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.ours, 1 << 20)

    async def end(self) -> None:
        self.source.feed_eof()
        await self.copying


@pytest.fixture
async def output() -> AsyncIterator[Output]:
    found = Output()
    yield found
    found.copying.cancel()
    await asyncio.gather(found.copying, return_exceptions=True)
    found.ours.close()
    found.theirs.close()


async def test_a_line_that_comes_in_pieces_is_written_at_once(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "PART_OF_LINE_SECONDS", 60)
    for piece in (b"rank=0 ", b"result=1", b"\nra", b"nk=1 50 %\rrank=1"):
        output.source.feed_data(piece)
        for _ in range(5):  # each piece is read by itself
            await asyncio.sleep(0)
    assert [await output.written() for _ in range(2)] == [b"rank=0 result=1\n", b"rank=1 50 %\r"]
    await output.end()
    assert await output.written() == b"rank=1"


async def test_what_has_no_end_of_line_is_passed_on_as_well(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "PART_OF_LINE_SECONDS", 0.001)
    output.source.feed_data(b"password: ")
    assert await output.written() == b"password: "
    monkeypatch.setattr(ssh, "PART_OF_LINE_SECONDS", 60)
    output.source.feed_data(b"x" * (1 << 16))
    assert len(await output.written()) == 1 << 16
