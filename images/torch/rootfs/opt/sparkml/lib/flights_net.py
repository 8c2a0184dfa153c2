"""A small neural network that forecasts whether a flight arrives late: its data, training steps, measures and ONNX.

It reads what ``preprocess.py`` of the image ``spark`` writes, and what it writes is served like Spark's own models:
one input of shape [N, 1] per feature, and the outputs ``prediction`` and ``probability``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
import torch
from job import (
    ProgramError,
    described,
    elapsed,
    local_path,
    positive_float,
    positive_int,
    published,
    say,
    tell,
    write_run_manifest,
)
from onnx import TensorProto, helper, numpy_helper
from torch import nn

DATASET = "dataset.json"
LABEL = "late"
IDENTITY = ("carrier", "flight", "origin", "dest", "scheduled", "arr_delay")
MODEL_FILE, CARD = "model.onnx", "model.json"
OPSET = 15
SAMPLE = 8
"""Held-out flights in the result: as many as fit into a termination message with room to spare."""
TOLD_STEPS = 20
"""The loss is told every so many steps."""
TOLERANCE = 1e-4
"""Largest difference of a probability between torch and ONNX that is let pass."""


def parser(program: str, description: str) -> argparse.ArgumentParser:
    """Return the command line that the training programs share."""
    options = argparse.ArgumentParser(prog=program, description=description.splitlines()[0])
    options.add_argument("--data", type=local_path, required=True, help="output directory of preprocess.py")
    options.add_argument("--output", type=local_path, required=True, help="directory to make: the model to serve")
    options.add_argument("--epochs", type=positive_int, default=5, help="passes over the data (default 5)")
    options.add_argument("--hidden", type=positive_int, default=64, help="width of the two hidden layers (default 64)")
    options.add_argument("--batch", type=positive_int, default=512, help="flights per step and rank (default 512)")
    options.add_argument("--learning-rate", type=positive_float, default=0.002, help="of Adam (default 0.002)")
    options.add_argument("--seed", type=int, default=42, help="of weights and order (default 42)")
    return options


@dataclass(frozen=True)
class Flights:
    """A part of the data set.

    :param features: shape [N, F], 32-bit floats.
    :param late: shape [N], 0 or 1.
    """

    features: torch.Tensor
    late: torch.Tensor


def read(directory: Path, dataset: dict[str, Any], part: str) -> Flights:
    """Read ``train`` or ``test``.

    :raises ProgramError: when it cannot be read.
    """
    columns = [*dataset["features"], LABEL]
    try:
        table = pq.read_table(directory / dataset[part]["path"], columns=columns)
    except (OSError, ValueError, KeyError) as error:
        raise ProgramError(f"cannot read the {part} part of {directory}: {error}") from error
    arrays = [table[name].to_numpy().astype(np.float32) for name in columns]
    return Flights(torch.from_numpy(np.stack(arrays[:-1], axis=1)), torch.from_numpy(arrays[-1]))


class FlightsNet(nn.Module):
    """Standardization, two hidden layers, and the logit of being late, shape [N]."""

    def __init__(self, train: torch.Tensor, hidden: int) -> None:
        super().__init__()
        self.register_buffer("mean", train.mean(dim=0))
        self.register_buffer("scale", train.std(dim=0).clamp_min(1e-6))
        width = train.shape[1]
        self.layers = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        logits: torch.Tensor = self.layers((features - self.mean) / self.scale).squeeze(1)
        return logits


def batches(rows: int, done: int, batch: int, ranks: int, order: int) -> Iterator[torch.Tensor]:
    """Yield the row numbers that all ranks together take in each step of an epoch, no row twice.

    A rank takes every ``ranks``-th of them from its own number on, so all have as many.

    :param done: how many rows of this epoch are done already.
    :param batch: rows per rank.
    :param order: seed of the order, the same on all ranks.
    """
    numbers = torch.randperm(rows, generator=torch.Generator().manual_seed(order))[done:]
    for chunk in numbers.split(batch * ranks):
        if len(chunk) >= ranks:
            yield chunk[: len(chunk) // ranks * ranks]


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, flights: Flights, rows: torch.Tensor) -> float:
    """Take one step, and return the loss of this rank's batch."""
    optimizer.zero_grad()
    loss = nn.functional.binary_cross_entropy_with_logits(model(flights.features[rows]), flights.late[rows])
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def tell_step(step: int, loss: float, epoch: int, epochs: int) -> None:
    """Tell of some steps how they went, in the form that is shown as the task's progress."""
    if step % TOLD_STEPS == 0:
        tell(f"step={step} loss={loss:.4f} epoch={epoch}/{epochs}")


def digest(model: nn.Module) -> str:
    """Return a hash of all parameters: equal when they are, to the bit."""
    found = hashlib.sha256()
    for parameter in model.parameters():
        found.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def check_equal(digests: Sequence[str]) -> None:
    """Make sure that all ranks have the same parameters.

    :raises ProgramError: they have not.
    """
    if len(set(digests)) != 1:
        told = ", ".join(f"rank {rank}: {each}" for rank, each in enumerate(digests))
        raise ProgramError(f"the ranks' parameters differ ({told}): gradients were not averaged")


# --- measures ------------------------------------------------------------------------------------------------------


def probabilities(model: nn.Module, flights: Flights) -> np.ndarray:
    """Return the probability of late, shape [N]."""
    with torch.no_grad():
        found: np.ndarray = torch.sigmoid(model(flights.features)).double().numpy()
    return found


def area_under_curve(late: np.ndarray, probability: np.ndarray) -> float:
    """Return the area under the ROC curve: how often a late flight gets the higher probability; ties count half."""
    _, inverse, counts = np.unique(probability, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = int(late.sum())
    negative = len(late) - positive
    return float((ranks[late == 1].sum() - positive * (positive + 1) / 2) / (positive * negative))


def measure(late: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """Return area under the ROC curve, log loss and accuracy (late when the probability is above 0.5)."""
    of_truth = np.where(late == 1, probability, 1 - probability).clip(1e-15)
    return {
        "auc": round(area_under_curve(late, probability), 4),
        "log_loss": round(float(-np.log(of_truth).mean()), 4),
        "accuracy": round(float(((probability > 0.5) == late).mean()), 4),
    }


def baseline(late_rate: float, test_late_rate: float) -> dict[str, float]:
    """Return the metrics of the forecast that knows nothing but the training flights' late rate."""
    log_loss = -(test_late_rate * math.log(late_rate) + (1 - test_late_rate) * math.log(1 - late_rate))
    always = test_late_rate if late_rate > 0.5 else 1 - test_late_rate
    return {"auc": 0.5, "log_loss": round(log_loss, 4), "accuracy": round(always, 4)}


# --- export --------------------------------------------------------------------------------------------------------


def to_onnx(model: FlightsNet, features: Sequence[str]) -> onnx.ModelProto:
    """Return the network as ONNX, with an input of shape [N, 1] per feature."""
    linear = [layer for layer in model.layers if isinstance(layer, nn.Linear)]
    constants = {
        "mean": model.mean,
        "scale": model.scale,
        "one": torch.ones(1),
        "half": torch.full((1,), 0.5),
        **{f"weight{i}": layer.weight for i, layer in enumerate(linear)},
        **{f"bias{i}": layer.bias for i, layer in enumerate(linear)},
    }
    nodes = [
        helper.make_node("Concat", list(features), ["raw"], axis=1),
        helper.make_node("Sub", ["raw", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["hidden0"]),
    ]
    for i in range(len(linear)):
        nodes.append(helper.make_node("Gemm", [f"hidden{i}", f"weight{i}", f"bias{i}"], [f"sum{i}"], transB=1))
        last = i == len(linear) - 1
        nodes.append(
            helper.make_node("Sigmoid" if last else "Relu", [f"sum{i}"], ["late" if last else f"hidden{i + 1}"])
        )
    nodes += [
        helper.make_node("Sub", ["one", "late"], ["in_time"]),
        helper.make_node("Concat", ["in_time", "late"], ["probability"], axis=1),
        helper.make_node("Greater", ["late", "half"], ["is_late"]),
        helper.make_node("Cast", ["is_late"], ["column"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["column", "axis"], ["prediction"]),
    ]
    initializers = [numpy_helper.from_array(each.detach().float().numpy(), name) for name, each in constants.items()]
    initializers.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "axis"))
    graph = helper.make_graph(
        nodes,
        "flights",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in features],
        [
            helper.make_tensor_value_info("prediction", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, 2]),
        ],
        initializers,
    )
    found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(found)
    return found


def largest_difference(file: Path, features: Sequence[str], flights: Flights, probability: np.ndarray) -> float:
    """Return by how much onnxruntime's probabilities differ from torch's at most.

    :raises ProgramError: by more than is let pass.
    """
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    inputs = {name: flights.features[:, i : i + 1].numpy() for i, name in enumerate(features)}
    (scored,) = session.run(["probability"], inputs)
    largest = float(np.abs(scored[:, 1] - probability).max())
    if not largest <= TOLERANCE:  # written so that NaN is wrong
        raise ProgramError(
            f"the ONNX model's probabilities differ from torch's by up to {largest:.2e}, where {TOLERANCE:g} is let "
            "pass: it was not published"
        )
    return largest


def sample_of(directory: Path, dataset: dict[str, Any], flights: Flights, probability: np.ndarray) -> dict[str, Any]:
    """Return held-out flights with features, true delay and probability, for trying a served model.

    They are spread evenly over the probabilities; how late they really came plays no part in the choice.
    """
    spread = np.linspace(0, len(probability) - 1, SAMPLE).round().astype(int)
    chosen = np.argsort(probability, kind="stable")[spread]
    table = pq.read_table(directory / dataset["test"]["path"], columns=list(IDENTITY)).take(chosen).to_pylist()
    return {
        "flights": [
            f"{row['carrier']}{row['flight']} {row['origin']}-{row['dest']} {row['scheduled']:%Y-%m-%d %H:%M}Z"
            for row in table
        ],
        "rows": [[_short(value) for value in row] for row in flights.features[chosen].numpy()],
        "arr_delay": [int(row["arr_delay"]) for row in table],
        "probability": [round(float(probability[i]), 6) for i in chosen],
    }


def _short(value: np.float32) -> float | int:
    """Return the shortest number that becomes the same 32-bit float again."""
    return int(value) if value == int(value) else float(str(value))


def publish(args: argparse.Namespace, model: FlightsNet, training: dict[str, Any]) -> dict[str, Any]:
    """Measure the trained network, write it for serving, and return the program's result.

    :param training: facts about the training.
    :raises ProgramError: the ONNX model scores in another way.
    """
    dataset = described(args.data, DATASET, "preprocess.py")
    test = read(args.data, dataset, "test")
    probability = probabilities(model.eval(), test)
    facts = {
        "model": "mlp",
        "parameters": {name: getattr(args, name) for name in ("epochs", "hidden", "batch", "learning_rate")},
        "metrics": measure(test.late.numpy(), probability),
        "baseline": baseline(dataset["train"]["late_rate"], dataset["test"]["late_rate"]),
        "base_rate": dataset["test"]["late_rate"],
        "late_minutes": dataset["late_minutes"],
        "dataset": dataset["fingerprint"],
        "inputs": {"flights_dataset": dataset["fingerprint"]},
        **training,
    }
    with published(args.output, CARD) as staging:
        (staging / MODEL_FILE).write_bytes(to_onnx(model, dataset["features"]).SerializeToString())
        largest = largest_difference(staging / MODEL_FILE, dataset["features"], test, probability)
        parity = {"rows": len(probability), "max_difference": largest, "tolerance": TOLERANCE}
        sample = sample_of(args.data, dataset, test, probability)
        about = {"decision_threshold": 0.5, "encoding": dataset["encoding"], "parity": parity, "sample": sample}
        (staging / CARD).write_text(json.dumps({**facts, **about}, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        write_run_manifest(staging, **{name: facts[name] for name in ("metrics", "parameters", "inputs")})
    # One a line is what Katib's collector reads from a log.
    for name, value in facts["metrics"].items():
        tell(f"{name}={value}")
    say(f"published {args.output}: AUC {facts['metrics']['auc']:.3f} (0.5 by chance)")
    result = {"output": str(args.output), **facts, "parity": parity, "features": dataset["features"], "sample": sample}
    return {**result, "seconds": elapsed()}
