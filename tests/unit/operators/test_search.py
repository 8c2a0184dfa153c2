"""Search by mapping: the task group, what its tasks decide, and what they say of trials that failed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, TaskGroup
from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.execution_time.context import set_current_context
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_sparkml.exceptions import InvalidManifestError, SearchFailedError
from airflow_provider_sparkml.operators.search import (
    LogUniform,
    Search,
    Trial,
    _StopAfter,
    _tell_failure,
    grid_search,
    judge,
    pick,
    random_search,
)
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.resources.spark import SparkApplication


def application(*arguments: str) -> SparkApplication:
    return SparkApplication(image="i:1", main_application_file="local:///a.py", arguments=arguments)


def grid(**options: Any) -> Search:
    given = {
        "application": application("{{ params.trial.lr }}"),
        "parameters": {"lr": [0.1, 0.2]},
        "metric": "metrics.auc",
    }
    return grid_search(SparkApplicationOperator, **{**given, **options})


@pytest.fixture
def dag() -> Any:
    with DAG("d", schedule=None) as dag:
        yield dag


# --- the group -----------------------------------------------------------------------------------------------------


def test_it_is_three_tasks_that_airflow_can_store(dag: DAG) -> None:
    search = grid(parallel_trials=3, retries=2, group_id="tune")
    upstream = {task.task_id: task.upstream_task_ids for task in dag.tasks}
    assert upstream == {"tune.plan": set(), "tune.trial": {"tune.plan"}, "tune.best": {"tune.trial"}}
    trial = dag.get_task("tune.trial")
    assert trial.is_mapped
    assert trial.partial_kwargs["max_active_tis_per_dagrun"] == 3
    assert trial.partial_kwargs["retries"] == 2
    assert search.best["parameters"].key == "parameters"
    stored = DagSerialization.to_dict(dag)
    DagSerialization.validate_schema(stored)
    assert DagSerialization.from_dict(stored).task_ids == dag.task_ids


def test_other_tasks_go_before_and_after(dag: DAG) -> None:
    before, after = (SparkApplicationOperator(task_id=name, application=application()) for name in ("a", "z"))
    search = grid()
    before >> search.group >> after
    assert dag.get_task("search.plan").upstream_task_ids == {"a"}
    assert after.upstream_task_ids == {"search.best"}


def test_a_trial_renders_with_its_own_parameters(dag: DAG) -> None:
    grid(application=application("--lr", "{{ params.trial.lr }}", "{{ params.kept }}"), params={"kept": "yes"})
    mapped = dag.get_task("search.trial")
    task = mapped.unmap({"params": {"trial": {"lr": 0.2}}})
    task.render_template_fields({"params": task.params.dump() if hasattr(task.params, "dump") else task.params})
    assert task.application["spec"]["arguments"] == ["--lr", "0.2", "yes"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"application": application("--lr")}, r"application has no \{\{ params.trial.NAME \}\} in it"),
        ({"metric": ""}, "metric is ''"),
        ({"metric": "a..b"}, "metric is 'a..b'"),
        ({"direction": "maximize"}, "direction is 'maximize': set it to max or min"),
        ({"parallel_trials": 0}, "parallel_trials is 0"),
        ({"max_failed_trials": -1}, "max_failed_trials is -1"),
        ({"parameters": None}, "parameters is None: name one parameter or more"),
        ({"parameters": {}}, "parameters is {}: name one parameter or more"),
        ({"parameters": ["lr"]}, r"parameters is \['lr'\]: name one"),
        (
            {"parameters": {"lr": [1], "depth": [2]}},
            r"parameters has 'depth', but application has no {{ params.trial.dep",
        ),
        ({"checkpoint_uri": "s3://b/run"}, "checkpoint_uri is 's3://b/run', the same for all trials"),
        ({"model_uri": "s3://b/run"}, r"model_uri is .*: put \{\{ ti.map_index \}\} into it"),
        ({"task_id": "x"}, "task_id is 'x': a search sets it for its trials"),
    ],
)
def test_bad_options_are_refused_when_the_dag_is_parsed(dag: DAG, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidManifestError, match=message):
        grid(**options)


@pytest.mark.parametrize("where", ["dag", "group", "option"])
def test_callbacks_of_a_failure_are_kept(where: str) -> None:
    def alert(context: Any) -> None:
        """Tell somebody."""

    default = {"on_failure_callback": alert}
    with (
        DAG("d", schedule=None, default_args=default if where == "dag" else {}) as dag,
        TaskGroup("outer", default_args=default if where == "group" else {}),
    ):
        grid(**(default if where == "option" else {}))
    callbacks = dag.get_task("outer.search.trial").partial_kwargs["on_failure_callback"]
    assert [each.__name__ for each in callbacks] == ["_tell_failure", "alert"]


def test_without_a_manifest_there_is_no_trial(dag: DAG) -> None:
    with pytest.raises(InvalidManifestError, match="application is missing"):
        grid_search(SparkApplicationOperator, parameters={"a": [1]}, metric="m")


def test_an_operator_that_runs_no_job_cannot_be_searched_with(dag: DAG) -> None:
    other: Any = BaseOperator
    with pytest.raises(InvalidManifestError, match=r"operator is .*BaseOperator.*: give one that runs jobs"):
        grid_search(other, parameters={"a": [1]}, metric="m", application={})


# --- plan ----------------------------------------------------------------------------------------------------------


def plan(dag: DAG, conf: dict[str, Any] | None = None) -> Any:
    task = dag.get_task("search.plan")
    context: Any = {"dag_run": SimpleNamespace(conf=conf)}
    with set_current_context(context):
        return task.python_callable(**task.op_kwargs)


def test_the_plan_is_each_trials_params(dag: DAG) -> None:
    grid()
    assert plan(dag) == [{"trial": {"lr": 0.1}}, {"trial": {"lr": 0.2}}]


def test_a_random_plan_follows_from_its_seed(dag: DAG) -> None:
    random_search(
        SparkApplicationOperator,
        application=application("{{ params.trial.lr }}"),
        parameters={"lr": LogUniform(1e-3, 1e-1)},
        metric="auc",
        max_trials="3",
        seed="7",
    )
    first = plan(dag)
    assert len(first) == 3
    assert plan(dag) == first
    dag.get_task("search.plan").op_kwargs["seed"] = "many"
    with pytest.raises(InvalidManifestError, match="seed is 'many'"):
        plan(dag)


def test_a_conf_that_would_replace_the_parameters_is_refused(dag: DAG) -> None:
    grid()
    with pytest.raises(InvalidManifestError, match="the run's conf has the key 'trial'"):
        plan(dag, {"trial": {"lr": 5}})


# --- trials --------------------------------------------------------------------------------------------------------


class Store(dict[str, Any]):
    """The state of a task instance."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


def trial_context(failed: int) -> dict[str, Any]:
    ti = SimpleNamespace(dag_id="d", task_id="t", run_id="r", xcoms={}, get_ti_count=lambda **_: failed)
    ti.xcom_push = ti.xcoms.__setitem__
    return {"ti": ti, "task_state_store": Store()}


def test_no_further_trial_starts_once_too_many_have_failed() -> None:
    stop: Any = _StopAfter(1)
    stop(trial_context(failed=1))
    with pytest.raises(AirflowSkipException, match="2 trials have failed, and max_failed_trials is 1"):
        stop(trial_context(failed=2))


def test_a_trial_that_has_begun_is_concluded_in_any_case() -> None:
    stop: Any = _StopAfter(0)
    context = trial_context(failed=0)
    stop(context)
    context["ti"].get_ti_count = lambda **_: 5
    stop(context)  # a deferred task goes on


def test_a_failure_leaves_its_first_line() -> None:
    context: Any = trial_context(0) | {"exception": ValueError("cause\nmore")}
    _tell_failure(context)
    assert context["ti"].xcoms == {"failure": "ValueError: cause"}


# --- best ----------------------------------------------------------------------------------------------------------


def trial(index: int, state: str | None = "success", result: Any = None, failure: str | None = None) -> Trial:
    outcome = {"result": result} if state == "success" else None
    return judge(Trial(index, {"lr": index / 10}), state, outcome, failure, "metrics.auc")


def auc(value: Any) -> dict[str, Any]:
    return {"metrics": {"auc": value, "accuracy": 0.5, "name": "x"}}


@pytest.mark.parametrize(("direction", "best"), [("max", 1), ("min", 2)])
def test_the_best_metric_wins_and_of_equals_the_first(direction: Any, best: int) -> None:
    trials = [trial(0, result=auc(0.6)), trial(1, result=auc(0.7)), trial(2, result=auc(0.5))]
    trials += [trial(3, result=auc(0.7)), trial(4, result=auc(0.5))]
    found = pick(trials, direction, 0, "metrics.auc")
    value = {1: 0.7, 2: 0.5}[best]
    assert found == {
        "trial": best,
        "parameters": {"lr": best / 10},
        "metrics": {"auc": value, "accuracy": 0.5},
        "result": auc(value),
    }


def test_failed_trials_are_let_pass_up_to_the_limit() -> None:
    trials = [trial(0, "failed", failure="ApplicationError: exit code 1"), trial(1, result=auc(0.7))]
    assert pick(trials, "max", 1, "metrics.auc")["trial"] == 1
    with pytest.raises(SearchFailedError) as caught:
        pick([*trials, trial(2, "skipped")], "max", 0, "metrics.auc")
    assert str(caught.value) == (
        "1 of 3 trials failed, and max_failed_trials is 0:\n"
        "  trial 0 (lr=0.0): ApplicationError: exit code 1\n"
        "  trial 2 (lr=0.2): not started, since too many had failed"
    )


@pytest.mark.parametrize(
    "result", [None, "text", {}, {"metrics": 1}, auc(None), auc("0.7"), auc(True), auc(float("nan"))]
)
def test_a_trial_without_the_metric_has_failed(result: Any) -> None:
    with pytest.raises(SearchFailedError, match=r"none of 1 trials succeeded:\n.*its result has no number metrics.auc"):
        pick([trial(0, result=result)], "max", 5, "metrics.auc")


@pytest.mark.parametrize("state", ["failed", "upstream_failed", None])
def test_a_trial_that_could_not_say_why_points_to_its_log(state: str | None) -> None:
    assert trial(0, state).problem.endswith("; see its log")
