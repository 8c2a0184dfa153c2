"""The state directory of a local cluster: who runs it, where its kubeconfig and log are, and how others find out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from airflow_provider_sparkml.exceptions import LocalClusterError

LOCK_WAIT_SECONDS = 0.5
"""Longer than anybody holds the lock only to look whether it is free."""


def default_state_dir() -> Path:
    """Return where the cluster of this user lives unless told otherwise."""
    return Path(platformdirs.user_state_dir("airflow-provider-sparkml")) / "cluster"


class StateDir:
    """Files of one local cluster; the directory is private to the user, and made when first needed.

    :param path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, mode 0600; valid again after a restart."""
        return self.path / "kubeconfig"

    @property
    def airflow_kubeconfig(self) -> Path:
        """Airflow's, with no more rights than Airflow needs; mode 0600."""
        return self.path / "airflow-kubeconfig"

    @property
    def log(self) -> Path:
        """What a detached cluster writes."""
        return self.path / "cluster.log"

    @property
    def pid_file(self) -> Path:
        """Process id of the cluster, written when it is ready."""
        return self.path / "cluster.pid"

    def prepare(self) -> None:
        """Make the directory.

        :raises LocalClusterError: when it cannot be made or written to.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
        except OSError as error:
            raise LocalClusterError(
                f"state directory {self.path} cannot be used: {error.strerror}; choose another with --state-dir"
            ) from error

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Be the one process that runs this cluster, for the length of the block.

        The kernel drops the lock with the process, however it ends, so a pid file left behind misleads nobody.

        :raises LocalClusterError: when another process runs it.
        """
        self.prepare()
        with (self.path / "lock").open("a") as lock:
            deadline = time.monotonic() + LOCK_WAIT_SECONDS
            while not _try_lock(lock.fileno(), fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise LocalClusterError(
                        f"the cluster in {self.path} is already up (process {self.running() or 'unknown'}); "
                        "use it, stop it with `sparkml cluster down`, or choose another --state-dir"
                    )
                time.sleep(0.02)
            self.pid_file.unlink(missing_ok=True)
            try:
                yield
            finally:
                self.pid_file.unlink(missing_ok=True)

    def announce(self) -> None:
        """Say that the cluster is ready; only its holder may."""
        beside = self.pid_file.with_suffix(".new")
        beside.write_text(f"{os.getpid()}\n")
        beside.replace(self.pid_file)

    def is_held(self) -> bool:
        """Return whether a process runs this cluster, ready or not."""
        try:
            with (self.path / "lock").open() as lock:
                return not _try_lock(lock.fileno(), fcntl.LOCK_SH)
        except FileNotFoundError:
            return False

    def running(self) -> int | None:
        """Return the process id of the cluster, ``None`` while it is not ready."""
        if not self.is_held():
            return None
        try:
            return int(self.pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None


def _try_lock(file: int, kind: int) -> bool:
    """Take a lock on an open file if it is free; closing the file gives it back."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_private(path: Path, text: str) -> None:
    """Write a file that only the user can read, at no moment half.

    :raises LocalClusterError: when it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise LocalClusterError(f"{path} cannot be written: {error.strerror}; choose another path") from error
