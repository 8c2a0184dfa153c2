"""The Spark programs, run by genuine Spark: what a feature is, what is refused, and that ONNX scores as Spark does."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.flight_data import flight, learnable, weather, write_tables
from tests.integration.programs import Programs

pytestmark = pytest.mark.spark

MONDAY = datetime.date(2013, 9, 30)
TUESDAY = datetime.date(2013, 10, 1)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    programs = Programs(tmp_path_factory.mktemp("programs"))
    try:
        yield programs
    finally:
        programs.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Input from which a model can learn."""
    return learnable(tmp_path_factory.mktemp("small") / "input")


@pytest.fixture(scope="module")
def dataset(programs: Programs, small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run") / "dataset"
    done = programs.run("preprocess", "--input", small, "--output", output)
    assert done.result["rows_read"] == 420
    return output


@pytest.fixture(scope="module")
def trial(programs: Programs, dataset: Path) -> Path:
    """A trained logistic regression."""
    output = dataset.parent / "trials" / "logistic_regression"
    assert programs.run("train", "--data", dataset, "--output", output, "--model", "logistic_regression").code == 0
    return output


# --- preprocess ---


def by_hand(directory: Path, *, last_delay: int = 100) -> Path:
    """Write flights whose features the tests below state."""
    flights = [
        flight(1, MONDAY, "8:10", dep=20, arr=30),
        flight(2, MONDAY, "8:50", dep=15, arr=0, origin="JFK"),
        flight(3, MONDAY, "8:40", dep=None, arr=None, carrier="B6"),
        flight(4, MONDAY, "9:15", dep=-5, arr=-10, carrier="B6"),
        flight(5, MONDAY, "10:30", dep=0, arr=16, dest="SFO", distance=2586),
        flight(6, MONDAY, "10:45", dep=0, arr=15, carrier="B6", tailnum="N1"),
        flight(7, TUESDAY, "9:00", dep=90, arr=last_delay, carrier="UA"),
        flight(8, TUESDAY, "9:30", dep=last_delay, arr=20 - last_delay, origin="EWR"),
        flight(9, TUESDAY, "9:40", dep=last_delay, arr=5),
    ]
    reports = [
        weather(MONDAY, 8, temp=50.0),
        weather(MONDAY, 9, temp=61.5, wind_dir=180, wind_gust=25.0, precip=0.1),
        weather(TUESDAY, 8, temp=40.0),
    ]
    planes = [{"tailnum": "N1", "year": 2003, "seats": 100, "engines": 2}]
    return write_tables(directory, flights, reports, planes)


@pytest.fixture(scope="module")
def hand_made(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("by_hand")
    return preprocessed(programs, by_hand(directory / "input"), directory / "dataset")


def preprocessed(programs: Programs, source: Path, output: Path) -> dict[int, dict[str, Any]]:
    done = programs.run("preprocess", "--input", source, "--output", output)
    assert done.result["train"]["rows"] == 5
    assert done.result["rows_without_arrival"] == 1
    rows = [row for part in ("train", "test") for row in programs.parquet(output / part)]
    return {row["flight"]: row for row in rows}


def test_late_is_more_than_the_threshold_and_cancelled_flights_are_left_out(
    hand_made: dict[int, dict[str, Any]],
) -> None:
    assert {number: row["late"] for number, row in hand_made.items()} == {
        1: 1,
        2: 0,
        4: 0,
        5: 1,
        6: 0,
        7: 1,
        8: 0,
        9: 0,
    }


def test_the_timetable_and_the_aircraft(hand_made: dict[int, dict[str, Any]]) -> None:
    row = hand_made[6]
    assert (row["sched_minute"], row["weekday"], row["distance"]) == (645, 1, 187)
    assert (row["plane_known"], row["plane_age"], row["seats"], row["engines"]) == (1, 10, 100, 2)
    assert (hand_made[5]["plane_known"], hand_made[7]["weekday"]) == (0, 2)
    assert (hand_made[8]["from_ewr"], hand_made[8]["from_lga"], row["from_ewr"]) == (1, 0, 0)


def test_the_airport_as_it_stood_at_the_top_of_the_hour(hand_made: dict[int, dict[str, Any]]) -> None:
    nine, ten = hand_made[4], hand_made[5]
    # At 9:00 only flight 1 had left; flight 2 was still at the gate, and so was 3, of which nobody knew yet.
    assert (nine["departed_delay_1h"], nine["waiting"], nine["scheduled_1h"]) == (20, 2, 1)
    # Between 9:00 and 10:00 left flights 2 (15 minutes late) and 4 (5 early); flight 3 never does.
    assert (ten["departed_delay_1h"], ten["waiting"], ten["scheduled_1h"]) == (5, 1, 2)


def test_the_weather_is_that_of_the_hour_before(hand_made: dict[int, dict[str, Any]]) -> None:
    nine, ten = hand_made[4], hand_made[5]
    assert (nine["temp"], nine["wind_gust"], nine["wind_east"], nine["wind_north"]) == (50, 10, 10, 0)
    assert (ten["temp"], ten["wind_gust"], ten["wind_east"], ten["wind_north"]) == (61.5, 25, 0, -10)


def test_rates_are_learnt_from_training_flights_alone(hand_made: dict[int, dict[str, Any]]) -> None:
    # Two of five training flights were late, two of the three of AA; UA flies only in the test part.
    assert hand_made[7]["carrier_late_rate"] == pytest.approx(0.4, abs=1 / 2048)
    assert hand_made[8]["carrier_late_rate"] == pytest.approx((2 + 100 * 0.4) / 103, abs=1 / 2048)


def test_what_is_missing_gets_the_mean_of_the_training_flights(hand_made: dict[int, dict[str, Any]]) -> None:
    assert hand_made[1]["temp"] == pytest.approx((50 + 2 * 61.5) / 3, abs=1 / 2048)
    assert hand_made[1]["departed_delay_1h"] == pytest.approx((20 + 5 + 5) / 3, abs=1 / 2048)


def test_features_are_exact_in_32_bits_and_so_are_the_midpoints_between_them(dataset: Path, programs: Programs) -> None:
    features = json.loads((dataset / "dataset.json").read_text())["features"]
    for row in programs.parquet(dataset / "test"):
        for name in features:
            assert row[name] * 1024 == int(row[name] * 1024), name
            assert abs(row[name]) < 2**13, name


def test_no_feature_knows_what_happens_after_the_top_of_the_hour(
    programs: Programs, hand_made: dict[int, dict[str, Any]], tmp_path: Path
) -> None:
    other = preprocessed(programs, by_hand(tmp_path / "input", last_delay=-3), tmp_path / "dataset")
    labels = {"arr_delay", "late"}
    assert other[7]["late"] != hand_made[7]["late"]
    for number, row in hand_made.items():
        assert {k: v for k, v in other[number].items() if k not in labels} == {
            k: v for k, v in row.items() if k not in labels
        }


def test_a_rerun_gives_the_same_data_and_clears_away_what_is_left_of_others(
    programs: Programs, small: Path, dataset: Path
) -> None:
    before = (dataset / "dataset.json").read_text()
    half_written = dataset.parent / f".{dataset.name}.0123.part"
    half_written.mkdir()
    old_run = dataset.parent.parent / "old"
    old_run.mkdir()
    (old_run / ".sparkml-run").touch()
    os.utime(old_run / ".sparkml-run", (0, 0))
    done = programs.run("preprocess", "--input", small, "--output", dataset, "--expire-days", "7")
    assert "removed the data of run old, older than 7 days" in done.out
    assert (dataset / "dataset.json").read_text() == before
    assert sorted(path.name for path in dataset.iterdir()) == ["dataset.json", "test", "train"]
    assert not half_written.exists()
    assert not old_run.exists()


def test_fewer_rows_are_some_of_them_all(programs: Programs, small: Path, dataset: Path, tmp_path: Path) -> None:
    result = programs.run("preprocess", "--input", small, "--rows", "100", "--output", tmp_path / "few").result
    assert result["train"]["rows"] + result["test"]["rows"] == 100
    assert result["fingerprint"] != json.loads((dataset / "dataset.json").read_text())["fingerprint"]
    flights = {row["flight"] for row in programs.parquet(dataset / "test")}
    assert {row["flight"] for row in programs.parquet(tmp_path / "few" / "test")} < flights


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--input", "/nowhere"], "--input /nowhere is no directory"),
        (["--split-date", "2013-01-01"], "there are no training flights: choose a later --split-date"),
        (["--late-minutes", "1000"], "the train part has 220 flights, 0% of them late: both kinds are needed"),
    ],
)
def test_input_that_nothing_can_be_learnt_from(
    programs: Programs, small: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    done = programs.run("preprocess", "--input", small, "--output", tmp_path / "out", *options)
    assert message in done.error
    assert list(tmp_path.iterdir()) == []


def test_a_table_without_a_column_and_one_that_is_not_there(programs: Programs, tmp_path: Path) -> None:
    source = by_hand(tmp_path / "input")
    planes = source / "planes.csv"
    planes.write_text(planes.read_text().replace("seats", "chairs"))
    done = programs.run("preprocess", "--input", source, "--output", tmp_path / "out")
    assert done.error == "table planes has no column seats; it has tailnum, year, chairs, engines"
    planes.unlink()
    done = programs.run("preprocess", "--input", source, "--output", tmp_path / "out")
    assert done.error == f"--input {source} has neither planes.csv nor planes.csv.zip"
    (source / "planes.csv.zip").write_text("no zip")
    done = programs.run("preprocess", "--input", source, "--output", tmp_path / "out")
    assert "planes.csv.zip is no zip file" in done.error


# --- train and export ---


@pytest.mark.parametrize(
    ("model", "options"),
    [("gbt", ["--trees", "4", "--depth", "3"]), ("random_forest", ["--trees", "4", "--depth", "3"])],
)
def test_trees_learn_and_their_onnx_scores_as_spark_does(
    programs: Programs, dataset: Path, model: str, options: list[str], tmp_path: Path
) -> None:
    trained = programs.run("train", "--data", dataset, "--output", tmp_path / "trial", "--model", model, *options)
    assert trained.result["parameters"]["trees"] == 4
    assert trained.result["metrics"]["auc"] > 0.6
    assert trained.result["metrics"]["log_loss"] < trained.result["baseline"]["log_loss"]
    check_export(programs, dataset, tmp_path / "trial", tmp_path / "model")


def test_logistic_regression_learns_and_its_onnx_scores_as_spark_does(
    programs: Programs, dataset: Path, trial: Path, tmp_path: Path
) -> None:
    facts = json.loads((trial / "trial.json").read_text())
    assert facts["metrics"]["auc"] > 0.6
    assert facts["base_rate"] == json.loads((dataset / "dataset.json").read_text())["test"]["late_rate"]
    check_export(programs, dataset, trial, tmp_path / "model")


def check_export(programs: Programs, dataset: Path, trial: Path, output: Path) -> None:
    result = programs.run("export_onnx", "--trial", trial, "--data", dataset, "--output", output).result
    assert result["parity"]["max_difference"] < 1e-6
    assert result["parity"]["rows"] == json.loads((dataset / "dataset.json").read_text())["test"]["rows"]
    assert sorted(path.name for path in output.iterdir()) == ["model.json", "model.onnx"]
    card = json.loads((output / "model.json").read_text())
    assert [entry["name"] for entry in card["inputs"]] == result["features"]
    sample = card["sample"]
    assert sample == result["sample"]
    assert len(sample["rows"]) == len(sample["arr_delay"]) == len(sample["flights"]) == 8
    # What a client sends is text: the sample's numbers must give Spark's probabilities after all.
    assert programs.ask(score=str(output / "model.onnx"), rows=sample["rows"]) == pytest.approx(
        sample["probability"], abs=1e-5
    )
    assert sample["probability"] == sorted(sample["probability"])


def test_a_converter_that_is_wrong_in_silence_is_found_out(
    programs: Programs, dataset: Path, trial: Path, tmp_path: Path
) -> None:
    output = tmp_path / "model"
    argv = ("--trial", trial, "--data", dataset, "--output", output)
    done = programs.run("export_onnx", *argv, wrong_converter=True)
    assert "the ONNX model gives other probabilities than Spark" in done.error
    assert list(tmp_path.iterdir()) == []


def test_equal_seeds_give_equal_models(programs: Programs, dataset: Path, tmp_path: Path) -> None:
    options = ("--model", "random_forest", "--trees", "3", "--depth", "3")

    def metrics(seed: str, name: str) -> Any:
        done = programs.run("train", "--data", dataset, "--output", tmp_path / name, *options, "--seed", seed)
        return done.result["metrics"]

    assert metrics("1", "a") == metrics("1", "b")


@pytest.mark.parametrize(
    ("program", "argv", "message"),
    [
        (
            "train",
            ["--model", "logistic_regression", "--trees", "5"],
            "--trees: does not apply to --model logistic_reg",
        ),
        ("train", ["--model", "gbt", "--depth", "40"], "argument --depth: must be at most 12, is 40"),
        ("train", ["--model", "gbt", "--step-size", "2"], "argument --step-size: must be above 0 and at most 1, is 2"),
        ("train", ["--model", "gbt", "--trees", "0"], "argument --trees: must be 1 or more, is 0"),
        ("train", ["--model", "svm"], "argument --model: invalid choice: 'svm'"),
        ("train", ["--model", "gbt", "--output", "/data/a:b"], "argument --output: '/data/a:b' has : in it"),
        ("preprocess", ["--late-minutes", "-1"], "argument --late-minutes: must be 0 or more, is -1"),
        ("preprocess", ["--split-date", "soon"], "argument --split-date: invalid"),
        ("export_onnx", ["--tolerance", "nan"], "argument --tolerance: must be a number of 0 or more"),
    ],
)
def test_bad_options_are_refused_before_spark_starts(
    programs: Programs, tmp_path: Path, program: str, argv: list[str], message: str
) -> None:
    places = {"train": ["--data"], "preprocess": [], "export_onnx": ["--trial", "--data"]}[program]
    given = [word for option in (*places, "--output") for word in (option, str(tmp_path / "x"))]
    done = programs.run(program, *given, *argv)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert list(tmp_path.iterdir()) == []


def test_an_input_that_is_not_there_says_what_makes_it(programs: Programs, dataset: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    done = programs.run("train", "--data", absent, "--output", tmp_path / "out", "--model", "gbt")
    assert done.error == f"no dataset.json in {absent}: make it with preprocess.py --output {absent}"
    done = programs.run("export_onnx", "--trial", absent, "--data", dataset, "--output", tmp_path / "out")
    assert done.error == f"no trial.json in {absent}: make it with train.py --output {absent}"


def test_a_model_is_not_compared_on_data_that_it_may_have_been_trained_on(
    programs: Programs, small: Path, dataset: Path, trial: Path, tmp_path: Path
) -> None:
    facts = json.loads((dataset / "dataset.json").read_text())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(facts | {"fingerprint": "other"}))
    done = programs.run("export_onnx", "--trial", trial, "--data", tmp_path / "data", "--output", tmp_path / "out")
    assert f"was trained on data set {facts['fingerprint']}, {tmp_path / 'data'} is other" in done.error


def test_features_of_another_version_are_refused(programs: Programs, dataset: Path, tmp_path: Path) -> None:
    facts = json.loads((dataset / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps(facts | {"features": facts["features"][1:]}))
    done = programs.run("train", "--data", tmp_path, "--output", tmp_path / "out", "--model", "gbt")
    assert "was made by another version of preprocess.py (other features): make it anew" in done.error


@pytest.mark.parametrize("program", ["preprocess", "train", "export_onnx"])
def test_help(programs: Programs, program: str) -> None:
    done = programs.run(program, "--help")
    assert done.code == 0
    assert f"usage: {program}.py" in done.out
