"""A log is followed line by line, exactly once over lost streams, and never beyond a task's share."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.jobs.follow import Position, split_timestamp


@pytest.mark.parametrize(
    ("line", "nanoseconds", "text"),
    [
        ("2026-11-22T10:00:00Z hello", 0, "hello"),
        ("2026-11-22T10:00:00.5Z hello  world", 500_000_000, "hello  world"),
        ("2026-11-22T11:00:00.000000001+01:00 x", 1, "x"),
        ("2026-11-22T10:00:00.12Z ", 120_000_000, ""),
    ],
)
def test_split_timestamp(line, nanoseconds, text):
    stamp, at, rest = split_timestamp(line)
    start = int(datetime(2026, 11, 22, 10, tzinfo=UTC).timestamp()) * 10**9
    assert (at - start, rest) == (nanoseconds, text)
    assert line.startswith(stamp)


def test_decimals_of_different_length_compare_as_numbers():
    # As strings, "…00.1Z" would come after "…00.12Z".
    assert split_timestamp("2026-11-22T10:00:00.1Z a")[1] < split_timestamp("2026-11-22T10:00:00.12Z a")[1]


@pytest.mark.parametrize("line", ["no time at all", "", "2026-11-22 10:00:00 x"])
def test_a_line_without_a_timestamp_is_kept_whole(line):
    assert split_timestamp(line) == ("", 0, line)


@given(
    gaps=st.lists(st.integers(0, 2), max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=8),
    whole_seconds=st.booleans(),
)
def test_every_line_once_however_often_the_stream_is_cut(gaps, cuts, whole_seconds):
    """Lines in time order, many in the same instant; each new stream begins at ``sinceTime``, inclusive."""
    instants, now = [], 0
    for gap in gaps:
        now += gap * 400_000_000
        instants.append(now)
    position, seen = Position(), []
    for cut in [*cuts, len(instants)]:
        since = int(position.since or 0)
        if whole_seconds:
            since -= since % 10**9
        position.rewind()
        for index, at in enumerate(instants[:cut]):
            if at >= since and position.is_new(str(at) if at else "0", at):
                seen.append(index)
    assert seen == list(range(len(instants)))


def test_lines_a_little_out_of_order_within_a_stream_are_not_lost():
    position = Position()
    position.rewind()
    assert [position.is_new(str(at), at) for at in (10, 30, 20, 40)] == [True] * 4
