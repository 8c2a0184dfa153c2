"""Tasks made of functions that return a manifest: written as Airflow's own ``@task``, run as the operators do."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import TaskDeferred
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_sparkml.decorators import job as job_decorators
from airflow_provider_sparkml.exceptions import InvalidManifestError, TriggerError
from airflow_provider_sparkml.get_provider_info import get_provider_info
from airflow_provider_sparkml.jobs.outcome import Outcome
from airflow_provider_sparkml.operators.job import JobOperator
from airflow_provider_sparkml.resources.base import ResourceRef
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION, SparkApplication
from airflow_provider_sparkml.resources.training import Replica
from airflow_provider_sparkml.resources.training_pods import TrainingPods
from tests.unit.conftest import Objects

REGISTERED = {entry["name"]: entry["class-name"] for entry in get_provider_info()["task-decorators"]}
cluster = pytest.mark.usefixtures("connection", "supervisor")


def application(*arguments: str) -> SparkApplication:
    return SparkApplication(image="i:1", main_application_file="local:///a.py", arguments=arguments)


def operator(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the operator that a decorated function makes in a DAG."""
    with DAG("d", schedule=None):
        return function(*args, **kwargs).operator


def deferred(made: JobOperator, context: Any) -> Any:
    with pytest.raises(TaskDeferred) as raised:
        made.execute(context)
    return raised.value


@cluster
def test_the_function_says_what_to_run(applications: Objects, task_context: Any) -> None:
    @task.spark_application(on_finish="keep", labels={"team": "a"})
    def train(rows: int, params: Any = None, *, word: str = "") -> SparkApplication:
        return application(str(rows + 1), word)

    # As a run's parameter would be: Airflow has rendered the arguments, and what they say is no template.
    made = operator(train, 6, word="{{ var.value.secret }}")
    assert (made.task_id, made.task_type, made.operator_name) == (
        *("train", "_SparkApplicationTask", "@task.spark_application"),
    )
    trigger = deferred(made, task_context())
    created = applications.one()
    assert created["spec"]["arguments"] == ["7", "{{ var.value.secret }}"]
    assert created["metadata"]["labels"]["team"] == "a"
    assert made.application["spec"]["arguments"][0] == "7", "what Airflow shows as rendered"

    applications.set_state(created["metadata"]["name"], "COMPLETED")
    obj = applications.one()
    event = {"outcome": Outcome(ResourceRef.of(obj), SPARK_APPLICATION.read(obj)).to_json()}
    kwargs = trigger.kwargs["trigger"]
    again = operator(train, 6)
    result = again.execute_complete(task_context(), {**event, "trigger": kwargs}, trigger=kwargs)
    assert result["phase"] == "SUCCEEDED"
    assert again.application == f"SparkApplication {created['metadata']['namespace']}/{created['metadata']['name']}"


@cluster
def test_a_wait_that_broke_for_good_leaves_no_job(applications: Objects, task_context: Any) -> None:
    @task.spark_application
    def train() -> SparkApplication:
        return application()

    context = task_context(max_tries=0)
    kwargs = deferred(operator(train), context).kwargs["trigger"]
    broken = {"error": {"type": "TriggerError", "message": "the wait broke off"}, "trigger": kwargs}
    with pytest.raises(TriggerError):
        operator(train).execute_complete(context, broken, trigger=kwargs)
    assert applications.all() == []


@cluster
def test_it_may_return_a_file(applications: Objects, task_context: Any, tmp_path: Path) -> None:
    file = tmp_path / "app.yaml"
    file.write_text(
        "apiVersion: sparkoperator.k8s.io/v1beta2\nkind: SparkApplication\n"
        "spec: {type: Python, mode: cluster, image: 'i:1', sparkVersion: 4.3.0, mainApplicationFile: 'local:///a.py',\n"
        "  arguments: [a], driver: {}, executor: {}}\n"
    )

    @task.spark_application
    def train() -> Path:
        return file

    deferred(operator(train), task_context())
    assert applications.one()["spec"]["arguments"] == ["a"]


@cluster
def test_nothing_returned_is_an_error(applications: Objects, task_context: Any) -> None:
    @task.spark_application
    def train() -> None: ...

    with pytest.raises(InvalidManifestError, match="train returned None: let it return the manifest of the SparkApp"):
        operator(train).execute(task_context())
    assert applications.all() == []


@cluster
def test_each_kind_takes_its_own(api_server: Any, namespace: str, task_context: Any) -> None:
    @task.training_pods
    def train(learning_rate: float) -> TrainingPods:
        return TrainingPods(pods=Replica(image="i:1", command=["train", str(learning_rate)]))

    deferred(operator(train, 0.5), task_context())
    created = Objects(api_server, f"/apis/batch/v1/namespaces/{namespace}/jobs").one()
    assert created["spec"]["template"]["spec"]["containers"][0]["command"] == ["train", "0.5"]


def test_it_can_be_mapped_and_stored() -> None:
    with DAG("d", schedule=None) as dag:

        @task
        def plan() -> list[str]:
            return ["a", "b"]

        @task.spark_application(retries=2)
        def train(model: str) -> dict[str, Any]:
            return application(model).to_manifest()

        @task
        def best(trials: Any) -> None: ...

        best(train.expand(model=plan()))
    stored = DagSerialization.to_dict(dag)
    DagSerialization.validate_schema(stored)
    assert DagSerialization.from_dict(stored).get_task("train").is_mapped
    assert dag.get_task("train").downstream_task_ids == {"best"}
    assert not operator(train, "a").multiple_outputs, "an annotation says what the function returns, not the task"


def test_airflow_knows_them_all() -> None:
    assert {name: path.rpartition(".")[2] for name, path in REGISTERED.items()} == {
        name: name for name in job_decorators.__all__
    }
    assert {path.rpartition(".")[0] for path in REGISTERED.values()} == {job_decorators.__name__}
    for name in REGISTERED:
        assert getattr(task, name) is getattr(job_decorators, name)
        assert inspect.getdoc(getattr(job_decorators, name))
