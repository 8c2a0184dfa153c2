"""When the lines of a log were written: the kubelet keeps none, as programs write to the file themselves.

So whoever asks for times leaves marks beside the log: the file was seen with so many bytes at such a time, the last
written at such a time. A mark is never changed, and the time of a byte follows from the marks around it, so a line has
the same time whenever it is asked for: a client that comes again with ``sinceTime`` loses nothing and gets nothing
twice.
"""

from __future__ import annotations

import bisect
import os
import struct
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

_ENTRY = struct.Struct("<qqq")
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
        self._written: list[int] = []  # when the byte before the offset was written
        self._seen: list[int] = []  # since when the byte at the offset may have been written
        self._read(stat.st_size)
        if not self._offsets:
            with suppress(FileNotFoundError):
                self._path.unlink()  # those of a former file of this name
            self._append(-1, self._inode, 0)
            start = min(started_ns, stat.st_mtime_ns) if started_ns else stat.st_mtime_ns
            self._add(0, start, start)

    def mark(self, size: int, written_ns: int, seen_ns: int) -> None:
        """Take note of the file as it is.

        :param size: its bytes.
        :param written_ns: when it was last written to, in nanoseconds since the epoch.
        :param seen_ns: now.
        """
        if size > self._offsets[-1]:
            written = max(written_ns, self._seen[-1])
            self._add(size, written, max(seen_ns, written))

    def at(self, offset: int) -> int:
        """Return when the byte at an offset was written, in nanoseconds since the epoch; it must be marked."""
        after = min(bisect.bisect_right(self._offsets, offset), len(self._offsets) - 1)
        left, right = self._offsets[after - 1], self._offsets[after]
        begin, end = self._seen[after - 1], self._written[after]
        return begin + (end - begin) * (min(offset, right) - left) // max(right - left, 1)

    def find(self, time_ns: int) -> int:
        """Return an offset before which every byte was written earlier."""
        after = bisect.bisect_left(self._written, time_ns)
        if after == 0:
            return 0
        if after == len(self._written):
            return self._offsets[-1]
        left, right = self._offsets[after - 1], self._offsets[after]
        begin, end = self._seen[after - 1], self._written[after]
        return left + (right - left) * max(time_ns - begin, 0) // max(end - begin, 1)

    def _read(self, size: int) -> None:
        """Read the marks, unless they are another file's, or torn by a crash."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        entries = list(_ENTRY.iter_unpack(data[: len(data) // _ENTRY.size * _ENTRY.size]))
        if len(data) % _ENTRY.size or not entries or entries[0][1] != self._inode or entries[-1][0] > size:
            return
        for offset, written, seen in entries[1:]:
            self._offsets.append(offset)
            self._written.append(written)
            self._seen.append(seen)

    def _add(self, offset: int, written: int, seen: int) -> None:
        self._offsets.append(offset)
        self._written.append(written)
        self._seen.append(seen)
        self._append(offset, written, seen)

    def _append(self, *values: int) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, _ENTRY.pack(*values))
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
