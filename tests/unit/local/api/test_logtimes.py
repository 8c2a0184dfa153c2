"""Times of log lines: made up from marks, but the same whoever asks and whenever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.local.api.logtimes import LineTimes, format_time, parse_time

SECOND = 1_000_000_000


def log_file(tmp_path: Path, size: int = 0, modified: int = 100) -> Path:
    path = tmp_path / "main.log"
    path.write_bytes(b"x" * size)
    os.utime(path, ns=(modified * SECOND, modified * SECOND))
    return path


def test_a_time_once_told_never_changes(tmp_path: Path) -> None:
    path = log_file(tmp_path)
    times = LineTimes(path, 10 * SECOND)
    times.mark(100, 20 * SECOND, 20 * SECOND)
    told = [times.at(offset) for offset in range(0, 100, 10)]
    times.mark(1000, 50 * SECOND, 50 * SECOND)
    assert [times.at(offset) for offset in range(0, 100, 10)] == told
    again = LineTimes(log_file(tmp_path, 1000), 999 * SECOND)
    assert [again.at(offset) for offset in range(0, 100, 10)] == told


def test_times_rise_with_the_offset_between_start_and_last_write(tmp_path: Path) -> None:
    times = LineTimes(log_file(tmp_path), 10 * SECOND)
    times.mark(100, 20 * SECOND, 20 * SECOND)
    times.mark(200, 15 * SECOND, 15 * SECOND)  # a clock that went back
    told = [times.at(offset) for offset in range(200)]
    assert told == sorted(told)
    assert told[0] == 10 * SECOND
    assert told[-1] <= 20 * SECOND


def test_what_comes_after_a_look_is_not_older_than_it(tmp_path: Path) -> None:
    times = LineTimes(log_file(tmp_path), 10 * SECOND)
    times.mark(100, 20 * SECOND, 500 * SECOND)
    times.mark(200, 600 * SECOND, 601 * SECOND)
    assert times.at(99) <= 20 * SECOND
    assert times.at(100) == 500 * SECOND
    assert times.find(300 * SECOND) == 100


def test_find_is_the_inverse_of_at(tmp_path: Path) -> None:
    times = LineTimes(log_file(tmp_path), 10 * SECOND)
    times.mark(100, 20 * SECOND, 20 * SECOND)
    times.mark(300, 40 * SECOND, 40 * SECOND)
    for offset in range(300):
        assert times.find(times.at(offset)) <= offset
        assert times.at(max(times.find(times.at(offset)) - 1, 0)) <= times.at(offset)
    assert times.find(0) == 0
    assert times.find(99 * SECOND) == 300


def test_the_marks_of_another_file_of_that_name_are_forgotten(tmp_path: Path) -> None:
    path = log_file(tmp_path, 100)
    LineTimes(path, 10 * SECOND).mark(100, 20 * SECOND, 20 * SECOND)
    path.rename(tmp_path / "main.previous.log")
    times = LineTimes(log_file(tmp_path, 10, modified=500), 400 * SECOND)
    times.mark(10, 500 * SECOND, 500 * SECOND)
    assert times.at(0) == 400 * SECOND


def test_torn_marks_are_begun_anew(tmp_path: Path) -> None:
    path = log_file(tmp_path, 100)
    LineTimes(path, 10 * SECOND).mark(100, 20 * SECOND, 20 * SECOND)
    marks = tmp_path / "main.log.times"
    marks.write_bytes(marks.read_bytes()[:-3])
    times = LineTimes(path, 10 * SECOND)
    times.mark(100, 20 * SECOND, 20 * SECOND)
    assert times.at(0) == 10 * SECOND


@given(st.integers(0, 4_000_000_000 * SECOND))
def test_times_survive_their_written_form(time_ns: int) -> None:
    assert parse_time(format_time(time_ns)) == time_ns


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", SECOND),
        ("1970-01-01T00:00:01.5Z", 3 * SECOND // 2),
        ("1970-01-01T01:00:01.000000001+01:00", SECOND + 1),
    ],
)
def test_times_as_clients_write_them(text: str, expected: int) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-22", "2026-11-22T10:00:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - fromisoformat's own message
        parse_time(text)
