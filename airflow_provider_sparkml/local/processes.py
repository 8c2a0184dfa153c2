"""Programs that end with this process: containers, ``uv`` and ``spark-submit``, each behind a pod runner."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from airflow_provider_sparkml.exceptions import LocalClusterError

RUNNER = Path(__file__).with_name("podrunner.py")


class ProgramNotStartedError(LocalClusterError):
    """The operating system refused to start a program: no such file, not executable, no such directory."""


class TiedProcess:
    """A running program and all it starts; they are killed when this process ends, even by SIGKILL.

    Made by :meth:`start`.
    """

    def __init__(self, runner: asyncio.subprocess.Process, pid: int) -> None:
        self._runner = runner
        self._exit: asyncio.Task[int] = asyncio.create_task(self._watch(), name=f"program-{pid}")
        self.pid = pid

    @classmethod
    async def start(cls, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> TiedProcess:
        """Start a program in a session of its own.

        :param argv: program and arguments; the program is looked up in ``env["PATH"]``.
        :param env: the whole environment; nothing is inherited.
        :param cwd: working directory, which must exist.
        :param log: file to which stdout and stderr are appended.
        :raises ProgramNotStartedError: when there is no such program or directory.
        """
        runner = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(RUNNER),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in a terminal is the cluster's affair
        )
        try:
            spec = {"argv": [str(part) for part in argv], "env": dict(env), "cwd": str(cwd), "log": str(log)}
            _stdin(runner).write(json.dumps(spec).encode() + b"\n")
            first = json.loads(await _stdout(runner).readline() or b'{"error": "the pod runner died"}')
        except BaseException:
            _stdin(runner).close()  # end of file: the runner kills what it may have started, and ends
            await runner.wait()
            raise
        if "error" in first:
            await runner.wait()
            raise ProgramNotStartedError(first["error"])
        return cls(runner, first["pid"])

    async def _watch(self) -> int:
        line = await _stdout(self._runner).readline()
        if not line:
            _kill_session(self.pid)  # somebody killed the runner: do its work
        await self._runner.wait()
        return int(json.loads(line)["exit"]) if line else -signal.SIGKILL

    async def wait(self) -> int:
        """Wait for the end of the program and of all it started; return its exit code, minus n for signal n."""
        return await asyncio.shield(self._exit)

    @property
    def returncode(self) -> int | None:
        """The exit code, or ``None`` while it runs."""
        return self._exit.result() if self._exit.done() else None

    def signal(self, number: int) -> None:
        """Send a signal to the main process; SIGKILL goes to everything it started, too."""
        if not self._exit.done() and not _stdin(self._runner).is_closing():
            _stdin(self._runner).write(json.dumps({"signal": int(number)}).encode() + b"\n")

    async def stop(self, grace_seconds: float) -> int:
        """Ask the program to end by SIGTERM, kill it after the grace period, and return its exit code."""
        if grace_seconds > 0:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds):  # wait_for may swallow a cancellation (cpython#86296)
                    return await self.wait()
        self.signal(signal.SIGKILL)
        return await self.wait()


def _kill_session(session: int) -> None:
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) == session:
                os.kill(pid, signal.SIGKILL)


def _stdin(runner: asyncio.subprocess.Process) -> asyncio.StreamWriter:
    if runner.stdin is None:
        raise LocalClusterError("the pod runner was started without a pipe to it")
    return runner.stdin


def _stdout(runner: asyncio.subprocess.Process) -> asyncio.StreamReader:
    if runner.stdout is None:
        raise LocalClusterError("the pod runner was started without a pipe from it")
    return runner.stdout
