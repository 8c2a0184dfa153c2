"""The pipeline: its order, what its tasks render to, and what its own Python decides."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, TriggerRule
from airflow.sdk.execution_time.context import set_current_context

from airflow_provider_sparkml.exceptions import ApplicationError, EvictedError
from airflow_provider_sparkml.resources.mpi import MPI_JOB
from airflow_provider_sparkml.resources.serving import INFERENCE_SERVICE
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION
from airflow_provider_sparkml.resources.trainer import TRAIN_JOB

RUN_ID = "manual__2026-11-23T00:00:00+00:00"
PREFIX = "/data/preprocess_train_serve"


@pytest.fixture(scope="module")
def dag(pipeline: ModuleType) -> DAG:
    result: DAG = pipeline.preprocess_train_serve()
    return result


@pytest.fixture
def context(dag: DAG) -> dict[str, Any]:
    xcoms = {"pick_best": {"model": "gbt"}}
    params = dag.params.dump() | {"rows": 500, "claim": "shared", "executors": 3}
    ti = SimpleNamespace(xcom_pull=lambda task_ids: xcoms[task_ids])
    return {"dag": dag, "params": params, "run_id": RUN_ID, "ti": ti}


def rendered(dag: DAG, task_id: str, context: dict[str, Any]) -> Any:
    task = dag.get_task(task_id).prepare_for_execution()
    task.render_template_fields(context)
    return task


def call(dag: DAG, task_id: str, *args: Any, context: dict[str, Any] | None = None) -> Any:
    """Call the Python of a task."""
    function = dag.get_task(task_id).python_callable
    if context is None:
        return function(*args)
    with set_current_context(context):
        return function(*args)


# --- order ---


def test_each_task_waits_for_what_it_needs(dag: DAG) -> None:
    upstream = {task.task_id: task.upstream_task_ids for task in dag.tasks}
    assert upstream == {
        "preprocess": set(),
        "choose_trainer": set(),
        "plan_trials": {"preprocess", "choose_trainer"},
        "train_torch": {"preprocess", "choose_trainer"},
        "train_horovod": {"preprocess", "choose_trainer"},
        "train": {"plan_trials"},
        "pick_best": {"train"},
        "export": {"pick_best"},
        "deploy_candidate": {"export", "train_torch", "train_horovod"},
        "smoke_test": {"deploy_candidate"},
        "deploy": {"smoke_test"},
        "remove_candidate": {"deploy_candidate", "smoke_test"},
        "remove_leftovers": {"preprocess", "train", "export"},
    }
    assert dag.get_task("train").is_mapped


def test_only_a_model_that_passed_gets_the_public_name_and_the_candidate_goes_in_any_case(dag: DAG) -> None:
    assert {task.task_id for task in dag.tasks if task.is_teardown} == {"remove_candidate", "remove_leftovers"}
    assert [task.task_id for task in dag.tasks if task.is_setup] == ["deploy_candidate"]
    assert dag.get_task("remove_candidate").trigger_rule == TriggerRule.ALL_DONE_SETUP_SUCCESS
    assert dag.get_task("deploy").trigger_rule == TriggerRule.ALL_SUCCESS


def test_assets_are_the_data_set_and_the_served_model(dag: DAG) -> None:
    assert {task.task_id: [asset.name for asset in task.outlets] for task in dag.tasks if task.outlets} == {
        "preprocess": ["flights_dataset"],
        "deploy": ["flights_model"],
    }


def test_only_what_may_pass_by_itself_is_tried_again(dag: DAG) -> None:
    for task in dag.tasks:
        policy = task.retry_policy if not task.is_mapped else task.partial_kwargs["retry_policy"]
        assert policy.evaluate(ApplicationError("exit code 1"), 1, 2).action.value == "fail"
        assert policy.evaluate(EvictedError("evicted"), 1, 2).action.value == "retry"


# --- manifests ---


def test_preprocess_renders_to_a_valid_application(dag: DAG, pipeline: ModuleType, context: dict[str, Any]) -> None:
    manifest = SPARK_APPLICATION.normalize(rendered(dag, "preprocess", context).application)
    SPARK_APPLICATION.check(manifest)
    key = pipeline.run_key(RUN_ID)
    assert manifest["spec"]["arguments"] == [
        *("--output", f"{PREFIX}/runs/{key}/dataset", "--rows", "500", "--late-minutes", "15", "--expire-days", "7")
    ]
    assert manifest["spec"]["executor"]["instances"] == 3
    assert manifest["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "shared"}}]


def test_export_reads_the_best_trial_and_serving_what_it_wrote(
    dag: DAG, pipeline: ModuleType, context: dict[str, Any]
) -> None:
    key = pipeline.run_key(RUN_ID)
    application = rendered(dag, "export", context).application
    output = f"preprocess_train_serve/models/flight-delay/{key}"
    assert application["spec"]["arguments"] == [
        *("--trial", f"{PREFIX}/runs/{key}/trials/gbt", "--data", f"{PREFIX}/runs/{key}/dataset"),
        *("--output", f"/data/{output}"),
    ]
    for task_id, name in (("deploy", "flight-delay"), ("deploy_candidate", f"flight-delay-{key}")):
        service = rendered(dag, task_id, context).inference_service
        INFERENCE_SERVICE.check(service)
        assert service["metadata"]["name"] == name
        assert service["spec"]["predictor"]["model"]["storageUri"] == f"pvc://shared/{output}"
    assert rendered(dag, "remove_candidate", context).name == f"flight-delay-{key}"


def test_the_longest_name_of_a_model_still_makes_names_that_kubernetes_takes(pipeline: ModuleType) -> None:
    longest = pipeline.PARAMS["model_name"].schema["maxLength"]
    assert longest + 1 + len(pipeline.run_key(RUN_ID)) + len("-predictor") <= 63


def test_runs_do_not_share_a_directory(pipeline: ModuleType) -> None:
    keys = {pipeline.run_key(run_id) for run_id in ("a", "a+b", "a:b", "a b", "A")}
    assert len(keys) == 5
    assert all(key.isalnum() and key[0].isalpha() and key.islower() for key in keys)


def test_there_is_a_trial_for_each_model_wanted(dag: DAG, pipeline: ModuleType, context: dict[str, Any]) -> None:
    context["params"] |= {"models": ["random_forest", "logistic_regression"], "trees": 7, "forest_depth": 4}
    forest, regression = call(dag, "plan_trials", context=context)
    key = pipeline.run_key(RUN_ID)
    for manifest, model in ((forest, "random_forest"), (regression, "logistic_regression")):
        SPARK_APPLICATION.check(SPARK_APPLICATION.normalize(manifest))
        assert manifest["metadata"]["labels"] == {"model": model}
        assert manifest["spec"]["arguments"][:6] == [
            *("--data", f"{PREFIX}/runs/{key}/dataset", "--output", f"{PREFIX}/runs/{key}/trials/{model}"),
            *("--model", model),
        ]
    assert forest["spec"]["arguments"][6:] == ["--trees", "7", "--depth", "4"]
    assert regression["spec"]["arguments"][6:] == []


@pytest.mark.parametrize(
    ("task_id", "resource", "image"),
    [("train_torch", TRAIN_JOB, "sparkml/torch:"), ("train_horovod", MPI_JOB, "sparkml/horovod:")],
)
def test_a_neural_network_is_trained_and_exported_to_where_it_is_served_from(
    dag: DAG, pipeline: ModuleType, context: dict[str, Any], task_id: str, resource: Any, image: str
) -> None:
    context["params"]["epochs"] = 3
    task = rendered(dag, task_id, context)
    manifest = resource.normalize(task.job)
    resource.check(manifest)
    key, text = pipeline.run_key(RUN_ID), json.dumps(manifest)
    words = [
        *("--data", f"{PREFIX}/runs/{key}/dataset"),
        *("--output", f"/data/preprocess_train_serve/models/flight-delay/{key}", "--epochs", "3"),
    ]
    assert json.dumps(words)[1:-1] in text
    assert image in text
    assert '"claimName": "shared"' in text
    assert task.checkpoint_uri == f"{PREFIX}/runs/{key}/checkpoints"


@pytest.mark.parametrize("trainer", ["mllib", "torch", "horovod"])
def test_the_trainer_of_choice_begins(dag: DAG, context: dict[str, Any], trainer: str) -> None:
    context["params"]["trainer"] = trainer
    task_id = dag.get_task("choose_trainer").python_callable
    with set_current_context(context):
        assert dag.get_task(task_id()).upstream_task_ids == {"preprocess", "choose_trainer"}


# --- decisions ---


def trial(model: str, auc: float) -> dict[str, Any]:
    return {"name": f"train-{model}", "result": {"model": model, "metrics": {"auc": auc}}}


def test_the_largest_auc_wins(dag: DAG) -> None:
    best = call(dag, "pick_best", [trial("a", 0.7), trial("b", 0.72), trial("c", 0.71)])
    assert best["model"] == "b"


def test_a_trial_without_a_result_is_no_reason_to_take_another(dag: DAG) -> None:
    with pytest.raises(ValueError, match="SparkApplication train-b succeeded, but its result could not be read"):
        call(dag, "pick_best", [trial("a", 0.7), {"name": "train-b", "result": None}])


SAMPLE = {
    "result": {
        "features": ["a", "b"],
        "sample": {
            "flights": ["AA1", "AA2"],
            "rows": [[1, 2], [3, 4]],
            "arr_delay": [-5, 90],
            "probability": [0.1, 0.8],
        },
    }
}


EXPORTED = {"ti": SimpleNamespace(xcom_pull=lambda task_ids: [None, SAMPLE] if "export" in task_ids else None)}
"""The context of a run in which one of the trainers has exported."""


@contextmanager
def model_server(answer: list[float], status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """Answer every request with these probabilities; give the URL and the requests."""
    requests: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
            body = json.dumps({"outputs": [{"name": "probability", "data": answer}]}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Keep the output of the tests clean."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()
            thread.join()


def test_a_served_model_that_answers_as_spark_did_passes(dag: DAG) -> None:
    with model_server([0.9, 0.1, 0.2, 0.80004]) as (url, requests):
        table = call(dag, "smoke_test", {"url": url, "address": "", "name": "m"}, context=EXPORTED)
    assert table == [
        {"flight": "AA1", "probability": 0.1, "arr_delay": -5},
        {"flight": "AA2", "probability": 0.8, "arr_delay": 90},
    ]
    ((path, body),) = requests
    assert path == "/v2/models/m/infer"
    assert body["inputs"] == [{"name": "features", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, 4]]}]


def test_a_worker_inside_the_cluster_takes_the_inner_address(dag: DAG) -> None:
    import httpx

    nobody = "http://127.0.0.1:1"
    with model_server([0.9, 0.1, 0.2, 0.8]) as (url, requests):
        call(dag, "smoke_test", {"url": nobody, "address": url, "name": "m"}, context=EXPORTED)
        assert len(requests) == 1
    with pytest.raises(httpx.ConnectError):
        call(dag, "smoke_test", {"url": nobody, "address": "", "name": "m"}, context=EXPORTED)


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (
            [0.9, 0.1, 0.3, 0.7],
            200,
            "AA2: the served model says 0.700000, its trainer said 0.800000: it is another model",
        ),
        ([0.9, float("nan"), 0.2, 0.8], 200, "AA1: the served model says nan"),
        ([0.9, 0.1], 200, "asked about 2 flights and answered 1"),
        ([], 503, "answered 503"),
    ],
)
def test_a_served_model_that_does_not_fails(dag: DAG, answer: list[float], status: int, message: str) -> None:
    with model_server(answer, status) as (url, _), pytest.raises(ValueError, match=message):
        call(dag, "smoke_test", {"url": url, "address": "", "name": "m"}, context=EXPORTED)


# --- asset events ---


def test_the_events_say_what_was_made(dag: DAG, pipeline: ModuleType) -> None:
    facts = {"fingerprint": "f", "late_minutes": 15, "rows_read": 9, "train": {"rows": 5}, "test": {"rows": 3}, "x": 1}
    (made,) = pipeline.describe_dataset({"run_id": RUN_ID}, {"result": facts})
    path = f"{PREFIX}/runs/{pipeline.run_key(RUN_ID)}/dataset"
    assert made.asset == pipeline.DATASET
    assert made.extra == {key: value for key, value in facts.items() if key != "x"} | {"path": path}
    keys = ("model", "parameters", "metrics", "baseline", "base_rate", "late_minutes", "dataset")
    best = dict.fromkeys((*keys, "seconds"), 1)
    made_by = {"result": best, "run_manifest": {"git_commit": "1f3a9c2"}}
    of_mllib = SimpleNamespace(xcom_pull=lambda task_ids: best if task_ids == "pick_best" else [made_by, None])
    of_horovod = SimpleNamespace(xcom_pull=lambda task_ids: None if task_ids == "pick_best" else [None, made_by])
    (served,) = pipeline.describe_model({"ti": of_mllib}, {"name": "n", "url": "u", "uid": "-"})
    assert [*pipeline.describe_model({"ti": of_horovod}, {"name": "n", "url": "u", "uid": "-"})] == [served]
    assert served.asset == pipeline.MODEL
    about = {"name": "n", "url": "u", "run_manifest": {"git_commit": "1f3a9c2"}}
    assert served.extra == dict.fromkeys(keys, 1) | about
