"""How far a run is, as text: what each task does now, and what part of all work is done. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

STEP = re.compile(r"(?:^|\] )(?P<step>\d+)/(?P<steps>\d+) (?P<what>.+)$")
"""A line of the programs in the image: ``[  12.3 s] 2/5 joining flights``."""
SPARK = re.compile(r"Spark: (?P<percent>\d+) %, (?P<tasks>\d+/\d+) tasks, (?P<stages>\d+/\d+) stages")
"""A line of the provider on the progress of Spark's jobs."""
ACTIVE = frozenset(("running", "deferred"))
DONE = frozenset(("success", "skipped", "removed"))
BAD = frozenset(("failed", "upstream_failed"))


@dataclass(frozen=True, slots=True)
class TaskView:
    """One task as it is shown.

    :param name: task id, with what tells mapped ones apart.
    :param state: Airflow's word for it, ``waiting`` where it has none.
    :param percent: of its own work, as far as its log tells.
    :param detail: what it does now, in a few words.
    :param seconds: since it started, until it ended.
    """

    name: str
    state: str
    percent: int
    detail: str
    seconds: float | None

    @property
    def has_ended(self) -> bool:
        """Whether it will not go on."""
        return self.state in DONE | BAD


def view_of(instance: Mapping[str, Any], log: Iterable[Mapping[str, Any]]) -> TaskView:
    """Return how a task is to be shown.

    :param instance: the task instance of the REST API.
    :param log: the entries of its log.
    """
    name = str(instance["task_id"])
    if instance["map_index"] >= 0:
        name += f"[{instance.get('rendered_map_index') or instance['map_index']}]"
    state = str(instance["state"] or "waiting")
    percent, detail = (100, "") if state in DONE else read_log(log) if state in ACTIVE else (0, "")
    if instance["try_number"] > 1:
        detail = f"try {instance['try_number']}; {detail}".rstrip("; ")
    return TaskView(name, state, percent, detail, instance.get("duration"))


def read_log(log: Iterable[Mapping[str, Any]]) -> tuple[int, str]:
    """Return how far a task is, in percent, and what it does, from the newest lines of its log that tell.

    A program counts its steps, Spark the tasks of the jobs it knows so far; a step is worth its share, and Spark's
    percentage says how much of the present one is done.
    """
    step = steps = spark = 0
    what = stages = ""
    for entry in log:
        event = str(entry.get("event", ""))
        if found := STEP.search(event):
            step, steps, what = int(found["step"]), int(found["steps"]), found["what"]
            spark, stages = 0, ""
        elif found := SPARK.search(event):
            spark, stages = int(found["percent"]), f"{found['stages']} stages, {found['tasks']} tasks"
    if not steps:
        return min(spark, 99), stages
    within = min(spark, 99) / 100
    percent = int(100 * (step - 1 + within) / steps)
    return min(percent, 99), f"{step}/{steps} {what}" + (f" ({stages})" if stages else "")


def never_less(tasks: Sequence[TaskView], shown: dict[str, int]) -> list[TaskView]:
    """Return the tasks with no percentage lower than before: a task that is queued again has not lost its work.

    :param shown: name → percentage shown so far; kept up to date.
    """
    for task in tasks:
        shown[task.name] = max(task.percent, shown.get(task.name, 0))
    return [replace(task, percent=shown[task.name]) for task in tasks]


def overall(tasks: Sequence[TaskView]) -> int:
    """Return the percentage of the run that is done, all tasks counting alike."""
    if not tasks:
        return 0
    return int(sum(task.percent for task in tasks) / len(tasks))


def failure_of(log: Sequence[Mapping[str, Any]], lines: int = 15) -> tuple[str, list[str]]:
    """Return why a task failed, and the last lines of its log.

    :param log: the entries of its log.
    :param lines: how many lines.
    """
    cause = ""
    for entry in log:
        for detail in entry.get("error_detail") or []:
            cause = f"{detail.get('exc_type', 'error')}: {detail.get('exc_value', '')}"
    if not cause:
        errors = [str(entry["event"]) for entry in log if entry.get("level") in ("error", "critical")]
        cause = errors[-1] if errors else "its log does not say"
    # Lines that fold the log on the web page say nothing here.
    events = [str(entry.get("event") or "").rstrip() for entry in log]
    return cause, [event for event in events if event and not event.startswith("::")][-lines:]
