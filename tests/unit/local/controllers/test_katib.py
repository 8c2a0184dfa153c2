"""Katib: what is tried next, what a log tells, and when an Experiment has ended."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import LocalClusterError
from airflow_provider_sparkml.local.controllers import katib_search as search
from airflow_provider_sparkml.local.controllers.experiments import (
    conclude,
    new_trial,
    summarize,
    trial_name,
    with_defaults,
)
from airflow_provider_sparkml.resources.base import Manifest

LOSS = {"type": "minimize", "objectiveMetricName": "loss"}


def parameter(name: str, kind: str, **space: Any) -> dict[str, Any]:
    return {"name": name, "parameterType": kind, "feasibleSpace": space}


def spec(algorithm: str, *parameters: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {"algorithm": {"algorithmName": algorithm}, "parameters": list(parameters), **others}


def test_a_grid_tries_every_combination_once() -> None:
    wanted = spec(
        "grid",
        parameter("lr", "double", min="0.1", max="0.35", step="0.1"),
        parameter("n", "int", min="1", max="2"),
        parameter("opt", "categorical", list=["sgd"]),
    )
    found = [search.suggest(wanted, number, "seed") for number in range(7)]
    assert found[:3] == [
        {"lr": "0.1", "n": "1", "opt": "sgd"},
        {"lr": "0.1", "n": "2", "opt": "sgd"},
        {"lr": "0.2", "n": "1", "opt": "sgd"},
    ]
    assert found[5] == {"lr": "0.3", "n": "2", "opt": "sgd"}
    assert found[6] is None
    assert search.grid_size(wanted["parameters"]) == 6


@pytest.mark.parametrize("distribution", ["uniform", "logUniform", "normal", "logNormal"])
def test_random_parameters_stay_within_their_bounds_and_repeat(distribution: str) -> None:
    wanted = spec(
        "random",
        parameter("x", "double", min="0.01", max="10", distribution=distribution),
        parameter("n", "int", min="3", max="9", distribution=distribution, step="2"),
        parameter("k", "discrete", list=["1", "4"]),
    )
    found = [search.suggest(wanted, number, "seed") for number in range(60)]
    assert found == [search.suggest(wanted, number, "seed") for number in range(60)]
    assert found[0] != search.suggest(wanted, 0, "another seed")
    values = [each for each in found if each]
    assert all(0.01 <= float(each["x"]) <= 10 for each in values)
    assert {each["n"] for each in values} <= {str(number) for number in range(3, 10)}
    assert {each["k"] for each in values} == {"1", "4"}
    assert len({each["x"] for each in values}) > 10


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (spec("bayesianoptimization", parameter("x", "int", min="1", max="2")), "grid, random"),
        (spec("random"), "spec.parameters must be specified"),
        (spec("grid", parameter("x", "double", min="1", max="2")), "Param x step is nil"),
        (spec("grid", parameter("x", "int", min="1", max="2"), maxTrialCount=3), "all possible search combinations: 2"),
        (spec("grid", parameter("x", "int", min="1", max="2"), maxTrialCount=2), ""),
        (spec("grid", parameter("x", "double", min="1", max="2", step="0")), "the search space is not sound"),
        (spec("grid", parameter("x", "double", min="2", max="1", step="1")), "there is nothing to try"),
        (spec("random", parameter("x", "double", min="0", max="1", distribution="logUniform")), "is not sound"),
        (spec("random", parameter("x", "double", min="low", max="1")), "is not sound"),
        (spec("random", parameter("x", "discrete")), "is not sound"),
    ],
)
def test_what_an_algorithm_refuses(wanted: dict[str, Any], expected: str) -> None:
    assert expected in search.problem(wanted)
    assert bool(search.problem(wanted)) == bool(expected)


def test_metrics_are_read_from_lines() -> None:
    lines = ["epoch=1 loss = 2.5", "2026-01-01T00:00:00Z loss=1e0, acc=.5", "validation-loss=9 loss=1.5", "loss=high"]
    objective = LOSS | {"additionalMetricNames": ["acc"]}
    assert search.observe(lines, objective) == [
        {"name": "loss", "min": "1e0", "max": "2.5", "latest": "1.5"},
        {"name": "acc", "min": ".5", "max": ".5", "latest": ".5"},
    ]
    assert search.observe(["{loss: 7}"], LOSS, [r"(\w+): (\d+)"])[0]["latest"] == "7"


def test_without_the_objective_no_metric_counts() -> None:
    found = search.observe(["acc=0.5"], LOSS | {"additionalMetricNames": ["acc"]})
    assert {each["latest"] for each in found} == {search.UNAVAILABLE}
    assert search.objective_value(LOSS, found) == search.UNAVAILABLE


@pytest.mark.parametrize(
    ("kind", "goal", "expected"),
    [
        ("minimize", None, ("b", False)),
        ("minimize", 1.0, ("b", True)),
        ("minimize", 0.5, ("b", False)),
        ("maximize", 2.0, ("a", True)),
    ],
)
def test_the_best_trial(kind: str, goal: float | None, expected: tuple[str, bool]) -> None:
    values = {"a": "2", "b": "1", "c": search.UNAVAILABLE}
    assert search.best({"type": kind, "goal": goal}, values) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('status.conditions.#(type=="Complete")#|#(status=="True")#', {"reason": "R"}),
        ('status.conditions.#(type=="Failed")#|#(status=="True")#', None),
        ('status.conditions.#(type=="Complete")', {"reason": "R"}),
        ('[status.applicationState]|#(state=="COMPLETED")#', {"state": "COMPLETED"}),
        ('[status.applicationState]|#(state=="FAILED")#', None),
        ('status.conditions.#(status!="True")#', {"type": "Failed"}),
        ("status.nothing.at.all", None),
        ("", None),
    ],
)
def test_expressions_find_conditions(expression: str, expected: dict[str, str] | None) -> None:
    conditions = [
        {"type": "Failed", "status": "False"},
        {"type": "Complete", "status": "True", "reason": "R"},
    ]
    obj = {"status": {"conditions": conditions, "applicationState": {"state": "COMPLETED"}}}
    found = search.holds(expression, obj)
    assert found == expected or (found is not None and expected is not None and expected.items() <= found.items())


# --- experiments -----------------------------------------------------------------------------------------------------


def experiment(**others: Any) -> tuple[Manifest, dict[str, Any]]:
    template = {
        "trialParameters": [{"name": "lr", "reference": "x"}, {"name": "me", "reference": "${trialSpec.Name}"}],
        "trialSpec": {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "spec": {"args": ["--lr=${trialParameters.lr}", "${trialParameters.me}"]},
        },
    }
    given = spec("grid", parameter("x", "int", min="1", max="9"), objective=LOSS, trialTemplate=template, **others)
    return {"metadata": {"name": "e", "namespace": "ns", "uid": "u"}}, with_defaults(given)


def test_a_trial_has_the_parameters_in_its_job() -> None:
    owner, given = experiment()
    trial = new_trial(owner, given, 0, {"x": "3"})
    name = trial_name(owner, 0)
    assert trial["metadata"]["labels"] == {"katib.kubeflow.org/experiment": "e"}
    assert trial["spec"]["runSpec"]["metadata"] == {"name": name, "namespace": "ns"}
    assert trial["spec"]["runSpec"]["spec"] == {"args": ["--lr=3", name]}
    assert trial["spec"]["parameterAssignments"] == [{"name": "x", "value": "3"}]
    assert trial["spec"]["successCondition"] == 'status.conditions.#(type=="Complete")#|#(status=="True")#'
    assert name == trial_name(owner, 0) != trial_name(owner, 1)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [("y", "lr refers to y"), ("${trialSpec.Color}", "illegal reference"), ("${trialSpec.Name}", "nothing for x")],
)
def test_a_template_that_does_not_fit(reference: str, expected: str) -> None:
    owner, given = experiment()
    given["trialTemplate"]["trialParameters"][0]["reference"] = reference
    with pytest.raises(LocalClusterError, match=expected):
        new_trial(owner, given, 0, {"x": "3"})


def trial(name: str, kind: str, loss: str = "") -> Manifest:
    metrics = [{"name": "loss", "min": loss, "max": loss, "latest": loss}] if loss else []
    status = {"conditions": [{"type": kind, "status": "True"}], "observation": {"metrics": metrics}}
    assignments = [{"name": "x", "value": name}]
    return {"metadata": {"name": name}, "spec": {"parameterAssignments": assignments}, "status": status}


def end(trials: list[Manifest], *, exhausted: bool = False, **others: Any) -> tuple[str, str]:
    status: dict[str, Any] = {}
    given = {"objective": LOSS, **others}
    reached = summarize(status, given["objective"], trials)
    conclude(status, given, reached=reached, exhausted=exhausted)
    return status["conditions"][-1]["type"], status["conditions"][-1]["reason"]


def test_how_an_experiment_ends() -> None:
    good, bad, silent = trial("a", "Succeeded", "2"), trial("b", "Failed"), trial("c", "MetricsUnavailable")
    running = trial("d", "Running")
    assert end([good, running], maxTrialCount=2) == ("Running", "ExperimentRunning")
    assert end([good, bad], maxTrialCount=2) == ("Succeeded", "ExperimentMaxTrialsReached")
    assert end([silent, silent], maxTrialCount=2) == ("Succeeded", "ExperimentMaxTrialsReached")
    assert end([good, bad, silent], maxTrialCount=9, maxFailedTrialCount=2) == ("Failed", "ExperimentFailed")
    assert end([good, bad], maxTrialCount=9, maxFailedTrialCount=2) == ("Running", "ExperimentRunning")
    assert end([good, running], objective=LOSS | {"goal": 2}) == ("Succeeded", "ExperimentGoalReached")
    assert end([good], exhausted=True) == ("Succeeded", "ExperimentSuggestionEndReached")
    assert end([good, running], exhausted=True) == ("Running", "ExperimentRunning")


def test_trials_are_counted_by_how_they_are() -> None:
    status: dict[str, Any] = {"pendingTrialList": ["old"], "trialsPending": 1}
    summarize(
        status, LOSS, [trial("a", "Succeeded", "2"), trial("b", "Succeeded", "1"), trial("c", "MetricsUnavailable")]
    )
    assert (status["trials"], status["trialsSucceeded"], status["trialMetricsUnavailable"]) == (3, 2, 1)
    assert status["succeededTrialList"] == ["a", "b"]
    assert "pendingTrialList" not in status
    assert status["currentOptimalTrial"]["bestTrialName"] == "b"
