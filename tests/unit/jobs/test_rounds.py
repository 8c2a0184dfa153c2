"""The rounds give a few waits lively detail, and a crowd of them next to none."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from airflow_provider_sparkml.jobs import rounds as module
from airflow_provider_sparkml.jobs.rounds import Rounds, rounds

WHO = ContextVar("WHO", default="nobody")


class Wait:
    """Counts its visits, and notes in whose context they happened."""

    def __init__(self, enough: int = 1) -> None:
        self.visits: list[str] = []
        self.times: list[float] = []
        self.visited = asyncio.Event()
        self.enough = enough

    async def visit(self) -> None:
        self.visits.append(WHO.get())
        self.times.append(asyncio.get_running_loop().time())
        if len(self.visits) >= self.enough:
            self.visited.set()


@pytest.fixture
def quick(monkeypatch):
    """Seconds become hundredths."""
    monkeypatch.setattr(module, "INTERVAL", 0.1)
    monkeypatch.setattr(module, "CROWD_PAUSE", 0.3)
    monkeypatch.setattr(module, "LIVE", 4)


async def test_one_wait_is_visited_at_every_interval(quick):
    calls, wait = Rounds(), Wait(enough=3)
    calls.join(wait)
    await asyncio.wait_for(wait.visited.wait(), 5)
    await calls.leave(wait)
    assert min(b - a for a, b in zip(wait.times, wait.times[1:], strict=False)) >= 0.09


async def test_a_change_of_phase_is_visited_at_once():
    calls, wait = Rounds(), Wait()
    calls.join(wait)
    calls.urge(wait)
    await asyncio.wait_for(wait.visited.wait(), 5)  # an interval is ten seconds
    await calls.leave(wait)


async def test_each_visit_runs_in_the_context_of_its_own_task(quick):
    calls, waits = Rounds(), {}

    async def task(name):
        WHO.set(name)
        waits[name] = Wait()
        calls.join(waits[name])
        await waits[name].visited.wait()

    await asyncio.wait_for(asyncio.gather(task("a"), task("b")), 5)
    assert {name: set(wait.visits) for name, wait in waits.items()} == {"a": {"a"}, "b": {"b"}}
    for wait in waits.values():
        await calls.leave(wait)


async def test_a_crowd_gets_one_visit_a_pause_whatever_its_size(quick):
    calls, crowd = Rounds(), [Wait() for _ in range(300)]
    for wait in crowd:
        calls.join(wait)
        calls.urge(wait)
    await asyncio.sleep(1.0)
    visits = sum(len(wait.visits) for wait in crowd)
    assert 1 <= visits <= 5
    for wait in crowd:
        await calls.leave(wait)


async def test_when_the_crowd_has_gone_the_rest_is_visited_again(quick):
    calls, crowd, last = Rounds(), [Wait() for _ in range(50)], Wait(enough=2)
    for wait in (*crowd, last):
        calls.join(wait)
    for wait in crowd:
        await calls.leave(wait)
    await asyncio.wait_for(last.visited.wait(), 5)
    await calls.leave(last)


async def test_leaving_ends_the_visit_that_is_going_on():
    ended = asyncio.Event()
    begun = asyncio.Event()

    class Slow:
        async def visit(self):
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    calls, wait = Rounds(), Slow()
    calls.join(wait)
    calls.urge(wait)
    await asyncio.wait_for(begun.wait(), 5)
    await calls.leave(wait)
    assert ended.is_set()


async def test_a_slow_visit_holds_up_nobody_else(quick):
    class Slow:
        async def visit(self):
            await asyncio.Event().wait()

    calls, slow, other = Rounds(), Slow(), Wait(enough=3)
    calls.join(slow)
    calls.join(other)
    await asyncio.wait_for(other.visited.wait(), 5)
    await calls.leave(slow)
    await calls.leave(other)


async def test_no_task_is_left_when_nobody_waits(quick):
    calls, wait = Rounds(), Wait()
    before = asyncio.all_tasks()
    calls.join(wait)
    await calls.leave(wait)
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before


def test_each_event_loop_has_its_own():
    async def mine():
        return rounds() is rounds(), rounds()

    same, first = asyncio.run(mine())
    _, second = asyncio.run(mine())
    assert same
    assert first is not second
