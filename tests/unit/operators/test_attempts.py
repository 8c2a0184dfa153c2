"""Who tries again, and what a task and its successors tell of each try; the test plays the Spark operator."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_sparkml.exceptions import ApplicationError, InvalidManifestError, JobFailedError
from airflow_provider_sparkml.operators.attempts import KEY
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.resources.spark import RestartPolicy, SparkApplication
from airflow_provider_sparkml.retries import InfrastructureRetryPolicy, OperatorRetryPolicy

pytestmark = pytest.mark.usefixtures("connection", "supervisor")

APPLICATION = SparkApplication(image="i:1", main_application_file="local:///a.py")
RETRIED = SparkApplication(
    image="i:1",
    main_application_file="local:///a.py",
    restart_policy=RestartPolicy(type="OnFailure", on_failure_retries=2),
)


def operator(**kwargs: Any) -> SparkApplicationOperator:
    return SparkApplicationOperator(**{"task_id": "t", "application": APPLICATION, "retries": 3, **kwargs})


def submit(context: Any, **kwargs: Any) -> Any:
    with pytest.raises(TaskDeferred) as deferred:
        operator(**kwargs).execute(context)
    return deferred.value.trigger


def conclude(applications: Any, context: Any, **kwargs: Any) -> Any:
    """Let a task take up again what its application has become."""
    from airflow_provider_sparkml.jobs.outcome import Outcome
    from airflow_provider_sparkml.resources.base import ResourceRef
    from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION

    obj = applications.one()
    outcome = Outcome(ResourceRef.of(obj), SPARK_APPLICATION.read(obj))
    return operator(**kwargs).execute_complete(context, {"outcome": outcome.to_json()})


def fail(applications: Any, context: Any, code: int = 3) -> str:
    """Let a try fail; return its application's name."""
    name: str = submit(context).ref["name"]
    times = {"lastSubmissionAttemptTime": "2026-11-23T10:00:00Z", "terminationTime": "2026-11-23T10:01:30Z"}
    said = f"driver container failed with ExitCode: {code}, Reason: Error"
    applications.set_state(name, "FAILED", error=said, **times)
    with pytest.raises(JobFailedError) as failed:
        conclude(applications, context)
    assert failed.value.exit_code == code
    assert applications.all() == [], "it is gone, and only the record tells"
    return name


def test_a_retry_says_how_the_earlier_tries_ended_and_so_does_the_result(
    applications: Any, task_context: Any, capsys: Any
) -> None:
    first = fail(applications, task_context(try_number=1, max_tries=3))
    second = fail(applications, task_context(try_number=2, max_tries=3), code=137)
    context = task_context(try_number=3, max_tries=3)
    capsys.readouterr()
    third = submit(context).ref["name"]
    told = capsys.readouterr().out.partition("This is try 3 of 4. The earlier ones:")[2]
    assert f"try 1: {first}, ApplicationError: The driver ended with exit code 3, after 90 s" in told
    assert f"try 2: {second}, ContainerKilledError: The driver was killed by SIGKILL (exit code 137)" in told

    applications.set_state(third, "COMPLETED", executionAttempts=1)
    result = conclude(applications, context)
    json.dumps(result)
    assert result["attempts"] == 1, "of the Spark operator"
    assert [(each["try_number"], each["ended"], each["name"], each["exit_code"]) for each in result["history"]] == [
        (1, "ApplicationError", first, 3),
        (2, "ContainerKilledError", second, 137),
        (3, "SUCCEEDED", third, None),
    ]
    assert [each["seconds"] for each in result["history"][:2]] == [90.0, 90.0]


def test_a_first_try_has_nothing_to_tell(applications: Any, task_context: Any, capsys: Any) -> None:
    context = task_context(max_tries=3)
    name = submit(context).ref["name"]
    assert "This is try" not in capsys.readouterr().out
    applications.set_state(name, "COMPLETED")
    assert [each["ended"] for each in conclude(applications, context)["history"]] == ["SUCCEEDED"]


def test_a_task_that_was_cleared_begins_anew(applications: Any, task_context: Any, capsys: Any) -> None:
    fail(applications, task_context(try_number=1, max_tries=3))
    cleared = task_context(try_number=2, max_tries=1 + 3)
    submit(cleared)
    assert "This is try" not in capsys.readouterr().out


def test_a_try_whose_worker_died_is_counted(applications: Any, task_context: Any, capsys: Any) -> None:
    name = submit(task_context(try_number=1, max_tries=3)).ref["name"]
    context = task_context(try_number=2, max_tries=3)
    assert submit(context).ref["name"] == name
    assert "try 1: it left no record" in capsys.readouterr().out
    applications.set_state(name, "COMPLETED")
    history = conclude(applications, context)["history"]
    assert [(each["try_number"], each["ended"], each["name"]) for each in history] == [
        (1, "NoRecord", ""),
        (2, "SUCCEEDED", name),
    ]


def test_a_try_that_never_had_a_job_is_told_too(applications: Any, task_context: Any, supervisor: Any) -> None:
    with pytest.raises(InvalidManifestError):
        operator(application={}).execute(task_context(max_tries=3))
    ((key, kept),) = supervisor.kept.items()
    assert (kept["try_number"], kept["ended"], kept["name"]) == (1, "InvalidManifestError", "")
    assert kept["cause"]
    assert key == KEY.format(1)


def test_a_secret_that_airflow_knows_is_not_kept(task_context: Any, supervisor: Any) -> None:
    from airflow.sdk.log import mask_secret

    mask_secret("a-password-of-a-connection")
    with pytest.raises(InvalidManifestError, match="a-password-of-a-connection"):
        operator(application={"apiVersion": "a-password-of-a-connection", "kind": "X"}).execute(task_context())
    assert "a-password-of-a-connection" not in json.dumps(supervisor.kept)


def test_a_state_store_that_is_away_does_not_stop_a_job(
    applications: Any, task_context: Any, supervisor: Any, capsys: Any
) -> None:
    supervisor.failing = True
    context = task_context(try_number=2, max_tries=3)
    name = submit(context).ref["name"]
    assert "could not be read" in capsys.readouterr().out
    said = "driver container failed with ExitCode: 3, Reason: Error"
    applications.set_state(name, "FAILED", error=said)
    with pytest.raises(ApplicationError):
        conclude(applications, context)
    assert "could not be kept" in capsys.readouterr().out


# --- who tries again ---


def test_airflow_alone_unless_told_otherwise(applications: Any, task_context: Any) -> None:
    with pytest.raises(InvalidManifestError, match=r"onFailureRetries is 2.*retry_owner='operator'"):
        operator(application=RETRIED).execute(task_context())
    assert applications.all() == []


def test_the_operator_alone_where_it_owns_retries(applications: Any, task_context: Any) -> None:
    submit(task_context(), application=RETRIED, retry_owner="operator")
    assert applications.one()["spec"]["restartPolicy"]["onFailureRetries"] == 2


def test_the_owner_comes_with_a_policy_around_the_tasks_own() -> None:
    policy = InfrastructureRetryPolicy()
    wrapped = operator(retry_owner="operator", retry_policy=policy).retry_policy
    assert isinstance(wrapped, OperatorRetryPolicy)
    assert wrapped.beneath is policy
    assert operator(retry_policy=policy).retry_policy is policy
    assert isinstance(operator(), BaseOperator)
    assert operator().retry_policy is None


def test_an_owner_that_there_is_not() -> None:
    with pytest.raises(InvalidManifestError, match="retry_owner is 'both'"):
        operator(retry_owner="both")
