"""What Katib's services know: which parameters to try next, a log's metrics, a job's state by an expression. Pure.

Follows kubeflow/katib v0.19: ``pkg/suggestion/v1beta1/{hyperopt,optuna,internal}``,
``pkg/metricscollector/v1beta1/file-metricscollector`` and ``pkg/controller.v1beta1/trial``. Expressions are a part of
GJSON (https://github.com/tidwall/gjson/blob/master/SYNTAX.md): fields, queries, pipes and arrays of paths.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

UNAVAILABLE = "unavailable"
METRIC = r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)"
ALGORITHMS = ("grid", "random")
NUMBERS = ("int", "double")
Assignment = dict[str, str]
"""Name of a parameter → its value."""


# --- search ----------------------------------------------------------------------------------------------------------


def problem(spec: Mapping[str, Any]) -> str:
    """Return why an Experiment cannot be searched for, or an empty text."""
    algorithm = (spec.get("algorithm") or {}).get("algorithmName", "")
    if algorithm not in ALGORITHMS:
        return (
            f"unknown algorithm name {algorithm}: spec.algorithm.algorithmName must be one of {', '.join(ALGORITHMS)} "
            "on the local cluster"
        )
    for setting in spec["algorithm"].get("algorithmSettings") or ():
        if setting["name"] != "random_state":
            return f"unknown setting {setting['name']} for algorithm {algorithm}"
    if not spec.get("parameters"):
        return "spec.parameters must be specified"
    try:
        found = _grid_problem(spec) if algorithm == "grid" else ""
        return found or ("" if suggest(spec, 0, "") else "there is nothing to try")
    except (ArithmeticError, LookupError, ValueError) as error:
        return f"spec.parameters: the search space is not sound: {error!r}"


def _grid_problem(spec: Mapping[str, Any]) -> str:
    for parameter in spec["parameters"]:
        if parameter["parameterType"] == "double" and not parameter["feasibleSpace"].get("step"):
            name = parameter["name"]
            return f"Param {name} step is nil; For discrete search space, all parameters must include step"
    most, there_are = spec.get("maxTrialCount"), grid_size(spec["parameters"])
    if most is not None and most > there_are:
        return f"Max Trial Count: {most} > all possible search combinations: {there_are}"
    return ""


def suggest(spec: Mapping[str, Any], number: int, seed: str) -> Assignment | None:
    """Return the parameters of the trial of a number, ``None`` when there are no more.

    The same number gives the same parameters, so that nothing has to be kept of a search.

    :param seed: of this experiment's random numbers; ``random_state`` takes its place.
    """
    settings = {each["name"]: each["value"] for each in spec["algorithm"].get("algorithmSettings") or ()}
    if spec["algorithm"]["algorithmName"] == "grid":
        return next(itertools.islice(_grid(spec["parameters"]), number, None), None)
    # A generator for each trial: what is random here is which parameters are tried, and no secret.
    source = random.Random(f"{settings.get('random_state', seed)}/{number}")  # noqa: S311
    return {each["name"]: _sample(each, source) for each in spec["parameters"]}


def grid_size(parameters: Sequence[Mapping[str, Any]]) -> int:
    """Return how many combinations a grid has."""
    return math.prod(len(_values(each)) for each in parameters)


def _grid(parameters: Sequence[Mapping[str, Any]]) -> Iterator[Assignment]:
    names = [each["name"] for each in parameters]
    for values in itertools.product(*map(_values, parameters)):
        yield dict(zip(names, values, strict=True))


def _values(parameter: Mapping[str, Any]) -> list[str]:
    space = parameter["feasibleSpace"]
    if parameter["parameterType"] not in NUMBERS:
        return [str(value) for value in space["list"]]
    least, most, step = Decimal(space["min"]), Decimal(space["max"]), Decimal(space.get("step") or "1")
    return [str(least + step * index) for index in range(int((most - least) / step) + 1)]


def _sample(parameter: Mapping[str, Any], source: random.Random) -> str:
    space, kind = parameter["feasibleSpace"], parameter["parameterType"]
    if kind not in NUMBERS:
        return str(source.choice(space["list"]))
    least, most = float(space["min"]), float(space["max"])
    if not space.get("step") and kind == "int" and space.get("distribution", "uniform") == "uniform":
        return str(source.randint(int(least), int(most)))
    value = _drawn(space.get("distribution") or "uniform", least, most, source)
    if space.get("step"):
        step = float(space["step"])
        value = round(value / step) * step
    value = min(max(value, least), most)
    return str(round(value)) if kind == "int" else repr(round(value, 12))


def _drawn(distribution: str, least: float, most: float, source: random.Random) -> float:
    """Draw a number; a normal distribution has all but one in 370 between the bounds."""
    if distribution.startswith("log"):
        least, most = math.log(least), math.log(most)
    if distribution.lower().endswith("normal"):
        value = source.gauss((least + most) / 2, (most - least) / 6)
    else:
        value = source.uniform(least, most)
    return math.exp(value) if distribution.startswith("log") else value


# --- templates -------------------------------------------------------------------------------------------------------


def substituted(template: Any, values: Mapping[str, str]) -> Any:
    """Return a trial's template with ``${trialParameters.<name>}`` replaced by values."""
    if isinstance(template, dict):
        return {substituted(key, values): substituted(value, values) for key, value in template.items()}
    if isinstance(template, list):
        return [substituted(value, values) for value in template]
    if isinstance(template, str):
        for name, value in values.items():
            template = template.replace("${trialParameters." + name + "}", value)
    return template


# --- metrics ---------------------------------------------------------------------------------------------------------


def strategies(objective: Mapping[str, Any]) -> dict[str, str]:
    """Return metric → which of its values counts: ``min``, ``max`` or ``latest``; the objective's is the first."""
    usual = {"minimize": "min", "maximize": "max"}.get(objective.get("type", ""), "latest")
    names = [objective["objectiveMetricName"], *(objective.get("additionalMetricNames") or ())]
    given = {each["name"]: each["value"] for each in objective.get("metricStrategies") or ()}
    return {name: given.get(name, usual) for name in dict.fromkeys([*names, *given])}


def observe(lines: Iterable[str], objective: Mapping[str, Any], patterns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return ``observation.metrics`` of a trial from what it printed.

    :param patterns: regular expressions with a metric's name and value as their first two groups.
    """
    found: dict[str, list[str]] = {name: [] for name in strategies(objective)}
    expressions = [re.compile(pattern) for pattern in patterns or (METRIC,)]
    for line in lines:
        for expression in expressions:
            for match in expression.finditer(line):
                name, value = match[1].strip(), match[2].strip()
                if name in found and value:
                    found[name].append(value)
    if not found[objective["objectiveMetricName"]]:
        found = {name: [] for name in found}
    return [_metric(name, values) for name, values in found.items()]


def _metric(name: str, values: Sequence[str]) -> dict[str, str]:
    numbers = [value for value in values if _is_number(value)]
    return {
        "name": name,
        "min": min(numbers, key=float, default=UNAVAILABLE),
        "max": max(numbers, key=float, default=UNAVAILABLE),
        "latest": values[-1] if values else UNAVAILABLE,
    }


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def objective_value(objective: Mapping[str, Any], metrics: Iterable[Mapping[str, str]]) -> str:
    """Return the value of the objective that counts, :data:`UNAVAILABLE` when there is none."""
    name = objective["objectiveMetricName"]
    for metric in metrics:
        if metric["name"] == name:
            value = metric.get(strategies(objective)[name], UNAVAILABLE)
            return metric["latest"] if value == UNAVAILABLE else value
    return UNAVAILABLE


def best(objective: Mapping[str, Any], values: Mapping[str, str]) -> tuple[str, bool]:
    """Return the best trial's name, empty when none has a value, and whether the goal is reached.

    :param values: trial → its value of the objective.
    """
    numbers = {name: float(value) for name, value in values.items() if _is_number(value)}
    if not numbers:
        return "", False
    is_minimum = objective.get("type") == "minimize"
    name = (min if is_minimum else max)(numbers, key=lambda each: numbers[each])
    goal = objective.get("goal")
    reached = goal is not None and (numbers[name] <= goal if is_minimum else numbers[name] >= goal)
    return name, reached


# --- expressions -----------------------------------------------------------------------------------------------------

_STEP = re.compile(r"#\((?P<query>[^()]*)\)(?P<all>#?)|\[(?P<array>[^\]]*)\]|(?P<name>[^.|#\[\]]+)|(?P<separator>[.|])")
_QUERY = re.compile(r"(?P<field>[\w.\-]+)\s*(?P<operator>==|!=)\s*\"?(?P<value>[^\"]*)\"?")


def evaluate(expression: str, value: Any) -> Any:
    """Return what a GJSON expression finds in a value, ``None`` when there is nothing."""
    for step in _STEP.finditer(expression):
        if step["separator"]:
            continue
        if step["array"] is not None:
            found = [evaluate(path, value) for path in step["array"].split(",")]
            value = [each for each in found if each is not None]
        elif step["query"] is not None:
            matching = [each for each in value if _matches(step["query"], each)] if isinstance(value, list) else []
            value = matching if step["all"] else next(iter(matching), None)
        elif isinstance(value, dict):
            value = value.get(step["name"])
        else:
            return None
    return value


def _matches(query: str, value: Any) -> bool:
    parsed = _QUERY.fullmatch(query.strip())
    if parsed is None:
        return False
    found = evaluate(parsed["field"], value)
    text = str(found).lower() if isinstance(found, bool) else str(found)
    return (text == parsed["value"]) == (parsed["operator"] == "==")


def holds(expression: str, value: Any) -> dict[str, Any] | None:
    """Return the condition that an expression finds, ``None`` when it finds neither an object nor a full array."""
    found = evaluate(expression, value) if expression else None
    if isinstance(found, list):
        found = found[0] if found else None
        return found if isinstance(found, dict) else ({} if found is not None else None)
    return found if isinstance(found, dict) else None
