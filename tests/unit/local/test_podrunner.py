"""The process between kubelet and container, run as the kubelet runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_provider_sparkml.local.processes import RUNNER, ProgramNotStartedError, TiedProcess

ENV = {"PATH": os.defpath}


@pytest.fixture
def runner() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(RUNNER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        yield process
        process.kill()


def begin(runner: subprocess.Popen[str], script: str, log: Path) -> int:
    assert runner.stdin is not None
    assert runner.stdout is not None
    spec = {"argv": ["sh", "-c", script], "env": ENV, "cwd": str(log.parent), "log": str(log)}
    runner.stdin.write(json.dumps(spec) + "\n")
    runner.stdin.flush()
    return int(json.loads(runner.stdout.readline())["pid"])


def wait_for_text(path: Path, count: int = 1) -> list[str]:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if path.exists() and len(lines := path.read_text().split()) >= count:
            return lines
        time.sleep(0.01)
    pytest.fail(f"{path} stayed empty")


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.01)
    return False


# A child in the same session, one in a process group of its own (as PySpark's daemon), one in a session of its own.
FAMILY = """
sleep 300 & echo $!
python - <<'PY'
import os, time
if os.fork() == 0:
    os.setpgid(0, 0); print(os.getpid(), flush=True); time.sleep(300)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True); time.sleep(300)
    os._exit(0)
PY
echo $$
"""


@pytest.mark.parametrize("end", ["kubelet gone", "killed", "main program exits"])
def test_nothing_of_a_container_outlives_it(runner: subprocess.Popen[str], tmp_path: Path, end: str) -> None:
    log = tmp_path / "log"
    # The main program stays until the others have told who they are, which its end would keep them from.
    begin(runner, FAMILY.replace("python", sys.executable) + "while [ ! -e over ]; do sleep 0.01; done", log)
    assert runner.stdin is not None
    assert runner.stdout is not None
    pids = [int(word) for word in wait_for_text(log, count=4)]
    if end == "kubelet gone":
        runner.stdin.close()
    elif end == "killed":
        runner.stdin.write(json.dumps({"signal": signal.SIGKILL}) + "\n")
        runner.stdin.flush()
    else:
        (tmp_path / "over").touch()
    answer: dict[str, Any] = json.loads(runner.stdout.readline())
    assert answer == {"exit": 0 if end == "main program exits" else -signal.SIGKILL}
    assert all(gone(pid) for pid in pids)
    assert runner.wait(10) == 0


async def test_exit_code_and_output(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = await TiedProcess.start(["sh", "-c", "echo out; echo err >&2; exit 7"], env=ENV, cwd=tmp_path, log=log)
    assert await process.wait() == 7
    assert process.returncode == 7
    assert log.read_text() == "out\nerr\n"


async def test_environment_is_only_what_was_given(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = await TiedProcess.start(["env"], env={**ENV, "A": "b c"}, cwd=tmp_path, log=log)
    await process.wait()
    assert set(log.read_text().splitlines()) == {f"PATH={os.defpath}", "A=b c"}


async def test_stop_asks_first_and_then_kills(tmp_path: Path) -> None:
    log = tmp_path / "log"
    polite = await TiedProcess.start(
        ["sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done"], env=ENV, cwd=tmp_path, log=log
    )
    wait_for_text(log)
    assert await polite.stop(grace_seconds=10) == 3

    log.write_text("")
    deaf = await TiedProcess.start(
        ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.01; done"], env=ENV, cwd=tmp_path, log=log
    )
    wait_for_text(log)
    assert await deaf.stop(grace_seconds=0.2) == -signal.SIGKILL


async def test_program_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(ProgramNotStartedError, match=r"No such file or directory: no-such-program"):
        await TiedProcess.start(["no-such-program"], env=ENV, cwd=tmp_path, log=tmp_path / "log")
    with pytest.raises(ProgramNotStartedError, match=r"No such file or directory: .*absent"):
        await TiedProcess.start(["true"], env=ENV, cwd=tmp_path / "absent", log=tmp_path / "log")


async def test_a_killed_runner_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = await TiedProcess.start(["sh", "-c", "sleep 300 & echo $!; wait"], env=ENV, cwd=tmp_path, log=log)
    (child,) = wait_for_text(log)
    psutil.Process(process.pid).parent().kill()  # type: ignore[union-attr]
    assert await process.wait() == -signal.SIGKILL
    assert gone(process.pid)
    assert gone(int(child))
