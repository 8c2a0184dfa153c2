"""Profiles, as a task meets them: chosen by connection or Variable; what is refused is not created."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_sparkml.exceptions import InvalidConnectionError, InvalidManifestError
from airflow_provider_sparkml.operators.serving import InferenceServiceOperator
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.params import params_env
from airflow_provider_sparkml.resources.code import CodeVolume
from airflow_provider_sparkml.resources.serving import InferenceService
from airflow_provider_sparkml.resources.spark import Driver, SparkApplication

pytestmark = pytest.mark.usefixtures("connection", "supervisor")

CODE = CodeVolume(claim="my-storage", mount_path="/app", sub_path="{{ run_id }}")


def application(image: str = "i:1", **driver: Any) -> SparkApplication:
    return SparkApplication(image=image, main_application_file="main.py", driver=Driver(**driver))


def submit(context: Any, **kwargs: Any) -> None:
    """Render and execute an operator until it defers."""
    with DAG("d"):
        operator = SparkApplicationOperator(**{"task_id": "t", "application": application(), "code": CODE, **kwargs})
    operator.render_template_fields(context)
    with pytest.raises(TaskDeferred):
        operator.execute(context)


def refused(context: Any, error: type[Exception] = InvalidManifestError, **kwargs: Any) -> str:
    with pytest.raises(error) as caught:
        submit(context, **kwargs)
    return str(caught.value)


@pytest.fixture
def context(task_context: Any) -> dict[str, Any]:
    made: dict[str, Any] = {**task_context(), "run_id": "r", "params": {}}
    return made


@pytest.fixture
def choose(connection: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the profile in the connection's extra, in the Variable, or in both."""
    import os

    def set_(connection: str = "", variable: str = "", field: str = "sparkml_profile") -> None:
        if connection:
            known = json.loads(os.environ["AIRFLOW_CONN_KUBERNETES_DEFAULT"])
            known["extra"][field] = connection
            monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(known))
        if variable:
            monkeypatch.setenv("AIRFLOW_VAR_SPARKML_PROFILE", variable)

    return set_


def test_none_is_chosen(context: Any, applications: Any) -> None:
    submit(context, application=application("i:latest", env={"A": "1"}), locked_env=["A"])
    spec = applications.one()["spec"]
    assert spec["mainApplicationFile"] == "local:///app/main.py"
    assert spec["image"] == "i:latest"
    assert "volumes" not in spec


@pytest.mark.parametrize(
    "chosen",
    [
        {"connection": "development"},
        {"connection": "development", "field": "extra__kubernetes__sparkml_profile"},
        {"variable": "development"},
        {"connection": "development", "variable": "production"},
    ],
)
def test_development(context: Any, applications: Any, choose: Any, chosen: Any, capsys: Any) -> None:
    choose(**chosen)
    submit(context, application=application("i:latest"))
    spec = applications.one()["spec"]
    assert spec["mainApplicationFile"] == "local:///app/main.py"
    assert spec["volumes"] == [{"name": "sparkml-code", "persistentVolumeClaim": {"claimName": "my-storage"}}]
    mount = {"name": "sparkml-code", "mountPath": "/app", "subPath": "r"}
    assert spec["driver"]["volumeMounts"] == spec["executor"]["volumeMounts"] == [mount]
    log = capsys.readouterr().out
    assert "Profile: development" in log
    assert "The code at /app is that of volume claim my-storage" in log


@pytest.mark.parametrize(
    "chosen", [{"connection": "production", "variable": "development"}, {"variable": "production"}]
)
def test_production(context: Any, applications: Any, choose: Any, chosen: Any, capsys: Any) -> None:
    choose(**chosen)
    message = refused(context, application=application("r.example.com:5000/i"))
    assert message.startswith("spec.image is 'r.example.com:5000/i', which can be another image tomorrow")
    context["params"] = {"a": "1"}
    message = refused(context, application=application(env={"A": "{{ params.a }}"}), locked_env=["A"])
    assert message.startswith("spec.driver.env[0] sets A, to what the run's parameter 'a' says")
    assert applications.all() == []
    submit(context)
    assert "volumes" not in applications.one()["spec"]
    assert "The code at /app is that of the image" in capsys.readouterr().out


def test_a_bad_name_is_refused_with_the_known_ones(context: Any, applications: Any, choose: Any) -> None:
    choose(variable="prod")
    assert refused(context) == (
        "Variable sparkml_profile is 'prod', which is no profile: set it to 'development' or 'production', or remove it"
    )
    choose(connection="staging")
    assert refused(context, InvalidConnectionError) == (
        "connection 'kubernetes_default': sparkml_profile is 'staging', which is no profile: "
        "set it to 'development' or 'production', or remove it"
    )
    assert applications.all() == []


def test_code_for_all_tasks_of_a_dag(context: Any, applications: Any, choose: Any) -> None:
    choose(variable="development")
    with DAG("d", default_args={"code": CODE, "locked_env": ["A"]}):
        operator = SparkApplicationOperator(task_id="t", application=application())
    operator.render_template_fields(context)
    assert operator.locked_env == ["A"]
    with pytest.raises(TaskDeferred):
        operator.execute(context)
    assert applications.one()["spec"]["driver"]["volumeMounts"][0]["subPath"] == "r"


def test_an_inference_service(context: Any, services: Any, choose: Any) -> None:
    choose(connection="production")
    service = InferenceService(name="m", model_format="onnx", storage_uri="pvc://c/m").to_manifest()
    service["spec"]["predictor"]["model"]["image"] = "server"
    with pytest.raises(InvalidManifestError, match=r"predictor\.model\.image is 'server', which can be another"):
        InferenceServiceOperator(task_id="t", inference_service=service).execute(context)
    assert services.all() == []


def test_parameters_that_contradict_each_other_create_nothing(context: Any, applications: Any) -> None:
    context["params"] = {"executor_minimum": 5, "executor_maximum": 2}
    assert refused(context).startswith("params.executor_minimum is 5, more than params.executor_maximum, 2")
    assert applications.all() == []


def test_a_runs_parameters_reach_the_driver(context: Any, applications: Any) -> None:
    context["params"] = {"bucket_uri": "s3a://b/x", "core_limit": 2}
    submit(
        context,
        application=application(env=params_env("bucket_uri", "core_limit"), core_limit="{{ params.core_limit }}"),
    )
    driver = applications.one()["spec"]["driver"]
    assert driver["env"] == [{"name": "Bucket_URI", "value": "s3a://b/x"}, {"name": "Core_Limit", "value": "2"}]
    assert driver["coreLimit"] == "2"


def test_what_does_nothing_is_told(context: Any, capsys: Any) -> None:
    submit(context, application=application(env={"OPTS": "--conf spark.driver.memory=4g"}))
    assert "spec.driver.env[0] has spark.driver.memory, which does nothing there" in capsys.readouterr().out
