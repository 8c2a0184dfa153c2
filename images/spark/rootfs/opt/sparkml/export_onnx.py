"""Convert a trained pipeline to ONNX, and refuse to publish it unless it gives Spark's own probabilities.

Writes ``model.onnx`` and ``model.json`` into the output directory, the layout a KServe ``storageUri`` points at; it
appears whole or not at all. The parity gate scores held-out flights with Spark and with onnxruntime, from the very file
to be published. It is needed: converters have been seen to give wrong probabilities without an error.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from flights import FEATURES, IDENTITY, LABEL
from onnx import ModelProto
from onnxmltools import convert_sparkml
from onnxmltools.convert.common.data_types import FloatTensorType
from outputs import (
    ProgramError,
    describe,
    described,
    elapsed,
    non_negative_float,
    positive_int,
    published,
    run,
    say,
    storage_path,
    uri,
    write_result,
    write_run_manifest,
)
from parity import check_parity
from preprocess import DATASET
from pyspark.ml import PipelineModel
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from session import spark_session
from train import PIPELINE, TRIAL

MODEL_FILE = "model.onnx"
CARD = "model.json"
SAMPLE = 8
"""Held-out flights in the result: as many as fit into a termination message with room to spare."""
STEPS = 4
OPSET = 15
"""The newest that the converter writes; model servers since 2021 run it."""


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="export_onnx.py", description=__doc__.splitlines()[0])
    parser.add_argument("--trial", type=storage_path, required=True, help="output directory of train.py")
    parser.add_argument(
        "--data", type=storage_path, required=True, help="output directory of preprocess.py, held-out flights"
    )
    parser.add_argument("--output", type=storage_path, required=True, help="directory to make: the model to serve")
    parser.add_argument("--rows", type=positive_int, default=20000, help="held-out flights to compare (default 20000)")
    parser.add_argument(
        "--tolerance",
        type=non_negative_float,
        default=1e-4,
        help="largest difference of a probability that is let pass (default 0.0001)",
    )
    return parser.parse_args(argv)


@contextlib.contextmanager
def _scratch(directory: Path) -> Iterator[None]:
    """Have the converter write below ``directory``: it goes through files, which executors in other pods must reach."""
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        former, tempfile.tempdir = tempfile.tempdir, scratch
        try:
            yield
        finally:
            tempfile.tempdir = former


def to_onnx(spark: SparkSession, pipeline: PipelineModel, scratch: Path) -> ModelProto:
    """Convert a fitted pipeline.

    :param pipeline: features → vector → classifier.
    :param scratch: existing directory on storage that all pods share.
    :return: a model with one input of shape [N, 1] per feature, and the outputs ``prediction`` and ``probability``.
    """
    inputs = [(name, FloatTensorType([None, 1])) for name in FEATURES]
    # The converter prints all coefficients; a driver's log is no place for them.
    with _scratch(scratch), contextlib.redirect_stdout(io.StringIO()):
        return convert_sparkml(pipeline, "sparkml", inputs, target_opset=OPSET, spark_session=spark)


def held_out(spark: SparkSession, data: Path, rows: int) -> DataFrame:
    """Take test flights, always the same ones, spread over the whole test period."""
    test = spark.read.parquet(uri(data))
    return test.orderBy(F.xxhash64("carrier", "flight", "origin", "scheduled"), "scheduled", "flight").limit(rows)


def score_spark(pipeline: PipelineModel, flights: DataFrame) -> pd.DataFrame:
    """Score flights with Spark: their own columns, ``prediction``, and ``probability`` (of late)."""
    scored = pipeline.transform(flights).withColumn("probability", vector_to_array("probability")[1])
    return scored.select(*IDENTITY, LABEL, *FEATURES, "prediction", "probability").toPandas()


def score_onnx(model: Path, flights: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Score the same flights with onnxruntime.

    :return: predictions, shape [N], and probabilities of both classes, shape [N, 2].
    """
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    inputs = {name: flights[[name]].to_numpy(dtype=np.float32) for name in FEATURES}
    prediction, probability = session.run(["prediction", "probability"], inputs)
    return prediction, probability


def sample_of(scored: pd.DataFrame) -> dict[str, Any]:
    """Return held-out flights with their features, true delay and Spark's probability, for trying a served model.

    They are spread evenly over the probabilities, from the surest to arrive in time to the likeliest to be late; how
    late they really came plays no part in the choice.
    """
    spread = np.linspace(0, len(scored) - 1, SAMPLE).round().astype(int)
    rows = scored.sort_values("probability", kind="stable").iloc[spread]
    return {
        "flights": [
            f"{row.carrier}{row.flight} {row.origin}-{row.dest} {row.scheduled:%Y-%m-%d %H:%M}Z"
            for row in rows.itertuples()
        ],
        "rows": [[_short(value) for value in row] for row in rows[list(FEATURES)].to_numpy(dtype=np.float32)],
        "arr_delay": [int(value) for value in rows["arr_delay"]],
        "probability": [round(float(value), 6) for value in rows["probability"]],
    }


def _short(value: np.float32) -> float | int:
    """Return the shortest number that becomes the same 32-bit float again."""
    return int(value) if value == int(value) else float(str(value))


def card(
    dataset: dict[str, Any], trial: dict[str, Any], parity: dict[str, Any], sample: dict[str, Any]
) -> dict[str, Any]:
    """Return all that a caller of the served model needs to know."""
    return {
        "question": f"Will the flight arrive more than {trial['late_minutes']} minutes late?",
        "inputs": [{"name": name, "meaning": meaning} for name, meaning in FEATURES.items()],
        "outputs": {"prediction": "1 late, 0 not late", "probability": "of not late, of late"},
        "late_minutes": trial["late_minutes"],
        "decision_threshold": 0.5,
        **{key: trial[key] for key in ("model", "parameters", "metrics", "baseline", "base_rate", "dataset")},
        "encoding": dataset["encoding"],
        "parity": parity,
        "sample": sample,
    }


def main(argv: list[str]) -> None:
    """Convert, compare, publish."""
    args = arguments(argv)
    trial = described(args.trial, TRIAL, "train.py")
    dataset = described(args.data, DATASET, "preprocess.py")
    if trial["dataset"] != dataset["fingerprint"]:
        raise ProgramError(
            f"{args.trial} was trained on data set {trial['dataset']}, {args.data} is {dataset['fingerprint']}: "
            "name the data set that it was trained on"
        )
    with published(args.output, CARD) as staging, spark_session(f"export {trial['model']}") as spark:
        say(f"1/{STEPS} scoring held-out flights with Spark's {trial['model']}")
        pipeline = PipelineModel.load(uri(args.trial / PIPELINE))
        scored = score_spark(pipeline, held_out(spark, args.data / dataset["test"]["path"], args.rows))
        say(f"2/{STEPS} converting to ONNX")
        (staging / MODEL_FILE).write_bytes(to_onnx(spark, pipeline, staging).SerializeToString())
        say(f"3/{STEPS} comparing the probabilities of {len(scored):,} flights")
        answers = score_onnx(staging / MODEL_FILE, scored)
        largest = check_parity(scored["probability"].to_numpy(), *answers, tolerance=args.tolerance)
        parity = {"rows": len(scored), "max_difference": largest, "tolerance": args.tolerance}
        sample = sample_of(scored)
        describe(staging, CARD, card(dataset, trial, parity, sample))
        made = {"metrics": trial["metrics"], "parameters": {"model": trial["model"], **trial["parameters"]}}
        made["inputs"] = {"flights_dataset": trial["dataset"]}
        write_run_manifest(staging, **made, spark_application_id=spark.sparkContext.applicationId)
    say(f"{STEPS}/{STEPS} published {args.output}: probabilities differ by {largest:.1e} at most")
    facts = {key: trial[key] for key in ("model", "base_rate", "late_minutes", "dataset")}
    about = {"parity": parity, "features": list(FEATURES), "sample": sample}
    write_result({"output": str(args.output), **facts, **made, **about, "seconds": elapsed()})


if __name__ == "__main__":
    run(main)
