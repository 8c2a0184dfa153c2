"""The life of a training task of every kind on a real API server; the test writes what the controller would."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_sparkml.exceptions import InvalidManifestError, JobFailedError, TaskKilledError
from airflow_provider_sparkml.jobs.outcome import Outcome
from airflow_provider_sparkml.operators import training as operators
from airflow_provider_sparkml.operators.job import JobOperator
from airflow_provider_sparkml.resources.base import ResourceRef
from airflow_provider_sparkml.sensors import training as sensors
from tests.unit.conftest import Objects
from tests.unit.operators.test_job import when
from tests.unit.resources.kinds import BY_ID, Kind

RUN_BY = {
    "MPIJob": "MPIJob",
    "Horovod": "MPIJob",
    "PyTorchJob": "PyTorchJob",
    "TFJob": "TFJob",
    "XGBoostJob": "XGBoostJob",
    "TrainJob": "TrainJob",
    "Experiment": "Experiment",
    "TrainingPods": "TrainingPods",
}
pytestmark = pytest.mark.usefixtures("connection", "supervisor")
each_kind = pytest.mark.parametrize("kind", [BY_ID[name] for name in RUN_BY], ids=lambda kind: kind.id)


def operator(kind: Kind, **kwargs: Any) -> JobOperator:
    cls = getattr(operators, f"{RUN_BY[kind.id]}Operator")
    made: JobOperator = cls(**{"task_id": "t", "job": kind.job, **kwargs})
    return made


@pytest.fixture
def jobs(kind: Kind, api_server: Any, namespace: str) -> Objects:
    """The objects of the kind in this test's namespace."""
    return Objects(api_server, kind.resource.api.path(namespace))


@pytest.fixture
def services(api_server: Any, namespace: str) -> Objects:
    """The Services of this test's namespace."""
    return Objects(api_server, f"/api/v1/namespaces/{namespace}/services")


def submit(kind: Kind, context: Any, **kwargs: Any) -> Any:
    with pytest.raises(TaskDeferred) as deferred:
        operator(kind, **kwargs).execute(context)
    return deferred.value.trigger


def event(kind: Kind, obj: dict[str, Any]) -> dict[str, Any]:
    return {"outcome": Outcome(ResourceRef.of(obj), kind.resource.read(obj)).to_json()}


@each_kind
def test_it_is_submitted_exactly_once_and_its_result_returned(
    kind: Kind, jobs: Objects, services: Objects, task_context: Any
) -> None:
    first = submit(kind, task_context(max_tries=1))
    context = task_context(try_number=2, max_tries=1)
    assert submit(kind, context).ref == first.ref, "a retry after a crash goes on with it"
    created = jobs.one()
    if kind.id == "TrainingPods":
        (service,) = services.all()
        assert service["metadata"]["name"] == created["metadata"]["name"]
        assert service["metadata"]["ownerReferences"][0]["uid"] == created["metadata"]["uid"]
    jobs.set_status(created["metadata"]["name"], **status_of(kind, kind.ended()))
    result = operator(kind).execute_complete(context, event(kind, jobs.one()))
    assert (result["phase"], result["uid"]) == ("SUCCEEDED", created["metadata"]["uid"])
    if kind.id == "Experiment":
        assert result["result"]["parameters"] == {"lr": 0.01, "optimizer": "sgd"}
        assert result["trials_succeeded"] == 2
    assert jobs.all() == []


def status_of(kind: Kind, status: dict[str, Any]) -> dict[str, Any]:
    """Return a status with what a Job's validation asks for."""
    if kind.id != "TrainingPods" or "completionTime" not in status:
        return status
    return {"startTime": "2026-11-23T10:00:00Z", **status}


@each_kind
def test_a_failure_is_told_with_the_controllers_words(kind: Kind, jobs: Objects, task_context: Any) -> None:
    context = task_context()
    name = submit(kind, context).ref["name"]
    # Of a Job whose pods are gone too, nobody would believe that it failed by itself.
    reason = "DeadlineExceeded" if kind.id == "TrainingPods" else "BackoffLimitExceeded"
    status = kind.ended("Failed", reason=reason, message="it has reached the limit")
    if kind.id == "TrainingPods":
        status.pop("completionTime")
    jobs.set_status(name, **status_of(kind, status))
    with pytest.raises(JobFailedError, match=f"{kind.manifest['kind']} failed: it has reached the limit"):
        operator(kind).execute_complete(context, event(kind, jobs.one()))
    assert jobs.all() == []


@each_kind
def test_a_kill_while_it_is_deferred_deletes_the_job(
    kind: Kind, jobs: Objects, task_context: Any, supervisor: Any
) -> None:
    trigger = submit(kind, task_context())
    trigger.task_instance = task_context()["ti"]
    supervisor.states = {"r": {"t": "deferred"}}
    asyncio.run(trigger.on_kill())
    assert jobs.one(), "the trigger has only moved"
    supervisor.states = {"r": {"t": "failed"}}
    asyncio.run(trigger.on_kill())
    assert jobs.all() == []


@each_kind
def test_without_deferring_the_worker_waits_itself(kind: Kind, jobs: Objects, task_context: Any) -> None:
    def complete() -> None:
        jobs.set_status(jobs.one()["metadata"]["name"], **status_of(kind, kind.ended()))

    controller = when(jobs.all, complete)
    result = operator(kind, deferrable=False).execute(task_context())
    controller.join()
    assert result["phase"] == "SUCCEEDED"
    assert jobs.all() == []


@each_kind
def test_without_deferring_a_kill_deletes_the_job(kind: Kind, jobs: Objects, task_context: Any) -> None:
    task = operator(kind, deferrable=False)
    killer = when(jobs.all, task.on_kill)
    with pytest.raises(TaskKilledError):
        task.execute(task_context(max_tries=5))
    killer.join()
    assert jobs.all() == []


@each_kind
def test_bad_input_creates_nothing(kind: Kind, jobs: Objects, task_context: Any) -> None:
    job = kind.manifest
    job["spec"] = {key: value for key, value in job["spec"].items() if key in ("runPolicy", "suspend")}
    with pytest.raises(InvalidManifestError, match=r"spec\."):
        operator(kind, job=job).execute(task_context())
    assert jobs.all() == []


@each_kind
@pytest.mark.parametrize("deferrable", [True, False])
def test_its_sensor(kind: Kind, jobs: Objects, task_context: Any, deferrable: bool) -> None:
    jobs.create(kind.manifest | {"metadata": {"name": "nightly"}})
    cls = getattr(sensors, f"{RUN_BY[kind.id]}Sensor")
    sensor = cls(task_id="s", job_name="nightly", deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(task_context())
    assert deferred.value.trigger.resource is kind.resource
    jobs.set_status("nightly", **status_of(kind, kind.ended()))
    result = cls(task_id="s2", job_name="nightly", deferrable=deferrable).execute(task_context())
    assert (result["name"], result["phase"]) == ("nightly", "SUCCEEDED")
    assert jobs.one(), "it is never deleted"


def test_a_retry_may_resume_and_a_cleared_task_may_not(api_server: Any, namespace: str, task_context: Any) -> None:
    kind = BY_ID["PyTorchJob"]
    jobs = Objects(api_server, kind.resource.api.path(namespace))

    def env(**context: int) -> dict[str, str]:
        submit(kind, task_context(**context), checkpoint_uri="/data/ck", retries=1)
        created = max(jobs.all(), key=lambda item: int(item["metadata"]["labels"]["airflow-provider-sparkml/ordinal"]))
        template = created["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
        found = {each["name"]: each["value"] for each in template["spec"]["containers"][0]["env"]}
        jobs.delete(created["metadata"]["name"])
        return found

    assert env(try_number=1, max_tries=1) == {"SPARKML_CHECKPOINT_URI": "/data/ck"}
    assert env(try_number=2, max_tries=1) == {"SPARKML_CHECKPOINT_URI": "/data/ck", "SPARKML_RESUME_FROM": "/data/ck"}
    assert env(try_number=2, max_tries=2) == {"SPARKML_CHECKPOINT_URI": "/data/ck"}


def test_a_search_has_no_place_for_checkpoints(task_context: Any) -> None:
    with pytest.raises(InvalidManifestError, match="leave out checkpoint_uri"):
        operator(BY_ID["Experiment"], checkpoint_uri="/data/ck").execute(task_context())


@pytest.mark.parametrize("cls", [operators.MPIJobOperator, sensors.MPIJobSensor])
def test_the_older_mpijob_is_another_kind(cls: Any) -> None:
    fields: dict[str, Any] = {"job": BY_ID["MPIJobV1"].job} if cls is operators.MPIJobOperator else {"job_name": "j"}
    found = cls(task_id="t", api_version="kubeflow.org/v1", **fields)
    assert found.trigger_class.resource is BY_ID["MPIJobV1"].resource
    assert cls(task_id="t2", **fields).trigger_class.resource is BY_ID["MPIJob"].resource
    with pytest.raises(InvalidManifestError, match=r"'kubeflow\.org/v2beta1' or 'kubeflow\.org/v1'"):
        cls(task_id="t3", api_version="v1", **fields)


def test_a_manifest_of_the_other_mpijob_is_refused(task_context: Any) -> None:
    with pytest.raises(InvalidManifestError, match=r"apiVersion is 'kubeflow\.org/v1': set it to"):
        operator(replace(BY_ID["MPIJob"], job=BY_ID["MPIJobV1"].job)).execute(task_context())
