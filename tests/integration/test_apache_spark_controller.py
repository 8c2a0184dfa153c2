"""The Apache Spark operator's controller against a real API server; the test plays spark-submit and the kubelet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_dict
from airflow_provider_sparkml.local.controllers.apache_spark import apache_spark_controller
from airflow_provider_sparkml.local.controllers.spark_properties import Target
from airflow_provider_sparkml.local.controllers.spark_submission import Submission, SubmissionError, Submitter
from airflow_provider_sparkml.local.images import ImageStore
from airflow_provider_sparkml.resources.base import Manifest, Phase
from airflow_provider_sparkml.resources.core import POD
from airflow_provider_sparkml.resources.spark import DRIVER_CONTAINER
from airflow_provider_sparkml.resources.spark_apache import API, read, state_of
from airflow_provider_sparkml.resources.spark_apache_builder import ApacheSparkApplication

SECONDS = 30


class PlayedSubmitter(Submitter):
    """Makes the driver pod that spark-submit would make, or fails."""

    def __init__(self, client: KubernetesClient, namespace: str) -> None:
        super().__init__(ImageStore([], Path("/none")), Path("/none"), Target("http://127.0.0.1:1"))
        object.__setattr__(self, "play", (client, namespace))
        object.__setattr__(self, "errors", [])
        object.__setattr__(self, "submitted", [])

    play: tuple[KubernetesClient, str]
    errors: list[str]
    submitted: list[str]

    async def run(self, submission: Submission, *, progress: Callable[[str], None]) -> None:
        properties = submission.properties({"driver": Path("d"), "executor": Path("e")})
        self.submitted.append(properties["spark.app.id"])
        if self.errors:
            raise SubmissionError(self.errors.pop(0))
        client, namespace = self.play
        template = submission.template("driver")
        label = "spark.operator/spark-app-name"
        template["metadata"] |= {
            "name": properties["spark.kubernetes.driver.pod.name"],
            "labels": {label: properties[f"spark.kubernetes.driver.label.{label}"], "spark-role": "driver"},
        }
        template["spec"] |= {"nodeName": "elsewhere", "restartPolicy": "Never", "terminationGracePeriodSeconds": 0}
        template["spec"]["containers"][0]["image"] = "spark"
        await client.create(POD, template, namespace)


class Play:
    """An application, the controller, and what the test does to both."""

    def __init__(self, client: KubernetesClient, namespace: str) -> None:
        self.client, self.namespace = client, namespace
        self.submitter = PlayedSubmitter(client, namespace)
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(apache_spark_controller(self.client, self.submitter).run())

    async def stop(self) -> None:
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def create(self, **tolerations: Any) -> Manifest:
        built = ApacheSparkApplication(image="spark", main_application_file="local:///a.py", name="pi").to_manifest()
        built["spec"]["applicationTolerations"] |= tolerations
        return await self.client.create(API, built, self.namespace)

    async def driver(self, phase: str, code: int | None = None, *, attempt: int = 0) -> None:
        """Say what a kubelet would say of the driver."""
        state = {"running": {}} if code is None else {"terminated": {"exitCode": code, "reason": "Error"}}
        ready = code is None
        container = {"name": DRIVER_CONTAINER, "image": "spark", "imageID": "", "ready": ready, "restartCount": 0}
        conditions = [{"type": "Ready", "status": str(ready)}]
        status = {"phase": phase, "conditions": conditions, "containerStatuses": [container | {"state": state}]}
        await self.client.patch(POD, f"pi-{attempt}-driver", {"status": status}, self.namespace, subresource="status")

    async def until(self, state: str, attempt: int = 1) -> Manifest:
        """Return the application as soon as it is in a state of an attempt."""
        app: Manifest = {}
        try:
            async with asyncio.timeout(SECONDS):
                while not (state_of(app) == state and read(app).attempt == attempt):
                    app = await self.client.get(API, "pi", self.namespace)
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"not {state} within {SECONDS} s, but {app.get('status')}")
        return app

    async def pods(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in (await self.client.list(POD, self.namespace)).items]


@pytest.fixture
async def play(api_server: Any, namespace: str) -> AsyncIterator[Play]:
    # Without TLS: asyncio (3.11) leaves a transport open, with a warning, if it is cancelled early in the handshake.
    kubeconfig = api_server.kubeconfig.read_text().replace("https://", "http://")
    async with KubernetesClient(kubeconfig_dict(kubeconfig)) as client:
        play = Play(client, namespace)
        play.start()
        yield play
        await play.stop()


async def test_a_failure_is_restarted_and_its_success_counts(play: Play) -> None:
    await play.create(restartConfig={"restartPolicy": "OnFailure", "restartBackoffMillis": 0})
    await play.until("DriverRequested")
    await play.driver("Failed", 1)
    await play.until("DriverRequested", attempt=2)
    assert play.submitter.submitted == ["pi-0", "pi-1"]
    await play.driver("Running", attempt=1)
    await play.until("RunningHealthy", attempt=2)
    await play.driver("Succeeded", 0, attempt=1)
    app = await play.until("TerminatedWithoutReleaseResources", attempt=2)
    assert read(app).phase is Phase.SUCCEEDED


async def test_the_operators_default_takes_the_driver_away(play: Play) -> None:
    await play.create(resourceRetainPolicy="Never")
    await play.until("DriverRequested")
    await play.driver("Running")
    await play.until("RunningHealthy")
    await play.driver("Failed", 3)
    verdict = read(await play.until("ResourceReleased"))
    assert (verdict.phase, verdict.reason) == (Phase.FAILED, "Failed")
    assert "ExitCode: 3, Reason: Error" in verdict.message
    assert await play.pods() == []


async def test_what_cannot_be_submitted_fails_with_the_reason(play: Play) -> None:
    play.submitter.errors.append("no such class")
    await play.create()
    verdict = read(await play.until("TerminatedWithoutReleaseResources"))
    assert (verdict.phase, verdict.reason) == (Phase.FAILED, "SchedulingFailure")
    assert "no such class" in verdict.message


async def test_a_driver_that_is_deleted_is_missed(play: Play) -> None:
    await play.create()
    await play.until("DriverRequested")
    await play.driver("Running")
    await play.until("RunningHealthy")
    await play.client.delete(POD, "pi-0-driver", play.namespace, propagation="Background")
    verdict = read(await play.until("TerminatedWithoutReleaseResources"))
    assert (verdict.phase, verdict.retryable) == (Phase.FAILED, True)


async def test_a_new_controller_adopts_the_driver_whose_submission_was_not_noted(play: Play) -> None:
    await play.create()
    await play.until("DriverRequested")
    await play.stop()
    app = await play.client.get(API, "pi", play.namespace)
    submitted = app["status"]["stateTransitionHistory"]["0"]
    status = {"currentState": submitted, "stateTransitionHistory": {"0": submitted}}
    await play.client.replace(API, {**app, "status": status}, play.namespace, subresource="status")
    play.start()
    await play.until("DriverRequested")
    assert play.submitter.submitted == ["pi-0"]


async def test_an_ended_application_goes_when_its_time_is_up(play: Play) -> None:
    await play.create(ttlAfterStopMillis=0)
    await play.until("DriverRequested")
    await play.driver("Failed", 1)
    async with asyncio.timeout(SECONDS):
        while (await play.client.list(API, play.namespace)).items:
            await asyncio.sleep(0.01)
