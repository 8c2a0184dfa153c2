"""What the demo prints: a table that renews itself on a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from demo.progress import TaskView, overall

STYLES = {"success": "green", "failed": "bold red", "upstream_failed": "red", "running": "cyan", "deferred": "cyan"}
DETAIL_SECONDS = 10.0
"""Plain lines: how often a task may tell of its progress."""


class Screen(Protocol):
    """Shows a run while it goes on."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, tasks: Sequence[TaskView]) -> None:
        """Show the tasks as they are now."""


def screen_for(console: Console) -> Screen:
    """Return what suits the console."""
    return LiveScreen(console) if console.is_terminal else PlainScreen(console)


class LiveScreen:
    """A table in place, renewed at every :meth:`show`."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, transient=False)
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, tasks: Sequence[TaskView]) -> None:
        """Show the tasks as they are now."""
        table = Table(box=None, pad_edge=False, show_header=False)
        for width in (28, 10, 6, None):
            table.add_column(min_width=width, no_wrap=True, overflow="ellipsis")
        for task in tasks:
            percent = "" if task.state == "waiting" else f"{task.percent} %"
            state = Text(task.state, STYLES.get(task.state, "dim"))
            table.add_row(Text(task.name), state, Text(percent, justify="right"), Text(task.detail, "dim"))
        done = overall(tasks)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=100, completed=done, width=40), f"{done} %", clock(time.monotonic() - self._began)
        )
        self._live.update(Group(table, bar))


class PlainScreen:
    """A line for every change of a task."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._states: dict[str, str] = {}
        self._details: dict[str, tuple[float, str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left to be closed."""

    def show(self, tasks: Sequence[TaskView]) -> None:
        """Print what changed since the last time."""
        for task in tasks:
            if self._states.get(task.name, "waiting") != task.state:
                self._states[task.name] = task.state
                took = f" after {clock(task.seconds)}" if task.has_ended and task.seconds else ""
                self._line(tasks, f"{task.name}: {task.state}{took}")
            if task.detail and self._may_tell(task):
                self._line(tasks, f"{task.name}: {task.percent} %, {task.detail}")

    def _may_tell(self, task: TaskView) -> bool:
        told_at, told = self._details.get(task.name, (0.0, ""))
        now = time.monotonic()
        if task.detail == told or now - told_at < DETAIL_SECONDS:
            return False
        self._details[task.name] = (now, task.detail)
        return True

    def _line(self, tasks: Sequence[TaskView], text: str) -> None:
        stamp = f"[{clock(time.monotonic() - self._began)} {overall(tasks):3d} %]"
        self._console.print(f"{stamp} {text}", markup=False, highlight=False, soft_wrap=True)


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
