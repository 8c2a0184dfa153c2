"""What the demo shows of a run, from the task instances and logs that Airflow's REST API gives."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from demo.progress import TaskView, failure_of, never_less, overall, read_log, view_of
from demo.screen import LiveScreen, PlainScreen, clock, screen_for


def log(*lines: str) -> list[dict[str, Any]]:
    return [{"event": line, "level": "info"} for line in lines]


def instance(**fields: Any) -> dict[str, Any]:
    return {"task_id": "train", "map_index": -1, "state": "running", "try_number": 1, "duration": 3.0, **fields}


@pytest.mark.parametrize(
    ("lines", "percent", "detail"),
    [
        ((), 0, ""),
        (("Spark: 40 %, 4/10 tasks, 1/3 stages, 0/1 jobs; now: count",), 40, "1/3 stages, 4/10 tasks"),
        (("[   1.0 s] 1/4 reading",), 0, "1/4 reading"),
        (("[   1.0 s] 1/4 reading", "[  22.5 s] 3/4 measuring"), 50, "3/4 measuring"),
        (
            ("[ 1.0 s] 2/4 fitting gbt", "Spark: 50 %, 5/10 tasks, 2/4 stages, 1/2 jobs"),
            37,
            "2/4 fitting gbt (2/4 stages, 5/10 tasks)",
        ),
        # A new step starts anew, whatever Spark said before.
        (("[ 1.0 s] 2/4 fitting", "Spark: 100 %, 5/5 tasks, 1/1 stages, 1/1 jobs", "[ 9.0 s] 3/4 x"), 50, "3/4 x"),
        (("[ 1.0 s] 4/4 published", "Spark: 100 %, 5/5 tasks, 1/1 stages, 1/1 jobs"), 99, None),
        (("it took 3/4 of an hour for 2/4 of all",), 0, ""),
    ],
)
def test_how_far_a_task_is(lines: tuple[str, ...], percent: int, detail: str | None) -> None:
    found = read_log(log(*lines))
    assert found[0] == percent
    if detail is not None:
        assert found[1] == detail


@pytest.mark.parametrize(
    ("fields", "view"),
    [
        ({"state": None}, TaskView("train", "waiting", 0, "", 3.0)),
        ({"state": "success"}, TaskView("train", "success", 100, "", 3.0)),
        ({"state": "deferred"}, TaskView("train", "deferred", 25, "2/4 fitting", 3.0)),
        ({"map_index": 2, "state": "failed"}, TaskView("train[2]", "failed", 0, "", 3.0)),
        ({"map_index": 2, "rendered_map_index": "gbt"}, TaskView("train[gbt]", "running", 25, "2/4 fitting", 3.0)),
        ({"try_number": 2}, TaskView("train", "running", 25, "try 2; 2/4 fitting", 3.0)),
    ],
)
def test_how_a_task_is_shown(fields: dict[str, Any], view: TaskView) -> None:
    assert view_of(instance(**fields), log("[ 1.0 s] 2/4 fitting")) == view


def task(name: str, state: str, percent: int, detail: str = "") -> TaskView:
    return TaskView(name, state, percent, detail, 61.0)


def test_all_tasks_count_alike() -> None:
    assert overall([]) == 0
    assert overall([task("a", "success", 100), task("b", "running", 50), task("c", "waiting", 0)]) == 50


def test_a_task_that_is_queued_again_keeps_its_percentage() -> None:
    shown: dict[str, int] = {}
    never_less([task("a", "deferred", 80), task("b", "running", 10)], shown)
    again = never_less([task("a", "queued", 0), task("b", "success", 100)], shown)
    assert [(each.state, each.percent) for each in again] == [("queued", 80), ("success", 100)]


def test_why_a_task_failed() -> None:
    entries = [
        *log("starting", "working", "::endgroup::"),
        {
            "event": "Task failed with exception",
            "level": "error",
            "error_detail": [{"exc_type": "ApplicationError", "exc_value": "exit code 1: no data"}],
        },
    ]
    assert failure_of(entries, lines=2) == (
        "ApplicationError: exit code 1: no data",
        ["working", "Task failed with exception"],
    )
    assert failure_of([*log("a"), {"event": "killed", "level": "error"}])[0] == "killed"
    assert failure_of(log("a"))[0] == "its log does not say"


def test_plain_lines_tell_each_change_once() -> None:
    out = io.StringIO()
    screen = PlainScreen(Console(file=out, width=80))
    steps = [
        [task("train[gbt]", "waiting", 0), task("b", "waiting", 0)],
        [task("train[gbt]", "running", 0, "1/4 reading [all]"), task("b", "waiting", 0)],
        [task("train[gbt]", "running", 25, "2/4 fitting"), task("b", "waiting", 0)],  # too soon after the last
        [task("train[gbt]", "success", 100), task("b", "waiting", 0)],
    ]
    with screen:
        for tasks in steps:
            screen.show(tasks)
            screen.show(tasks)
    assert out.getvalue().splitlines() == [
        "[0:00   0 %] train[gbt]: running",
        "[0:00   0 %] train[gbt]: 0 %, 1/4 reading [all]",
        "[0:00  50 %] train[gbt]: success after 1:01",
    ]


def test_a_terminal_gets_a_table_in_place() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    screen = screen_for(console)
    assert isinstance(screen, LiveScreen)
    with screen:
        screen.show([task("train[gbt]", "running", 25, "2/4 fitting"), task("b", "waiting", 0)])
    assert "train[gbt]" in out.getvalue()
    assert "25 %" in out.getvalue()
    assert "12 %" in out.getvalue()


def test_a_file_gets_lines() -> None:
    assert isinstance(screen_for(Console(file=io.StringIO())), PlainScreen)


def test_clock() -> None:
    assert clock(367.9) == "6:07"
