"""The DAGs that train on several ranks: what their tasks render to, and what they let pass."""

from __future__ import annotations

import json
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_sparkml.resources.katib import EXPERIMENT
from airflow_provider_sparkml.resources.mpi import MPI_JOB
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION
from airflow_provider_sparkml.resources.trainer import TRAIN_JOB
from airflow_provider_sparkml.resources.training_pods import TRAINING_PODS

RUN_ID = "manual__2026-11-23T00:00:00+00:00"
KINDS = {
    "pytorch_trainjob": {"preprocess": SPARK_APPLICATION, "train": TRAIN_JOB},
    "horovod_training": {"preprocess": SPARK_APPLICATION, "train": MPI_JOB},
    "hyperparameter_search": {"preprocess": SPARK_APPLICATION, "katib": EXPERIMENT, "train": TRAINING_PODS},
}
TASKS = [(name, task_id, resource) for name, tasks in KINDS.items() for task_id, resource in tasks.items()]


def rendered(dag: DAG, task_id: str) -> Any:
    task = dag.get_task(task_id).prepare_for_execution()
    ti = SimpleNamespace(xcom_pull=lambda task_ids: {"hidden": 64, "learning_rate": 0.01}, map_index=-1)
    task.render_template_fields({"dag": dag, "params": dag.params.dump(), "run_id": RUN_ID, "ti": ti})
    return task


@pytest.mark.parametrize(("name", "task_id", "resource"), TASKS)
def test_each_job_renders_to_a_valid_manifest(
    modules: dict[str, ModuleType], name: str, task_id: str, resource: Any
) -> None:
    task = rendered(modules[name].dag, task_id)
    manifest = resource.normalize(getattr(task, task.manifest_field))
    resource.check(manifest)
    text = json.dumps(manifest)
    assert "{{" not in text
    assert f"/data/{name}/{modules[name].run_key(RUN_ID)}/dataset" in text


def test_the_horovod_job_is_elastic_and_its_launcher_tells_the_result(modules: dict[str, ModuleType]) -> None:
    spec = rendered(modules["horovod_training"].dag, "train").job["spec"]
    command = spec["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"][0]["command"]
    assert command[:3] == ["python", "/opt/sparkml/launch.py", "horovodrun"]
    assert command[command.index("--min-np") + 1] == "1"
    assert spec["mpiReplicaSpecs"]["Worker"]["replicas"] == 2


OUTCOME = {
    "parameter_hashes": ["a", "a"],
    "ranks": 2,
    "steps": 9,
    "output": "/data/m",
    "metrics": {"auc": 0.7, "log_loss": 0.4},
    "baseline": {"log_loss": 0.5},
}


@pytest.mark.parametrize("name", ["pytorch_trainjob", "horovod_training"])
def test_only_a_network_that_has_learnt_on_equal_ranks_passes(modules: dict[str, ModuleType], name: str) -> None:
    evaluate = modules[name].dag.get_task("evaluate").python_callable
    assert evaluate({"result": OUTCOME}) == {"model": "/data/m", "auc": 0.7, "log_loss": 0.4}
    with pytest.raises(ValueError, match="different parameters"):
        evaluate({"result": OUTCOME | {"parameter_hashes": ["a", "b"]}})
    with pytest.raises(ValueError, match="no better"):
        evaluate({"result": OUTCOME | {"baseline": {"log_loss": 0.4}}})


def test_the_better_of_two_searches_says_what_to_train_with(modules: dict[str, ModuleType]) -> None:
    better = modules["hyperparameter_search"].dag.get_task("better").python_callable
    mapped = {"parameters": {"hidden": 16, "learning_rate": 0.1}, "metrics": {"auc": 0.7}}
    katib = {"result": {"parameters": {"hidden": 64, "learning_rate": 0.2}, "metrics": {"auc": 0.71}}}
    assert better(mapped, katib) == {"found_by": "katib", "hidden": 64, "learning_rate": 0.2}
    katib["result"]["metrics"] = {"auc": 0.7}
    assert better(mapped, katib)["found_by"] == "mapping"


def test_the_search_by_mapping_comes_after_the_data(modules: dict[str, ModuleType]) -> None:
    dag = modules["hyperparameter_search"].dag
    upstream = {task.task_id: task.upstream_task_ids for task in dag.tasks}
    assert upstream == {
        "preprocess": set(),
        "grid.plan": {"preprocess"},
        "grid.trial": {"grid.plan"},
        "grid.best": {"grid.trial"},
        "katib": {"preprocess"},
        "better": {"grid.best", "katib"},
        "train": {"better"},
    }
