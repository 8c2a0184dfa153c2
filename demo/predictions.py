"""Asks the served model about real flights, and sets its answers beside what really happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from demo.airflow import DemoError

TOLERANCE = 1e-4
"""A served probability further from Spark's own than this comes from another model."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The model's answer about one held-out flight.

    :param flight: which flight it was.
    :param probability: of arriving late, between 0 and 1.
    :param is_late: the label predicted.
    :param actual_delay: minutes after schedule; negative is early.
    """

    flight: str
    probability: float
    is_late: bool
    actual_delay: int


def predict(url: str, model: str, sample: Mapping[str, Any], features: Sequence[str]) -> list[Prediction]:
    """Send the sample's flights to the model by KServe's V2 protocol.

    :param url: where the service answers.
    :param model: name of the model in URLs.
    :param sample: ``flights``, ``rows``, ``arr_delay`` and Spark's own ``probability``, as the export returned them.
    :param features: names of the model's inputs, in the order of the columns of ``rows``.
    :raises DemoError: when the answer does not come from the model that was trained.
    """
    rows = sample["rows"]
    inputs = [
        {"name": name, "shape": [len(rows), 1], "datatype": "FP32", "data": [row[i] for row in rows]}
        for i, name in enumerate(features)
    ]
    address = f"{url}/v2/models/{model}/infer"
    try:
        answer = httpx.post(address, json={"inputs": inputs}, timeout=30)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise DemoError(f"the served model did not answer at {address}: {error}") from error
    outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
    late = outputs["probability"][1::2]  # shape [N, 2], flat: not late, late
    check(answer.json().get("model_name"), model, late, sample["probability"])
    return [
        Prediction(flight, probability, bool(label), delay)
        for flight, probability, label, delay in zip(
            sample["flights"], late, outputs["prediction"], sample["arr_delay"], strict=True
        )
    ]


def check(name: Any, model: str, served: Sequence[float], spark: Sequence[float]) -> None:
    """Make sure that the answer is that of the model which Spark trained in this run.

    :raises DemoError: when it is not.
    """
    if name != model:
        raise DemoError(f"the answer comes from model {name!r}, not from {model!r}")
    if len(served) != len(spark):
        raise DemoError(f"{len(spark)} flights were asked about, {len(served)} answers came")
    worst = max(abs(a - b) for a, b in zip(served, spark, strict=True))
    if worst > TOLERANCE:
        raise DemoError(f"the served probabilities differ from Spark's by up to {worst:.2e}: it is another model")
