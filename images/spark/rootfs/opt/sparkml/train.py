"""Train one Spark MLlib classifier on the data set of preprocess.py and measure it on the test flights.

Writes the fitted pipeline (``pipeline/``) and ``trial.json`` into the output directory, which appears whole or not at
all.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flights import FEATURES, LABEL
from outputs import (
    ProgramError,
    describe,
    described,
    elapsed,
    non_negative_float,
    non_negative_int,
    positive_int,
    published,
    run,
    say,
    storage_path,
    uri,
    write_result,
)
from preprocess import DATASET
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import GBTClassifier, LogisticRegression, RandomForestClassifier
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.feature import VectorAssembler
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812
from session import spark_session

TRIAL = "trial.json"
PIPELINE = "pipeline"
STEPS = 4
MAX_DEPTH = 12
"""Spark itself allows 30; the conversion of a tree to ONNX takes time in the square of its leaves."""


@dataclass(frozen=True)
class Algorithm:
    """A kind of model: what it is fitted with, and its hyper-parameters with their defaults."""

    estimator: Callable[..., Any]
    defaults: dict[str, float]


def _gbt(trees: int, depth: int, step_size: float, seed: int) -> GBTClassifier:
    return GBTClassifier(labelCol=LABEL, maxIter=trees, maxDepth=depth, stepSize=step_size, seed=seed)


def _random_forest(trees: int, depth: int, seed: int) -> RandomForestClassifier:
    return RandomForestClassifier(labelCol=LABEL, numTrees=trees, maxDepth=depth, seed=seed)


def _logistic_regression(regularization: float, iterations: int, seed: int) -> LogisticRegression:
    # It starts from zero and draws nothing by chance; the seed is taken so that all algorithms are called alike.
    del seed
    return LogisticRegression(labelCol=LABEL, regParam=regularization, maxIter=iterations)


ALGORITHMS = {
    "gbt": Algorithm(_gbt, {"trees": 20, "depth": 5, "step_size": 0.2}),
    "random_forest": Algorithm(_random_forest, {"trees": 20, "depth": 8}),
    "logistic_regression": Algorithm(_logistic_regression, {"regularization": 0.001, "iterations": 25}),
}


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="train.py", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=storage_path, required=True, help="output directory of preprocess.py")
    parser.add_argument(
        "--output", type=storage_path, required=True, help="directory to make; on storage all pods share"
    )
    parser.add_argument("--model", choices=sorted(ALGORITHMS), required=True)
    parser.add_argument("--seed", type=non_negative_int, default=42, help="equal seeds give equal trees (default 42)")
    numbers = {
        "trees": (positive_int, "trees"),
        "depth": (positive_int, f"levels of a tree, at most {MAX_DEPTH}"),
        "step-size": (non_negative_float, "learning rate, above 0 up to 1"),
        "regularization": (non_negative_float, "weight of the L2 penalty"),
        "iterations": (positive_int, "steps of the optimizer at most"),
    }
    for name, (kind, text) in numbers.items():
        of = ", ".join(
            f"{model}: {algorithm.defaults[name.replace('-', '_')]:g}"
            for model, algorithm in ALGORITHMS.items()
            if name.replace("-", "_") in algorithm.defaults
        )
        parser.add_argument(f"--{name}", type=kind, help=f"{text} ({of})")
    args = parser.parse_args(argv)
    own = ALGORITHMS[args.model].defaults
    for name in (key.replace("-", "_") for key in numbers):
        if getattr(args, name) is not None and name not in own:
            parser.error(f"argument --{name.replace('_', '-')}: does not apply to --model {args.model}")
    if args.depth is not None and args.depth > MAX_DEPTH:
        parser.error(f"argument --depth: must be at most {MAX_DEPTH}, is {args.depth}")
    if args.step_size is not None and not 0 < args.step_size <= 1:
        parser.error(f"argument --step-size: must be above 0 and at most 1, is {args.step_size:g}")
    return args


def hyper_parameters(args: argparse.Namespace) -> dict[str, float]:
    """Return the algorithm's hyper-parameters: those given, else the defaults."""
    given = {name: getattr(args, name) for name in ALGORITHMS[args.model].defaults}
    return {
        name: default if given[name] is None else given[name]
        for name, default in ALGORITHMS[args.model].defaults.items()
    }


def baseline(late_rate: float, test_late_rate: float) -> dict[str, float]:
    """Return the metrics of the forecast that knows nothing but the training flights' late rate.

    :param late_rate: share of late flights in the training part, between 0 and 1.
    :param test_late_rate: share of late flights in the test part.
    """
    log_loss = -(test_late_rate * math.log(late_rate) + (1 - test_late_rate) * math.log(1 - late_rate))
    always = test_late_rate if late_rate > 0.5 else 1 - test_late_rate
    return {"auc": 0.5, "log_loss": round(log_loss, 4), "accuracy": round(always, 4)}


def measure(scored: DataFrame) -> dict[str, float]:
    """Return area under the ROC curve, log loss and accuracy (late when the probability is above 0.5)."""
    auc = BinaryClassificationEvaluator(labelCol=LABEL, rawPredictionCol="probability").evaluate(scored)
    # The probability of what came true; never quite 0, where the loss would be infinite.
    of_truth = F.greatest(vector_to_array("probability")[F.col(LABEL)], F.lit(1e-15))
    right = (F.col("prediction") == F.col(LABEL)).cast("double")
    row = scored.agg(F.mean(-F.log(of_truth)).alias("log_loss"), F.mean(right).alias("accuracy")).first()
    return {"auc": round(auc, 4), "log_loss": round(row["log_loss"], 4), "accuracy": round(row["accuracy"], 4)}


def fit(train: DataFrame, model: str, parameters: dict[str, float], seed: int) -> PipelineModel:
    """Fit features → vector → classifier."""
    assembler = VectorAssembler(inputCols=list(FEATURES), outputCol="features")
    classifier = ALGORITHMS[model].estimator(**parameters, seed=seed)
    return Pipeline(stages=[assembler, classifier]).fit(train)


def main(argv: list[str]) -> None:
    """Train and measure one model."""
    args = arguments(argv)
    dataset = described(args.data, DATASET, "preprocess.py")
    if dataset["features"] != list(FEATURES):
        raise ProgramError(f"{args.data} was made by another version of preprocess.py (other features): make it anew")
    parameters = hyper_parameters(args)
    with published(args.output, TRIAL) as staging, spark_session(f"train {args.model}") as spark:
        say(f"1/{STEPS} reading {dataset['train']['rows']:,} training and {dataset['test']['rows']:,} test flights")
        train = spark.read.parquet(uri(args.data / dataset["train"]["path"])).cache()
        test = spark.read.parquet(uri(args.data / dataset["test"]["path"]))
        say(f"2/{STEPS} fitting {args.model} with {', '.join(f'{k}={v:g}' for k, v in parameters.items())}")
        pipeline = fit(train, args.model, parameters, args.seed)
        say(f"3/{STEPS} measuring")
        metrics = measure(pipeline.transform(test).select(LABEL, "probability", "prediction").cache())
        pipeline.save(uri(staging / PIPELINE))
        facts = {
            "model": args.model,
            "parameters": parameters,
            "seed": args.seed,
            "metrics": metrics,
            "baseline": baseline(dataset["train"]["late_rate"], dataset["test"]["late_rate"]),
            "base_rate": dataset["test"]["late_rate"],
            "late_minutes": dataset["late_minutes"],
            "train_rows": dataset["train"]["rows"],
            "test_rows": dataset["test"]["rows"],
            "dataset": dataset["fingerprint"],
        }
        describe(staging, TRIAL, facts)
    say(f"{STEPS}/{STEPS} published {args.output}: AUC {metrics['auc']:.3f} (0.5 by chance)")
    write_result({"output": str(args.output), **facts, "seconds": elapsed()})


if __name__ == "__main__":
    run(main)
