"""Run manifests of tasks: in the job, in the result, in the asset's event, and for OpenLineage."""

from __future__ import annotations

import json
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_sparkml.jobs.outcome import Outcome
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.resources.base import ResourceRef
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION, SparkApplication
from tests.unit.conftest import Objects

pytestmark = pytest.mark.usefixtures("connection", "supervisor")

DIGEST = f"sha256:{'0a' * 32}"
MODEL = Asset("model")
STATUS = {"sparkApplicationId": "spark-1", "driverInfo": {"podName": "driver"}}
TOLD = {"metrics": {"auc": 0.7}, "inputs": {"s3://lake/flights": "f1", "planes": "f2"}, "parameters": {"depth": 5}}


def operator(**kwargs: Any) -> SparkApplicationOperator:
    application = SparkApplication(image="i:1", main_application_file="local:///a.py")
    return SparkApplicationOperator(task_id="t", application=application, **kwargs)


def finished(applications: Any, context: Any, task: SparkApplicationOperator) -> dict[str, Any]:
    """Let a task's application succeed, with a driver that tells its result; return the task's."""
    with pytest.raises(TaskDeferred):
        task.execute(context)
    made = applications.one()
    applications.set_state(made["metadata"]["name"], "COMPLETED", **STATUS)
    ended = {
        "name": "spark-kubernetes-driver",
        "image": "i:1",
        "ready": False,
        "restartCount": 0,
        "imageID": f"docker.io/library/i@{DIGEST}",
        "state": {"terminated": {"exitCode": 0, "message": json.dumps(TOLD)}},
    }
    pods = Objects(applications.api_server, f"/api/v1/namespaces/{made['metadata']['namespace']}/pods")
    pod = {"containers": [{"name": "spark-kubernetes-driver", "image": "i:1"}]}
    pods.create({"metadata": {"name": "driver"}, "spec": pod})
    pods.set_status("driver", phase="Succeeded", containerStatuses=[ended])
    obj = applications.one()
    outcome = Outcome(ResourceRef.of(obj), SPARK_APPLICATION.read(obj))
    result: dict[str, Any] = task.execute_complete(context, {"outcome": outcome.to_json()})
    return result


def context_of(task_context: Any, task: SparkApplicationOperator, **params: Any) -> Any:
    events: Any = defaultdict(lambda: SimpleNamespace(extra={}))
    context = task_context()
    context["ti"].bundle_instance = SimpleNamespace(version="1f3a9c2")
    return {**context, "params": params, "task": task, "outlet_events": events}


def test_the_manifest_is_in_the_job_the_result_and_the_assets_event(applications: Any, task_context: Any) -> None:
    task = operator(model_uri="s3://models/1", outlets=[MODEL], on_finish="keep")
    context = context_of(task_context, task, rows=9, api_password="hidden-9")
    result = finished(applications, context, task)
    made = result["run_manifest"]
    assert made["git_commit"] == "1f3a9c2"
    assert made["params"] == {"rows": 9, "api_password": "***"}
    assert (made["image"], made["image_digest"], made["spark_application_id"]) == ("i:1", DIGEST, "spark-1")
    assert {key: made[key] for key in TOLD} == TOLD
    assert (result["image_digest"], result["model_uri"]) == (DIGEST, "s3://models/1")
    assert context["outlet_events"][MODEL].extra == {"run_manifest": made}

    spec = applications.one()["spec"]
    assert "hidden-9" not in json.dumps(spec)
    for role in ("driver", "executor"):
        env = {each["name"]: each["value"] for each in spec[role]["env"]}
        known = json.loads(env["SPARKML_RUN_MANIFEST"])
        assert env["SPARKML_MODEL_URI"] == "s3://models/1"
        assert (known["run_id"], known["image"], known["kind"]) == ("r", "i:1", "SparkApplication")


def test_without_a_model_there_is_none(applications: Any, task_context: Any) -> None:
    task = operator(outlets=[MODEL], on_finish="keep")
    context = context_of(task_context, task)
    result = finished(applications, context, task)
    assert "run_manifest" not in result
    assert not context["outlet_events"]
    assert "env" not in applications.one()["spec"]["driver"]
    lineage = task.get_openlineage_facets_on_complete(None)
    assert lineage is not None
    assert (lineage.inputs, lineage.outputs, list(lineage.run_facets)) == ([], [], ["externalQuery"])


def test_open_lineage_hears_of_inputs_and_model(applications: Any, task_context: Any) -> None:
    task = operator(model_uri="s3://models/churn/1")
    assert task.get_openlineage_facets_on_complete(None) is None, "nothing has succeeded yet"
    result = finished(applications, context_of(task_context, task), task)
    lineage = task.get_openlineage_facets_on_complete(None)
    assert lineage is not None
    assert [(each.namespace, each.name) for each in lineage.outputs] == [("s3://models", "churn/1")]
    assert [(each.namespace, each.name) for each in lineage.inputs] == [("s3://lake", "flights"), ("sparkml", "planes")]
    assert [each.facets["version"].datasetVersion for each in lineage.inputs] == ["f1", "f2"]
    assert lineage.run_facets["externalQuery"].externalQueryId == "spark-1"
    from openlineage.client.serde import Serde

    assert json.loads(Serde.to_json(lineage.run_facets["sparkml"]))["metrics"] == {"auc": 0.7}
    assert result["phase"] == "SUCCEEDED"
