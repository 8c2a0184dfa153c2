"""When a schedule of the Spark operator falls due, as ``ParseStandard`` of robfig/cron v3 reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from airflow_provider_sparkml.exceptions import InvalidManifestError

_ZONE = re.compile(r"(?:CRON_)?TZ=(\S+)\s+(.*)", re.DOTALL)
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_NUMBERS = {**{name: number for number, name in enumerate(_MONTHS, 1)}, **{name: n for n, name in enumerate(_DAYS)}}
_FIELD = re.compile(rf"(?:[0-9*?/,-]|{'|'.join(_NUMBERS)})+", re.IGNORECASE)
_SINGLE = re.compile(r"\b(\w+)-\1\b(?:/\d+)?", re.IGNORECASE)
"""A range of one, which croniter takes for all around."""
_RANGE = re.compile(r"(\w+)-(\w+)")
_SOME_DAY = datetime(2024, 1, 1, tzinfo=UTC)
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule that was understood.

    :param cron: five fields; empty for ``@every``.
    :param every: seconds between two runs; 0 for five fields.
    :param zone: what the fields are meant in; ``None`` for the local time of the machine.
    """

    cron: str
    every: float
    zone: tzinfo | None

    def next(self, after: datetime) -> datetime:
        """Return the first time after this one at which the schedule falls due, in UTC.

        What falls into the hour that a change to summer time leaves out does not run on that day
        (https://pkg.go.dev/github.com/robfig/cron/v3, "Time zones").
        """
        from croniter import croniter  # type: ignore[import-untyped]

        if self.every:
            return after.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=self.every)
        times = croniter(self.cron, after.astimezone(self.zone))
        found: datetime = times.get_next(datetime)
        while not croniter.match(self.cron, found.replace(tzinfo=None)):
            found = times.get_next(datetime)
        return found.astimezone(UTC)


def parse(schedule: str, time_zone: str = "") -> Schedule:
    """Read a schedule.

    :param schedule: five fields, ``@hourly`` and its like, or ``@every 1h30m``; ``CRON_TZ=Europe/Berlin`` may precede.
    :param time_zone: IANA name of what the fields are meant in; empty or ``Local`` for the operator's own local time.
    :raises InvalidManifestError: the operator would not accept it.
    """
    prefixed = _ZONE.fullmatch(schedule.strip())
    zone = _zone(prefixed[1] if prefixed else time_zone, "schedule" if prefixed else "timeZone")
    text = (prefixed[2] if prefixed else schedule).strip()
    if text.startswith("@every "):
        return Schedule("", _every(text.removeprefix("@every ").strip()), zone)
    if text.startswith("@") and text not in _DESCRIPTORS:
        raise _refused(schedule, f"use one of {', '.join(_DESCRIPTORS)}, or '@every 1h30m'")
    cron = _DESCRIPTORS.get(text, text).replace("?", "*")
    _check_fields(schedule, cron.split())
    cron = _SINGLE.sub(r"\1", cron)
    found = Schedule(cron, 0.0, zone)
    try:
        found.next(_SOME_DAY)
    except ValueError:  # croniter's CroniterBadDateError is one
        raise _refused(schedule, "never falls due: there is no such day") from None
    return found


def _check_fields(schedule: str, fields: list[str]) -> None:
    from croniter import croniter

    if len(fields) != 5:
        raise _refused(schedule, f"has {len(fields)} fields: give minute, hour, day of month, month and day of week")
    if not all(_FIELD.fullmatch(field) for field in fields):
        raise _refused(schedule, "of its signs use digits, names, '*', '/', ',' and '-' only")
    if not croniter.is_valid(" ".join(fields)):
        raise _refused(schedule, "is no cron expression: see https://pkg.go.dev/github.com/robfig/cron/v3")
    for first, last in _RANGE.findall(" ".join(fields)):
        if _number(first) > _number(last):
            raise _refused(schedule, f"has the range {first}-{last}, which begins beyond its end: split it by a comma")
    # Other crons take 7 for Sunday as well.
    if re.search(r"(?<![/\d])7", fields[4]):
        raise _refused(schedule, "has day of week 7: Sunday is 0")


def _number(text: str) -> int:
    return _NUMBERS.get(text.upper()) or int(text if text.isdigit() else 0)


def _every(text: str) -> float:
    if not _DURATION.fullmatch(text):
        raise _refused(f"@every {text}", "give a duration such as 30s, 15m or 1h30m")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    return max(1.0, float(int(seconds)))


def _zone(name: str, field: str) -> tzinfo | None:
    if name in ("", "Local"):
        return None
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise InvalidManifestError(f"spec.{field}: time zone {name!r} is not known: use a name such as 'UTC'") from None


def _refused(schedule: str, why: str) -> InvalidManifestError:
    return InvalidManifestError(f"spec.schedule is {schedule!r}: {why}")


__all__ = ["Schedule", "parse"]
