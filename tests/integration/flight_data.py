"""Small inputs of the preprocessing: one whose features can be worked out by hand, one that a model can learn from."""

from __future__ import annotations

import csv
import datetime
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

UTC_OFFSET = 4
"""New York's summer time is so many hours behind UTC."""

FLIGHT = ("year", "month", "day", "dep_delay", "arr_delay", "carrier", "flight", "tailnum", "origin", "dest")
FLIGHT_COLUMNS = (*FLIGHT, "distance", "hour", "minute", "time_hour")
WEATHER_COLUMNS = (
    *("origin", "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"),
    "time_hour",
)
PLANE_COLUMNS = ("tailnum", "year", "seats", "engines")


def flight(
    number: int, day: datetime.date, at: str, *, dep: int | None, arr: int | None, **other: Any
) -> dict[str, Any]:
    """Return a row of the table of flights; ``at`` is New York's time, ``dep`` and ``arr`` are delays in minutes."""
    hour, minute = (int(part) for part in at.split(":"))
    row = {"carrier": "AA", "tailnum": None, "origin": "JFK", "dest": "BOS", "distance": 187} | other
    return row | {
        "flight": number,
        **{"year": day.year, "month": day.month, "day": day.day, "hour": hour, "minute": minute},
        "time_hour": utc(day, hour),
        "dep_delay": dep,
        "arr_delay": arr,
    }


def weather(day: datetime.date, hour: int, **values: Any) -> dict[str, Any]:
    """Return a row of the table of weather; ``hour`` is New York's."""
    calm = {"temp": 60.0, "dewp": 50.0, "humid": 70.0, "wind_dir": 90, "wind_speed": 10.0, "wind_gust": None}
    clear = {"origin": "JFK", "precip": 0.0, "pressure": 1010.0, "visib": 10.0, "time_hour": utc(day, hour)}
    return calm | clear | values


def utc(day: datetime.date, hour: int) -> str:
    """Return an hour of New York's as the data set writes it."""
    moment = datetime.datetime.combine(day, datetime.time(hour)) + datetime.timedelta(hours=UTC_OFFSET)
    return f"{moment:%Y-%m-%dT%H:00:00Z}"


def write_tables(
    directory: Path,
    flights: Sequence[Mapping[str, Any]],
    reports: Sequence[Mapping[str, Any]],
    planes: Sequence[Mapping[str, Any]],
) -> Path:
    """Write the three CSV files and return their directory."""
    directory.mkdir(parents=True)
    for name, columns, rows in (
        ("flights", FLIGHT_COLUMNS, flights),
        ("weather", WEATHER_COLUMNS, reports),
        ("planes", PLANE_COLUMNS, planes),
    ):
        with (directory / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            for row in rows:
                writer.writerow({key: "NA" if value is None else value for key, value in row.items()})
    return directory


def learnable(directory: Path, flights_a_day: int = 20) -> Path:
    """Write three weeks of flights around the first of October, late above all in rain and with carrier ``LATE``."""
    chance = random.Random(1)
    flights, reports = [], []
    for number in range(21):
        day = datetime.date(2013, 9, 20) + datetime.timedelta(days=number)
        rain = {hour: chance.random() < 0.3 for hour in range(24 - UTC_OFFSET)}
        reports += [weather(day, hour, precip=0.5 if wet else 0.0) for hour, wet in rain.items()]
        for index in range(flights_a_day):
            hour, carrier = chance.randrange(6, 19), chance.choice(["AA", "B6", "LATE"])
            risk = 0.1 + 0.4 * rain[hour - 1] + 0.3 * (carrier == "LATE")
            delay = chance.randrange(20, 90) if chance.random() < risk else chance.randrange(-20, 15)
            at = f"{hour}:{chance.randrange(60)}"
            flights.append(flight(1000 * number + index, day, at, dep=delay // 2, arr=delay, carrier=carrier))
    return write_tables(directory, flights, reports, [{"tailnum": "N1", "year": 2003, "seats": 100, "engines": 2}])
