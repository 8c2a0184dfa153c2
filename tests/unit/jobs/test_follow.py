"""A log is followed line by line, exactly once over lost streams, and never beyond a task's share."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.jobs import follow
from airflow_provider_sparkml.jobs import rounds as rounds_module
from airflow_provider_sparkml.jobs.follow import FollowedLog, Position, split_timestamp
from airflow_provider_sparkml.jobs.rounds import Rounds
from airflow_provider_sparkml.resources.base import LogSource, ResourceRef

START = datetime(2026, 11, 22, 10, tzinfo=UTC)


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


SOURCE = LogSource("etl-1-driver", "spark-kubernetes-driver", "driver")
REF = ResourceRef("sparkoperator.k8s.io/v1beta2", "SparkApplication", "team-a", "etl-1", "uid-1")


@pytest.fixture
async def followed(client, told):
    log = FollowedLog(client, REF, Rounds(), told)
    yield log
    await log.close()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_lines_come_while_the_driver_writes_and_the_end_is_known(followed, log_server, told):
    log_server.write("one")
    await followed.visit("s1", SOURCE)
    await until(lambda: told.driver == ["one"])
    log_server.write("two", at=1)
    await until(lambda: told.driver == ["one", "two"])
    log_server.write("three", at=1.5)
    log_server.end()
    assert await followed.finish() is True
    assert told.driver == ["one", "two", "three"]
    assert len(log_server.requests) == 1


async def test_a_lost_stream_goes_on_where_it_was_without_repeats(followed, log_server, told, monkeypatch):
    monkeypatch.setattr(follow, "_FIRST_PAUSE", 0.0)
    log_server.write("a", "b", "b", at=0.25)  # the server's sinceTime knows whole seconds only
    log_server.cut_after = 2
    await followed.visit("s1", SOURCE)
    await until(lambda: log_server.open_streams == 0 and len(told.driver) == 2)
    log_server.write("c", at=0.5)
    await followed.visit("s1", SOURCE)
    await until(lambda: len(told.driver) == 4)
    assert told.driver == ["a", "b", "b", "c"]
    assert "tailLines" in log_server.requests[0]
    assert "sinceTime" in log_server.requests[1]


async def test_what_came_after_a_lost_stream_is_read_at_the_end(followed, log_server, told):
    log_server.write("a")
    log_server.cut_after = 1
    await followed.visit("s1", SOURCE)
    await until(lambda: log_server.open_streams == 0 and told.driver)
    log_server.write("last words", at=1)
    log_server.end()
    assert await followed.finish() is True
    assert told.driver == ["a", "last words"]


async def test_a_rerun_is_another_log_though_its_pod_has_the_same_name(followed, log_server, told):
    log_server.write("first run")
    await followed.visit("s1", SOURCE)
    await until(lambda: told.driver)
    log_server.lines.clear()
    log_server.write("second run", at=-0.0)
    await followed.visit("s2", SOURCE)
    await until(lambda: len(told.driver) == 2)
    assert told.driver == ["first run", "second run"]
    assert log_server.open_streams == 1


async def test_a_restarted_triggerer_does_not_repeat_the_whole_log(followed, log_server, told):
    log_server.write(*(str(n) for n in range(1_000)))
    log_server.end()
    await followed.visit("s1", SOURCE)
    assert await followed.finish() is True
    assert told.driver == [str(n) for n in range(1_000 - follow.FIRST_LINES, 1_000)]


async def test_403_is_told_once_and_ends_it(followed, log_server, told, monkeypatch):
    monkeypatch.setattr(follow, "_FIRST_PAUSE", 0.0)
    log_server.refuse = (403, "Forbidden")
    for _ in range(3):
        await followed.visit("s1", SOURCE)
        await until(lambda: told.warnings)
    assert len(log_server.requests) == len(told.warnings) == 1
    assert "kubectl auth can-i get pods --subresource=log -n team-a" in told.warnings[0]
    assert await followed.finish() is True, "nothing more can be shown"


async def test_a_pod_that_is_not_there_is_asked_for_less_and_less_often(followed, log_server, told):
    log_server.refuse = (404, "NotFound")
    for _ in range(20):
        await followed.visit("s1", SOURCE)
        await asyncio.sleep(0.01)
    assert len(log_server.requests) == 1
    assert told.lines == []


@pytest.mark.parametrize("text", ["x" * 100, "y" * 2_000, "ä" * 1_500], ids=["lines", "bytes", "not ascii"])
async def test_a_huge_log_costs_a_bounded_share_and_says_so_once(followed, log_server, told, monkeypatch, text):
    monkeypatch.setattr(follow, "BURST_LINES", 10_000)
    monkeypatch.setattr(follow, "FIRST_LINES", 10**9)
    log_server.lines = [(START, text)] * (200_000_000 // len(text))
    log_server.end()
    await followed.visit("s1", SOURCE)
    await until(lambda: told.warnings)
    assert 500 < len(told.driver) <= follow.TASK_LINES
    assert log_server.sent_bytes <= follow.TASK_BYTES + 256 * 1024
    assert "kubectl logs -n team-a etl-1-driver -c spark-kubernetes-driver" in told.warnings[0]
    await followed.visit("s1", SOURCE)
    assert await followed.finish() is False
    assert len(told.warnings) == len(log_server.requests) == 1


async def test_faster_than_the_rate_is_left_unread_rather_than_kept(followed, log_server, told, monkeypatch):
    monkeypatch.setattr(follow, "BURST_LINES", 50)
    monkeypatch.setattr(follow, "LINES_PER_SECOND", 20.0)
    monkeypatch.setattr(follow, "DRAIN_SECONDS", 0.1)
    log_server.write(*(str(n) for n in range(400)))
    log_server.end()
    await followed.visit("s1", SOURCE)
    await until(lambda: len(told.driver) >= 50)
    assert await followed.finish() is False
    assert len(told.driver) < 100


async def test_no_more_streams_than_the_loop_may_have(client, log_server, told, monkeypatch):
    monkeypatch.setattr(rounds_module, "LIVE", 2)
    calls = Rounds()
    log_server.write("hello")
    logs = [FollowedLog(client, REF, calls, told) for _ in range(5)]
    for log in logs:
        await log.visit("s1", SOURCE)
    await until(lambda: len(told.driver) == 2)
    assert log_server.open_streams == 2
    await logs[0].close()
    await logs[4].visit("s1", SOURCE)
    await until(lambda: len(told.driver) == 3)
    for log in logs:
        await log.close()
    assert calls.streams == 0


async def test_a_line_beyond_measure_is_cut(followed, log_server, told):
    log_server.write("y" * 5_000)
    log_server.end()
    await followed.visit("s1", SOURCE)
    await followed.finish()
    assert told.driver == ["y" * follow.LINE_CHARS + "… (cut)"]


async def test_without_a_log_there_is_nothing_to_finish(followed, log_server):
    await followed.visit("s1", None)
    assert await followed.finish() is False
    assert log_server.requests == []
