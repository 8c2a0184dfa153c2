"""The operators of streams on a real API server; the test plays the Spark operator."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.module_loading import import_string

from airflow_provider_sparkml.exceptions import (
    ExecutionTimeoutError,
    InvalidManifestError,
    JobFailedError,
    NameTakenError,
    TaskKilledError,
)
from airflow_provider_sparkml.operators.spark_streaming import (
    SparkStreamingApplicationOperator,
    SparkStreamingRollbackOperator,
    SparkStreamingStopOperator,
)
from airflow_provider_sparkml.resources.spark import RestartPolicy, SparkApplication
from airflow_provider_sparkml.resources.spark_stream import STREAM, Record
from airflow_provider_sparkml.triggers.deferral import rebuild_error

pytestmark = pytest.mark.usefixtures("connection", "supervisor")


def clicks(version: str = "1") -> SparkApplication:
    return SparkApplication(
        name="clicks",
        image="example.com/clicks:7",
        main_application_file="local:///opt/app/clicks.py",
        arguments=[version],
        restart_policy=RestartPolicy(type="Always"),
    )


def ensuring(version: str = "1", **options: Any) -> SparkStreamingApplicationOperator:
    given = {"task_id": "t", "checkpoint_location": "/data/clicks", "min_uptime": 0.05, **options}
    return SparkStreamingApplicationOperator(application=clicks(version), **given)


def deferred(task: Any, context: Any) -> Any:
    """Execute until it defers; return the trigger as Airflow rebuilds it."""
    with pytest.raises(TaskDeferred) as raised:
        task.execute(context)
    path, arguments = raised.value.trigger.serialize()
    return import_string(path)(**json.loads(json.dumps(arguments)))


async def fire(trigger: Any) -> dict[str, Any]:
    (event,) = [event async for event in trigger.run()]
    payload: dict[str, Any] = json.loads(json.dumps(event.payload))
    return payload


def run(applications: Any, submission: str = "s1", attempts: int = 1) -> None:
    """Write that it runs, with its executor."""
    applications.set_state(
        "clicks", "RUNNING", submissionID=submission, executionAttempts=attempts,
        executorState={"clicks-exec-1": "RUNNING"},
    )  # fmt: skip


def record(applications: Any) -> Record:
    found = Record.of(applications.one())
    assert found is not None
    return found


def test_deferred_and_healthy(applications: Any, task_context: Any) -> None:
    context, task = task_context(), ensuring()
    trigger = deferred(task, context)
    obj = applications.one()
    assert obj["metadata"]["name"] == "clicks"
    assert obj["spec"]["sparkConf"]["spark.sql.streaming.checkpointLocation"] == "/data/clicks"
    assert {"name": "SPARKML_CHECKPOINT_URI", "value": "/data/clicks"} in obj["spec"]["driver"]["env"]
    assert obj["spec"]["restartPolicy"]["onFailureRetryInterval"] == 5
    run(applications)
    result = task.execute_complete(context, asyncio.run(fire(trigger)))
    assert result["name"] == "clicks"
    assert result["checkpoint_location"] == "/data/clicks"
    assert record(applications).proven


def test_a_run_of_the_day_after_changes_nothing(applications: Any, task_context: Any) -> None:
    trigger = deferred(ensuring(), task_context())
    run(applications)
    asyncio.run(fire(trigger))
    before = applications.one()
    context, task = task_context(run_id="tomorrow"), ensuring(min_uptime=600)
    event = asyncio.run(fire(deferred(task, context)))
    assert task.execute_complete(context, event)["start"] == 1
    assert applications.one() == before


def test_a_retry_goes_on_with_what_an_earlier_try_has_created(applications: Any, task_context: Any) -> None:
    first = deferred(ensuring(), task_context(try_number=1, max_tries=1))
    second = deferred(ensuring(), task_context(try_number=2, max_tries=1))
    assert first.ref == second.ref


@pytest.mark.parametrize("stop_on_kill", [False, True])
def test_a_kill_of_the_deferred_task_leaves_the_stream_unless_asked(
    applications: Any, task_context: Any, stop_on_kill: bool
) -> None:
    trigger = deferred(ensuring(stop_on_kill=stop_on_kill), task_context())
    asyncio.run(trigger.on_kill())
    assert len(applications.all()) == (0 if stop_on_kill else 1)


def test_a_trigger_that_only_moves_deletes_nothing(applications: Any, task_context: Any, supervisor: Any) -> None:
    from types import SimpleNamespace

    trigger = deferred(ensuring(stop_on_kill=True), task_context())
    trigger.task_instance = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1)
    supervisor.states = {"r": {"t": "deferred"}}
    asyncio.run(trigger.on_kill())
    assert applications.all()


def test_a_kill_in_the_middle_of_an_upgrade_leaves_the_present_version_running(
    applications: Any, task_context: Any
) -> None:
    first = deferred(ensuring(), task_context())
    run(applications)
    asyncio.run(fire(first))
    trigger = deferred(ensuring("2"), task_context(run_id="other"))
    assert record(applications).following
    asyncio.run(trigger.on_kill())
    assert record(applications).following is None
    assert applications.one()["spec"]["arguments"] == ["1"]


def test_a_time_out_in_the_middle_of_an_upgrade_leaves_the_present_version_running(
    applications: Any, task_context: Any
) -> None:
    first = deferred(ensuring(), task_context())
    run(applications)
    asyncio.run(fire(first))
    context, task = task_context(run_id="other"), ensuring("2", execution_timeout=timedelta(seconds=0.3))
    event = asyncio.run(fire(deferred(task, context)))
    with pytest.raises(ExecutionTimeoutError):
        task.execute_complete(context, event)
    assert record(applications).following is None
    assert (record(applications).start, applications.one()["spec"]["arguments"]) == (2, ["1"])


@pytest.mark.parametrize("stop_on_kill", [False, True])
def test_a_kill_of_the_worker_leaves_the_stream_unless_asked(
    applications: Any, task_context: Any, stop_on_kill: bool
) -> None:
    task = ensuring(deferrable=False, stop_on_kill=stop_on_kill)

    def kill() -> None:
        while not applications.all():
            time.sleep(0.02)
        task.on_kill()

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    with pytest.raises(TaskKilledError):
        task.execute(task_context(try_number=2, max_tries=1))
    thread.join()
    assert len(applications.all()) == (0 if stop_on_kill else 1)


def test_somebody_elses_application_is_not_touched(applications: Any, task_context: Any) -> None:
    before = applications.create(clicks().to_manifest())
    with pytest.raises(NameTakenError):
        ensuring("2").execute(task_context())
    assert applications.one() == before


def test_a_first_version_that_fails_is_removed_with_the_reason(applications: Any, task_context: Any) -> None:
    context, task = task_context(), ensuring(max_restarts=0)
    trigger = deferred(task, context)
    applications.set_state("clicks", "FAILED", error="driver container failed with ExitCode: 1, Reason: Error")
    with pytest.raises(JobFailedError):
        task.execute_complete(context, asyncio.run(fire(trigger)))
    assert applications.all() == []


def test_stop_and_nothing_to_stop(applications: Any, task_context: Any) -> None:
    stop = SparkStreamingStopOperator(task_id="stop", application_name="clicks")
    absent = stop.execute(task_context(task_id="stop"))
    assert absent["stopped"] == "absent"
    trigger = deferred(ensuring(), task_context())
    run(applications)
    asyncio.run(fire(trigger))
    context = task_context(task_id="stop")
    stopping = deferred(stop, context)
    asyncio.run(stopping.on_kill())
    applications.set_state("clicks", "SUSPENDED", submissionID="s1")
    status, _ = applications.api_server.request(
        "PATCH", f"{applications.path}/clicks", {"spec": {"suspend": True}}, content_type="application/merge-patch+json"
    )
    assert status == 200
    assert stop.execute_complete(context, asyncio.run(fire(stopping)))["stopped"] == "gracefully"
    assert STREAM in applications.one()["metadata"]["annotations"]


def test_there_is_no_version_to_go_back_to(applications: Any, task_context: Any) -> None:
    back = SparkStreamingRollbackOperator(task_id="back", application_name="clicks")
    with pytest.raises(InvalidManifestError, match="no stream of that name"):
        back.execute(task_context(task_id="back"))
    deferred(ensuring(), task_context())
    with pytest.raises(InvalidManifestError, match="none to go back to"):
        back.execute(task_context(task_id="back"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"on_change": "replace"}, "^on_change is 'replace'"),
        ({"max_restarts": -1}, "^max_restarts is -1"),
        ({"min_uptime": 0}, "^min_uptime is 0"),
    ],
)
def test_bad_parameters_are_named_when_the_dag_is_parsed(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidManifestError, match=said):
        ensuring(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"window": None}, "window is None"),
        ({"max_restarts": -1}, "max_restarts is -1"),
        ({"max_restarts": "x"}, "'x'"),
    ],
)
def test_bad_parameters_of_the_sensor_too(options: dict[str, Any], said: str) -> None:
    from airflow_provider_sparkml.sensors.spark_streaming import SparkStreamingSensor

    with pytest.raises(InvalidManifestError, match=said):
        SparkStreamingSensor(task_id="t", application_name="clicks", **options)


def test_what_the_sensor_sees(applications: Any, task_context: Any) -> None:
    from airflow_provider_sparkml.sensors.spark_streaming import SparkStreamingSensor

    applications.create(clicks().to_manifest())
    run(applications)
    context = task_context()
    sensor = SparkStreamingSensor(task_id="t", application_name="clicks", window=0.2)
    event = asyncio.run(fire(deferred(sensor, context)))
    assert sensor.execute_complete(context, event) == {**event["outcome"], "restarts": 0}
    here = SparkStreamingSensor(task_id="t", application_name="clicks", window=0.2, deferrable=False)
    assert here.execute(context)["name"] == "clicks"
    applications.set_state("clicks", "FAILED", error="driver container failed")
    event = asyncio.run(fire(deferred(sensor, context)))
    assert type(rebuild_error(event["error"])).__name__ == "StreamUnhealthyError"
    with pytest.raises(JobFailedError, match="has ended"):
        sensor.execute_complete(context, event)
