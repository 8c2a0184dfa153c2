"""The life of a job as a task, step by step, on a real API server; the test plays the Spark operator."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowTaskTimeout, TaskDeferred
from airflow.sdk.execution_time.timeout import timeout as airflow_timeout

from airflow_provider_sparkml.exceptions import (
    ExecutionTimeoutError,
    ForbiddenError,
    InvalidManifestError,
    JobDeletedError,
    JobFailedError,
    TaskKilledError,
    TriggerError,
)
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.resources.naming import CONSUMED
from airflow_provider_sparkml.resources.spark import SparkApplication
from airflow_provider_sparkml.retries import InfrastructureRetryPolicy

Context = Any
APPLICATION = SparkApplication(image="i:1", main_application_file="local:///a.py").to_manifest()

pytestmark = pytest.mark.usefixtures("connection", "supervisor")


def operator(**kwargs: Any) -> SparkApplicationOperator:
    return SparkApplicationOperator(**{"task_id": "t", "application": APPLICATION, **kwargs})


def submit(context: Context, **kwargs: Any) -> Any:
    """Execute an operator until it defers, and return its trigger."""
    with pytest.raises(TaskDeferred) as deferred:
        operator(**kwargs).execute(context)
    assert deferred.value.method_name == "execute_complete"
    assert deferred.value.timeout is None, "Airflow's own time-out of a trigger skips on_kill"
    return deferred.value.trigger


def event(applications: Any, **outcome: Any) -> dict[str, Any]:
    """Return the event of the trigger for the one application, as it stands."""
    from airflow_provider_sparkml.jobs.outcome import Outcome
    from airflow_provider_sparkml.resources.base import ResourceRef
    from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION

    obj = applications.one()
    return {"outcome": Outcome(ResourceRef.of(obj), SPARK_APPLICATION.read(obj), **outcome).to_json()}


def when(condition: Callable[[], Any], then: Callable[[], Any]) -> threading.Thread:
    """Do something in another thread as soon as a condition holds."""

    def run() -> None:
        deadline = time.monotonic() + 20
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        then()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


# --- submit and defer ----------------------------------------------------------------------------------------------


def test_it_submits_and_defers_at_once(applications: Any, task_context: Any, namespace: str) -> None:
    trigger = submit(task_context())
    created = applications.one()
    assert created["metadata"]["labels"]["dag_id"] == "d"
    assert trigger.ref == {
        "api_version": created["apiVersion"],
        "kind": "SparkApplication",
        "namespace": namespace,
        "name": created["metadata"]["name"],
        "uid": created["metadata"]["uid"],
    }


def test_bad_input_creates_nothing(applications: Any, task_context: Any) -> None:
    with pytest.raises(InvalidManifestError, match="image"):
        operator(application=SparkApplication(image="", main_application_file="local:///a.py")).execute(task_context())
    assert applications.all() == []


@pytest.mark.parametrize("where", ["operator", "manifest", "connection"])
def test_namespace(api_server: Any, applications: Any, task_context: Any, namespace: str, where: str) -> None:
    manifest = {**APPLICATION, "metadata": {"namespace": namespace}} if where == "manifest" else APPLICATION
    trigger = submit(task_context(), application=manifest, namespace=namespace if where == "operator" else None)
    assert trigger.ref["namespace"] == applications.one()["metadata"]["namespace"] == namespace


def test_links_are_stored_at_once_and_empty(supervisor: Any, task_context: Any) -> None:
    submit(task_context())
    assert supervisor.xcoms == {"_link_SparkUILink": "", "_link_SparkHistoryLink": ""}


def test_links_that_cannot_be_stored_do_not_stop_a_job(supervisor: Any, applications: Any, task_context: Any) -> None:
    supervisor.failing = True
    submit(task_context())
    assert applications.one()


def test_deadlines_are_absolute(applications: Any, task_context: Any) -> None:
    context = task_context()
    context["ti"].start_date = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    trigger = submit(
        context,
        queue_timeout=60,
        startup_timeout=datetime.timedelta(minutes=2),
        execution_timeout=datetime.timedelta(hours=1),
    )
    assert trigger.deadlines["queue_seconds"] == 60
    assert trigger.deadlines["startup_seconds"] == 120
    assert trigger.deadlines["execute_until"] == datetime.datetime(2030, 1, 1, 1, tzinfo=datetime.UTC).timestamp()


# --- tries, clears, mapped tasks -----------------------------------------------------------------------------------


def test_a_retry_after_a_crash_goes_on_with_the_live_job(applications: Any, task_context: Any) -> None:
    first = submit(task_context(try_number=1, max_tries=1))
    second = submit(task_context(try_number=2, max_tries=1))
    assert second.ref == first.ref == {**first.ref, "uid": applications.one()["metadata"]["uid"]}


def test_a_retry_keeps_the_queue_deadline(applications: Any, task_context: Any) -> None:
    first = submit(task_context(max_tries=1), queue_timeout=60)
    time.sleep(1.1)  # the clock of creationTimestamp has seconds
    assert submit(task_context(try_number=2, max_tries=1), queue_timeout=60).deadlines == first.deadlines


def test_a_cleared_task_runs_again_and_what_it_left_running_goes(applications: Any, task_context: Any) -> None:
    first = submit(task_context(try_number=1, max_tries=0))
    second = submit(task_context(try_number=2, max_tries=1))
    assert second.ref["uid"] != first.ref["uid"]
    assert applications.one()["metadata"]["uid"] == second.ref["uid"]


def test_clearing_leaves_others_alone(applications: Any, task_context: Any) -> None:
    others = [submit(task_context(run_id="other")), submit(task_context(map_index=3)), submit(task_context())]
    submit(task_context(try_number=2, max_tries=1))
    left = {item["metadata"]["uid"] for item in applications.all()}
    assert len(left) == 3
    assert {each.ref["uid"] for each in others[:2]} <= left


def test_a_cleared_task_leaves_ended_jobs_that_are_to_be_kept(applications: Any, task_context: Any) -> None:
    submit(task_context(), on_finish="keep")
    applications.set_state(applications.one()["metadata"]["name"], "COMPLETED")
    submit(task_context(try_number=2, max_tries=1), on_finish="keep")
    assert len(applications.all()) == 2


def test_mapped_tasks_have_a_job_each(applications: Any, task_context: Any) -> None:
    triggers = [submit(task_context(map_index=index)) for index in range(3)]
    assert len({each.ref["uid"] for each in triggers}) == 3


# --- conclude ------------------------------------------------------------------------------------------------------


def test_success_returns_the_result_and_deletes(applications: Any, task_context: Any) -> None:
    context = task_context()
    trigger = submit(context)
    applications.set_state(trigger.ref["name"], "COMPLETED", sparkApplicationId="spark-7", executionAttempts=1)
    result = operator().execute_complete(context, event(applications))
    assert result["phase"] == "SUCCEEDED"
    assert result["spark_application_id"] == "spark-7"
    assert applications.all() == []


@pytest.mark.parametrize("policy", ["keep", "delete_on_success"])
def test_failure_says_why_in_the_first_line_and_keeps_by_policy(
    applications: Any, task_context: Any, policy: Any
) -> None:
    context = task_context()
    trigger = submit(context, on_finish=policy)
    message = "driver container failed with ExitCode: 3, Reason: Error"
    applications.set_state(trigger.ref["name"], "FAILED", error=message)
    with pytest.raises(JobFailedError) as failed:
        operator(on_finish=policy).execute_complete(context, event(applications))
    assert "3" in str(failed.value).splitlines()[0]
    assert CONSUMED in applications.one()["metadata"]["annotations"]


def test_a_deadline_ends_the_job(applications: Any, task_context: Any) -> None:
    context = task_context()
    submit(context, on_finish="keep")
    with pytest.raises(ExecutionTimeoutError):
        operator(on_finish="keep").execute_complete(context, event(applications, expired="execution"))
    assert applications.all() == []


def test_a_job_that_somebody_deleted_is_a_failure(applications: Any, task_context: Any) -> None:
    context = task_context()
    trigger = submit(context)
    gone = event(applications, deleted=True)
    applications.delete(trigger.ref["name"])
    with pytest.raises(JobDeletedError):
        operator().execute_complete(context, gone)


@pytest.mark.parametrize(("max_tries", "left"), [(1, 1), (0, 0)])
@pytest.mark.parametrize(("kind", "expected"), [("ForbiddenError", ForbiddenError), ("KeyError", TriggerError)])
def test_a_wait_that_broke_leaves_the_job_to_the_next_try_if_there_is_one(
    applications: Any, task_context: Any, max_tries: int, left: int, kind: str, expected: type[Exception]
) -> None:
    context = task_context(max_tries=max_tries)
    submit(context)
    with pytest.raises(expected, match="the cause"):
        operator().execute_complete(context, {"error": {"type": kind, "message": "the cause"}})
    assert len(applications.all()) == left


def test_a_wait_that_broke_leaves_nothing_where_the_policy_allows_no_next_try(
    applications: Any, task_context: Any
) -> None:
    context = task_context(max_tries=3)
    submit(context)
    policy = InfrastructureRetryPolicy()
    with pytest.raises(TriggerError):
        operator(retry_policy=policy).execute_complete(context, {"error": {"type": "KeyError", "message": "the cause"}})
    assert len(applications.all()) == 1, "the next try goes on with it"
    with pytest.raises(ForbiddenError):
        operator(retry_policy=policy).execute_complete(context, {"error": {"type": "ForbiddenError", "message": "no"}})
    assert applications.all() == []


def test_an_event_of_another_trigger_is_waited_out(applications: Any, task_context: Any) -> None:
    # SQLite gives the number of a removed trigger to the next, so Airflow may deliver the former's last event.
    first = submit(task_context())
    gone = {**event(applications, deleted=True), "trigger": first.serialize()[1]}
    context = task_context(try_number=2, max_tries=1)
    second = submit(context)
    with pytest.raises(TaskDeferred) as deferred:
        operator().execute_complete(context, gone, trigger=second.serialize()[1])
    assert deferred.value.trigger.serialize() == second.serialize()
    assert applications.one()["metadata"]["uid"] == second.ref["uid"]


# --- not deferred --------------------------------------------------------------------------------------------------


def test_without_deferring_the_worker_waits_itself(applications: Any, task_context: Any, supervisor: Any) -> None:
    def complete() -> None:
        name = applications.one()["metadata"]["name"]
        info = {"webUIIngressAddress": "ui.example.com"}
        applications.set_state(name, "RUNNING", sparkApplicationId="spark-8", driverInfo=info)
        applications.set_state(name, "COMPLETED")

    spark = when(applications.all, complete)
    result = operator(deferrable=False).execute(task_context())
    spark.join()
    assert result["spark_application_id"] == "spark-8"
    assert supervisor.xcoms["_link_SparkUILink"] == "http://ui.example.com"
    assert applications.all() == []


def test_without_deferring_a_kill_deletes_the_job(applications: Any, task_context: Any) -> None:
    task = operator(deferrable=False)
    killer = when(applications.all, task.on_kill)
    with pytest.raises(TaskKilledError):
        task.execute(task_context(max_tries=5))
    killer.join()
    assert applications.all() == []


def test_without_deferring_airflows_own_time_out_deletes_the_job(applications: Any, task_context: Any) -> None:
    with pytest.raises(AirflowTaskTimeout), airflow_timeout(1):
        operator(deferrable=False).execute(task_context(max_tries=5))
    assert applications.all() == []


def test_without_deferring_our_deadline_says_what_it_was(applications: Any, task_context: Any) -> None:
    task = operator(deferrable=False, execution_timeout=datetime.timedelta(seconds=0.3))
    with pytest.raises(ExecutionTimeoutError, match="execution_timeout"):
        task.execute(task_context())
    assert applications.all() == []


def test_a_kill_while_nothing_runs_is_harmless() -> None:
    operator().on_kill()


def test_a_kill_after_success_leaves_the_result_to_a_retry(
    applications: Any, task_context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_sparkml.jobs import finish

    context = task_context(max_tries=1)
    trigger = submit(context)
    applications.set_state(trigger.ref["name"], "COMPLETED")
    task = operator()

    async def killed(*args: Any, **kwargs: Any) -> None:
        import asyncio

        task.on_kill()
        await asyncio.sleep(60)

    monkeypatch.setattr(finish, "finish", killed)
    with pytest.raises(TaskKilledError):
        task.execute_complete(context, event(applications))
    assert submit(task_context(try_number=2, max_tries=1)).ref == trigger.ref
