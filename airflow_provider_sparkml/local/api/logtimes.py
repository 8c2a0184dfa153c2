"""When the lines of a log were written: the kubelet keeps none, as programs write to the file themselves.

So whoever asks for times leaves marks beside the log: the file had so many bytes at such a time. A mark is never
changed, and the time of a byte follows from the marks around it, so a line has the same time whenever it is asked for:
a client that comes again with ``sinceTime`` loses nothing and gets nothing twice.
"""

from __future__ import annotations

import bisect
import os
import struct
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

_ENTRY = struct.Struct("<qq")
_NANO = 1_000_000_000


class LineTimes:
    """The times of one log file.

    :param log: the log.
    :param started_ns: when its program started, in nanoseconds since the epoch; 0 when that is not known.
    """

    def __init__(self, log: Path, started_ns: int) -> None:
        self._path = log.with_name(f"{log.name}.times")
        stat = log.stat()
        self._inode = stat.st_ino
        self._offsets: list[int] = []
        self._times: list[int] = []
        self._read(stat.st_size)
        if not self._offsets:
            with suppress(FileNotFoundError):
                self._path.unlink()  # those of a former file of this name
            self._append(-1, self._inode)
            start = min(started_ns, stat.st_mtime_ns) if started_ns else stat.st_mtime_ns
            self._add(0, start)

    def mark(self, size: int, modified_ns: int) -> None:
        """Take note that the file had ``size`` bytes when it was last written to."""
        if size > self._offsets[-1]:
            self._add(size, max(modified_ns, self._times[-1]))

    def at(self, offset: int) -> int:
        """Return when the byte at an offset was written, in nanoseconds since the epoch; it must be marked."""
        after = min(bisect.bisect_right(self._offsets, offset), len(self._offsets) - 1)
        if after == 0:
            return self._times[0]
        left, right = self._offsets[after - 1], self._offsets[after]
        begin, end = self._times[after - 1], self._times[after]
        return begin + (end - begin) * (min(offset, right) - left) // max(right - left, 1)

    def find(self, time_ns: int) -> int:
        """Return an offset before which every byte was written earlier."""
        after = bisect.bisect_left(self._times, time_ns)
        if after == 0:
            return 0
        if after == len(self._times):
            return self._offsets[-1]
        left, right = self._offsets[after - 1], self._offsets[after]
        begin, end = self._times[after - 1], self._times[after]
        return left + (right - left) * (time_ns - begin) // max(end - begin, 1)

    def _read(self, size: int) -> None:
        """Read the marks, unless they are another file's, or torn by a crash."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        entries = list(_ENTRY.iter_unpack(data[: len(data) // _ENTRY.size * _ENTRY.size]))
        if len(data) % _ENTRY.size or not entries or entries[0] != (-1, self._inode) or entries[-1][0] > size:
            return
        self._offsets = [offset for offset, _ in entries[1:]]
        self._times = [time for _, time in entries[1:]]

    def _add(self, offset: int, time_ns: int) -> None:
        self._offsets.append(offset)
        self._times.append(time_ns)
        self._append(offset, time_ns)

    def _append(self, offset: int, value: int) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, _ENTRY.pack(offset, value))
        finally:
            os.close(descriptor)


def parse_time(text: str) -> int:
    """Return an RFC 3339 time in nanoseconds since the epoch.

    :raises ValueError: it is none.
    """
    whole, dot, rest = text.partition(".")
    if not dot:
        return _seconds(text) * _NANO
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return _seconds(whole + rest[len(digits) :]) * _NANO + int(digits[:9].ljust(9, "0"))


def _seconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    return int(moment.timestamp())


def format_time(time_ns: int) -> str:
    """Return nanoseconds since the epoch as RFC 3339 with nine decimals."""
    moment = datetime.fromtimestamp(time_ns // _NANO, UTC)
    return f"{moment.strftime('%Y-%m-%dT%H:%M:%S')}.{time_ns % _NANO:09d}Z"
