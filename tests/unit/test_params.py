"""The ready-made parameters: what Airflow accepts for them, and what is refused when the DAG file is read."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, Param
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import ParamValidationError

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.params import check_params, params_env, spark_params

NAMES = [
    "scala_file_name",
    "bucket_uri",
    "ingestion_period_days",
    "core_limit",
    "executor_minimum",
    "executor_maximum",
    "executor_memory",
    "driver_memory",
    "system_environment",
]
REQUIRED = {"scala_file_name": "legacy.jar", "bucket_uri": "s3a://bucket/in"}


def test_all_names_when_none_is_named() -> None:
    assert list(spark_params()) == NAMES


def test_every_form_field_says_what_it_is() -> None:
    for name, param in spark_params().items():
        assert param.schema["title"], name
        assert param.schema["type"], name
        assert param.description, name


def test_what_is_named_with_its_default() -> None:
    params = spark_params("executor_maximum", "bucket_uri", executor_maximum=7, bucket_uri="/data/in")
    assert {name: param.value for name, param in params.items()} == {"executor_maximum": 7, "bucket_uri": "/data/in"}


def test_only_the_program_and_the_data_have_to_be_given() -> None:
    assert [name for name, param in spark_params().items() if not param.has_value] == list(REQUIRED)


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        ("scala_file_name", "jobs/legacy.jar", True),
        ("scala_file_name", "a b.jar", False),
        ("scala_file_name", "", False),
        ("bucket_uri", "s3a://bucket/path", True),
        ("bucket_uri", "gs://bucket", True),
        ("bucket_uri", "/data/in", True),
        ("bucket_uri", "bucket", False),
        ("bucket_uri", "s3a://", False),
        ("ingestion_period_days", 3650, True),
        ("ingestion_period_days", 0, False),
        ("ingestion_period_days", 3651, False),
        ("ingestion_period_days", "3", False),
        ("core_limit", 256, True),
        ("core_limit", 0, False),
        ("core_limit", 1.5, False),
        ("executor_minimum", 0, True),
        ("executor_minimum", -1, False),
        ("executor_maximum", 0, False),
        ("executor_memory", "512m", True),
        ("executor_memory", "4Gi", True),
        ("executor_memory", "4", False),
        ("executor_memory", "0g", False),
        ("driver_memory", "2gb", True),
        ("driver_memory", "lots", False),
        ("system_environment", "qa-2", True),
        ("system_environment", "Production!", False),
    ],
)
def test_what_a_run_may_say(name: str, value: Any, fits: bool) -> None:
    params = ParamsDict(spark_params(name, **{key: given for key, given in REQUIRED.items() if key == name}))
    if fits:
        params[name] = value
        assert params[name] == value
    else:
        with pytest.raises(ParamValidationError, match=name):
            params[name] = value


@pytest.mark.parametrize(
    ("names", "defaults", "message"),
    [
        ((), {"executor_maximum": 0}, "executor_maximum is 0 by default: .*1 to 10000"),
        ((), {"ingestion_period_days": "7"}, "ingestion_period_days is '7' by default: .*1 to 3650"),
        ((), {"executor_memory": "much"}, "executor_memory is 'much' by default: .*512m"),
        (
            (),
            {"executor_minimum": 5, "executor_maximum": 3},
            "executor_minimum is 5, more than params.executor_maximum, 3",
        ),
        ((), {"executor_minimum": 3}, "executor_minimum is 3, more than params.executor_maximum, 2"),
        (("memory",), {}, "no ready-made parameter 'memory': the names are scala_file_name, "),
        ((), {"memory": "1g"}, "memory is '1g', and is none of the parameters scala_file_name"),
        (("bucket_uri",), {"core_limit": 1}, "core_limit is 1, and is none of the parameters bucket_uri"),
    ],
)
def test_refused_when_the_file_is_read(names: tuple[str, ...], defaults: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidManifestError, match=message):
        spark_params(*names, **defaults)


def test_each_call_returns_its_own() -> None:
    first, second = spark_params("core_limit"), spark_params("core_limit")
    first["core_limit"].schema["maximum"] = 2
    assert second["core_limit"].schema["maximum"] == 256


def test_airflow_takes_them() -> None:
    dag = DAG("d", schedule="@daily", params=spark_params(**REQUIRED))
    dag.validate()
    assert dag.params.dump()["bucket_uri"] == "s3a://bucket/in"
    assert isinstance(dag.params.get_param("core_limit"), Param)


def test_the_variables() -> None:
    assert params_env() == {
        "Bucket_URI": "{{ params.bucket_uri }}",
        "Ingestion_Period_Days": "{{ params.ingestion_period_days }}",
        "Core_Limit": "{{ params.core_limit }}",
        "Executor_Minimum": "{{ params.executor_minimum }}",
        "Executor_Maximum": "{{ params.executor_maximum }}",
        "Executor_Memory": "{{ params.executor_memory }}",
        "Driver_Memory": "{{ params.driver_memory }}",
        "System_Environment": "{{ params.system_environment }}",
    }
    assert params_env("core_limit") == {"Core_Limit": "{{ params.core_limit }}"}
    with pytest.raises(InvalidManifestError, match="no environment variable of a parameter 'scala_file_name'"):
        params_env("scala_file_name")


@pytest.mark.parametrize("params", [{}, {"executor_minimum": 9}, {"executor_minimum": 2, "executor_maximum": 2}])
def test_parameters_that_agree(params: dict[str, Any]) -> None:
    check_params(params)
