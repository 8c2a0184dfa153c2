"""What a flight looks like to the model: its features, its label, and what is known when the prediction is made.

The question is: *will this flight arrive more than N minutes late?* It is asked at the top of the hour in which the
flight is scheduled to depart. A feature may use only what was known then:

- the timetable: when, where to, how far, which carrier, how many flights leave in the same hour;
- the aircraft: age, seats, engines;
- the weather at the origin **one hour before**: the station reports of an hour are read late in that hour;
- how the airport runs: the mean delay of those that really left in the hour before, and how many of the last
  three hours' flights still wait to leave;
- how often this carrier, and flights to this destination, were late **in the training months**.

Left out as leaks: ``arr_time``, ``arr_delay`` and ``air_time``, which are the answer; and ``dep_time`` and
``dep_delay``, which are known only once the aircraft has left: with them the task is nearly solved (AUC 0.90 instead of
0.73), but nobody asks for a forecast then. The actual delay is kept beside the features, never among them, to show it
next to predictions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from outputs import ProgramError
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name everybody uses

FEATURES: dict[str, str] = {
    "sched_minute": "scheduled departure, minutes after midnight, New York time",
    "weekday": "1 Monday to 7 Sunday",
    "distance": "miles to the destination",
    "from_ewr": "1 when it leaves from Newark",
    "from_lga": "1 when it leaves from LaGuardia (neither: JFK)",
    "carrier_late_rate": "share of the carrier's flights that were late in the training months",
    "dest_late_rate": "share of the flights to the destination that were late in the training months",
    "scheduled_1h": "flights scheduled at the origin in the same hour",
    "departed_delay_1h": "mean delay in minutes of the flights that left the origin in the hour before",
    "waiting": "flights of the last three hours that have not left the origin yet",
    "plane_known": "1 when the aircraft is in the register",
    "plane_age": "years since the aircraft was built",
    "seats": "seats of the aircraft",
    "engines": "engines of the aircraft",
    "temp": "temperature at the origin an hour before, °F",
    "dewp": "dew point, °F",
    "humid": "relative humidity, %",
    "wind_speed": "wind speed, mph",
    "wind_gust": "gusts, mph; the wind speed when none are reported",
    "wind_east": "wind from the east, mph",
    "wind_north": "wind from the north, mph",
    "precip": "precipitation, inches",
    "pressure": "sea-level pressure, millibar",
    "visib": "visibility, miles",
}
"""Names of the features, in the order of the model's inputs, and what each means."""

LABEL = "late"
IDENTITY = ("carrier", "flight", "origin", "dest", "scheduled", "arr_delay")
"""Columns kept beside the features: which flight it was, and how late it came, in minutes."""

GRID = 1024
"""Features are multiples of 1/1024. A 32-bit float, which is what ONNX trees compute with, holds these, and the
midpoints between them, Spark's split thresholds, exactly: so both take the same branch of every tree for every row."""

SMOOTHING = 100
"""Flights' weight of the overall late rate in the rate of a carrier or destination with few flights."""

WEATHER = ("temp", "dewp", "humid", "wind_speed", "wind_gust", "wind_east", "wind_north", "precip", "pressure", "visib")
"""Features that come from the weather report."""

FILLED = ("departed_delay_1h", "plane_age", "seats", "engines", *WEATHER)
"""Features that can be missing; they get the mean of the training flights."""


def _hours(n: int) -> Column:
    return F.make_interval(hours=F.lit(n))


def with_times(flights: DataFrame) -> DataFrame:
    """Add ``scheduled`` and ``departed`` (UTC; null when the flight was cancelled) to flights."""
    scheduled = F.col("time_hour") + F.make_interval(mins=F.col("minute"))
    # Adding null minutes gives null: a flight without a departure never left.
    departed = F.col("scheduled") + F.make_interval(mins=F.col("dep_delay").cast("int"))
    return flights.withColumn("scheduled", scheduled).withColumn("departed", departed)


def airport_state(flights: DataFrame) -> DataFrame:
    """Describe each origin as it stood at the top of each hour.

    :param flights: all flights, cancelled ones too, from :func:`with_times`.
    :return: ``origin``, ``time_hour``, ``scheduled_1h``, ``departed_delay_1h`` (null when none left), ``waiting``.
    """
    key = ["origin", "time_hour"]
    scheduled = flights.groupBy(*key).agg(F.count("*").alias("scheduled_1h"))
    left = (
        flights.where("departed is not null")
        .groupBy("origin", (F.date_trunc("hour", "departed") + _hours(1)).alias("time_hour"))
        .agg(F.mean("dep_delay").alias("departed_delay_1h"))
    )
    waiting = (
        flights.withColumn("later", F.explode(F.array(F.lit(1), F.lit(2), F.lit(3))))
        .withColumn("moment", F.col("time_hour") + F.make_interval(hours=F.col("later")))
        .where("departed is null or departed >= moment")
        .groupBy("origin", F.col("moment").alias("time_hour"))
        .agg(F.count("*").alias("waiting"))
    )
    return scheduled.join(left, key, "left").join(waiting, key, "left").fillna(0, ["waiting"])


def weather_before(weather: DataFrame) -> DataFrame:
    """Give each origin and hour the weather reported in the hour before.

    :param weather: hourly reports; should an hour be reported twice, it still counts once.
    """
    speed, angle = F.col("wind_speed"), F.radians("wind_dir")
    readings = (
        weather.withColumn("wind_gust", F.coalesce("wind_gust", speed))
        .withColumn("wind_east", speed * F.sin(angle))
        .withColumn("wind_north", speed * F.cos(angle))
    )
    hour = (F.col("time_hour") + _hours(1)).alias("time_hour")
    return readings.groupBy("origin", hour).agg(*(F.max(name).alias(name) for name in WEATHER))


def joined(flights: DataFrame, weather: DataFrame, planes: DataFrame, late_minutes: int) -> DataFrame:
    """Join flights that arrived with weather, aircraft and the state of the airport.

    :param late_minutes: a flight is late when it arrives more than this many minutes after schedule.
    :return: one row per flight that arrived: identity, label, and all features but the two late rates; missing
        values are null.
    """
    flights = with_times(flights)
    aircraft = planes.groupBy("tailnum").agg(
        F.lit(1).alias("plane_known"), *(F.max(name).alias(name) for name in ("built", "seats", "engines"))
    )
    return (
        flights.where("arr_delay is not null")
        .join(airport_state(flights), ["origin", "time_hour"])
        .join(weather_before(weather), ["origin", "time_hour"], "left")
        .join(F.broadcast(aircraft), "tailnum", "left")
        .withColumn(LABEL, (F.col("arr_delay") > late_minutes).cast("int"))
        .withColumn("sched_minute", F.col("hour") * 60 + F.col("minute"))
        .withColumn("weekday", (F.dayofweek(F.make_date("year", "month", "day")) + 5) % 7 + 1)
        .withColumn("from_ewr", (F.col("origin") == "EWR").cast("int"))
        .withColumn("from_lga", (F.col("origin") == "LGA").cast("int"))
        .withColumn("plane_age", F.col("year") - F.col("built"))
        .fillna(0, ["plane_known"])
    )


def learn_encoding(train: DataFrame) -> dict[str, Any]:
    """Learn from training flights what turns the rest into numbers.

    :param train: rows of :func:`joined`.
    :return: JSON-safe: ``late_rate`` (overall), ``carrier`` and ``dest`` (late rate of each), ``fill`` (mean of each
        feature that can be missing).
    :raises ProgramError: when there are none.
    """
    means = train.agg(F.mean(LABEL).alias(LABEL), *(F.mean(name).alias(name) for name in FILLED)).first()
    if means[LABEL] is None:
        raise ProgramError("there are no training flights: choose a later --split-date, or more --rows")
    overall = float(means[LABEL])
    rates: dict[str, Any] = {"late_rate": overall, "fill": {name: float(means[name] or 0.0) for name in FILLED}}
    for column in ("carrier", "dest"):
        smoothed = (F.sum(LABEL) + SMOOTHING * overall) / (F.count("*") + SMOOTHING)
        rates[column] = {row[0]: row[1] for row in train.groupBy(column).agg(smoothed).collect()}
    return rates


def encoded(flights: DataFrame, encoding: Mapping[str, Any]) -> DataFrame:
    """Turn joined flights into the numbers that the model sees.

    :param flights: rows of :func:`joined`.
    :param encoding: what :func:`learn_encoding` returned.
    :return: the columns :data:`IDENTITY`, :data:`LABEL` and :data:`FEATURES`; features are 32-bit floats on the grid
        of :data:`GRID`, without a null.
    """
    for column in ("carrier", "dest"):
        table = F.create_map(*(F.lit(item) for pair in sorted(encoding[column].items()) for item in pair))
        rate = F.coalesce(F.element_at(table, F.col(column)), F.lit(encoding["late_rate"]))
        flights = flights.withColumn(f"{column}_late_rate", rate)
    flights = flights.fillna(dict(encoding["fill"]))
    on_grid = [(F.round(F.col(name).cast("double") * GRID) / GRID).cast("float").alias(name) for name in FEATURES]
    return flights.select(*IDENTITY, LABEL, *on_grid)
