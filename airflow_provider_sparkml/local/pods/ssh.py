"""The ``ssh`` of pods: runs a command in another pod over the real SSH protocol, with the keys mounted at ``~/.ssh``.

``ssh [options] [user@]host command…`` as OpenSSH's, with its exit codes: the command's, or 255. Of its options
``-p``, ``-i``, ``-n``, ``-o ConnectionAttempts``, ``-o ConnectTimeout`` and ``-o Port`` have an effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Protocol

import asyncssh

from airflow_provider_sparkml.local.pods.inside import pod_dns

PORT = 2222
"""Where the sshd of pods listens; 22 is for root alone."""

WITH_VALUE = "BbcDEeFIiJLlmOopQRSWw"
CONNECTION_FAILED = 255
PART_OF_LINE_SECONDS = 0.2
"""How long the end of a line is waited for; a program may write a line in pieces, as ``print`` does unbuffered."""


class Reader(Protocol):
    """What output is read from."""

    async def read(self, n: int, /) -> bytes:
        """Return at most that many bytes, as soon as there are some; none at the end."""


def parse(arguments: list[str]) -> tuple[dict[str, str], str, str]:
    """Return options, host and command of a command line; ``-o Name=value`` is an option ``name``.

    Options stand before the host or after it, but not after the command's first word.
    """
    options: dict[str, str] = {}
    words, host = list(arguments), ""
    while words:
        word = words.pop(0)
        if word.startswith("-") and word != "-":
            _take_options(word[1:], words, options)
        elif not host:
            host = word
        else:
            words.insert(0, word)
            break
    return options, host.rpartition("@")[2], " ".join(words)


def _take_options(flags: str, words: list[str], options: dict[str, str]) -> None:
    """Note the options of one word; the value of the last may be the next word."""
    while flags:
        flag, flags = flags[0], flags[1:]
        if flag not in WITH_VALUE:
            options[flag] = ""
            continue
        value = flags or (words.pop(0) if words else "")
        if flag == "o":
            name, _, setting = value.replace(" ", "=", 1).partition("=")
            options[name.lower()] = setting
        else:
            options[flag] = value
        return


async def connect(options: dict[str, str], host: str) -> asyncssh.SSHClientConnection:
    """Connect to the sshd of a pod, as often as ``ConnectionAttempts`` says, a second apart."""
    key = asyncssh.read_private_key(options.get("i") or Path.home() / ".ssh" / "id_rsa")
    attempts = int(options.get("connectionattempts", "1"))
    for attempt in range(1, attempts + 1):
        try:
            return await asyncssh.connect(
                host,
                int(options.get("p") or options.get("port") or PORT),
                client_keys=[key],
                # All pods of a job share one key, so the other side proves by it that it is one of them.
                known_hosts=([key.convert_to_public()], [], []),
                config=None,
                connect_timeout=float(options.get("connecttimeout", "30")),
                keepalive_interval=15,
            )
        except (OSError, asyncssh.Error):
            if attempt >= attempts:
                raise
            await asyncio.sleep(1)
    raise asyncssh.ConnectionLost("no attempt was allowed")


async def run(options: dict[str, str], host: str, command: str) -> int:
    """Run a command in a pod, with this program's own streams, and return its exit code."""
    try:
        connection = await connect(options, host)
    except (OSError, asyncssh.Error) as error:
        print(f"ssh: connect to host {host} port {options.get('p') or PORT}: {error}", file=sys.stderr)
        return CONNECTION_FAILED
    try:
        async with connection:
            process = await connection.create_process(command, encoding=None)
            if "n" in options:
                process.stdin.write_eof()
            else:
                # A thread, since a loop cannot wait for a file or /dev/null; it need not have read all when we end.
                loop = asyncio.get_running_loop()
                threading.Thread(target=_feed, args=(loop, process.stdin), daemon=True).start()
            await asyncio.gather(copy(process.stdout, 1), copy(process.stderr, 2))
            await process.wait_closed()
    except (OSError, asyncssh.Error):  # the pod is gone
        print(f"Connection to {host} closed by remote host.", file=sys.stderr)
        return CONNECTION_FAILED
    if process.exit_signal or process.returncode is None:
        return CONNECTION_FAILED
    return int(process.returncode)


def _feed(loop: asyncio.AbstractEventLoop, target: asyncssh.SSHWriter[bytes]) -> None:
    """Pass standard input on."""

    async def write(chunk: bytes) -> None:
        target.write(chunk)
        await target.drain()

    with contextlib.suppress(OSError, RuntimeError, asyncssh.Error):  # the command has ended
        while chunk := os.read(0, 1 << 16):
            asyncio.run_coroutine_threadsafe(write(chunk), loop).result()
        loop.call_soon_threadsafe(target.write_eof)


async def copy(source: Reader, target: int) -> None:
    """Pass output on in whole lines, each in one write: several of these programs may share one log.

    What has no line's end is passed on once nothing follows it for a moment: a prompt, or what is no text.

    :param source: what the command in the other pod writes.
    :param target: the file descriptor that it is passed on to.
    """
    held = b""
    try:
        while True:
            try:
                async with asyncio.timeout(PART_OF_LINE_SECONDS if held else None):
                    chunk = await source.read(1 << 16)
            except TimeoutError:
                held = _write(held, target)
                continue
            if not chunk:
                return
            held += chunk
            end = 1 + max(held.rfind(b"\n"), held.rfind(b"\r"))  # a bar of progress has no line feeds
            _write(held[:end], target)
            held = held[end:] if len(held) - end < 1 << 16 else _write(held[end:], target)
    finally:
        _write(held, target)


def _write(chunk: bytes, target: int) -> bytes:
    """Write all, at once unless the other side takes less, and return what is left: nothing."""
    while chunk:
        try:
            chunk = chunk[os.write(target, chunk) :]
        except BrokenPipeError:  # whoever read our output is gone
            os._exit(128 + signal.SIGPIPE)
    return chunk


def main() -> int:
    """Run the program."""
    options, host, command = parse(sys.argv[1:])
    if not host or not command:
        print("usage: ssh [options] [user@]host command", file=sys.stderr)
        return CONNECTION_FAILED
    pod_dns.install()
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(run(options, host, command))
    return 130


if __name__ == "__main__":
    sys.exit(main())
