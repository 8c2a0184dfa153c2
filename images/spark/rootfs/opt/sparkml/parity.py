"""The gate that a converted model must pass: it scores as the model that it was converted from."""

from __future__ import annotations

import numpy as np
from outputs import ProgramError


class ParityError(ProgramError):
    """The converted model does not score as the Spark model does."""


def check_parity(late: np.ndarray, prediction: np.ndarray, probability: np.ndarray, *, tolerance: float) -> float:
    """Compare a converted model's scores with Spark's.

    :param late: Spark's probability of late, shape [N].
    :param prediction: the converted model's predictions, 0 or 1, shape [N]. It may differ from Spark's only where
        Spark's probability is within ``tolerance`` of one half.
    :param probability: the converted model's probabilities of not late and of late, shape [N, 2].
    :param tolerance: largest difference of a probability that is let pass.
    :return: the largest difference there is.
    :raises ParityError: when shapes differ, a value is not finite, or a score differs by more than is let pass.
    """
    rows = len(late)
    if rows == 0:
        raise ParityError("there are no flights to compare the ONNX model with Spark on: it was not published")
    if prediction.shape != (rows,) or probability.shape != (rows, 2):
        raise ParityError(
            f"the ONNX model answers {rows} flights with shapes {prediction.shape} and {probability.shape}, "
            f"not ({rows},) and ({rows}, 2): the conversion of this kind of model is not supported"
        )
    expected = np.stack([1 - late, late], axis=1)
    difference = np.abs(probability.astype(np.float64) - expected).max(axis=1)
    wrong = ~(difference <= tolerance)  # written so that NaN is wrong
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ParityError(
            f"the ONNX model gives other probabilities than Spark for {wrong.sum()} of {rows} flights; the first: "
            f"Spark {late[first]:.6f}, ONNX {probability[first, 1]:.6f}, where {tolerance:g} is let pass. "
            "The model was not published; train another kind with train.py --model"
        )
    other = (prediction != (late > 0.5)) & (np.abs(late - 0.5) > tolerance)
    if other.any():
        raise ParityError(
            f"the ONNX model predicts another class than Spark for {other.sum()} of {rows} flights, though the "
            "probabilities agree. The model was not published; train another kind with train.py --model"
        )
    return float(difference.max())
