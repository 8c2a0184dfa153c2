"""The ``sshd`` of pods: lets whoever has the job's key run commands in this pod; they end with their connection.

Listens on the pod's own address. A command sees the container's variables, where OpenSSH would give it fresh ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import asyncssh

from airflow_provider_sparkml.local.pods.ssh import PORT, parse

GRACE_SECONDS = 2.0
LAST_OUTPUT_SECONDS = 2.0


async def serve(port: int) -> None:
    """Listen until SIGTERM."""
    keys = Path.home() / ".ssh"
    address = os.environ.get("SPARKML_POD_IP", "127.0.0.1")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncssh.listen(
        address,
        port,
        server_host_keys=[str(keys / "id_rsa")],
        authorized_client_keys=str(keys / "authorized_keys"),
        process_factory=_handle,
        encoding=None,
        config=None,
        keepalive_interval=15,
        allow_scp=False,
    )
    print(f"Server listening on {address} port {port}.", file=sys.stderr, flush=True)
    async with server:
        await stop.wait()


async def _handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run the command of one session, in a session of its own, to its end or that of the connection."""
    child = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", process.command or "",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    feeding = asyncio.create_task(_feed(process, child))
    telling = asyncio.gather(_tell(child.stdout, process.stdout), _tell(child.stderr, process.stderr))
    waiting = asyncio.create_task(child.wait())
    leaving = asyncio.create_task(process.wait_closed())
    try:
        await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            await asyncio.wait([telling], timeout=LAST_OUTPUT_SECONDS)
            code = waiting.result()
            process.exit(code if code >= 0 else 128 - code)
    finally:
        await _end(child)
        for task in (feeding, telling, waiting, leaving):
            task.cancel()
        await asyncio.gather(feeding, telling, waiting, leaving, return_exceptions=True)


async def _feed(process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process) -> None:
    if child.stdin is None:
        return
    with contextlib.suppress(OSError, asyncssh.Error):
        while chunk := await process.stdin.read(1 << 16):
            child.stdin.write(chunk)
            await child.stdin.drain()
    child.stdin.close()


async def _tell(source: asyncio.StreamReader | None, target: asyncssh.SSHWriter[bytes]) -> None:
    if source is None:
        return
    with contextlib.suppress(OSError, asyncssh.Error):
        while chunk := await source.read(1 << 16):
            target.write(chunk)
            await target.drain()


async def _end(child: asyncio.subprocess.Process) -> None:
    """End what is left of a command's process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await child.wait()


def main() -> int:
    """Run the program."""
    options, _, _ = parse(sys.argv[1:])
    try:
        asyncio.run(serve(int(options.get("p") or options.get("port") or PORT)))
    except (OSError, asyncssh.Error) as error:
        print(f"sshd: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
