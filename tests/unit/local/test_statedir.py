"""One process runs a cluster, and everybody can find out which, however it ended."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_sparkml.exceptions import LocalClusterError
from airflow_provider_sparkml.local import statedir
from airflow_provider_sparkml.local.statedir import StateDir, write_private

HOLDER = """
import sys, time
from pathlib import Path
from airflow_provider_sparkml.local.statedir import StateDir
state = StateDir(Path(sys.argv[1]))
with state.hold():
    state.announce()
    print("ready", flush=True)
    time.sleep(60)
"""


def test_the_directory_is_private(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "new" / "state")
    state.prepare()
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o700


def test_running_means_held_and_announced(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    assert (state.running(), state.is_held()) == (None, False)
    with state.hold():
        assert (state.running(), state.is_held()) == (None, True)
        state.announce()
        assert state.running() == os.getpid()
    assert (state.running(), state.is_held()) == (None, False)
    assert not state.pid_file.exists()


def test_a_second_holder_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statedir, "LOCK_WAIT_SECONDS", 0.05)
    with StateDir(tmp_path).hold():
        StateDir(tmp_path).announce()
        with (
            pytest.raises(LocalClusterError, match=rf"already up \(process {os.getpid()}\)"),
            StateDir(tmp_path).hold(),
        ):
            pass
        assert StateDir(tmp_path).running() == os.getpid()


def test_a_killed_holder_misleads_nobody(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        state = StateDir(tmp_path)
        assert state.running() == holder.pid
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert state.pid_file.exists()
    assert state.running() is None
    with state.hold():
        assert state.running() is None


@pytest.mark.parametrize("text", ["", "no number"])
def test_a_broken_pid_file_is_nobody(tmp_path: Path, text: str) -> None:
    state = StateDir(tmp_path)
    with state.hold():
        state.pid_file.write_text(text)
        assert state.running() is None


def test_private_files_are_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["file"]


def test_a_private_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalClusterError, match="cannot be written: File exists"):
        write_private(tmp_path / "file" / "below", "x")


def test_nothing_is_left_of_a_file_that_cannot_be_put_in_place(tmp_path: Path) -> None:
    (tmp_path / "file" / "below").mkdir(parents=True)
    with pytest.raises(LocalClusterError, match="cannot be written: Is a directory"):
        write_private(tmp_path / "file", "x")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
