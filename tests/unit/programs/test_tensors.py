"""Requests of both protocols become exactly the model's inputs, or are refused with the input's name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tensors import InputError, ModelError, Tensor, from_instances, from_tensors, to_predictions


def tensor(name: str, kind: str = "tensor(float)", shape: tuple[Any, ...] = (None, 1)) -> Tensor:
    return Tensor.of(SimpleNamespace(name=name, type=kind, shape=list(shape)))


COLUMNS = [tensor("a"), tensor("b"), tensor("c", "tensor(int64)")]
MATRIX = [tensor("x", shape=("batch", 2))]
TEXT = [tensor("carrier", "tensor(string)"), tensor("delay", "tensor(double)")]


def equal(feeds: dict[str, np.ndarray], wanted: dict[str, Any]) -> bool:
    return feeds.keys() == wanted.keys() and all(np.array_equal(feeds[name], wanted[name]) for name in wanted)


# --- the model ---


def test_a_tensor_describes_itself_as_the_protocol_does() -> None:
    assert tensor("x", "tensor(int64)", ("N", 3)).metadata() == {"name": "x", "datatype": "INT64", "shape": [-1, 3]}


def test_a_model_that_the_protocols_cannot_carry() -> None:
    with pytest.raises(ModelError, match=r"'probability'.*seq\(map.*without ZipMap"):
        tensor("probability", "seq(map(int64,tensor(float)))", ())


# --- V2 ---


def test_tensors_by_name_in_any_order_and_numeric_type() -> None:
    given = {"b": np.array([[2.0]]), "c": np.array([3.0]), "a": np.array([1], dtype=np.int64)}
    feeds = from_tensors(COLUMNS, given)
    assert equal(feeds, {"a": [[1]], "b": [[2]], "c": [[3]]})
    assert [feeds[name].dtype for name in "abc"] == [np.float32, np.float32, np.int64]


def test_one_tensor_with_all_columns_in_order() -> None:
    feeds = from_tensors(COLUMNS, {"features": np.array([[1.0, 2, 3], [4, 5, 6]])})
    assert equal(feeds, {"a": [[1], [4]], "b": [[2], [5]], "c": [[3], [6]]})


def test_a_matrix_under_its_name() -> None:
    assert equal(from_tensors(MATRIX, {"x": np.array([[1.0, 2.0]])}), {"x": [[1, 2]]})


@pytest.mark.parametrize(
    ("inputs", "given", "message"),
    [
        (COLUMNS, {"a": [1.0], "b": [2.0]}, "lacks c; the model's inputs are a, b, c"),
        (COLUMNS, {"a": [1.0], "b": [2.0], "c": [1], "d": [1]}, "has unknown d"),
        (COLUMNS, {"a": [1.0, 2.0], "b": [2.0], "c": [1]}, "different numbers of rows: {'a': 2, 'b': 1, 'c': 1}"),
        (COLUMNS, {"features": [[1.0, 2.0]]}, r"'features' has shape \[1, 2\]; the model has 3 inputs"),
        (COLUMNS, {"features": [1.0, 2.0, 3.0]}, r"'features' has shape \[3\]"),
        (COLUMNS, {"a": [1.0], "b": [2.0], "c": [1.5]}, "input 'c': not all values are of type INT64: whole numbers"),
        (COLUMNS, {"a": ["x"], "b": [2.0], "c": [1]}, "input 'a': not all values are of type FP32: numbers are needed"),
        (MATRIX, {"y": [[1.0, 2.0]]}, "lacks x and has unknown y"),
        (MATRIX, {"x": [[1.0, 2.0, 3.0]]}, r"input 'x' has shape \[1, 3\], not \[-1, 2\]"),
        (TEXT, {"carrier": [1.0], "delay": [1.0]}, "input 'carrier': not all values are of type BYTES: strings"),
    ],
)
def test_v2_requests_that_do_not_fit(inputs: list[Tensor], given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_tensors(inputs, {name: np.array(values) for name, values in given.items()})


def test_strings_arrive_as_text_or_bytes() -> None:
    given = {"carrier": np.array([b"UA", "AA"], dtype=object), "delay": np.array([1.0, 2.0])}
    assert equal(from_tensors(TEXT, given), {"carrier": [["UA"], ["AA"]], "delay": [[1], [2]]})


# --- V1 ---


def test_instances_as_mappings_or_lists() -> None:
    wanted = {"a": [[1], [4]], "b": [[2], [5]], "c": [[3], [6]]}
    assert equal(from_instances(COLUMNS, [[1, 2.0, 3], [4, 5, 6]]), wanted)
    assert equal(from_instances(COLUMNS, [{"c": 3, "a": 1, "b": 2}, {"a": 4, "b": 5, "c": 6}]), wanted)


def test_instances_of_a_matrix() -> None:
    assert equal(from_instances(MATRIX, [[1, 2], [3, 4]]), {"x": [[1, 2], [3, 4]]})
    assert equal(from_instances(MATRIX, [{"x": [1, 2]}]), {"x": [[1, 2]]})


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        (None, "must be a list"),
        ([], "must be a list of at least one"),
        ({"a": 1}, "must be a list"),
        ([[1, 2, 3], [1, 2]], "instance 1 must be a list of 3 values: a, b, c"),
        ([{"a": 1, "b": 2, "c": 3}, [1, 2, 3]], "instance 1 is no mapping"),
        ([{"a": 1, "b": 2, "c": 3}, {"a": 1, "B": 2, "c": 3}], "instance 1 lacks b and has unknown B"),
        ([[1, None, 3]], "input 'b': not all values are of type FP32: numbers are needed, and none may be null"),
        ([[1, "2", 3]], "input 'b'"),
        ([[1, [2], 3], [1, 2, 3]], "input 'b': the instances have different shapes"),
        ([1], "instance 0 must be a list"),
    ],
)
def test_v1_requests_that_do_not_fit(instances: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_instances(COLUMNS, instances)


def test_predictions_are_values_or_mappings() -> None:
    one = {"probability": np.array([[0.25, 0.75]])}
    assert to_predictions(one) == [[0.25, 0.75]]
    both = {"prediction": np.array([1, 0]), "probability": np.array([[0.25, 0.75], [1.0, 0.0]])}
    assert to_predictions(both) == [
        {"prediction": 1, "probability": [0.25, 0.75]},
        {"prediction": 0, "probability": [1.0, 0.0]},
    ]
