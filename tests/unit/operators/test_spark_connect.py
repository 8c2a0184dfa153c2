"""Spark Connect servers on a real API server: started once, waited for, stopped; the test plays the Spark operator."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_sparkml.exceptions import (
    ForbiddenError,
    InvalidManifestError,
    JobFailedError,
    StartupTimeoutError,
)
from airflow_provider_sparkml.operators.spark_connect import SparkConnectServerOperator, SparkConnectServerStopOperator
from airflow_provider_sparkml.resources.base import Phase
from airflow_provider_sparkml.resources.spark_connect import SPARK_CONNECT, SparkConnectServer, read
from tests.shipped_roles import take_away, to_add

SERVER = SparkConnectServer(image="i", spark_version="4.3.0", service_account="spark", executor_instances="2")

pytestmark = pytest.mark.usefixtures("connection", "supervisor")


def start(context: Any, **kwargs: Any) -> Any:
    """Start until it defers, and return the trigger."""
    with pytest.raises(TaskDeferred) as deferred:
        operator(**kwargs).execute(context)
    return deferred.value.trigger


def operator(**kwargs: Any) -> SparkConnectServerOperator:
    return SparkConnectServerOperator(task_id="t", server=SERVER, **kwargs)


def set_state(connects: Any, state: str) -> None:
    name = connects.one()["metadata"]["name"]
    server = {"podName": f"{name}-server", "podIp": "127.8.0.1", "serviceName": f"{name}-server"}
    connects.set_status(name, state=state, server=server)


async def fire(trigger: Any) -> dict[str, Any]:
    (event,) = [event async for event in trigger.run()]
    payload: dict[str, Any] = event.payload
    return payload


async def ready(connects: Any, context: Any) -> dict[str, Any]:
    """Start a server, and return what the task returns."""
    trigger = await asyncio.to_thread(start, context)
    waiting = asyncio.create_task(fire(trigger))
    await asyncio.to_thread(set_state, connects, "NotReady")
    await asyncio.to_thread(set_state, connects, "Ready")
    event = await asyncio.wait_for(waiting, 20)
    return await asyncio.to_thread(operator().execute_complete, context, event, trigger.serialize()[1])


async def test_it_tells_where_clients_connect_and_the_teardown_stops_this_very_server(
    connects: Any, namespace: str, task_context: Any
) -> None:
    context = task_context()
    told = await ready(connects, context)
    name = connects.one()["metadata"]["name"]
    assert told["url"] == f"sc://{name}-server.{namespace}.svc:15002"
    assert told["pod_url"] == "sc://127.8.0.1:15002"
    for server in ({**told, "uid": "another"}, json.dumps(told)):
        assert connects.one(), "another of the same name is left alone"
        stop = SparkConnectServerStopOperator(task_id="s", server=server)
        await asyncio.to_thread(stop.execute, context)
    assert connects.all() == []
    await asyncio.to_thread(stop.execute, context)  # once more is fine


def test_a_retry_goes_on_with_the_live_server(connects: Any, task_context: Any) -> None:
    first = start(task_context(try_number=1, max_tries=1))
    assert start(task_context(try_number=2, max_tries=1)).ref == first.ref
    assert len(connects.all()) == 1


async def test_one_that_fails_is_deleted(connects: Any, task_context: Any) -> None:
    context = task_context()
    trigger = await asyncio.to_thread(start, context)
    await asyncio.to_thread(set_state, connects, "Failed")
    event = await asyncio.wait_for(fire(trigger), 20)
    with pytest.raises(JobFailedError):
        await asyncio.to_thread(operator().execute_complete, context, event)
    assert connects.all() == []


async def test_one_that_never_becomes_ready_is_ended_by_its_time_out(connects: Any, task_context: Any) -> None:
    context = task_context()
    trigger = await asyncio.to_thread(start, context, startup_timeout=0.1)
    event = await asyncio.wait_for(fire(trigger), 20)
    with pytest.raises(StartupTimeoutError):
        await asyncio.to_thread(operator().execute_complete, context, event)
    assert connects.all() == []


async def test_a_kill_deletes_it(connects: Any, task_context: Any) -> None:
    trigger = await asyncio.to_thread(start, task_context())
    await trigger.on_kill()
    assert connects.all() == []


@pytest.mark.parametrize("server", [None, "", "[]", {"name": "a"}])
def test_what_is_no_server_cannot_be_stopped(server: Any, task_context: Any) -> None:
    with pytest.raises(InvalidManifestError, match="server is"):
        SparkConnectServerStopOperator(task_id="s", server=server).execute(task_context())


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("", Phase.PENDING),
        ("Provisioning", Phase.PENDING),
        ("NotReady", Phase.PENDING),
        ("Ready", Phase.SUCCEEDED),
        ("Failed", Phase.FAILED),
        ("Invented", Phase.UNKNOWN),
    ],
)
def test_what_the_states_mean(state: str, phase: Phase) -> None:
    assert read({"metadata": {}, "status": {"state": state}}).phase is phase


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("image",), "", "spec.image is ''"),
        (("sparkVersion",), None, "spec.sparkVersion is None"),
        (("server",), None, "spec.server is None"),
        (("executor", "instances"), -1, "spec.executor.instances is -1"),
        (("server", "cores"), 0, "spec.server.cores is 0"),
    ],
)
def test_what_is_refused(path: tuple[str, ...], value: Any, message: str) -> None:
    manifest = SPARK_CONNECT.normalize(SERVER.to_manifest())
    SPARK_CONNECT.check(manifest)
    part = manifest["spec"]
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    with pytest.raises(InvalidManifestError) as refused:
        SPARK_CONNECT.check(manifest)
    assert message in str(refused.value)


@pytest.mark.parametrize("verb", ["create", "get", "list", "delete"])
async def test_without_one_right(verb: str, connects: Any, api_server: Any, namespace: str, task_context: Any) -> None:
    missing = ("sparkoperator.k8s.io", "sparkconnects", verb)
    context = task_context()
    await asyncio.to_thread(take_away, api_server, namespace, "spark_connect", missing)

    async def run() -> None:
        told = await ready(connects, context)
        await asyncio.to_thread(SparkConnectServerStopOperator(task_id="s", server=told).execute, context)

    with pytest.raises(ForbiddenError, match=re.escape(to_add(missing))):
        await run()
