"""From requests of KServe's protocols to the inputs of an ONNX model, and from its outputs to answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

TYPES = {
    "tensor(float)": ("FP32", np.float32),
    "tensor(double)": ("FP64", np.float64),
    "tensor(float16)": ("FP16", np.float16),
    "tensor(int64)": ("INT64", np.int64),
    "tensor(int32)": ("INT32", np.int32),
    "tensor(int8)": ("INT8", np.int8),
    "tensor(uint8)": ("UINT8", np.uint8),
    "tensor(bool)": ("BOOL", np.bool_),
    "tensor(string)": ("BYTES", np.object_),
}
"""ONNX type → datatype of the V2 protocol, and of numpy."""


class InputError(ValueError):
    """A request does not fit the model; the message names the input and the fix."""


class ModelError(Exception):
    """The model cannot be served; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a model.

    :param name: its name.
    :param datatype: its type in the V2 protocol.
    :param dtype: its type in numpy.
    :param shape: its dimensions; -1 stands for any size.
    """

    name: str
    datatype: str
    dtype: type
    shape: tuple[int, ...]

    @classmethod
    def of(cls, node: Any) -> Tensor:
        """Describe an input or output of an onnxruntime session.

        :raises ModelError: when the protocols have no such type.
        """
        if node.type not in TYPES:
            raise ModelError(
                f"{node.name!r} of the model is of type {node.type}, which KServe's protocols cannot carry: convert "
                "the model with plain tensors (a classifier without ZipMap)"
            )
        datatype, dtype = TYPES[node.type]
        shape = tuple(size if isinstance(size, int) and size > 0 else -1 for size in node.shape)
        return cls(node.name, datatype, dtype, shape)

    @property
    def is_column(self) -> bool:
        """Whether it holds one value per row."""
        return self.shape in ((-1,), (-1, 1))

    def metadata(self) -> dict[str, Any]:
        """Return it as the V2 protocol's model metadata shows it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    def fit(self, values: np.ndarray) -> np.ndarray:
        """Return values in this tensor's type and shape.

        :raises InputError: when they do not fit, or a value is missing.
        """
        try:
            array = self._converted(values)
        except (TypeError, ValueError) as error:
            raise InputError(f"input {self.name!r}: not all values are of type {self.datatype}: {error}") from None
        if array.ndim == 1 and len(self.shape) == 2:
            array = array.reshape(-1, 1)
        if array.ndim != len(self.shape) or any(
            wanted not in (-1, size) for wanted, size in zip(self.shape, array.shape, strict=True)
        ):
            raise InputError(
                f"input {self.name!r} has shape {list(values.shape)}, not {list(self.shape)} (-1: any size)"
            )
        return array

    def _converted(self, values: np.ndarray) -> np.ndarray:
        if self.dtype is np.object_:
            # Only text is a string: a number would silently become one.
            if values.dtype.kind != "U" and not all(isinstance(value, str | bytes) for value in values.flat):
                raise TypeError("strings are needed")
            texts = [value.decode() if isinstance(value, bytes) else str(value) for value in values.flat]
            return np.array(texts, dtype=np.object_).reshape(values.shape)
        if values.dtype.kind in "OUS":  # mixed types, a null, or text that looks like a number
            raise TypeError("numbers are needed, and none may be null")
        array = values.astype(self.dtype)
        if np.issubdtype(self.dtype, np.integer) and not np.array_equal(array, values):
            raise TypeError("whole numbers in the range of the type are needed")
        return array


def from_tensors(inputs: Sequence[Tensor], given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Assign the tensors of a V2 request to the model's inputs.

    They carry the inputs' names; or, for a model of columns, one tensor of shape [rows, columns] has all of them in
    order, under any other name.

    :param inputs: the model's inputs.
    :param given: name → values.
    :raises InputError: naming what is missing, unknown, or of the wrong shape.
    """
    names = [tensor.name for tensor in inputs]
    if len(given) == 1 and len(inputs) > 1 and not set(given) & set(names):
        (name, values), *_ = given.items()
        return _columns(inputs, name, values)
    _same_names(names, given, "the request")
    fitted = {tensor.name: tensor.fit(given[tensor.name]) for tensor in inputs}
    rows = {name: len(array) for name, array in fitted.items()}
    if len(inputs) > 1 and all(tensor.is_column for tensor in inputs) and len(set(rows.values())) > 1:
        raise InputError(f"the inputs have different numbers of rows: {rows}")
    return fitted


def from_instances(inputs: Sequence[Tensor], instances: Any) -> dict[str, np.ndarray]:
    """Assign the instances of a V1 request to the model's inputs.

    An instance is a mapping from input to value, or, in order, the list of all values.

    :raises InputError: naming the instance and what is wrong with it.
    """
    if not isinstance(instances, list) or not instances:
        raise InputError('"instances" must be a list of at least one instance')
    names = [tensor.name for tensor in inputs]
    if isinstance(instances[0], dict):
        for number, instance in enumerate(instances):
            if not isinstance(instance, dict):
                raise InputError(f"instance {number} is no mapping, as the first one is")
            _same_names(names, instance, f"instance {number}")
        return {t.name: t.fit(_array(t.name, [instance[t.name] for instance in instances])) for t in inputs}
    if len(inputs) == 1:
        return {names[0]: inputs[0].fit(_array(names[0], instances))}
    for number, instance in enumerate(instances):
        if not isinstance(instance, list) or len(instance) != len(inputs):
            raise InputError(f"instance {number} must be a list of {len(inputs)} values: {', '.join(names)}")
    return {t.name: t.fit(_array(t.name, [row[i] for row in instances])) for i, t in enumerate(inputs)}


def to_predictions(outputs: Mapping[str, np.ndarray]) -> list[Any]:
    """Return the answer of the V1 protocol: per row the value of the only output, or a mapping of all outputs."""
    columns = {name: array.tolist() for name, array in outputs.items()}
    if len(columns) == 1:
        (values,) = columns.values()
        return list(values)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _columns(inputs: Sequence[Tensor], name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    if not all(tensor.is_column for tensor in inputs) or values.ndim != 2 or values.shape[1] != len(inputs):
        raise InputError(
            f"input {name!r} has shape {list(values.shape)}; the model has {len(inputs)} inputs: give each by its "
            f"name, or all in one tensor of shape [rows, {len(inputs)}]: {', '.join(tensor.name for tensor in inputs)}"
        )
    return {tensor.name: tensor.fit(values[:, i]) for i, tensor in enumerate(inputs)}


def _same_names(names: Sequence[str], given: Mapping[str, Any], where: str) -> None:
    missing = [name for name in names if name not in given]
    unknown = [name for name in given if name not in names]
    if missing or unknown:
        problems = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(unknown)}"] * bool(
            unknown
        )
        raise InputError(f"{where} {' and '.join(problems)}; the model's inputs are {', '.join(names)}")


def _array(name: str, values: list[Any]) -> np.ndarray:
    try:
        return np.array(values)
    except ValueError:
        raise InputError(f"input {name!r}: the instances have different shapes") from None
