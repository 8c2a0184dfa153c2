"""Hyper-parameter search by Airflow alone: a task group that maps any training operator over parameters.

``plan`` lists the trials, ``trial`` is the operator, once per trial, and ``best`` picks. A trial's parameters are the
task's ``params.trial``, so the operator's own manifest says where they go: ``{{ params.trial.learning_rate }}``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from airflow.sdk import TaskGroup, TriggerRule, XComArg, get_current_context, task

from airflow_provider_sparkml.exceptions import InvalidManifestError, SearchFailedError
from airflow_provider_sparkml.operators.base import ManifestOperator
from airflow_provider_sparkml.operators.search_parameters import PARAMS, used_parameters
from airflow_provider_sparkml.operators.search_space import (
    Choice,
    Distribution,
    IntUniform,
    LogUniform,
    Point,
    Uniform,
    from_json,
    grid_points,
    random_points,
    to_json,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

Direction = Literal["max", "min"]

_FAILURE = "failure"
"""XCom of a failed trial: why."""
_STARTED = "search_started"
_OURS = frozenset({"task_id", "max_active_tis_per_dagrun", "pre_execute"})
NOT_STARTED = "not started, since too many had failed"


class Search(NamedTuple):
    """The tasks of a search, to be set before and after others: ``prepare >> search >> train``.

    :param group: the task group.
    :param best: what its last task returns: ``trial`` (map index), ``parameters``, ``metrics`` and ``result``. Each is
        an XCom of its own, too: ``search.best["parameters"]``, or in a template
        ``{{ ti.xcom_pull(task_ids='search.best')['parameters']['learning_rate'] }}``.
    """

    group: TaskGroup
    best: XComArg


@dataclass(frozen=True, slots=True)
class Trial:
    """How one trial went.

    :param index: its map index.
    :param parameters: what it was given.
    :param result: ``result`` of what its operator returned.
    :param value: the metric.
    :param problem: why it does not count, or empty.
    """

    index: int
    parameters: Point
    result: Any = None
    value: float = math.nan
    problem: str = ""


def grid_search(
    operator: type[ManifestOperator],
    *,
    parameters: Mapping[str, Any],
    metric: str,
    direction: Direction = "max",
    parallel_trials: int = 4,
    max_failed_trials: int = 0,
    group_id: str = "search",
    **options: Any,
) -> Search:
    """Try every combination of parameters, and pick the best.

    .. code-block:: python

        from airflow.sdk import DAG
        from airflow_provider_sparkml.operators.search import grid_search
        from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
        from airflow_provider_sparkml.resources.spark import SparkApplication

        with DAG("forests", schedule=None):
            grid_search(
                SparkApplicationOperator,
                application=SparkApplication(
                    image="example.com/spark:1",
                    main_application_file="local:///opt/sparkml/train.py",
                    arguments=["--trees", "{{ params.trial.trees }}", "--depth", "{{ params.trial.depth }}"],
                ),
                parameters={"trees": [20, 50], "depth": [4, 8]},
                metric="metrics.auc",
            )

    :param operator: the operator of a trial, such as ``SparkApplicationOperator`` or ``MPIJobOperator``.
    :param parameters: name → list of values. A list may come from another task (XCom) or be the JSON text that a
        template renders to: ``"{{ params.depths | tojson }}"``.
    :param metric: where the metric is in a trial's ``result``, dotted: ``metrics.auc``.
    :param direction: whether the ``max`` or the ``min`` is best. Of equals, the first counts.
    :param parallel_trials: how many run at once.
    :param max_failed_trials: how many may fail, or end without the metric. When more have failed, no further ones
        start, and the search fails.
    :param group_id: of the task group.
    :param options: the operator's own parameters, its manifest among them: there, and in everything else that is
        templated, ``{{ params.trial.NAME }}`` is the trial's value.
    :return: group and best trial.
    :raises InvalidManifestError: naming the parameter, its value and the fix.
    """
    return _search(
        operator,
        _plan_grid,
        {},
        parameters=_named(parameters),
        metric=metric,
        direction=direction,
        parallel_trials=parallel_trials,
        max_failed_trials=max_failed_trials,
        group_id=group_id,
        options=options,
    )


def random_search(
    operator: type[ManifestOperator],
    *,
    parameters: Mapping[str, Distribution],
    metric: str,
    max_trials: int | str,
    seed: int | str = 0,
    direction: Direction = "max",
    parallel_trials: int = 4,
    max_failed_trials: int = 0,
    group_id: str = "search",
    **options: Any,
) -> Search:
    """Try parameters drawn at random, and pick the best.

    .. code-block:: python

        from airflow.sdk import DAG
        from airflow_provider_sparkml.operators.search import Choice, LogUniform, random_search
        from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
        from airflow_provider_sparkml.resources.spark import SparkApplication

        with DAG("regressions", schedule=None):
            random_search(
                SparkApplicationOperator,
                application=SparkApplication(
                    image="example.com/spark:1",
                    main_application_file="local:///opt/sparkml/train.py",
                    arguments=["--regularization", "{{ params.trial.regularization }}"],
                ),
                parameters={"regularization": LogUniform(1e-5, 1e-1)},
                metric="metrics.auc",
                max_trials=8,
            )

    :param parameters: name → :class:`Choice`, :class:`Uniform`, :class:`LogUniform` or :class:`IntUniform`; their
        bounds may be templates.
    :param max_trials: how many trials; no two are alike. A number, or a template.
    :param seed: equal seeds give equal trials; a number, or a template.

    All others: see :func:`grid_search`.
    """
    return _search(
        operator,
        _plan_random,
        {"trials": max_trials, "seed": seed},
        parameters=to_json(_named(parameters)),
        metric=metric,
        direction=direction,
        parallel_trials=parallel_trials,
        max_failed_trials=max_failed_trials,
        group_id=group_id,
        options=options,
    )


def _search(
    operator: type[ManifestOperator],
    plan: Callable[..., list[dict[str, Point]]],
    drawn: Mapping[str, Any],
    *,
    parameters: Mapping[str, Any],
    metric: str,
    direction: Direction,
    parallel_trials: int,
    max_failed_trials: int,
    group_id: str,
    options: dict[str, Any],
) -> Search:
    """Declare the three tasks."""
    _check(metric, direction, parallel_trials, max_failed_trials)
    if not (isinstance(operator, type) and issubclass(operator, ManifestOperator)):
        raise InvalidManifestError(
            f"operator is {operator!r}: give one that runs jobs, such as SparkApplicationOperator"
        )
    field = operator.manifest_field
    if field not in options:
        raise InvalidManifestError(f"{field} is missing: give the manifest of a trial")
    manifest = operator.plain(options.pop(field))
    _uses_parameters(field, manifest, parameters, options)
    for name in _OURS & options.keys():
        raise InvalidManifestError(f"{name} is {options[name]!r}: a search sets it for its trials; leave it out")
    for name in ("checkpoint_uri", "model_uri"):
        uri = options.get(name)
        if isinstance(uri, str) and f"params.{PARAMS}" not in uri and "map_index" not in uri:
            raise InvalidManifestError(
                f"{name} is {uri!r}, the same for all trials, which would overwrite each other's: put "
                f"{{{{ ti.map_index }}}} into it"
            )
    with TaskGroup(group_id) as group:
        # What is stated here takes the place of a default of the DAG or of the groups around.
        default = {**getattr(group.dag, "default_args", {}), **(group.default_args or {})}.get("on_failure_callback")
        failed = options.pop("on_failure_callback", default) or []
        callbacks = [_tell_failure, *(failed if isinstance(failed, Sequence) else [failed])]
        trials = task(task_id="plan")(plan)(parameters=parameters, **drawn)
        trial = operator.partial(
            task_id="trial",
            **{"map_index_template": _NAME, **options, field: manifest},
            max_active_tis_per_dagrun=parallel_trials,
            pre_execute=_StopAfter(max_failed_trials),
            on_failure_callback=callbacks,
        ).expand(params=trials)
        pick = task(task_id="best", trigger_rule=TriggerRule.ALL_DONE, multiple_outputs=True)(_best)
        best = pick(group_id=str(group.group_id), metric=metric, direction=direction, allowed=max_failed_trials)
        trial >> best
    return Search(group, best)


_NAME = "{% for name, value in params.trial.items() %}{{ ', ' if not loop.first }}{{ name }}={{ value }}{% endfor %}"
"""What the web page calls a trial."""


def _check(metric: str, direction: str, parallel_trials: int, max_failed_trials: int) -> None:
    if not metric or not all(metric.split(".")):
        raise InvalidManifestError(f"metric is {metric!r}: give the dotted path of a number in the result")
    if direction not in ("max", "min"):
        raise InvalidManifestError(f"direction is {direction!r}: set it to max or min")
    for name, value, least in (
        ("parallel_trials", parallel_trials, 1),
        ("max_failed_trials", max_failed_trials, 0),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InvalidManifestError(f"{name} is {value!r}: give a whole number from {least} on")


def _named(parameters: Any) -> dict[str, Any]:
    """Return parameters by name.

    :raises InvalidManifestError: they are no mapping, or none.
    """
    if not isinstance(parameters, Mapping) or not parameters:
        raise InvalidManifestError(f"parameters is {parameters!r}: name one parameter or more, each with its values")
    return dict(parameters)


def _uses_parameters(field: str, manifest: Any, parameters: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Refuse trials that would be alike, in all or in one parameter, as far as templates tell.

    What a file has, or another task returns, is seen only when it is rendered.
    """
    if not isinstance(manifest, Mapping):
        return
    used = list(used_parameters([manifest, dict(options)], parameters))
    if not used:
        raise InvalidManifestError(
            f"{field} has no {{{{ params.{PARAMS}.NAME }}}} in it, so all trials would be the same: say where the "
            "parameters go"
        )
    for name in () if None in used else parameters:
        if name not in used:
            raise InvalidManifestError(
                f"parameters has {name!r}, but {field} has no {{{{ params.{PARAMS}.{name} }}}} in it, so trials would "
                "be equal: say where it goes, or leave it out"
            )


# --- what the tasks do ---------------------------------------------------------------------------------------------


def _plan_grid(parameters: Mapping[str, Any]) -> list[dict[str, Point]]:
    """List the trials of a grid."""
    return _planned(grid_points(parameters))


def _plan_random(parameters: Mapping[str, Any], trials: Any, seed: Any) -> list[dict[str, Point]]:
    """List the trials drawn."""
    numbers = []
    for name, value in (("max_trials", trials), ("seed", seed)):
        try:
            numbers.append(int(value))
        except (TypeError, ValueError):
            raise InvalidManifestError(f"{name} is {value!r}: give a whole number") from None
    return _planned(random_points(from_json(parameters), *numbers))


def _planned(points: Sequence[Point]) -> list[dict[str, Point]]:
    """Return each trial's ``params``.

    :raises InvalidManifestError: the run's ``conf`` would take their place.
    """
    if PARAMS in (get_current_context()["dag_run"].conf or {}):
        raise InvalidManifestError(
            f"the run's conf has the key {PARAMS!r}, which would replace every trial's parameters: rename it"
        )
    for index, point in enumerate(points):
        print(f"trial {index}: {_shown(point)}")
    return [{PARAMS: point} for point in points]


class _StopAfter:
    """Skips a trial that has not begun once more have failed than may: the search has failed already.

    :param allowed: how many may fail.
    """

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed

    def __call__(self, context: Context) -> None:
        """Let the trial go on, or skip it."""
        from airflow.sdk.exceptions import AirflowSkipException

        ti, store = context["ti"], context["task_state_store"]
        # Airflow calls this again when a deferred task goes on; its job must then be concluded in any case.
        if store.get(_STARTED):
            return
        failed = ti.get_ti_count(dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], states=["failed"])
        if failed > self.allowed:
            raise AirflowSkipException(f"{failed} trials have failed, and max_failed_trials is {self.allowed}")
        store.set(_STARTED, True)


def _tell_failure(context: Context) -> None:
    """Leave why a trial failed where ``best`` finds it."""
    error = context.get("exception")
    told = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else str(error or "")
    context["ti"].xcom_push(_FAILURE, next(iter(told.splitlines()), ""))


def _best(group_id: str, metric: str, direction: Direction, allowed: int) -> dict[str, Any]:
    """Pick the best trial.

    :raises SearchFailedError: which trials failed, and why.
    """
    ti = get_current_context()["ti"]
    plan, trial = f"{group_id}.plan", f"{group_id}.trial"
    points = ti.xcom_pull(task_ids=plan)
    if not points:
        raise SearchFailedError(f"there are no trials: task {plan} failed; see its log")
    indexes = range(len(points))
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[trial], run_ids=[ti.run_id]).get(ti.run_id, {})
    outcomes = ti.xcom_pull(task_ids=trial, map_indexes=indexes)
    failures = ti.xcom_pull(task_ids=trial, key=_FAILURE, map_indexes=indexes)
    return pick(
        [
            judge(Trial(i, points[i][PARAMS]), states.get(f"{trial}_{i}"), outcomes[i], failures[i], metric)
            for i in indexes
        ],
        direction,
        allowed,
        metric,
    )


def judge(trial: Trial, state: str | None, outcome: Any, failure: str | None, metric: str) -> Trial:
    """Return how a trial went.

    :param trial: its index and parameters.
    :param state: the state of its task.
    :param outcome: what its operator returned.
    :param failure: why it failed, as far as it could tell.
    :param metric: dotted path of the metric in the result.
    """
    if state != "success":
        unknown = NOT_STARTED if state == "skipped" else f"{state or 'it was not run'}; see its log"
        return replace(trial, problem=failure or unknown)
    result = outcome.get("result") if isinstance(outcome, Mapping) else None
    found = _numbers(_parent(result, metric)).get(metric.rpartition(".")[2])
    if found is None:
        return replace(trial, result=result, problem=f"its result has no number {metric}: {result!r:.200}")
    return replace(trial, result=result, value=found)


def pick(trials: Sequence[Trial], direction: Direction, allowed: int, metric: str) -> dict[str, Any]:
    """Return the best trial's ``trial``, ``parameters``, ``metrics`` and ``result``.

    :param trials: all of them.
    :param direction: whether the largest or the smallest metric is best; of equals, the first counts.
    :param allowed: how many may have failed.
    :param metric: dotted path of the metric in the result.
    :raises SearchFailedError: which trials failed, and why.
    """
    failed = [trial for trial in trials if trial.problem]
    for trial in trials:
        print(f"trial {trial.index} ({_shown(trial.parameters)}): {trial.problem or f'{metric}={trial.value:g}'}")
    told = "".join(f"\n  trial {trial.index} ({_shown(trial.parameters)}): {trial.problem}" for trial in failed)
    if len(failed) == len(trials):
        raise SearchFailedError(f"none of {len(trials)} trials succeeded:{told}")
    if len(failed) > allowed:
        ran = [trial for trial in failed if trial.problem != NOT_STARTED]
        raise SearchFailedError(f"{len(ran)} of {len(trials)} trials failed, and max_failed_trials is {allowed}:{told}")
    sign = -1 if direction == "max" else 1
    best = min((trial for trial in trials if not trial.problem), key=lambda trial: (sign * trial.value, trial.index))
    metrics = _numbers(_parent(best.result, metric))
    print(f"best: trial {best.index} ({_shown(best.parameters)}): {metric}={best.value:g}")
    return {"trial": best.index, "parameters": best.parameters, "metrics": metrics, "result": best.result}


def _parent(result: Any, metric: str) -> Mapping[str, Any]:
    """Return the mapping that has the metric, or an empty one."""
    for name in metric.split(".")[:-1]:
        result = result.get(name) if isinstance(result, Mapping) else None
    return result if isinstance(result, Mapping) else {}


def _numbers(facts: Mapping[str, Any]) -> dict[str, float]:
    """Return the entries that are finite numbers."""
    numbers = {name: value for name, value in facts.items() if isinstance(value, (int, float))}
    return {name: value for name, value in numbers.items() if not isinstance(value, bool) and math.isfinite(value)}


def _shown(point: Point) -> str:
    return ", ".join(f"{name}={value}" for name, value in point.items())


__all__ = [
    "Choice",
    "IntUniform",
    "LogUniform",
    "Search",
    "Uniform",
    "grid_search",
    "random_search",
]
