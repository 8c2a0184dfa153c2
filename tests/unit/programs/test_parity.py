"""The parity gate lets a faithful model pass, and no other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parity import ParityError, check_parity

LATE = np.array([0.1, 0.4, 0.5, 0.9])


def answers(late: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a faithful ONNX model returns: 32-bit probabilities of both classes."""
    return (late > 0.5).astype(np.int64), np.stack([1 - late, late], axis=1).astype(np.float32)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50).map(np.array))
def test_rounding_to_32_bits_passes(late: np.ndarray) -> None:
    assert check_parity(late, *answers(late), tolerance=1e-4) < 1e-6


def test_the_largest_difference_is_returned() -> None:
    prediction, probability = answers(LATE)
    probability[1] = [0.60005, 0.39995]
    assert check_parity(LATE, prediction, probability, tolerance=1e-4) == pytest.approx(5e-5, abs=1e-6)


@pytest.mark.parametrize("value", [0.4002, 0.9, np.nan, np.inf])
@pytest.mark.parametrize("column", [0, 1])
def test_one_wrong_probability_of_one_flight_is_refused(value: float, column: int) -> None:
    prediction, probability = answers(LATE)
    probability[1, column] = value if column else 1 - value
    with pytest.raises(ParityError, match=r"for 1 of 4 flights; the first: Spark 0\.4000"):
        check_parity(LATE, prediction, probability, tolerance=1e-4)


def test_swapped_classes_are_refused() -> None:
    prediction, probability = answers(LATE)
    with pytest.raises(ParityError, match="for 3 of 4 flights"):
        check_parity(LATE, prediction, probability[:, ::-1], tolerance=1e-4)


def test_a_wrong_class_is_refused_even_with_right_probabilities() -> None:
    prediction, probability = answers(LATE)
    prediction[0] = 1
    with pytest.raises(ParityError, match="another class than Spark for 1 of 4"):
        check_parity(LATE, prediction, probability, tolerance=1e-4)


def test_at_one_half_either_class_is_right() -> None:
    prediction, probability = answers(LATE)
    prediction[2] = 1
    assert check_parity(LATE, prediction, probability, tolerance=1e-4) < 1e-6


def test_a_tolerance_of_zero_is_taken_seriously() -> None:
    with pytest.raises(ParityError):
        check_parity(LATE, *answers(LATE), tolerance=0.0)


def test_other_shapes_are_refused() -> None:
    prediction, probability = answers(LATE)
    with pytest.raises(ParityError, match=r"\(4, 3\)"):
        check_parity(LATE, prediction, np.zeros((4, 3)), tolerance=1e-4)
    with pytest.raises(ParityError, match=r"\(4, 1\)"):
        check_parity(LATE, prediction[:, None], probability, tolerance=1e-4)


def test_nothing_to_compare_proves_nothing() -> None:
    with pytest.raises(ParityError, match="no flights to compare"):
        check_parity(np.array([]), *answers(np.array([])), tolerance=1e-4)
