"""Kills what exceeds its memory limit, as the kernel does for a cgroup; portable, since it looks at processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator

import psutil

INTERVAL_SECONDS = 0.5


class MemoryWatch:
    """Looks at the memory of all limited containers together: one pass over the process table serves them all."""

    def __init__(self) -> None:
        self._limits: dict[int, tuple[int, Callable[[], None]]] = {}

    @contextlib.contextmanager
    def limit(self, session: int, limit: int, exceeded: Callable[[], None]) -> Iterator[None]:
        """Call ``exceeded`` once when the processes of a session use more than ``limit`` bytes together."""
        self._limits[session] = (limit, exceeded)
        try:
            yield
        finally:
            self._limits.pop(session, None)

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            if self._limits:
                self._look()
            await asyncio.sleep(INTERVAL_SECONDS)

    def _look(self) -> None:
        for session, processes in sessions(set(self._limits)).items():
            limit, exceeded = self._limits[session]
            if memory(processes, limit) > limit:
                del self._limits[session]
                exceeded()


def sessions(wanted: set[int]) -> dict[int, list[psutil.Process]]:
    """Return session id → its processes, for the wanted sessions."""
    found: dict[int, list[psutil.Process]] = {session: [] for session in wanted}
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.NoSuchProcess):
            session = os.getsid(pid)
            if session in found:
                found[session].append(psutil.Process(pid))
    return found


def memory(processes: list[psutil.Process], limit: int) -> int:
    """Return the memory of processes in bytes, as a cgroup would count it: a page that two of them share once.

    The exact count is dear, so the sum of resident sets, which is never lower, answers while it is below ``limit``.
    """
    resident = sum(_bytes(process, exact=False) for process in processes)
    return resident if resident <= limit else sum(_bytes(process, exact=True) for process in processes)


def _bytes(process: psutil.Process, *, exact: bool) -> int:
    try:
        if not exact:
            return int(process.memory_info().rss)
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.uss))  # macOS counts no shares
    except psutil.Error:  # it ended meanwhile
        return 0
