"""The trigger on a real API server: its event, its links, what a kill does, and what it leaves open."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string
from airflow.sdk.serde import deserialize, serialize

from airflow_provider_sparkml.exceptions import ForbiddenError
from airflow_provider_sparkml.resources.base import ResourceRef
from airflow_provider_sparkml.resources.spark import SparkApplication
from airflow_provider_sparkml.triggers.deferral import rebuild_error
from airflow_provider_sparkml.triggers.serving import InferenceServiceTrigger
from airflow_provider_sparkml.triggers.spark import SparkApplicationTrigger

MANIFEST = {
    **SparkApplication(image="i:1", main_application_file="local:///a.py").to_manifest(),
    "metadata": {"name": "app"},
}


@pytest.fixture
def app(applications: Any) -> Any:
    return applications.create(MANIFEST)


@pytest.fixture
def trigger(app: Any, connection: str, supervisor: Any) -> SparkApplicationTrigger:
    made = SparkApplicationTrigger(
        ref=ResourceRef.of(app).to_json(), deadlines={"execute_until": None}, kubernetes_conn_id=connection
    )
    made.task_instance = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1)  # type: ignore[assignment]
    return made


async def fire(trigger: Any) -> dict[str, Any]:
    """Run a trigger as the triggerer does, and return its one event's payload as the worker gets it."""
    events = [event async for event in trigger.run()]
    (event,) = events
    payload: dict[str, Any] = json.loads(json.dumps(event.payload))
    return payload


# --- what it is made of --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [SparkApplicationTrigger, InferenceServiceTrigger])
def test_it_is_the_same_after_airflow_stored_it(cls: type[SparkApplicationTrigger]) -> None:
    ref = ResourceRef("v", "k", "ns", "n", "u").to_json()
    trigger = cls(ref=ref, deadlines={"queue_seconds": 1.5}, kubernetes_conn_id="c", may_delete=False)
    path, kwargs = trigger.serialize()
    stored = json.loads(json.dumps(serialize(kwargs)))
    again = import_string(path)(**deserialize(stored))
    assert type(again) is cls
    assert again.serialize() == (path, kwargs)


# --- its event -----------------------------------------------------------------------------------------------------


async def test_it_fires_once_when_the_application_has_ended(trigger: Any, applications: Any, app: Any) -> None:
    waiting = asyncio.create_task(fire(trigger))
    for state in ("SUBMITTED", "RUNNING", "SUCCEEDING", "COMPLETED"):
        await asyncio.to_thread(applications.set_state, "app", state)
    payload = await waiting
    assert payload["outcome"]["verdict"]["phase"] == "SUCCEEDED"
    assert payload["outcome"]["ref"]["uid"] == app["metadata"]["uid"]


async def test_what_ended_while_no_triggerer_ran_is_seen_at_once(trigger: Any, applications: Any) -> None:
    applications.set_state("app", "FAILED", error="driver container failed with ExitCode: 1, Reason: Error")
    assert (await fire(trigger))["outcome"]["verdict"]["phase"] == "FAILED"


async def test_a_deadline_that_passed_while_no_triggerer_ran_has_passed(app: Any, connection: str) -> None:
    trigger = SparkApplicationTrigger(
        ref=ResourceRef.of(app).to_json(), deadlines={"execute_until": 1.0}, kubernetes_conn_id=connection
    )
    assert (await fire(trigger))["outcome"]["expired"] == "execution"


async def test_a_deleted_application_ends_the_wait(trigger: Any, applications: Any, supervisor: Any) -> None:
    waiting = asyncio.create_task(fire(trigger))
    await asyncio.sleep(0.2)
    status, _ = await asyncio.to_thread(
        applications.api_server.request, "DELETE", f"{applications.path}/app?propagationPolicy=Background"
    )
    assert status == 200
    assert (await waiting)["outcome"]["deleted"] is True


async def test_an_error_of_the_wait_is_an_event_with_class_and_message(
    trigger: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_sparkml.jobs import wait

    async def refused(*args: Any, **kwargs: Any) -> None:
        raise ForbiddenError("may not watch sparkapplications", status=403)

    monkeypatch.setattr(wait, "wait", refused)
    error = rebuild_error((await fire(trigger))["error"])
    assert isinstance(error, ForbiddenError)
    assert str(error) == "may not watch sparkapplications"


async def test_a_connection_that_is_gone_is_an_event_too(trigger: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trigger.kubernetes_conn_id = "no_such_connection"
    assert "no_such_connection" in (await fire(trigger))["error"]["message"]


# --- links ---------------------------------------------------------------------------------------------------------


async def test_links_are_refreshed_while_it_runs(trigger: Any, applications: Any, supervisor: Any) -> None:
    waiting = asyncio.create_task(fire(trigger))
    info = {"webUIIngressAddress": "ui.example.com"}
    await asyncio.to_thread(applications.set_state, "app", "RUNNING", driverInfo=info)
    for _ in range(100):
        if supervisor.xcoms.get("_link_SparkUILink"):
            break
        await asyncio.sleep(0.05)
    assert supervisor.xcoms["_link_SparkUILink"] == "http://ui.example.com"
    assert not waiting.done()
    await asyncio.to_thread(applications.set_state, "app", "COMPLETED")
    await waiting


async def test_a_link_that_cannot_be_stored_does_not_end_the_wait(
    trigger: Any, applications: Any, supervisor: Any
) -> None:
    supervisor.failing = True
    applications.set_state("app", "COMPLETED", driverInfo={"webUIIngressAddress": "ui"})
    assert (await fire(trigger))["outcome"]["verdict"]["phase"] == "SUCCEEDED"


# --- kill ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["failed", "success", None, "up_for_retry", "queued"])
async def test_a_kill_deletes_the_application(trigger: Any, applications: Any, supervisor: Any, state: Any) -> None:
    supervisor.states = {"r": {"t": state}}
    await trigger.on_kill()
    assert applications.all() == []


async def test_a_kill_deletes_it_when_the_run_is_gone(trigger: Any, applications: Any) -> None:
    await trigger.on_kill()
    assert applications.all() == []


async def test_a_trigger_that_moves_to_another_triggerer_deletes_nothing(
    trigger: Any, applications: Any, supervisor: Any
) -> None:
    supervisor.states = {"r": {"t": "deferred"}}
    await trigger.on_kill()
    assert applications.one()


async def test_the_state_of_a_mapped_task_is_its_own(trigger: Any, applications: Any, supervisor: Any) -> None:
    trigger.task_instance.map_index = 2
    supervisor.states = {"r": {"t": "failed", "t_2": "deferred"}}
    await trigger.on_kill()
    assert applications.one()


async def test_a_kill_that_cannot_learn_the_state_deletes_nothing(
    trigger: Any, applications: Any, supervisor: Any
) -> None:
    supervisor.failing = True
    with pytest.raises(RuntimeError):  # Airflow logs it
        await trigger.on_kill()
    assert applications.one()


async def test_a_kill_never_deletes_a_namesake(trigger: Any, applications: Any) -> None:
    applications.api_server.request("DELETE", f"{applications.path}/app?propagationPolicy=Background")
    applications.create(MANIFEST)
    await trigger.on_kill()
    assert applications.one()


async def test_a_kill_leaves_what_was_there_before_the_task(trigger: Any, applications: Any) -> None:
    trigger.may_delete = False
    await trigger.on_kill()
    assert applications.one()


# --- shutdown ------------------------------------------------------------------------------------------------------


async def test_a_triggerer_that_shuts_down_leaves_the_application_and_nothing_open(
    trigger: Any, applications: Any
) -> None:
    waiting = [asyncio.create_task(fire(trigger)) for _ in range(20)]
    await asyncio.sleep(0.3)
    for task in waiting:
        task.cancel()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(each) for each in ended} == {asyncio.CancelledError}
    await trigger.cleanup()
    assert applications.one()
    assert asyncio.all_tasks() == {asyncio.current_task()}
