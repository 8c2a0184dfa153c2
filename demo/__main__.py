"""Runs the demo: ``python -m demo``, or ``python -m demo --stop`` for what ``KEEP=1`` left up."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

from rich.console import Console
from rich.table import Table

from demo.airflow import USER, AirflowApi, DemoError
from demo.predictions import Prediction, predict
from demo.progress import ACTIVE, BAD, failure_of, never_less, view_of
from demo.screen import clock, screen_for
from demo.stack import Stack

DAG = "preprocess_train_serve"
POLL_SECONDS = 1.5
INTERRUPTED = 130

console = Console(soft_wrap=True, highlight=False)


def main(arguments: Sequence[str]) -> int:
    """Run the demo and return its exit code."""
    stack = Stack()
    if arguments == ["--stop"]:
        stack.stop()
        console.print("stopped")
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    keep = os.environ.get("KEEP", "") not in ("", "0")
    began = time.monotonic()
    try:
        with stack.running(keep=keep):
            console.print(f"Airflow: {stack.airflow.url}  login: {USER} / {stack.airflow.password}", markup=False)
            try:
                _show(stack)
            except KeyboardInterrupt:
                console.print("interrupted; stopping everything")
                raise
            _say_goodbye(stack, keep=keep, seconds=time.monotonic() - began)
    except KeyboardInterrupt:
        console.print("stopped")
        return INTERRUPTED
    except DemoError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 1
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _show(stack: Stack) -> None:
    """Run the DAG and ask the model it serves."""
    api = AirflowApi(stack.airflow)
    try:
        api.wait_for_dag(DAG)
        run = api.trigger(DAG, {})
        console.print(f"started DAG {DAG} through Airflow's REST API: run {run}", markup=False)
        _follow(api, run)
        exported, served = (api.result(DAG, run, task) for task in ("export", "deploy"))
    finally:
        api.close()
    trained = exported["result"]
    predictions = predict(served["url"], served["name"], trained["sample"], trained["features"])
    _print_predictions(predictions, trained, served)


def _follow(api: AirflowApi, run: str) -> None:
    """Show the run until it ends.

    :raises DemoError: when it fails: the failed task's log and the cause.
    """
    shown: dict[str, int] = {}
    with screen_for(console) as screen:
        while True:
            state = api.run_state(DAG, run)
            instances = api.task_instances(DAG, run)
            tasks = [view_of(each, api.task_log(each) if each["state"] in ACTIVE else []) for each in instances]
            screen.show(never_less(tasks, shown))
            if state in ("success", "failed"):
                break
            time.sleep(POLL_SECONDS)
    if state == "failed":
        raise DemoError(_failure(api, instances))


def _failure(api: AirflowApi, instances: Sequence[dict[str, Any]]) -> str:
    failed = [each for each in instances if each["state"] == "failed"]
    if not failed:
        stuck = [each["task_id"] for each in instances if each["state"] in BAD]
        return f"the run failed without a failed task ({', '.join(stuck) or 'none ran'})"
    first = min(failed, key=lambda each: each["end_date"] or "")
    cause, lines = failure_of(api.task_log(first))
    log = "\n".join(f"  | {line}" for line in lines)
    return f"task {first['task_id']} failed: {cause}\n{log}"


def _print_predictions(predictions: Sequence[Prediction], trained: dict[str, Any], served: dict[str, Any]) -> None:
    late = trained["late_minutes"]
    table = Table(title=f"Predicted by {served['url']}: will it arrive more than {late} minutes late?")
    for heading in ("flight", "probability of late", "predicted", "actual delay", "actually"):
        table.add_column(heading, justify="right" if heading in ("probability of late", "actual delay") else "left")
    for each in predictions:
        table.add_row(
            each.flight,
            f"{each.probability:.1%}",
            "late" if each.is_late else "on time",
            f"{each.actual_delay:+d} min",
            "late" if each.actual_delay > late else "on time",
        )
    # As wide as it needs to be where no terminal sets a limit.
    wide = console if console.is_terminal else Console(width=120, highlight=False)
    wide.print(table)
    console.print(
        f"model: {trained['model']}, AUC {trained['metrics']['auc']:.3f} on flights it has never seen; "
        f"guessing by the base rate ({trained['base_rate']:.1%} are late) has 0.500"
    )


def _say_goodbye(stack: Stack, *, keep: bool, seconds: float) -> None:
    console.print(f"done in {clock(seconds)}")
    console.print(f"Airflow: {stack.airflow.url}  login: {USER} / {stack.airflow.password}", markup=False)
    if keep:
        console.print(f"export KUBECONFIG={stack.cluster / 'kubeconfig'}", markup=False)
        console.print("everything stays up (KEEP=1); stop it with: make demo-stop")
    else:
        console.print("stopping everything; `make demo KEEP=1` leaves it up")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
