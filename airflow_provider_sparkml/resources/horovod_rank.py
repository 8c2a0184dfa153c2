"""Runs a program as one rank of Horovod over Gloo in plain pods, which meet at rank 0: no ``horovodrun``, no ssh.

Pods get this file as text (``python -c``), so it needs only what is in them: Horovod, the variables of
``TrainingPods``, and Python from 3.8 on, which Horovod's own images have. Rank 0 serves Horovod's rendezvous, as
``horovodrun`` does for ranks that it starts itself; the variables are those of ``horovod/runner/gloo_run.py``.
Manifests are templates: there must be nothing in here that Jinja would take for its own.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from types import FrameType
from typing import Any

SCOPE = "sparkml"
"""Keys of ours in the rendezvous store: ``ready-1`` and ``go-1``, which repeats what rank 1 said there, ``done-1``."""
POLL_SECONDS = 0.2
LAST_SECONDS = 60.0
"""How long rank 0, when it has ended well, goes on serving ranks that are about to."""


def main(command: list[str]) -> int:
    """Run the command once all ranks are there, and return its exit code."""
    if not command:
        sys.exit("usage: horovod_rank PROGRAM ARGUMENT...")
    _on_signals(_end)  # the first process of a pod would ignore them
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    until = time.monotonic() + float(os.environ.get("HOROVOD_START_TIMEOUT") or 600)
    port = int(os.environ["MASTER_PORT"])
    if rank == 0:
        # Its own, not the Service's: that may still lead to a pod of before.
        address = socket.gethostbyname(os.environ.get("HOSTNAME") or socket.gethostname())
        server = _serve(address, port, size)
        _gather(server, size, until)
    else:
        address, server = _join(os.environ["MASTER_ADDR"], port, rank, until), None
    code = _run(command, {**os.environ, **variables(rank, size, address, port)})
    if server is None:
        _tell_done(address, port, rank)
    elif code == 0:
        _wait_for_others(server, size)
    return code


def variables(rank: int, size: int, address: str, port: int) -> dict[str, str]:
    """Return what Horovod reads in a rank that is alone in its pod.

    :param rank: the rank, from 0 on.
    :param size: number of ranks.
    :param address: IP address of rank 0.
    :param port: port of the rendezvous server there.
    """
    return {
        "HOROVOD_HOSTNAME": f"rank-{rank}",
        "HOROVOD_RANK": str(rank),
        "HOROVOD_SIZE": str(size),
        "HOROVOD_LOCAL_RANK": "0",
        "HOROVOD_LOCAL_SIZE": "1",
        "HOROVOD_CROSS_RANK": str(rank),
        "HOROVOD_CROSS_SIZE": str(size),
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": address,
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port),
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        "PYTHONUNBUFFERED": "1",
    }


def _serve(address: str, port: int, size: int) -> Any:
    """Start the rendezvous server."""
    from horovod.runner.common.util.hosts import SlotInfo  # type: ignore[import-not-found]
    from horovod.runner.http.http_server import (  # type: ignore[import-not-found]
        RendezvousHandler,
        RendezvousHTTPServer,
    )

    server = RendezvousHTTPServer((address, port), RendezvousHandler, 0)
    server.daemon_threads = True
    server.init([SlotInfo(f"rank-{rank}", rank, 0, rank, size, 1, size) for rank in range(size)])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _gather(server: Any, size: int, until: float) -> None:
    """Wait, on rank 0, for all others, and let them go: Horovod itself waits for them half a minute only."""
    while missing := _missing(server, "ready", size):
        if time.monotonic() > until:
            sys.exit(f"rank 0 waited for these ranks in vain: {', '.join(map(str, missing))}")
        time.sleep(POLL_SECONDS)
    with server.cache_lock:
        store = server.cache[SCOPE]
        store.update({f"go-{rank}": store[f"ready-{rank}"] for rank in range(1, size)})


def _join(name: str, port: int, rank: int, until: float) -> str:
    """Tell rank 0 that this one is there, wait for its word, and return its address.

    Its name is looked up each time, since its pod may come late, or another in its place. Only who has heard of this
    very process lets it go.
    """
    said, mine = "no time was left", os.urandom(8).hex().encode()
    while time.monotonic() < until:
        try:
            address = socket.gethostbyname(name)
            _ask("PUT", address, port, f"ready-{rank}", mine)
            if _ask("GET", address, port, f"go-{rank}") == mine:
                return address
            said = "it still waits for other ranks"
        except (OSError, HTTPException) as error:
            said = str(error)
        time.sleep(POLL_SECONDS)
    sys.exit(f"rank {rank} waited for rank 0 at {name}:{port} in vain: {said}")


def _run(command: list[str], env: dict[str, str]) -> int:
    """Run the program to its end, handing on signals; return its exit code."""
    started: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        if started:
            started[0].send_signal(number)
        else:
            early.append(number)

    _on_signals(hand_on)
    with subprocess.Popen(command, env=env) as process:
        started.append(process)
        for number in early:
            process.send_signal(number)
        code = process.wait()
    _on_signals(_end)
    return code if code >= 0 else 128 - code


def _on_signals(do: Callable[[int, FrameType | None], None]) -> None:
    """Set what happens when the pod is to end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, do)


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _tell_done(address: str, port: int, rank: int) -> None:
    """Tell rank 0 that this one needs it no more; if that has failed itself, nobody listens."""
    try:
        _ask("PUT", address, port, f"done-{rank}", b"1")
    except (OSError, HTTPException) as error:
        print(f"rank {rank}: rank 0 is gone: {error}", file=sys.stderr)


def _wait_for_others(server: Any, size: int) -> None:
    """Serve on until all others have ended, too: Horovod tells the server of its end."""
    until = time.monotonic() + LAST_SECONDS
    while _missing(server, "done", size) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)


def _missing(server: Any, word: str, size: int) -> list[int]:
    """Return the ranks but 0 that have not said a word."""
    with server.cache_lock:
        said = server.cache.setdefault(SCOPE, {})
        return [rank for rank in range(1, size) if f"{word}-{rank}" not in said]


def _ask(method: str, address: str, port: int, key: str, value: bytes | None = None) -> bytes:
    """Set or get a key of the rendezvous store, by no proxy; return what it has, empty for nothing."""
    connection = HTTPConnection(address, port, timeout=10)
    try:
        connection.request(method, f"/{SCOPE}/{key}", body=value)
        response = connection.getresponse()
        found = response.read()
        return found if response.status == 200 else b""
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
