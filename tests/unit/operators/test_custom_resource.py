"""Objects of any kind created exactly once and waited for, deferred and not, on a real API server."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from airflow.sdk.serde import deserialize, serialize

from airflow_provider_sparkml.exceptions import (
    InvalidManifestError,
    JobDeletedError,
    JobFailedError,
    ResourceTypeNotFoundError,
    StartupTimeoutError,
)
from airflow_provider_sparkml.operators.custom_resource import CustomResourceOperator
from airflow_provider_sparkml.sensors.custom_resource import CustomResourceSensor
from airflow_provider_sparkml.triggers.custom_resource import CustomResourceTrigger

WIDGET = {"apiVersion": "example.test/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}}
GADGET = WIDGET | {"kind": "Gadget"}
ENDS = {"success": ["condition=Done", "{.status.phase}=Done"], "failure": "{.status.phase}=Broken"}

pytestmark = pytest.mark.usefixtures("connection", "supervisor", "widgets")


def operator(**kwargs: Any) -> CustomResourceOperator:
    return CustomResourceOperator(**{"task_id": "t", "custom_resource": WIDGET, **ENDS, **kwargs})


def sensor(**kwargs: Any) -> CustomResourceSensor:
    given = {"task_id": "s", "kind": "Widget", "api_version": "example.test/v1", "name": "w", **ENDS}
    return CustomResourceSensor(**{**given, "poke_interval": 0.05, **kwargs})


def defer(task: Any, context: Any) -> Any:
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    return deferred.value


async def fired(trigger: Any) -> dict[str, Any]:
    """Return the event of a trigger that Airflow has stored and read again."""
    _, arguments = trigger.serialize()
    again = type(trigger)(**deserialize(json.loads(json.dumps(serialize(arguments)))))
    (event,) = [event async for event in again.run()]
    return json.loads(json.dumps(event.payload))  # type: ignore[no-any-return]


async def resume(task: Any, context: Any, deferral: Any) -> Any:
    event = await fired(deferral.trigger)
    return await asyncio.to_thread(getattr(task, deferral.method_name), context, event=event, **deferral.kwargs)


@pytest.mark.parametrize("on_finish", ["delete", "keep"])
async def test_it_is_created_waited_for_and_told_of(
    widgets: Any, task_context: Any, namespace: str, on_finish: Any
) -> None:
    context = task_context()
    deferral = await asyncio.to_thread(defer, operator(on_finish=on_finish), context)
    created = await asyncio.to_thread(widgets.one)
    await asyncio.to_thread(widgets.set_status, created["metadata"]["name"], phase="Done", size="1")
    told = await resume(operator(on_finish=on_finish), context, deferral)
    assert {key: told[key] for key in ("name", "kind", "namespace", "uid", "phase")} == {
        "name": created["metadata"]["name"], "kind": "Widget", "namespace": namespace,
        "uid": created["metadata"]["uid"], "phase": "SUCCEEDED",
    }  # fmt: skip
    assert told["object"]["status"] == {"phase": "Done", "size": "1"}
    assert told["object"]["spec"] == {"size": 1}
    assert len(await asyncio.to_thread(widgets.all)) == (on_finish == "keep")


async def test_a_failure_ends_it_too(widgets: Any, task_context: Any) -> None:
    context = task_context()
    deferral = await asyncio.to_thread(defer, operator(), context)
    name = (await asyncio.to_thread(widgets.one))["metadata"]["name"]
    await asyncio.to_thread(widgets.set_status, name, phase="Broken", message="no disk left")
    with pytest.raises(JobFailedError, match=r"^Widget failed: no disk left"):
        await resume(operator(), context, deferral)
    assert await asyncio.to_thread(widgets.all) == []


def test_a_retry_after_a_crash_finds_the_one_that_runs(widgets: Any, task_context: Any) -> None:
    first = defer(operator(), task_context(try_number=1, max_tries=2))
    second = defer(operator(), task_context(try_number=2, max_tries=2))
    assert first.trigger.ref == second.trigger.ref
    assert len(widgets.all()) == 1


def test_without_deferring(widgets: Any, task_context: Any) -> None:
    def end() -> None:
        while not (found := widgets.all()):
            time.sleep(0.02)
        widgets.set_status(found[0]["metadata"]["name"], conditions=[{"type": "Done", "status": "True"}])

    ending = threading.Thread(target=end)
    ending.start()
    assert operator(deferrable=False).execute(task_context())["phase"] == "SUCCEEDED"
    ending.join()


async def test_a_kill_of_the_deferred_task_deletes_it(widgets: Any, task_context: Any) -> None:
    deferral = await asyncio.to_thread(defer, operator(), task_context())
    await deferral.trigger.on_kill()
    assert await asyncio.to_thread(widgets.all) == []


async def test_nobody_acts_on_it(widgets: Any, task_context: Any) -> None:
    context = task_context()
    deferral = await asyncio.to_thread(defer, operator(startup_timeout=0.01), context)
    with pytest.raises(StartupTimeoutError, match="no controller has touched it"):
        await resume(operator(startup_timeout=0.01), context, deferral)
    assert await asyncio.to_thread(widgets.all) == []


async def test_somebody_deletes_it(widgets: Any, task_context: Any) -> None:
    context = task_context()
    deferral = await asyncio.to_thread(defer, operator(), context)
    name = (await asyncio.to_thread(widgets.one))["metadata"]["name"]
    await asyncio.to_thread(widgets.delete, name)
    with pytest.raises(JobDeletedError):
        await resume(operator(), context, deferral)


async def test_a_cluster_wide_kind(api_server: Any, task_context: Any, namespace: str) -> None:
    context = task_context(run_id=namespace)
    task = {"custom_resource": GADGET, "on_finish": "delete"}
    deferral = await asyncio.to_thread(defer, operator(**task), context)
    path = f"/apis/example.test/v1/gadgetry/{deferral.trigger.ref['name']}"
    assert deferral.trigger.ref["namespace"] == ""
    status, _ = await asyncio.to_thread(
        api_server.request, "PATCH", f"{path}/status", {"status": {"phase": "Broken"}},
        content_type="application/merge-patch+json",
    )  # fmt: skip
    assert status == 200
    with pytest.raises(JobFailedError, match=r"^Gadget failed"):
        await resume(operator(**task), context, deferral)


def test_a_kind_that_there_is_not(task_context: Any) -> None:
    with pytest.raises(ResourceTypeNotFoundError, match="'Wodget'"):
        operator(custom_resource=WIDGET | {"kind": "Wodget"}).execute(task_context())


@pytest.mark.parametrize("make", [operator, sensor])
def test_bad_conditions_are_refused_when_the_dag_is_parsed(make: Any) -> None:
    with pytest.raises(InvalidManifestError, match=r"^success is 'Ready': write condition=Ready"):
        make(success="Ready")
    with pytest.raises(InvalidManifestError, match=r"^failure is .*JSONPath is wrong"):
        make(failure="{.status.[}=x")
    with pytest.raises(InvalidManifestError, match=r"^success is "):
        make(success=())


def test_a_trigger_knows_its_kind_after_airflow_stored_it() -> None:
    ref = {"api_version": "example.test/v1", "kind": "Widget", "namespace": "n", "name": "w", "uid": "u"}
    rules = {
        "api": {"group": "example.test", "version": "v1", "plural": "widgetry", "kind": "Widget", "namespaced": True},
        "success": ["condition=Done"], "failure": [],
    }  # fmt: skip
    trigger = CustomResourceTrigger(rules=rules, ref=ref, deadlines={}, kubernetes_conn_id=None)
    _, arguments = trigger.serialize()
    again = CustomResourceTrigger(**deserialize(json.loads(json.dumps(serialize(arguments)))))
    assert again.resource.api == trigger.resource.api
    assert again.serialize() == trigger.serialize()


# --- the sensor ---


async def test_the_sensor_waits_for_what_does_not_exist_yet(widgets: Any, task_context: Any, namespace: str) -> None:
    deferral = await asyncio.to_thread(defer, sensor(), task_context())
    created = await asyncio.to_thread(widgets.create, WIDGET)
    await asyncio.to_thread(widgets.set_status, "w", phase="Done")
    told = await resume(sensor(), task_context(), deferral)
    assert (told["kind"], told["namespace"], told["uid"]) == ("Widget", namespace, created["metadata"]["uid"])
    assert told["object"]["status"] == {"phase": "Done"}
    assert await asyncio.to_thread(widgets.one)


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_sensor_sees_at_once_what_has_ended(widgets: Any, task_context: Any, deferrable: bool) -> None:
    widgets.create(WIDGET)
    widgets.set_status("w", phase="Done")
    assert sensor(deferrable=deferrable).execute(task_context())["phase"] == "SUCCEEDED"


def test_the_sensor_fails_or_skips_when_the_object_has_failed(widgets: Any, task_context: Any) -> None:
    widgets.create(WIDGET)
    widgets.set_status("w", phase="Broken")
    with pytest.raises(JobFailedError, match=r"^Widget failed: {.status.phase}=Broken is met"):
        sensor().execute(task_context())
    with pytest.raises(AirflowSkipException):
        sensor(soft_fail=True).execute(task_context())
    assert widgets.one(), "a sensor deletes nothing"
