"""The demo's cluster and Airflow: started by its own commands, gone whatever happens, and asked by REST."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from demo.__main__ import DAG
from demo.airflow import AirflowApi, DemoError
from demo.stack import Stack

pytestmark = pytest.mark.airflow

COMPONENTS = ("scheduler", "api", "triggerer", "dag")


def test_an_interrupt_while_it_starts_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C as soon as Airflow has begun its parts. That it comes up, and goes in the end, is seen by `make demo`."""
    stack = Stack(tmp_path / "demo")
    started: list[psutil.Process] = []

    def interrupt() -> None:
        deadline = time.monotonic() + 120
        while not all(stack.airflow.processes(f"airflow {name}") for name in COMPONENTS):
            assert time.monotonic() < deadline, stack.airflow.log.read_text()
            time.sleep(0.1)
        started.extend(stack.airflow.processes())
        started.append(psutil.Process(int((stack.cluster / "cluster.pid").read_text())))
        started.extend(started[-1].children(recursive=True))
        assert stack.is_up()
        raise KeyboardInterrupt

    monkeypatch.setattr(stack.airflow, "wait_until_healthy", interrupt)
    with pytest.raises(KeyboardInterrupt), stack.running(keep=True):
        pytest.fail("it went on")
    assert len(started) > 5
    assert psutil.wait_procs(started, timeout=10)[1] == []
    assert not stack.is_up()


def test_what_airflow_refuses_is_told(airflow: Any) -> None:
    api = AirflowApi(airflow)
    try:
        api.wait_for_dag(DAG)
        with pytest.raises(DemoError, match=r"answered 400: .*rows"):
            api.trigger(DAG, {"rows": -1})
    finally:
        api.close()


def test_what_was_asked_to_stay_is_not_run_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack(tmp_path / "demo")
    stack.folder.mkdir()
    (stack.folder / "kept").touch()
    monkeypatch.setattr(Stack, "is_up", lambda self: True)
    with pytest.raises(DemoError, match="make demo-stop"), stack.running(keep=True):
        pytest.fail("a second demo was started")
    assert (stack.folder / "kept").exists()
