"""What the demo starts: the images, the local cluster and Airflow; and how all of it is stopped."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from demo.airflow import Airflow, DemoError

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".state" / "demo"
IMAGES = ("spark", "onnxserver")


class Stack:
    """Everything the demo runs, below one folder.

    :param folder: is made anew.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder
        self.cluster = folder / "cluster"
        self.airflow = Airflow(
            folder / "airflow",
            ROOT / "dags",
            {"kubernetes_default": {"kube_config_path": str(self.cluster / "airflow-kubeconfig")}},
        )

    @contextmanager
    def running(self, *, keep: bool) -> Iterator[None]:
        """Have it all up for the length of the block.

        :param keep: leave it up afterwards if the block ends well.
        :raises DemoError: when something does not start.
        """
        self._make_room()
        try:
            sparkml("cluster", "up", "--detach", f"--state-dir={self.cluster}", quiet=True)
            self.airflow.start()
            # While Airflow starts, so that the run itself is not held up by downloads.
            sparkml("images", "build", *IMAGES)
            self.airflow.wait_until_healthy()
            yield
            if keep:
                (self.folder / "kept").touch()
        finally:
            if not (self.folder / "kept").exists():
                with undisturbed():
                    self.stop()

    def _make_room(self) -> None:
        """Remove what an earlier demo left, unless it was asked to leave it."""
        if self.is_up():
            if (self.folder / "kept").exists():
                raise DemoError("an earlier demo is still up; stop it with: make demo-stop")
            self.stop()  # it was killed before it could
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def is_up(self) -> bool:
        """Return whether any of it runs."""
        return bool(self.airflow.processes()) or self._cluster_runs()

    def _cluster_runs(self) -> bool:
        with suppress(FileNotFoundError, ValueError):
            return psutil.pid_exists(int((self.cluster / "cluster.pid").read_text()))
        return False

    def stop(self) -> None:
        """Stop all of it; nothing of it is left running."""
        self.airflow.stop()  # first: its tasks clean up in the cluster
        if self.cluster.exists():
            sparkml("cluster", "down", f"--state-dir={self.cluster}", quiet=True)
        (self.folder / "kept").unlink(missing_ok=True)


def sparkml(*arguments: str, quiet: bool = False) -> None:
    """Run the `sparkml` command of this environment.

    :param quiet: show what it prints only when it fails.
    :raises DemoError: when it fails.
    """
    command = [str(Path(sys.executable).with_name("sparkml")), *arguments]
    # In a session of its own, so that Ctrl-C comes to it from here only, and it is waited for.
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate()
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.communicate()
        raise
    if process.returncode != 0:
        raise DemoError(f"`sparkml {' '.join(arguments)}` failed: {(output or '').strip()}")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no signal that asks to stop come between: stopping is what is being done."""
    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(each, signal.SIG_IGN) for each in asked]
    try:
        yield
    finally:
        for each, handler in zip(asked, before, strict=True):
            signal.signal(each, handler)
