"""The sensor on a real API server, deferred and in poke mode; it never touches what it watches."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk.exceptions import (
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferralError,
    TaskDeferred,
)

from airflow_provider_sparkml.exceptions import ForbiddenError, JobFailedError, ResourceTypeNotFoundError
from airflow_provider_sparkml.jobs.outcome import Outcome
from airflow_provider_sparkml.resources.base import ResourceRef
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION, SparkApplication
from airflow_provider_sparkml.sensors.spark import SparkApplicationSensor
from airflow_provider_sparkml.triggers.spark import SparkApplicationSensorTrigger

MANIFEST = {
    **SparkApplication(image="i:1", main_application_file="local:///a.py").to_manifest(),
    "metadata": {"name": "app"},
}
FAILED = {"error": "driver container failed with ExitCode: 4, Reason: Error"}

pytestmark = pytest.mark.usefixtures("connection", "supervisor")


def sensor(**kwargs: Any) -> SparkApplicationSensor:
    return SparkApplicationSensor(**{"task_id": "s", "application_name": "app", "poke_interval": 0.05, **kwargs})


def event(applications: Any) -> dict[str, Any]:
    obj = applications.one()
    return {"outcome": Outcome(ResourceRef.of(obj), SPARK_APPLICATION.read(obj)).to_json()}


@pytest.mark.parametrize("state", ["", "SUBMITTED", "RUNNING", "FAILING", "UNKNOWN", "SOMETHING_NEW"])
def test_it_defers_while_there_is_no_end(applications: Any, task_context: Any, namespace: str, state: str) -> None:
    applications.create(MANIFEST)
    applications.set_state("app", state)
    with pytest.raises(TaskDeferred) as deferred:
        sensor(timeout=60).execute(task_context())
    assert deferred.value.timeout is not None
    assert 55 < deferred.value.timeout.total_seconds() <= 60
    assert deferred.value.trigger.serialize()[1] == {
        "name": "app",
        "namespace": namespace,
        "kubernetes_conn_id": "kubernetes_default",
    }


def test_it_defers_while_there_is_no_application(task_context: Any) -> None:
    with pytest.raises(TaskDeferred):
        sensor().execute(task_context())


@pytest.mark.parametrize("deferrable", [True, False])
def test_what_has_ended_already_needs_no_wait(applications: Any, task_context: Any, deferrable: bool) -> None:
    applications.create(MANIFEST)
    applications.set_state("app", "COMPLETED", sparkApplicationId="spark-5")
    result = sensor(deferrable=deferrable).execute(task_context())
    assert (result["name"], result["phase"], result["spark_application_id"]) == ("app", "SUCCEEDED", "spark-5")
    assert applications.one()["metadata"].get("annotations") is None, "it is not consumed"


def test_an_event_of_another_trigger_is_waited_out_within_the_time_out(task_context: Any) -> None:
    with pytest.raises(TaskDeferred) as first:
        sensor(timeout=60).execute(task_context())
    stray = {"trigger": {"name": "another"}, "outcome": {}}
    with pytest.raises(TaskDeferred) as second:
        sensor(timeout=60).execute_complete(task_context(), stray, **first.value.kwargs)  # type: ignore[arg-type]
    assert second.value.trigger.serialize() == first.value.trigger.serialize()
    assert second.value.kwargs == first.value.kwargs


def test_the_result_of_what_the_trigger_saw(applications: Any, task_context: Any) -> None:
    applications.create(MANIFEST)
    applications.set_state("app", "COMPLETED")
    assert sensor().execute_complete(task_context(), event(applications))["phase"] == "SUCCEEDED"


def test_success_stays_success_when_the_object_is_gone_by_then(applications: Any, task_context: Any) -> None:
    applications.create(MANIFEST)
    applications.set_state("app", "COMPLETED")
    seen = event(applications)
    applications.delete("app")
    assert sensor().execute_complete(task_context(), seen)["phase"] == "SUCCEEDED"


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_failed_one_raises_what_the_operator_would(applications: Any, task_context: Any, deferrable: bool) -> None:
    applications.create(MANIFEST)
    applications.set_state("app", "FAILED", **FAILED)
    with pytest.raises(JobFailedError, match="4"):
        sensor(deferrable=deferrable).execute(task_context())
    assert applications.one(), "it is never deleted"


@pytest.mark.parametrize("option", ["soft_fail", "never_fail"])
@pytest.mark.parametrize("deferrable", [True, False])
def test_a_failed_one_may_skip_the_task(applications: Any, task_context: Any, deferrable: bool, option: str) -> None:
    applications.create(MANIFEST)
    applications.set_state("app", "FAILED", **FAILED)
    with pytest.raises(AirflowSkipException, match="4"):
        sensor(deferrable=deferrable, **{option: True}).execute(task_context())
    with pytest.raises(AirflowSkipException):
        sensor(**{option: True}).execute_complete(task_context(), event(applications))


def test_a_broken_wait_is_an_error_and_not_a_skip(task_context: Any) -> None:
    broken = {"error": {"type": "ForbiddenError", "message": "may not"}}
    with pytest.raises(Exception, match="may not") as raised:
        sensor(soft_fail=True).execute_complete(task_context(), broken)
    assert not isinstance(raised.value, AirflowSkipException)


def test_its_time_out_while_deferred_is_a_sensors(task_context: Any) -> None:
    late = {"error": "Trigger timeout"}
    with pytest.raises(AirflowSensorTimeout):
        sensor().resume_execution("__fail__", late, task_context())
    with pytest.raises(AirflowSkipException):
        sensor(soft_fail=True).resume_execution("__fail__", late, task_context())
    with pytest.raises(TaskDeferralError):
        sensor().resume_execution("__fail__", {"error": "Trigger failure"}, task_context())


def test_poke_mode_waits_and_times_out(task_context: Any) -> None:
    with pytest.raises(AirflowSensorTimeout):
        sensor(deferrable=False, timeout=0.2).execute(task_context())


def test_reschedule_mode_gives_the_worker_back(task_context: Any) -> None:
    context = task_context()
    context["ti"].get_first_reschedule_date = lambda context: None
    with pytest.raises(AirflowRescheduleException):
        sensor(deferrable=False, mode="reschedule").execute(context)


@pytest.mark.usefixtures("administrator")  # to anybody else an unknown type is a forbidden one
@pytest.mark.parametrize("deferrable", [True, False])
def test_a_missing_crd_is_an_error_at_once(
    api_server: Any, task_context: Any, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    from dataclasses import replace

    missing = replace(SPARK_APPLICATION, api=replace(SPARK_APPLICATION.api, group="no.such.group"))
    waiting = sensor(deferrable=deferrable)
    monkeypatch.setattr(SparkApplicationSensorTrigger, "resource", missing)
    with pytest.raises(ResourceTypeNotFoundError):
        waiting.execute(task_context())


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_right_that_is_missing_is_named(
    api_server: Any, namespace: str, task_context: Any, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeconfig = api_server.airflow_kubeconfig(namespace, name="nobody")
    conn = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(kubeconfig), "namespace": namespace}}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(conn))
    with pytest.raises(ForbiddenError, match=r'add {apiGroups: ."sparkoperator.k8s.io".*verbs: .get.}'):
        sensor(deferrable=deferrable).execute(task_context())
