"""SparkApplications as tasks of a real Airflow: what people do and what breaks; the test plays Spark's operator."""

from __future__ import annotations

import datetime
import secrets
import signal
import time
from typing import Any

import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

FAILURE = "driver container failed with ExitCode: 3, Reason: Error"


def deferred(run: Any, applications: Any, task_id: str = "run") -> dict[str, Any]:
    """Wait until a run's task is deferred and its trigger waits; return its application."""
    run.until(task_id, "deferred")
    run.until_noticed(task_id)
    application: dict[str, Any] = applications.until(run)
    run.until_log(task_id, "PENDING")
    return application


def test_success(airflow: Any, applications: Any) -> None:
    run = airflow.trigger("spark", word="hello")
    application = deferred(run, applications)
    assert application["spec"]["arguments"] == ["hello"]
    assert application["metadata"]["labels"]["dag_id"] == "spark"
    applications.set_state(application, "SUBMITTED", submissionID="s-1", executionAttempts=1)
    info = {"podName": "driver-pod", "webUIIngressAddress": "ui.example.com/app"}
    applications.set_state(application, "RUNNING", sparkApplicationId="spark-1", driverInfo=info)
    # What the on-call person sees while it runs: the phase in the log, and the links.
    log = run.until_log("run", "RUNNING")
    assert log.index("PENDING") < log.index("RUNNING")
    deadline = time.monotonic() + 180
    expected = {"Spark UI": "http://ui.example.com/app", "Spark history": "http://history.example.com/history/spark-1"}
    while run.links("run") != expected:
        assert time.monotonic() < deadline, run.links("run")
        time.sleep(0.2)
    applications.set_state(application, "COMPLETED")
    run.until("run", "success")
    result = run.xcom("run")
    assert result["phase"] == "SUCCEEDED"
    assert result["uid"] == application["metadata"]["uid"]
    assert result["spark_application_id"] == "spark-1"
    assert result["driver_pod"] == "driver-pod"
    assert run.links("run") == expected
    applications.until_gone(run)


def test_a_function_says_what_to_run(airflow: Any, applications: Any) -> None:
    run = airflow.trigger("spark_function", word="hello")
    application = deferred(run, applications)
    # What another task says is no template, wherever it stands.
    assert application["spec"]["arguments"] == ["hello", "{{ run_id }}"]
    rendered = run.task("run")["rendered_fields"]["application"]
    assert rendered["spec"]["arguments"] == ["hello", "{{ run_id }}"]
    applications.set_state(application, "COMPLETED")
    run.until("run", "success")
    assert run.xcom("run")["uid"] == application["metadata"]["uid"]
    applications.until_gone(run)


def test_failure_says_why_in_the_tasks_log(airflow: Any, applications: Any) -> None:
    run = airflow.trigger("spark", word="x")
    application = deferred(run, applications)
    applications.set_state(application, "FAILED", error=FAILURE)
    run.until("run", "failed")
    log = run.until_log("run", "What to try")
    assert "ApplicationError: The driver ended with exit code 3" in log
    applications.until_gone(run)


@pytest.mark.parametrize("state", ["failed", "success"])
def test_marking_a_deferred_task_deletes_the_application(airflow: Any, applications: Any, state: str) -> None:
    run = airflow.trigger("spark", word="x")
    deferred(run, applications)
    run.mark("run", state)
    applications.until_gone(run)
    assert run.task("run")["state"] == state
    run.until_log("run", "Deleted SparkApplication")


def test_clearing_a_deferred_task_runs_it_again(airflow: Any, applications: Any) -> None:
    run = airflow.trigger("spark", word="x")
    first = deferred(run, applications)
    run.clear("run")
    second = applications.until(run, unlike=first["metadata"]["uid"])
    assert [item["metadata"]["uid"] for item in applications.of(run)] == [second["metadata"]["uid"]]
    run.until("run", lambda ti: ti["state"] == "deferred" and ti["try_number"] == 2)
    run.until_noticed("run", 2)
    applications.set_state(second, "COMPLETED")
    run.until("run", "success")
    assert run.xcom("run")["uid"] == second["metadata"]["uid"]


def test_clearing_a_successful_task_really_runs_it_again(airflow: Any, applications: Any) -> None:
    run = airflow.trigger("spark", word="x")
    first = deferred(run, applications)
    applications.set_state(first, "COMPLETED")
    run.until("run", "success")
    run.until_over()
    run.clear("run")
    second = applications.until(run, unlike=first["metadata"]["uid"])
    applications.set_state(second, "COMPLETED")
    run.until("run", lambda ti: ti["state"] == "success" and ti["try_number"] == 2)
    assert run.xcom("run")["uid"] == second["metadata"]["uid"]


def test_a_worker_killed_between_create_and_defer_loses_and_duplicates_nothing(airflow: Any, applications: Any) -> None:
    run = airflow.trigger("spark_dies_once", word="x")
    application = applications.until(run)
    run.until("run", lambda ti: ti["state"] == "deferred" and ti["try_number"] == 2)
    assert applications.until(run)["metadata"]["uid"] == application["metadata"]["uid"]
    assert "Going on with" in run.until_log("run", "Going on with", try_number=2)
    applications.set_state(application, "COMPLETED")
    run.until("run", "success")
    assert run.xcom("run")["uid"] == application["metadata"]["uid"]
    applications.until_gone(run)


DISRUPTED: dict[str, dict[str, Any]] = {
    # As the kubelet writes it when its node runs short (eviction_manager.go), ...
    "EvictedError": {
        "phase": "Failed",
        "reason": "Evicted",
        "message": "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi.",
    },
    # ... the scheduler when it makes room for a pod of a higher priority, ...
    "EvictedError, preempted": {
        "phase": "Failed",
        "conditions": [
            {
                "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                "message": "default-scheduler: preempting to accommodate a higher priority pod",
            }
        ],
    },
    # ... and the taint eviction controller when a node stops answering.
    "NodeLostError": {
        "phase": "Failed",
        "conditions": [
            {
                "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
                "message": "Taint manager: deleting due to NoExecute taint",
            }
        ],
    },
}  # fmt: skip


def test_an_evicted_driver_is_tried_again_and_a_failed_program_is_not(airflow: Any, applications: Any) -> None:
    runs = {cause: airflow.trigger("spark_retried", word="x") for cause in (*DISRUPTED, "ApplicationError")}
    firsts = {cause: deferred(run, applications) for cause, run in runs.items()}
    for cause, status in DISRUPTED.items():
        killed = {"terminated": {"exitCode": 137, "reason": "Error", "startedAt": None, "finishedAt": None}}
        container = {"name": "spark-kubernetes-driver", "state": killed}
        applications.driver(firsts[cause], {**status, "containerStatuses": [container]})
        said = "driver container failed with ExitCode: 137, Reason: Error"
        pod = {"podName": f"{firsts[cause]['metadata']['name']}-driver"}
        applications.set_state(firsts[cause], "FAILED", error=said, driverInfo=pod, executionAttempts=1)
    applications.set_state(firsts["ApplicationError"], "FAILED", error=FAILURE)
    for cause in DISRUPTED:
        second = applications.until(runs[cause], unlike=firsts[cause]["metadata"]["uid"])
        applications.set_state(second, "COMPLETED", executionAttempts=1)
        runs[cause].until("run", "success")
        ended, _, _ = cause.partition(",")
        told = runs[cause].until_log("run", "This is try 2 of 3", try_number=2)
        assert f"try 1: {firsts[cause]['metadata']['name']}, {ended}: The " in told
        history = runs[cause].xcom("run")["history"]
        assert [(each["ended"], each["exit_code"]) for each in history] == [(ended, 137), ("SUCCEEDED", None)]
    failed = runs["ApplicationError"].until("run", "failed")
    assert failed["try_number"] == 1, "with two retries left"
    runs["ApplicationError"].until_log("run", "Retry policy decision")


def test_execution_timeout_ends_the_application_of_a_deferred_task(airflow: Any, applications: Any) -> None:
    run = airflow.trigger("spark_limited", word="x")
    application = applications.until(run)
    applications.set_state(application, "RUNNING")
    run.until("run", "failed")
    applications.until_gone(run)
    run.until_log("run", "did not end within execution_timeout")


def test_mapped_tasks_have_an_application_each(airflow: Any, applications: Any) -> None:
    run = airflow.trigger("spark_mapped", word="x")
    for index in (0, 1):
        applications.set_state(applications.until(run, map_index=str(index)), "COMPLETED")
    deadline = time.monotonic() + 180
    while airflow.call("GET", run.path)["state"] != "success":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    applications.until_gone(run)


def test_on_the_worker_without_deferring(airflow: Any, applications: Any) -> None:
    run = airflow.trigger("spark_on_worker", word="x")
    application = applications.until(run)
    info = {"webUIIngressAddress": "ui.example.com/app"}
    applications.set_state(application, "RUNNING", sparkApplicationId="spark-2", driverInfo=info)
    run.until_log("run", "RUNNING")
    assert run.task("run")["state"] == "running"
    applications.set_state(application, "COMPLETED")
    run.until("run", "success")
    assert run.xcom("run")["spark_application_id"] == "spark-2"
    assert run.links("run")["Spark UI"] == "http://ui.example.com/app"
    applications.until_gone(run)


def test_marking_a_task_on_the_worker_deletes_the_application(airflow: Any, applications: Any) -> None:
    run = airflow.trigger("spark_on_worker", word="x")
    applications.until(run)
    run.until("run", "running")
    run.mark("run", "failed")
    applications.until_gone(run)


def test_the_sensor_sees_an_application_that_comes_later(airflow: Any, applications: Any) -> None:
    name = f"somebody-elses-{time.time_ns()}"
    run = airflow.trigger("spark_watched", word=name)
    run.until("watch", "deferred")
    run.until_log("watch", "does not exist")
    manifest = {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "metadata": {"name": name},
        "spec": {"type": "Python", "mode": "cluster", "image": "i", "mainApplicationFile": "local:///a.py",
                 "sparkVersion": "4.0.0", "driver": {}, "executor": {}},
    }  # fmt: skip
    status, application = applications.api_server.request("POST", applications.path, manifest)
    assert status == 201, application
    applications.set_state(application, "COMPLETED", sparkApplicationId="spark-3")
    run.until("watch", "success")
    assert run.xcom("watch")["spark_application_id"] == "spark-3"
    status, _ = applications.api_server.request("DELETE", f"{applications.path}/{name}")
    assert status == 200, "the sensor has left it"


def test_a_teardown_deletes_what_the_run_has_made(airflow: Any, applications: Any) -> None:
    run = airflow.trigger("spark_teardown", word="x")
    applications.set_state(applications.until(run), "COMPLETED")
    run.until("run", "success")
    run.until("down", "success")
    applications.until_gone(run)
    assert len(run.xcom("down")) == 1


def test_a_clean_up_takes_what_a_failed_job_kept_and_the_run_stays_failed(airflow: Any, applications: Any) -> None:
    run = airflow.trigger("spark_clean_up", word="x")
    applications.set_state(deferred(run, applications), "FAILED", error=FAILURE)
    run.until("clean_up", "success")
    assert run.xcom("clean_up")["deleted"] == {"SparkApplication": 1}
    applications.until_gone(run)
    run.until_over()
    assert airflow.call("GET", run.path)["state"] == "failed", "a clean-up never makes a failed job look well"


# Last, since it leaves another triggerer behind.
def kill_triggerer(airflow: Any) -> None:
    triggerer = airflow.processes("airflow triggerer")
    # With its log server, or `airflow standalone` would wait for that one when it stops.
    for process in {*triggerer, *(child for each in triggerer for child in each.children(recursive=True))}:
        process.send_signal(signal.SIGKILL)


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def events_of(airflow: Any, name: str) -> list[str]:
    """Return which applications an asset's events tell of, as soon as the last one is the given."""
    deadline = time.monotonic() + 180
    while True:
        answer = airflow.client.get("/assets/events?limit=100")
        # Airflow answers 500 while a run that an event has created has not begun (its start_date is missing).
        found = answer.json()["asset_events"] if answer.is_success else []
        names = [each["extra"]["payload"]["name"] for each in found if each["name"] == "spark_ended"]
        if name in names:
            return sorted(names)
        assert time.monotonic() < deadline, names
        time.sleep(0.2)


def test_an_application_that_ends_starts_a_dag_once(airflow: Any, applications: Any) -> None:
    spec = {"type": "Python", "mode": "cluster", "sparkVersion": "4.3.0", "driver": {}, "executor": {}}
    names = [f"event-{secrets.token_hex(4)}" for _ in range(2)]
    made = []
    for name in names:
        kind = {"apiVersion": "sparkoperator.k8s.io/v1beta2", "kind": "SparkApplication", "metadata": {"name": name}}
        made.append(
            applications.create({**kind, "spec": {**spec, "image": "i:1", "mainApplicationFile": "local:///a.py"}})
        )
    (asset,) = airflow.call("GET", "/assets?name_pattern=spark_ended")["assets"]
    deadline = time.monotonic() + 180
    while not airflow.call("GET", f"/assets/{asset['id']}/state-store")["asset_state_store"]:  # since it is watched
        assert time.monotonic() < deadline
        time.sleep(0.2)
    applications.set_state(made[0], "COMPLETED", terminationTime=now())
    assert events_of(airflow, names[0]) == names[:1]
    deadline = time.monotonic() + 180
    while not (runs := airflow.call("GET", "/dags/spark_after/dagRuns?state=success")["dag_runs"]):
        assert time.monotonic() < deadline, airflow.call("GET", "/dags/spark_after/dagRuns")
        time.sleep(0.2)
    entries = f"/dags/spark_after/dagRuns/{runs[0]['dag_run_id']}/taskInstances/ended/xcomEntries/return_value"
    assert names[0] in str(airflow.call("GET", entries)["value"])
    # What ends while no triggerer is there is told of later, and what was told, and is kept as told, is not told again.
    while made[0]["metadata"]["uid"] not in str(airflow.call("GET", f"/assets/{asset['id']}/state-store")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    kill_triggerer(airflow)
    applications.set_state(made[1], "FAILED", terminationTime=now())
    airflow.start_component("triggerer")
    assert events_of(airflow, names[1]) == sorted(names)


def test_a_triggerer_that_is_killed_loses_nothing(airflow: Any, applications: Any) -> None:
    run = airflow.trigger("spark", word="x")
    application = deferred(run, applications)
    cleared = airflow.trigger("spark", word="y")
    orphan = deferred(cleared, applications)
    kill_triggerer(airflow)
    # While none is there: one application ends, and another's task is cleared, so nobody can call on_kill.
    applications.set_state(application, "COMPLETED", sparkApplicationId="spark-4")
    cleared.clear("run")
    airflow.start_component("triggerer")
    run.until("run", "success")
    assert run.xcom("run")["uid"] == application["metadata"]["uid"]
    second = applications.until(cleared, unlike=orphan["metadata"]["uid"])
    cleared.until("run", lambda ti: ti["state"] == "deferred" and ti["try_number"] == 2)
    assert [item["metadata"]["uid"] for item in applications.of(cleared)] == [second["metadata"]["uid"]]
    applications.set_state(second, "COMPLETED")
    cleared.until("run", "success")
