"""Schedules are read as robfig/cron v3 reads them: its own examples, and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.cron import parse

NOW = datetime(2026, 3, 28, 12, 34, 56, 789, tzinfo=UTC)  # a Saturday; Europe's clocks change on the 29th


@pytest.mark.parametrize(
    ("schedule", "zone", "due"),
    [
        ("*/15 * * * *", "UTC", "2026-03-28T12:45:00+00:00"),
        ("0 3 * * *", "Europe/Berlin", "2026-03-29T01:00:00+00:00"),
        ("CRON_TZ=Asia/Tokyo 0 6 * * ?", "UTC", "2026-03-28T21:00:00+00:00"),
        ("TZ=UTC @daily", "Asia/Tokyo", "2026-03-29T00:00:00+00:00"),
        ("@hourly", "UTC", "2026-03-28T13:00:00+00:00"),
        ("@weekly", "UTC", "2026-03-29T00:00:00+00:00"),
        ("0 0 1 JAN mon", "UTC", "2027-01-01T00:00:00+00:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-30T00:30:00+00:00"),  # there is no half past two on the 29th
        ("0 0 29 2 *", "UTC", "2028-02-29T00:00:00+00:00"),
        ("0 3 * * TUE-tue/2,WED-FRI", "UTC", "2026-03-31T03:00:00+00:00"),
        ("@every 1h30m", "", "2026-03-28T14:04:56+00:00"),
        ("@every 10ms", "", "2026-03-28T12:34:57+00:00"),
    ],
)
def test_when_it_falls_due_next(schedule: str, zone: str, due: str) -> None:
    assert parse(schedule, zone).next(NOW).isoformat() == due


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ("", "has 0 fields"),
        ("* * * *", "has 4 fields"),
        ("0 0 0 * * *", "has 6 fields"),
        ("60 * * * *", "is no cron expression"),
        ("0 0 * * 7", "Sunday is 0"),
        ("0 3 * * 6-0", "range 6-0, which begins beyond its end"),
        ("0 22-2 * * *", "range 22-2"),
        ("0 0 * * fri-MON", "range fri-MON"),
        ("0 0 31 2 *", "never falls due"),
        ("0 0 L * *", "use digits"),
        ("0 0 * * 5#3", "use digits"),
        ("@reboot", "@hourly"),
        ("@every day", "give a duration"),
        ("CRON_TZ=Mars/Olympus 0 0 * * *", "time zone 'Mars/Olympus'"),
    ],
)
def test_what_the_operator_would_not_accept(schedule: str, why: str) -> None:
    with pytest.raises(InvalidManifestError, match=r"spec\.schedule") as refused:
        parse(schedule)
    assert why in str(refused.value)


def test_an_unknown_time_zone() -> None:
    with pytest.raises(InvalidManifestError, match=r"spec\.timeZone: time zone '\.\./etc'"):
        parse("@daily", "../etc")
