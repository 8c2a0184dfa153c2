"""What is refused in an Experiment before anything is created; the trial is checked as its own kind."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError, UnknownResourceError
from airflow_provider_sparkml.resources.base import Manifest, Resource, resource_for
from airflow_provider_sparkml.resources.fields import items, mapping, name_faults, number, number_faults, refuse

MAX_NAME = 40
"""Longest name that Katib's webhook takes."""
_REFERENCE = "${{trialParameters.{name}}}"
_USED = re.compile(r"\$\{trialParameters\.([^}]*)\}")
_NUMERIC = ("double", "int")
_TYPES = (*_NUMERIC, "discrete", "categorical")
_DISTRIBUTIONS = ("uniform", "logUniform", "normal", "logNormal", "unknown")
_RESUME = ("Never", "LongRunning", "FromVolume")
_KNOWS = ("primaryContainerName", "successCondition", "failureCondition")


def known_kind(trial: Any) -> Resource | None:
    """Return the description of a trial's kind; ``None`` where it is not known here."""
    if not isinstance(trial, Mapping):
        return None
    try:
        return resource_for(str(trial.get("apiVersion")), str(trial.get("kind")))
    except UnknownResourceError:
        return None


def check(manifest: Manifest) -> None:
    """Refuse an Experiment that Katib would refuse, or whose trials could not work.

    :raises InvalidManifestError: field, value and fix.
    """
    refuse(_faults(manifest))


def _faults(manifest: Manifest) -> Iterator[str]:
    spec = mapping(manifest.get("spec"), "spec")
    yield from name_faults(manifest, longest=MAX_NAME)
    yield from _objective_faults(mapping(spec.get("objective"), "spec.objective"))
    if not mapping(spec.get("algorithm"), "spec.algorithm").get("algorithmName"):
        yield "spec.algorithm.algorithmName is missing: set it, for example to 'random' or 'grid'"
    yield from number_faults(spec, {"maxTrialCount": 1, "parallelTrialCount": 1, "maxFailedTrialCount": 0}, "spec")
    most = spec.get("maxTrialCount")
    for name in ("parallelTrialCount", "maxFailedTrialCount"):
        if most is not None and (spec.get(name) or 0) > most:
            yield f"spec.{name} is {spec[name]}, more than spec.maxTrialCount, {most}: lower it"
    algorithm, goal = spec["algorithm"]["algorithmName"], spec["objective"].get("goal")
    if most is None and algorithm != "grid" and goal is None:
        yield "spec.maxTrialCount is missing: without it a search may never end; set it"
    if spec.get("resumePolicy", "Never") not in _RESUME:
        yield f"spec.resumePolicy is {spec['resumePolicy']!r}: set it to one of {', '.join(_RESUME)}"
    yield from _parameter_faults(spec)
    yield from _grid_faults(spec)
    yield from _trial_faults(spec)


def _objective_faults(objective: Mapping[str, Any]) -> Iterator[str]:
    if objective.get("type") not in ("minimize", "maximize"):
        yield f"spec.objective.type is {objective.get('type')!r}: set it to 'minimize' or 'maximize'"
    metric = objective.get("objectiveMetricName")
    if not metric:
        yield "spec.objective.objectiveMetricName is missing: set it to the metric that the program prints"
    if metric in (objective.get("additionalMetricNames") or ()):
        yield f"spec.objective.additionalMetricNames has {metric!r}, which is the objective: leave it out there"
    goal = objective.get("goal")
    if goal is not None and (isinstance(goal, bool) or not isinstance(goal, (int, float))):
        yield f"spec.objective.goal is {goal!r}: it must be a number"


def _parameter_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    parameters = items(spec.get("parameters"), "spec.parameters")
    if not parameters and not spec.get("nasConfig"):
        yield "spec.parameters is empty: give at least one parameter to search"
    names = []
    for index, each in enumerate(parameters):
        field = f"spec.parameters[{index}]"
        one = mapping(each, field)
        if not isinstance(one.get("name"), str) or not one["name"] or one["name"] in names:
            yield f"{field}.name is {one.get('name')!r}: give each parameter a name of its own"
        names.append(one.get("name"))
        if one.get("parameterType") not in _TYPES:
            yield f"{field}.parameterType is {one.get('parameterType')!r}: set it to one of {', '.join(_TYPES)}"
        space = mapping(one.get("feasibleSpace"), f"{field}.feasibleSpace")
        yield from _space_faults(space, one.get("parameterType"), f"{field}.feasibleSpace")


def _grid_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield a grid that has no end, or too few points: Katib's suggestion fails then, and the search hangs."""
    if spec["algorithm"]["algorithmName"] != "grid":
        return
    points: int | None = 1
    for index, each in enumerate(spec.get("parameters") or ()):
        field = f"spec.parameters[{index}].feasibleSpace"
        space = each["feasibleSpace"]
        if each["parameterType"] == "double" and not space.get("step"):
            yield f"{field}.step is missing: a grid over doubles needs it; set it, or take 'discrete' with a list"
            points = None
        elif points is not None:
            points *= _values_in(space)
    most = spec.get("maxTrialCount")
    if points is not None and most is not None and most > points:
        yield f"spec.maxTrialCount is {most}, and the grid has {points} points only: set it to {points} or less"


def _values_in(space: Mapping[str, Any]) -> int:
    """Return how many values a space has that is known to be sound."""
    if space.get("list"):
        return len(space["list"])
    least, most, step = (Decimal(str(value)) for value in (space["min"], space["max"], space.get("step") or 1))
    return int((most - least) / step) + 1


def _space_faults(space: Mapping[str, Any], kind: Any, field: str) -> Iterator[str]:
    if kind not in _NUMERIC:
        if not space.get("list"):
            yield f"{field}.list is empty: a {kind} parameter needs its values"
        for name in ("min", "max", "step"):
            if space.get(name):
                yield f"{field}.{name} is {space[name]!r}, but a {kind} parameter has a list: leave it out"
        return
    if space.get("list"):
        yield f"{field}.list is set, and parameterType is {kind!r}: set that to 'discrete' or 'categorical'"
    # A step that is left out, and one that says nothing, are the same.
    names = ("min", "max", "step") if space.get("step") not in (None, "") else ("min", "max")
    numbers = {name: number(space.get(name)) for name in names}
    wanted = "a whole number" if kind == "int" else "a number"
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or (
            kind == "int" and value != int(value)
        ):  # fmt: skip
            yield f"{field}.{name} is {space.get(name)!r}: set it to {wanted}, as text"
    if not numbers["min"] < numbers["max"]:
        yield f"{field}.min is {space['min']}, not less than max, {space['max']}: set it to less"
    if numbers.get("step", 1) <= 0:
        yield f"{field}.step is {space['step']!r}: set it to a number above 0"
    distribution = space.get("distribution") or _DISTRIBUTIONS[0]
    if distribution not in _DISTRIBUTIONS:
        yield f"{field}.distribution is {distribution!r}: set it to one of {', '.join(_DISTRIBUTIONS)}"
    elif distribution.startswith("log") and numbers["min"] <= 0:
        yield f"{field}.min is {space['min']!r}, and distribution is {distribution!r}: it must begin above 0"


def _trial_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    template = mapping(spec.get("trialTemplate"), "spec.trialTemplate")
    for name in _KNOWS:
        if not template.get(name):
            yield f"spec.trialTemplate.{name} is missing: Katib needs it (Experiment sets it for known kinds)"
    declared = items(template.get("trialParameters"), "spec.trialTemplate.trialParameters")
    searched = {each.get("name"): each for each in items(spec.get("parameters"), "spec.parameters")}
    yield from _declaration_faults(declared, searched)
    trial = template.get("trialSpec")
    if trial is None:
        if not template.get("configMap"):
            yield "spec.trialTemplate.trialSpec is missing: set it to the job of a trial"
        return
    metadata = mapping(mapping(trial, "spec.trialTemplate.trialSpec").get("metadata"), "metadata")
    for name in ("name", "namespace"):
        if metadata.get(name):
            yield (
                f"spec.trialTemplate.trialSpec.metadata.{name} is {metadata[name]!r}: Katib gives each trial its own, "
                "and refuses one; leave it out"
            )
    yield from _use_faults(str(trial), [each.get("name") for each in declared])
    yield from _kind_faults(
        trial, {str(each.get("name")): searched.get(str(each.get("reference"))) for each in declared}
    )


def _declaration_faults(declared: list[Any], searched: Mapping[Any, Any]) -> Iterator[str]:
    for index, each in enumerate(declared):
        reference = str(mapping(each, f"spec.trialTemplate.trialParameters[{index}]").get("reference"))
        if reference not in searched and searched and not reference.startswith("${trialSpec."):
            yield (
                f"spec.trialTemplate.trialParameters[{index}].reference is {reference!r}, which spec.parameters does "
                f"not have ({', '.join(map(str, searched))})"
            )
    for part in ("name", "reference"):
        given = [str(each.get(part)) for each in declared]
        for value in dict.fromkeys(each for each in given if given.count(each) > 1):
            yield f"spec.trialTemplate.trialParameters has the {part} {value!r} twice: leave one of them out"


def _use_faults(used: str, declared: list[Any]) -> Iterator[str]:
    for name in dict.fromkeys(_USED.findall(used)):
        if name not in declared:
            yield (
                f"spec.trialTemplate.trialSpec uses {_REFERENCE.format(name=name)}, which trialParameters do not "
                "declare: search a parameter of that name, or correct it"
            )
    for name in declared:
        if _REFERENCE.format(name=name) not in used:
            yield (
                f"spec.trialTemplate.trialSpec does not use {_REFERENCE.format(name=name)}: all trials "
                "would be alike in it; put it into the trial's arguments or environment"
            )


def _kind_faults(trial: Any, parameters: Mapping[str, Mapping[str, Any] | None]) -> Iterator[str]:
    """Yield what the trial's own kind has against one trial, with each parameter at one of its values."""
    kind = known_kind(trial)
    if kind is None:
        return
    examples = {_REFERENCE.format(name=name): _example(parameter) for name, parameter in parameters.items()}
    try:
        normalized = kind.normalize(_rendered(trial, examples))
        for path, reference in _whole_values(trial, "spec.trialTemplate.trialSpec"):
            if not isinstance(_at(normalized, path.split(".")[3:]), str):
                yield (
                    f"{path} is {reference!r}: Katib puts text there, and it must be a number; use it in arguments or "
                    "environment variables only"
                )
        kind.check(normalized)
        pods = normalized["spec"].get("completions", 1) if normalized.get("kind") == "Job" else 1
        if pods > 1:
            yield (
                f"spec.trialTemplate.trialSpec.spec.completions is {pods}: pods of a trial could not find each "
                "other, since the Service that leads to rank 0 is made by a task for its own Job; take a TrainJob or "
                "a PyTorchJob"
            )
    except InvalidManifestError as error:
        yield f"spec.trialTemplate.trialSpec: {error}"


def _whole_values(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield path and text of what is a reference to a parameter, and nothing else."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if "." not in str(key):
                yield from _whole_values(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _whole_values(item, f"{path}.{index}")
    elif isinstance(value, str) and _USED.fullmatch(value):
        yield path, value


def _at(value: Any, steps: list[str]) -> Any:
    """Return what is at a path; empty text where the kind has changed its shape."""
    for step in steps:
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return ""
    return value


def _example(parameter: Mapping[str, Any] | None) -> str:
    space = (parameter or {}).get("feasibleSpace") or {}
    return str(space.get("min") or next(iter(space.get("list") or ()), "1"))


def _rendered(value: Any, examples: Mapping[str, str]) -> Any:
    """Return a copy of a manifest in which the parameters have values."""
    if isinstance(value, Mapping):
        return {key: _rendered(item, examples) for key, item in value.items()}
    if isinstance(value, list):
        return [_rendered(item, examples) for item in value]
    if isinstance(value, str):
        for reference, example in examples.items():
            value = value.replace(reference, example)
    return value


__all__ = ["check", "known_kind"]
