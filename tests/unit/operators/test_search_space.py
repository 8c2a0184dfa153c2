"""What a search tries: every point of a grid, or distinct points from distributions, the same for equal seeds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.operators.search_space import (
    Choice,
    IntUniform,
    LogUniform,
    Uniform,
    from_json,
    grid_points,
    random_points,
    to_json,
)

SPACE = {"a": Uniform(0, 1), "b": LogUniform(1e-4, 1e-1), "c": IntUniform(1, 3), "d": Choice(["x", "y"])}


def test_a_grid_is_every_combination_in_order() -> None:
    assert grid_points({"a": [1, 2], "b": '["x", "y"]'}) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


@given(st.integers(), st.integers(1, 20))
def test_points_drawn_are_within_bounds_distinct_and_repeatable(seed: int, trials: int) -> None:
    points = random_points(SPACE, trials, seed)
    assert points == random_points(from_json(to_json(SPACE)), trials, seed)
    assert len(points) == trials
    assert all(points.index(point) == number for number, point in enumerate(points))
    for point in points:
        assert 0 <= point["a"] <= 1
        assert 1e-4 <= point["b"] <= 1e-1
        assert point["c"] in (1, 2, 3)
        assert point["d"] in ("x", "y")


def test_orders_of_magnitude_are_drawn_alike() -> None:
    drawn = [point["b"] for point in random_points({"b": LogUniform(1e-4, 1)}, 400, 1)]
    assert 150 < sum(value < 1e-2 for value in drawn) < 250


def test_all_of_a_small_space_can_be_drawn_and_no_more() -> None:
    assert sorted(point["c"] for point in random_points({"c": IntUniform(1, 3)}, 3, 0)) == [1, 2, 3]
    with pytest.raises(InvalidManifestError, match="only 3 different combinations of c"):
        random_points({"c": IntUniform(1, 3)}, 4, 0)


def test_the_last_points_of_a_space_are_found() -> None:
    assert len(random_points({"c": IntUniform(0, 99)}, 100, 0)) == 100
    assert len(random_points({"c": IntUniform(0, 9), "d": Choice(["x", "x", "y"])}, 20, 0)) == 20
    with pytest.raises(InvalidManifestError, match="only 20 different combinations of c, d"):
        random_points({"c": IntUniform(0, 9), "d": Choice(["x", "x", "y"])}, 21, 0)
    with pytest.raises(InvalidManifestError, match="only 2 different combinations of a"):
        random_points({"a": Uniform(0, 5e-324)}, 3, 0)


def test_equal_values_are_no_grid() -> None:
    with pytest.raises(InvalidManifestError, match=r"parameters\['n'\] has 2 twice, which gives equal trials"):
        grid_points({"n": [1, 2, 2]})


def test_bounds_may_be_templates() -> None:
    assert random_points({"a": Uniform("1", "2.5")}, 1, 0) == random_points({"a": Uniform(1, 2.5)}, 1, 0)


@pytest.mark.parametrize(
    ("distribution", "message"),
    [
        (Uniform(1, 1), "goes from 1 to 1: give two numbers, low < high"),
        (Uniform(0, float("inf")), "give two numbers"),
        (Uniform("x", 1), "goes from 'x' to 1"),
        (IntUniform(1, 2.5), "give two whole numbers"),
        (IntUniform(0, 10**400), "give two whole numbers"),
        (LogUniform(0, 1), "a logarithmic range begins above 0"),
        (Choice([]), "give a list of one value or more"),
    ],
)
def test_bad_distributions_are_refused_by_name(distribution: Any, message: str) -> None:
    with pytest.raises(InvalidManifestError, match=message) as caught:
        random_points({"lr": distribution}, 1, 0)
    assert "parameters['lr']" in str(caught.value)


@pytest.mark.parametrize("values", [[], "x", "{}", '"text"', 3, None, {"a": 1}])
def test_bad_lists_are_refused_by_name(values: Any) -> None:
    with pytest.raises(InvalidManifestError, match=r"parameters\['lr'\] is"):
        grid_points({"lr": values})


def test_empty_spaces_and_other_objects_are_refused() -> None:
    for points in (lambda: grid_points({}), lambda: random_points({}, 1, 0)):
        with pytest.raises(InvalidManifestError, match="parameters is empty"):
            points()
    with pytest.raises(InvalidManifestError, match="max_trials is 0"):
        random_points(SPACE, 0, 0)
    with pytest.raises(InvalidManifestError, match=r"parameters\['a'\] is \[1\]: give a Choice"):
        to_json({"a": [1]})
