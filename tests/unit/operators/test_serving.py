"""Deploying an InferenceService on a real API server; the test plays KServe."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_sparkml.exceptions import JobFailedError, NameTakenError, TaskKilledError
from airflow_provider_sparkml.operators.serving import InferenceServiceOperator
from airflow_provider_sparkml.resources.serving import InferenceService

SERVICE = InferenceService(name="flights", model_format="onnx", storage_uri="pvc://models/1")

pytestmark = pytest.mark.usefixtures("connection", "supervisor")


def operator(uri: str = "pvc://models/1", **kwargs: Any) -> InferenceServiceOperator:
    service = InferenceService(name="flights", model_format="onnx", storage_uri=uri)
    return InferenceServiceOperator(**{"task_id": "deploy", "inference_service": service, **kwargs})


def deploy(context: Any, uri: str = "pvc://models/1") -> Any:
    """Deploy until it defers, and return the trigger."""
    with pytest.raises(TaskDeferred) as deferred:
        operator(uri).execute(context)
    return deferred.value.trigger


def roll_out(services: Any, deployments: Any) -> None:
    """Give the Deployment the version that was applied last, as KServe does in its mode Standard."""
    annotations = services.one()["spec"]["predictor"]["annotations"]
    template = {
        "metadata": {"labels": {"app": "x"}, "annotations": annotations},
        "spec": {"containers": [{"name": "kserve-container", "image": "i"}]},
    }
    name = "flights-predictor"
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "x"}}, "template": template}
    if deployments.all():
        deployments.api_server.request("DELETE", f"{deployments.path}/{name}?propagationPolicy=Background")
    created = deployments.create({"metadata": {"name": name, "annotations": annotations}, "spec": spec})
    counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
    deployments.set_status(name, observedGeneration=created["metadata"]["generation"], **counts)


def serve(services: Any, deployments: Any) -> None:
    """Serve the version that was applied last."""
    roll_out(services, deployments)
    services.set_status(
        "flights",
        deploymentMode="Standard",
        url="http://flights.example.com",
        address={"url": "http://flights.cluster.local"},
        conditions=[{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-22T10:00:00Z"}],
        modelStatus={"transitionStatus": "UpToDate", "states": {"targetModelState": "Loaded"}},
    )


def fail(services: Any, deployments: Any) -> None:
    """Say that the model of the version that was applied last cannot be loaded."""
    roll_out(services, deployments)
    failure = {"reason": "ModelLoadFailed", "message": "no such file: model.onnx", "time": "2026-11-22T10:00:00Z"}
    services.set_status("flights", modelStatus={"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": failure})


async def fire(trigger: Any) -> dict[str, Any]:
    (event,) = [event async for event in trigger.run()]
    payload: dict[str, Any] = event.payload
    return payload


async def test_the_trigger_fires_when_the_new_version_serves(
    services: Any, deployments: Any, task_context: Any
) -> None:
    context = task_context()
    trigger = await asyncio.to_thread(deploy, context)
    waiting = asyncio.create_task(fire(trigger))
    await asyncio.to_thread(serve, services, deployments)
    event = await asyncio.wait_for(waiting, 20)
    result = await asyncio.to_thread(operator().execute_complete, context, event)
    assert result["url"] == "http://flights.example.com"
    assert result["address"] == "http://flights.cluster.local"
    assert result["name"] == "flights"


async def test_a_model_that_cannot_be_loaded_fails_with_the_reason_and_removes_what_was_created(
    services: Any, deployments: Any, task_context: Any
) -> None:
    context = task_context()
    trigger = await asyncio.to_thread(deploy, context)
    await asyncio.to_thread(fail, services, deployments)
    event = await asyncio.wait_for(fire(trigger), 20)
    with pytest.raises(JobFailedError) as failed:
        await asyncio.to_thread(operator().execute_complete, context, event)
    assert "no such file: model.onnx" in str(failed.value).splitlines()[0]
    assert services.all() == []


async def test_a_service_that_was_there_before_is_left_when_its_new_version_fails(
    services: Any, deployments: Any, task_context: Any
) -> None:
    await asyncio.to_thread(deploy, task_context(run_id="yesterday"))
    await asyncio.to_thread(serve, services, deployments)
    context = task_context(run_id="today")
    trigger = await asyncio.to_thread(deploy, context, "pvc://models/2")
    assert trigger.may_delete is False
    await asyncio.to_thread(fail, services, deployments)
    event = await asyncio.wait_for(fire(trigger), 20)
    with pytest.raises(JobFailedError):
        await asyncio.to_thread(operator().execute_complete, context, event)
    assert services.one()


async def test_a_kill_removes_only_what_was_created(services: Any, task_context: Any) -> None:
    created = await asyncio.to_thread(deploy, task_context())
    changed = await asyncio.to_thread(deploy, task_context(run_id="other"), "pvc://models/2")
    await changed.on_kill()
    assert services.one()
    await created.on_kill()
    assert services.all() == []


def test_a_retry_goes_on_with_what_an_earlier_try_has_created(services: Any, task_context: Any) -> None:
    first = deploy(task_context(try_number=1, max_tries=1))
    second = deploy(task_context(try_number=2, max_tries=1))
    assert second.ref == first.ref
    assert second.may_delete is True


def test_somebody_elses_service_is_not_touched(services: Any, task_context: Any) -> None:
    before = services.create(SERVICE.to_manifest())
    with pytest.raises(NameTakenError):
        operator("pvc://models/2").execute(task_context())
    assert services.one() == before


def test_without_deferring_the_worker_waits_itself_and_a_kill_removes_it(services: Any, task_context: Any) -> None:
    task = operator(deferrable=False)

    def kill() -> None:
        while not services.all():
            time.sleep(0.02)
        task.on_kill()

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    with pytest.raises(TaskKilledError):
        task.execute(task_context())
    thread.join()
    assert services.all() == []
