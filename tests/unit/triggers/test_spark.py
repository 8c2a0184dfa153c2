"""The sensor's trigger on a real API server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string

from airflow_provider_sparkml.resources.spark import SparkApplication
from airflow_provider_sparkml.triggers.spark import SparkApplicationSensorTrigger

MANIFEST = {
    **SparkApplication(image="i:1", main_application_file="local:///a.py").to_manifest(),
    "metadata": {"name": "app"},
}


@pytest.fixture
def trigger(connection: str, namespace: str) -> SparkApplicationSensorTrigger:
    return SparkApplicationSensorTrigger(name="app", namespace=namespace, kubernetes_conn_id=connection)


async def fire(trigger: Any) -> dict[str, Any]:
    (event,) = [event async for event in trigger.run()]
    payload: dict[str, Any] = json.loads(json.dumps(event.payload))
    return payload


def test_it_is_the_same_after_airflow_stored_it(trigger: SparkApplicationSensorTrigger) -> None:
    path, kwargs = trigger.serialize()
    assert import_string(path)(**json.loads(json.dumps(kwargs))).serialize() == (path, kwargs)


async def test_it_waits_for_one_that_is_created_deleted_and_created_again(trigger: Any, applications: Any) -> None:
    waiting = asyncio.create_task(fire(trigger))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await asyncio.to_thread(applications.create, MANIFEST)
    await asyncio.to_thread(applications.set_state, "app", "UNKNOWN")
    await asyncio.to_thread(
        applications.api_server.request, "DELETE", f"{applications.path}/app?propagationPolicy=Background"
    )
    await asyncio.sleep(0.2)
    assert not waiting.done(), "an unknown state and a deletion are no end"
    second = await asyncio.to_thread(applications.create, MANIFEST)
    await asyncio.to_thread(applications.set_state, "app", "COMPLETED")
    outcome = (await waiting)["outcome"]
    assert outcome["ref"]["uid"] == second["metadata"]["uid"]
    assert outcome["verdict"]["phase"] == "SUCCEEDED"


async def test_a_kill_never_touches_the_application(trigger: Any, applications: Any) -> None:
    applications.create(MANIFEST)
    await trigger.on_kill()
    assert applications.one()
