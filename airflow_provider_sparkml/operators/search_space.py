"""What a hyper-parameter search tries: every point of a grid, or points drawn from distributions. Pure."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from airflow_provider_sparkml.exceptions import InvalidManifestError

Point = dict[str, Any]
"""Name of a parameter → its value in one trial."""


_DRAWS = 1000
"""How often, for each trial, a point is drawn until all are different: ample for the last of a thousand points."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these values, each as likely as the other.

    :param values: the values, JSON-safe.
    """

    kind: ClassVar[str] = "choice"
    values: Sequence[Any]

    def check(self, name: str) -> Choice:
        """Return it in its own types; the name is for the message."""
        return Choice(values_of(name, self.values))

    def draw(self, source: random.Random) -> Any:
        """Return a value."""
        return source.choice(self.values)

    def size(self) -> float:
        """Return how many different values there are."""
        return sum(value not in self.values[:index] for index, value in enumerate(self.values))


@dataclass(frozen=True, slots=True)
class Uniform:
    """A real number, each part of the range as likely as the other.

    :param low: the lower bound.
    :param high: the upper bound, above ``low``.
    """

    kind: ClassVar[str] = "uniform"
    low: float
    high: float

    def check(self, name: str) -> Uniform:
        """Return it in its own types; the name is for the message."""
        return Uniform(*_bounds(name, self.low, self.high, float))

    def draw(self, source: random.Random) -> float:
        """Return a value."""
        return source.uniform(self.low, self.high)

    def size(self) -> float:
        """Return how many different values there are."""
        return math.inf


@dataclass(frozen=True, slots=True)
class LogUniform:
    """A positive real number, each order of magnitude as likely as the other: learning rates, penalties.

    :param low: the lower bound, above 0.
    :param high: the upper bound, above ``low``.
    """

    kind: ClassVar[str] = "loguniform"
    low: float
    high: float

    def check(self, name: str) -> LogUniform:
        """Return it in its own types; the name is for the message."""
        low, high = _bounds(name, self.low, self.high, float)
        if low <= 0:
            raise InvalidManifestError(f"parameters[{name!r}]: low is {low}: a logarithmic range begins above 0")
        return LogUniform(low, high)

    def draw(self, source: random.Random) -> float:
        """Return a value."""
        drawn = math.exp(source.uniform(math.log(self.low), math.log(self.high)))
        return min(max(drawn, self.low), self.high)  # rounding may step over a bound

    def size(self) -> float:
        """Return how many different values there are."""
        return math.inf


@dataclass(frozen=True, slots=True)
class IntUniform:
    """A whole number, each as likely as the other.

    :param low: the least.
    :param high: the greatest, which may be drawn as well; above ``low``.
    """

    kind: ClassVar[str] = "int"
    low: int
    high: int

    def check(self, name: str) -> IntUniform:
        """Return it in its own types; the name is for the message."""
        return IntUniform(*_bounds(name, self.low, self.high, int))

    def draw(self, source: random.Random) -> int:
        """Return a value."""
        return source.randint(self.low, self.high)

    def size(self) -> float:
        """Return how many different values there are."""
        return self.high - self.low + 1


Distribution = Choice | Uniform | LogUniform | IntUniform
_KINDS: dict[str, Any] = {each.kind: each for each in (Choice, Uniform, LogUniform, IntUniform)}


def grid_points(parameters: Mapping[str, Any]) -> list[Point]:
    """Return every combination of values; the last parameter changes fastest.

    :param parameters: name → list of values, or JSON text of one.
    :raises InvalidManifestError: a list is missing or empty, or has a value twice.
    """
    _some(parameters)
    lists = [values_of(name, values) for name, values in parameters.items()]
    for name, values in zip(parameters, lists, strict=True):
        for value in (each for index, each in enumerate(values) if each in values[:index]):
            raise InvalidManifestError(
                f"parameters[{name!r}] has {value!r} twice, which gives equal trials: leave one out"
            )
    return [dict(zip(parameters, point, strict=True)) for point in itertools.product(*lists)]


def random_points(distributions: Mapping[str, Distribution], trials: int, seed: int) -> list[Point]:
    """Return points drawn at random, no two alike; equal seeds give equal points.

    :param distributions: name → distribution.
    :param trials: how many.
    :param seed: of the random numbers.
    :raises InvalidManifestError: a distribution is empty, or there are not as many different points.
    """
    _some(distributions)
    if trials < 1:
        raise InvalidManifestError(f"max_trials is {trials}: give 1 or more")
    checked = {name: distribution.check(name) for name, distribution in distributions.items()}
    there_are = math.prod(distribution.size() for distribution in checked.values())
    source, points = random.Random(seed), list[Point]()  # noqa: S311 - nothing secret is drawn
    for _ in range(_DRAWS * trials if trials <= there_are else 0):
        point = {name: distribution.draw(source) for name, distribution in checked.items()}
        if point not in points:
            points.append(point)
        if len(points) == trials:
            return points
    raise InvalidManifestError(
        f"max_trials is {trials}, but there are only {len(points) or there_are} different combinations of "
        f"{', '.join(checked)}: try fewer, or all of them by grid_search"
    )


def to_json(distributions: Mapping[str, Distribution]) -> dict[str, Any]:
    """Return distributions as plain values, which Airflow can template; :func:`from_json` is the inverse.

    :raises InvalidManifestError: something else stands where a distribution should.
    """
    for name, given in distributions.items():
        if not isinstance(given, Distribution):
            raise InvalidManifestError(
                f"parameters[{name!r}] is {given!r}: give a Choice, Uniform, LogUniform or IntUniform"
            )
    return {name: {each.kind: asdict(each)} for name, each in distributions.items()}


def from_json(data: Mapping[str, Any]) -> dict[str, Distribution]:
    """Rebuild distributions from :func:`to_json`."""
    return {name: _KINDS[kind](**fields) for name, each in data.items() for kind, fields in each.items()}


def values_of(name: str, values: Any) -> list[Any]:
    """Return a list of values, also from JSON text, which is what a template renders to.

    :raises InvalidManifestError: it is none, or empty.
    """
    try:
        found = json.loads(values) if isinstance(values, str) else values
        found = [] if isinstance(found, (Mapping, str)) else list(found)
    except (TypeError, ValueError):
        found = []
    if not found:
        raise InvalidManifestError(
            f"parameters[{name!r}] is {values!r}: give a list of one value or more (a template renders to one by "
            "`| tojson`)"
        )
    return found


def _some(parameters: Mapping[str, Any]) -> None:
    if not parameters:
        raise InvalidManifestError("parameters is empty: name one parameter or more")


def _bounds(name: str, low: Any, high: Any, kind: type[int] | type[float]) -> tuple[Any, Any]:
    try:
        bounds = kind(low), kind(high)
        float(low), float(high)
    except (TypeError, ValueError, OverflowError):
        bounds = None
    if bounds is None or not all(map(math.isfinite, bounds)) or not bounds[0] < bounds[1] or bounds != (
        float(low), float(high)
    ):  # fmt: skip
        what = "whole numbers" if kind is int else "numbers"
        raise InvalidManifestError(f"parameters[{name!r}] goes from {low!r} to {high!r}: give two {what}, low < high")
    return bounds


__all__ = [
    "Choice",
    "Distribution",
    "IntUniform",
    "LogUniform",
    "Point",
    "Uniform",
    "from_json",
    "grid_points",
    "random_points",
    "to_json",
    "values_of",
]
