"""The process between the kubelet and one container: it starts the program, reports its end, and dies with the kubelet.

Run as ``python -I -S podrunner.py`` with the standard library alone, so that it starts in milliseconds and holds few
megabytes. It reads one JSON line ``{"argv", "env", "cwd", "log"}`` from stdin, then lines ``{"signal": n}``; end of
file means that the kubelet is gone, however it died, and everything of the container is killed. It writes JSON lines:
``{"pid"}`` or ``{"error"}`` first, ``{"exit"}`` last, in Python's convention (minus n for signal n).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time

PR_SET_CHILD_SUBREAPER = 36


def _adopt_orphans() -> None:
    """Let the container's orphans become children of this process, as they would of a container's init (Linux)."""
    with contextlib.suppress(AttributeError, OSError):  # elsewhere the session alone tells who belongs to us
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _parents() -> dict[int, int]:
    """Return pid → parent pid of every process that is not a zombie."""
    if not os.path.isdir("/proc/self"):
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=False)
        rows = [line.split() for line in listing.stdout.splitlines()]
        return {int(row[0]): int(row[1]) for row in rows if not row[2].startswith("Z")}
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    state, parent = file.read().rpartition(")")[2].split()[:2]
                if state not in ("Z", "X"):
                    parents[int(entry)] = int(parent)
    return parents


def members(session: int) -> list[int]:
    """Return the live processes of a container: its session, and what descends from this process.

    Two signs because a program can leave either: PySpark's daemon has a process group of its own, a daemon that
    called setsid has another session.
    """
    parents = _parents()
    me = os.getpid()

    def belongs(pid: int) -> bool:
        with contextlib.suppress(OSError):
            if os.getsid(pid) == session:
                return True
        seen = 0
        while pid in parents and seen < len(parents):
            pid, seen = parents[pid], seen + 1
            if pid == me:
                return True
        return False

    return [pid for pid in parents if pid != me and belongs(pid)]


def kill_all(session: int) -> None:
    """Kill every process of the container, again and again until none is left: a killed parent may just have forked."""
    while alive := members(session):
        for pid in alive:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
            if pid != session:  # the main process is reaped by its Popen
                with contextlib.suppress(OSError):
                    os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)


def _report(**message: object) -> None:
    with contextlib.suppress(OSError):  # the kubelet may be gone; the end of stdin says so and is acted on
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def _obey(program: subprocess.Popen[bytes]) -> None:
    """Pass on signals until stdin ends, then kill."""
    for line in sys.stdin:
        wanted = json.loads(line)["signal"]
        if wanted == signal.SIGKILL:
            kill_all(program.pid)
        else:
            program.send_signal(wanted)
    kill_all(program.pid)


def _private(path: str, flags: int) -> int:
    """Open a log that only the user can read: who knows what a program prints."""
    return os.open(path, flags, 0o600)


def main() -> int:
    """Run one container to its end."""
    spec = json.loads(sys.stdin.readline() or "null")
    if spec is None:
        return 0
    _adopt_orphans()
    try:
        with open(spec["log"], "ab", buffering=0, opener=_private) as log:
            program = subprocess.Popen(
                spec["argv"],
                env=spec["env"],
                cwd=spec["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        _report(error=f"{error.strerror}: {error.filename or spec['argv'][0]}")
        return 1
    _report(pid=program.pid)
    threading.Thread(target=_obey, args=(program,), daemon=True).start()
    code = program.wait()
    kill_all(program.pid)
    _report(exit=code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
