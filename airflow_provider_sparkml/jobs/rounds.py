"""The one task per event loop that paces all live detail, so that its cost does not grow with the number of waits.

A wait itself costs no request: the shared watch tells it everything that decides the outcome. Detail is extra: warning
events, the driver's log, progress. It is fetched only when the rounds call on a wait, one wait at a time:

* up to :data:`LIVE` waits, each is visited every :data:`INTERVAL` seconds, and at once after a change of phase;
* beyond that, the loop is crowded: one visit every :data:`CROWD_PAUSE` seconds in all, whatever the number of waits.

Log streams are opened in visits only, and at most :data:`LIVE` are open at a time. So with 1,000 waits the detail costs
two visits a minute and at most 50 open streams; jobs without a stream get the tail of their log at the end.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Protocol
from weakref import WeakKeyDictionary

LIVE = 50
"""How many waits of one event loop get live detail; also the most log streams open at a time."""
INTERVAL = 10.0
"""Seconds between two visits to the same wait."""
CROWD_PAUSE = 30.0
"""Seconds between two visits to any wait while there are more than :data:`LIVE`."""
_URGENT_PAUSE = 0.05
"""Seconds between two visits asked for by a change of phase."""
_VISIT_SECONDS = 30.0
"""What one visit may take: the API server's detail is not worth more."""


class Visited(Protocol):
    """A wait, as the rounds see it."""

    async def visit(self) -> None:
        """Fetch detail and write it to the task's log; called in the context in which the wait joined."""


class _Place:
    """One wait's place in the rounds."""

    __slots__ = ("context", "due", "task")

    def __init__(self, due: float) -> None:
        # A visit logs into the task's own log: Airflow's triggerer tells tasks apart by context variables.
        self.context: Context = copy_context()
        self.due = due
        self.task: asyncio.Task[None] | None = None


class Rounds:
    """Calls on the waits of one event loop in turn."""

    def __init__(self) -> None:
        # In the order of the next visit: whoever was visited goes to the end.
        self._places: dict[Visited, _Place] = {}
        self._urgent: dict[Visited, None] = {}
        self._wake = asyncio.Event()
        self._last = -CROWD_PAUSE
        self._task: asyncio.Task[None] | None = None
        self.streams = 0

    @property
    def may_stream(self) -> bool:
        """Whether one more log stream may be opened."""
        return self.streams < LIVE

    def join(self, member: Visited) -> None:
        """Take a wait into the rounds."""
        loop = asyncio.get_running_loop()
        self._places[member] = _Place(loop.time() + INTERVAL)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run(), context=Context())

    async def leave(self, member: Visited) -> None:
        """Take a wait out of the rounds, and end the visit it may be having."""
        place = self._places.pop(member)
        self._urgent.pop(member, None)
        self._wake.set()
        if place.task is not None:
            place.task.cancel()
            await asyncio.wait([place.task])

    def urge(self, member: Visited) -> None:
        """Ask for a visit soon, because the job's phase has changed; not granted in a crowd."""
        if len(self._places) <= LIVE:
            self._urgent[member] = None
            self._wake.set()

    async def _run(self) -> None:
        """Visit until nobody is left."""
        loop = asyncio.get_running_loop()
        while self._places:
            member, due = self._next()
            if due > loop.time():
                self._wake.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self._wake.wait()
                continue
            self._last = loop.time()
            self._urgent.pop(member, None)
            place = self._places.pop(member)
            self._places[member] = place
            place.due = self._last + INTERVAL
            if place.task is None or place.task.done():
                place.task = loop.create_task(self._visit(member), context=place.context)

    def _next(self) -> tuple[Visited, float]:
        """Return whose turn it is, and when (loop time)."""
        if len(self._places) > LIVE:
            self._urgent.clear()
            return next(iter(self._places)), self._last + CROWD_PAUSE
        if self._urgent:
            return next(iter(self._urgent)), self._last + _URGENT_PAUSE
        member, place = next(iter(self._places.items()))
        return member, max(place.due, self._last + INTERVAL / LIVE)

    async def _visit(self, member: Visited) -> None:
        """Make one visit, bounded in time; detail that does not come in time is left for the next."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_VISIT_SECONDS):
                await member.visit()


_ROUNDS: WeakKeyDictionary[asyncio.AbstractEventLoop, Rounds] = WeakKeyDictionary()


def rounds() -> Rounds:
    """Return the rounds of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _ROUNDS.get(loop)
    if found is None:
        found = _ROUNDS[loop] = Rounds()
    return found


__all__ = ["CROWD_PAUSE", "INTERVAL", "LIVE", "Rounds", "Visited", "rounds"]
