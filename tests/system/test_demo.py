"""The demo's cluster and Airflow: up by its own commands, asked by REST, and gone whatever happens."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from demo.__main__ import DAG
from demo.airflow import AirflowApi, DemoError
from demo.stack import Stack

pytestmark = pytest.mark.airflow


def interrupt(stack: Stack, started: list[psutil.Process]) -> None:
    """Bring the demo up, use it a little, and press Ctrl-C."""
    with stack.running(keep=True):
        started += stack.airflow.processes()
        started.append(psutil.Process(int((stack.cluster / "cluster.pid").read_text())))
        started += started[-1].children(recursive=True)
        assert stack.is_up()
        api = AirflowApi(stack.airflow)
        try:
            api.wait_for_dag(DAG)
            with pytest.raises(DemoError, match=r"answered 400: .*rows"):
                api.trigger(DAG, {"rows": -1})
        finally:
            api.close()
        raise KeyboardInterrupt


def test_it_comes_up_and_an_interrupt_leaves_no_process(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "demo")
    started: list[psutil.Process] = []
    with pytest.raises(KeyboardInterrupt):
        interrupt(stack, started)
    assert len(started) > 5
    assert psutil.wait_procs(started, timeout=10)[1] == []
    assert not stack.is_up()


def test_what_was_asked_to_stay_is_not_run_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack(tmp_path / "demo")
    stack.folder.mkdir()
    (stack.folder / "kept").touch()
    monkeypatch.setattr(Stack, "is_up", lambda self: True)
    with pytest.raises(DemoError, match="make demo-stop"), stack.running(keep=True):
        pytest.fail("a second demo was started")
    assert (stack.folder / "kept").exists()
