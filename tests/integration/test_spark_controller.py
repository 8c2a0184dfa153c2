"""The Spark controller against a real API server; the test plays spark-submit and the kubelet, so it costs no JVM.

That the genuine ones play their parts as they do here is shown in ``test_spark_applications.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_dict
from airflow_provider_sparkml.exceptions import NotFoundError
from airflow_provider_sparkml.local.controllers import spark_state
from airflow_provider_sparkml.local.controllers.spark import SparkController
from airflow_provider_sparkml.local.controllers.spark_properties import SPEC_HASH, Target, submission_properties
from airflow_provider_sparkml.local.controllers.spark_submission import SubmissionError, Submitter
from airflow_provider_sparkml.local.controllers.spark_templates import pod_template
from airflow_provider_sparkml.local.images import ImageStore
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import CONFIG_MAP, POD, SERVICE
from airflow_provider_sparkml.resources.spark import API, DRIVER_CONTAINER

SECONDS = 30
TARGET = Target("http://127.0.0.1:1")


class PlayedSubmitter(Submitter):
    """Makes the driver pod that spark-submit would make; may be told to fail, or to take its time."""

    def __init__(self, client: KubernetesClient) -> None:
        super().__init__(ImageStore([], Path("/none")), Path("/none"), TARGET)
        object.__setattr__(self, "client", client)
        object.__setattr__(self, "errors", [])
        object.__setattr__(self, "held", asyncio.Event())
        object.__setattr__(self, "submitted", [])
        object.__setattr__(self, "ended_early", [])
        self.held.set()

    client: KubernetesClient
    errors: list[str]
    held: asyncio.Event
    submitted: list[str]
    ended_early: list[str]

    async def submit(self, app: Manifest, submission_id: str, *, progress: Callable[[str], None]) -> None:
        self.submitted.append(submission_id)
        try:
            await self.held.wait()
        except asyncio.CancelledError:
            self.ended_early.append(submission_id)
            raise
        if self.errors:
            raise SubmissionError(self.errors.pop(0))
        await make_pod(self.client, app, submission_id)


async def make_pod(
    client: KubernetesClient, app: Manifest, submission_id: str, role: str = "driver", number: int = 1
) -> Manifest:
    """Create a pod as Spark does: from the template, with the labels and annotations of the properties."""
    properties = submission_properties(app, submission_id, TARGET, {"driver": Path(), "executor": Path()})
    template = pod_template(app, role)
    meta = template["metadata"]
    for kind in ("label", "annotation"):
        prefix = f"spark.kubernetes.{role}.{kind}."
        found = {key.removeprefix(prefix): value for key, value in properties.items() if key.startswith(prefix)}
        meta[f"{kind}s"] = meta.get(f"{kind}s", {}) | found
    name = app["metadata"]["name"]
    meta["labels"] |= {"spark-role": role, "spark-app-selector": f"spark-{submission_id[:8]}"}
    meta["name"] = f"{name}-driver" if role == "driver" else f"{name}-{submission_id[:8]}-exec-{number}"
    if role == "executor":
        meta["labels"]["spark-exec-id"] = str(number)
    template["spec"]["containers"][0]["image"] = app["spec"]["image"]
    template["spec"]["nodeName"] = "elsewhere"
    template["spec"]["restartPolicy"] = "Never"
    template["spec"]["terminationGracePeriodSeconds"] = 0
    return await client.create(POD, template, app["metadata"]["namespace"])


class Play:
    """An application, the controller, and what the test does to both."""

    def __init__(self, client: KubernetesClient, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self.submitter = PlayedSubmitter(client)
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        controller = SparkController(self.client, self.submitter, namespaces=[self.namespace])
        self._running = asyncio.create_task(controller.run())

    async def stop(self) -> None:
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def create(self, **spec: Any) -> Manifest:
        complete = {
            "type": "Python",
            "mode": "cluster",
            "sparkVersion": "4.3.0",
            "image": "spark",
            "mainApplicationFile": "local:///opt/x.py",
            "driver": {},
            "executor": {"instances": 1},
            **spec,
        }
        return await self.client.create(API, {"metadata": {"name": "pi"}, "spec": complete}, self.namespace)

    async def change(self, **spec: Any) -> None:
        await self.client.patch(API, "pi", {"spec": spec}, self.namespace)

    async def driver(
        self, phase: str, exit_code: int | None = None, reason: str = "Error", name: str = "pi-driver"
    ) -> None:
        """Say what a kubelet would say of a pod."""
        state = {"running": {"startedAt": spark_state.utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")}}
        if exit_code is not None:
            state = {"terminated": {"exitCode": exit_code, "reason": reason}}  # type: ignore[dict-item]
        container = {
            "name": DRIVER_CONTAINER if name == "pi-driver" else "spark-kubernetes-executor",
            "image": "spark",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": state,
        }
        status = {"phase": phase, "podIP": "127.9.9.9", "containerStatuses": [container]}
        await self.client.patch(POD, name, {"status": status}, self.namespace, subresource="status")

    async def until(self, state: str, predicate: Callable[[Manifest], Any] = lambda app: True) -> Manifest:
        """Return the application as soon as it is in a state and satisfies the predicate."""
        app: Manifest = {}
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    app = await self.client.get(API, "pi", self.namespace)
                    if spark_state.state_of(app) == state and predicate(app):
                        return app
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"not {state} within {SECONDS} s, but {app.get('status')}")

    async def running(self) -> Manifest:
        """Bring the application to RUNNING."""
        await self.until("SUBMITTED")
        await self.driver("Running")
        return await self.until("RUNNING")

    async def absent(self, api: ApiResource, name: str) -> None:
        async with asyncio.timeout(SECONDS):
            with contextlib.suppress(NotFoundError):
                while True:
                    await self.client.get(api, name, self.namespace)
                    await asyncio.sleep(0.01)

    async def event(self, app: Manifest, reason: str) -> Manifest:
        async with asyncio.timeout(SECONDS):
            while True:
                for event in await self.client.events(self.namespace, app["metadata"]["uid"]):
                    if event["reason"] == reason:
                        return event
                await asyncio.sleep(0.01)


@pytest.fixture
async def play(api_server: Any, namespace: str) -> AsyncIterator[Play]:
    # Without TLS: asyncio (3.11) leaves a transport open, with a warning, if it is cancelled early in the handshake.
    kubeconfig = api_server.kubeconfig.read_text().replace("https://", "http://")
    async with KubernetesClient(kubeconfig_dict(kubeconfig)) as client:
        play = Play(client, namespace)
        await play.start()
        yield play
        await play.stop()


async def test_a_run_from_its_first_to_its_last_state(play: Play) -> None:
    await play.create(sparkUIOptions={"servicePort": 80}, driver={"memoryLimit": "1g"})
    app = await play.until("SUBMITTED")
    status = app["status"]
    assert (status["submissionAttempts"], status["executionAttempts"]) == (1, 1)
    assert [status["submissionID"]] == play.submitter.submitted
    assert status["driverInfo"]["podName"] == "pi-driver"
    await play.driver("Running")
    app = await play.until("RUNNING", lambda app: "webUIAddress" in app["status"]["driverInfo"])
    assert app["status"]["driverInfo"] == {
        "podName": "pi-driver",
        "webUIServiceName": "pi-ui-svc",
        "webUIPort": 80,
        "webUIAddress": "127.9.9.9:4040",
    }
    service = await play.client.get(SERVICE, "pi-ui-svc", play.namespace)
    assert service["metadata"]["ownerReferences"][0]["uid"] == app["metadata"]["uid"]
    executor = await make_pod(play.client, app, app["status"]["submissionID"], "executor")
    await play.until(
        "RUNNING", lambda app: app["status"].get("executorState") == {executor["metadata"]["name"]: "PENDING"}
    )
    await play.driver("Running", name=executor["metadata"]["name"])
    await play.until("RUNNING", lambda app: "RUNNING" in app["status"]["executorState"].values())
    await play.client.delete(
        POD, executor["metadata"]["name"], play.namespace, propagation="Background", grace_seconds=0
    )
    await play.until("RUNNING", lambda app: "UNKNOWN" in app["status"]["executorState"].values())
    await play.driver("Succeeded", 0, "Completed")
    app = await play.until("COMPLETED")
    assert app["status"]["executorState"] == {executor["metadata"]["name"]: "COMPLETED"}
    assert app["status"]["terminationTime"]
    assert app["status"]["sparkApplicationId"].startswith("spark-")
    assert "errorMessage" not in app["status"]["applicationState"]
    for reason in ("SparkApplicationSubmitted", "SparkDriverRunning", "SparkExecutorRunning", "SparkDriverCompleted"):
        assert (await play.event(app, reason))["source"]["component"] == "spark-application-controller"
    assert "spec.driver.memoryLimit" in (await play.event(app, "SparkApplicationFieldsIgnored"))["message"]
    # What is over stays over.
    await play.client.delete(POD, "pi-driver", play.namespace, propagation="Background", grace_seconds=0)
    await play.absent(POD, "pi-driver")
    await asyncio.sleep(0.2)
    assert len(play.submitter.submitted) == 1
    await play.until("COMPLETED")


async def test_failure_without_retries(play: Play) -> None:
    await play.create()
    await play.running()
    await play.driver("Failed", 137, "OOMKilled")
    app = await play.until("FAILED")
    message = "driver container failed with ExitCode: 137, Reason: OOMKilled"
    assert app["status"]["applicationState"]["errorMessage"] == message
    await play.event(app, "SparkDriverFailed")


async def test_failures_are_retried_with_growing_pauses(play: Play) -> None:
    policy = {"type": "OnFailure", "onFailureRetries": 1, "onFailureRetryInterval": 1}
    await play.create(restartPolicy=policy)
    first = await play.running()
    await play.driver("Failed", 1)
    # FAILING itself may be over at once: the pause counts from the submission.
    second = await play.until("SUBMITTED", lambda app: app["status"]["executionAttempts"] == 2)
    assert second["status"]["submissionID"] != first["status"]["submissionID"]
    assert "errorMessage" not in second["status"]["applicationState"]
    assert "terminationTime" not in second["status"]
    first_time, second_time = (app["status"]["lastSubmissionAttemptTime"] for app in (first, second))
    assert second_time > first_time
    for reason in ("SparkDriverFailed", "SparkApplicationPendingRerun"):
        await play.event(second, reason)
    await play.driver("Failed", 2)
    app = await play.until("FAILED")
    assert (
        app["status"]["applicationState"]["errorMessage"] == "driver container failed with ExitCode: 2, Reason: Error"
    )


async def test_restart_always_begins_anew_after_success(play: Play) -> None:
    await play.create(restartPolicy={"type": "Always"})
    await play.running()
    await play.driver("Succeeded", 0)
    await play.until("SUBMITTED", lambda app: app["status"]["executionAttempts"] == 2)


async def test_failed_submissions(play: Play) -> None:
    policy = {"type": "OnFailure", "onSubmissionFailureRetries": 1, "onSubmissionFailureRetryInterval": 1}
    play.submitter.errors.extend(f"failed to run spark-submit: {word}" for word in ("no", "no again"))
    await play.create(restartPolicy=policy)
    app = await play.until("SUBMISSION_FAILED")
    message = "failed to submit spark application: failed to run spark-submit: no"
    assert app["status"]["applicationState"]["errorMessage"] == message
    assert (app["status"]["submissionAttempts"], app["status"].get("executionAttempts", 0)) == (1, 0)
    app = await play.until("FAILED")
    assert app["status"]["applicationState"]["errorMessage"].endswith("no again")
    assert app["status"]["submissionAttempts"] == 2
    assert app["status"]["terminationTime"]
    await play.event(app, "SparkApplicationSubmissionFailed")
    await play.event(app, "SparkApplicationFailed")


async def test_somebody_elses_driver_pod_is_in_the_way(play: Play) -> None:
    pod = {
        "metadata": {"name": "pi-driver"},
        "spec": {"nodeName": "elsewhere", "containers": [{"name": "c", "image": "i"}]},
    }
    await play.client.create(POD, pod, play.namespace)
    await play.create()
    app = await play.until("FAILED")
    assert (
        app["status"]["applicationState"]["errorMessage"]
        == "failed to submit spark application: driver pod already exist"
    )
    assert play.submitter.submitted == []
    await play.client.get(POD, "pi-driver", play.namespace)


async def test_a_driver_pod_that_vanishes(play: Play) -> None:
    await play.create()
    await play.running()
    await play.client.delete(POD, "pi-driver", play.namespace, propagation="Background", grace_seconds=0)
    app = await play.until("FAILED")
    assert app["status"]["applicationState"]["errorMessage"] == "driver pod not found"
    await play.event(app, "SparkDriverNotFound")


async def test_time_to_live(play: Play) -> None:
    await play.create(timeToLiveSeconds=1)
    await play.running()
    await play.driver("Succeeded", 0)
    await play.until("COMPLETED")
    await play.absent(API, "pi")


async def test_a_changed_spec_is_run_anew(play: Play) -> None:
    await play.create(restartPolicy={"type": "Never"})
    first = await play.running()
    await play.change(timeToLiveSeconds=3600)  # not a change of the run
    await play.change(arguments=["more"])
    second = await play.until("SUBMITTED", lambda app: app["status"]["submissionID"] != first["status"]["submissionID"])
    assert (second["status"]["submissionAttempts"], second["status"]["executionAttempts"]) == (1, 1)
    assert len(play.submitter.submitted) == 2
    await play.running()
    await play.driver("Succeeded", 0)
    await play.until("COMPLETED")
    await play.change(arguments=["even", "more"])  # also when it is over
    await play.until("SUBMITTED", lambda app: app["status"]["submissionID"] == play.submitter.submitted[-1])
    assert len(play.submitter.submitted) == 3


async def test_suspend_and_resume(play: Play) -> None:
    await play.create(suspend=True)
    app = await play.until("SUSPENDED")
    assert play.submitter.submitted == []
    await play.change(suspend=False)
    await play.running()
    await play.change(suspend=True)
    app = await play.until("SUSPENDED")
    assert app["status"]["driverInfo"] == {}
    await play.absent(POD, "pi-driver")
    await play.absent(SERVICE, "pi-ui-svc")
    await play.change(suspend=False)
    app = await play.running()
    assert len(play.submitter.submitted) == 2
    for reason in ("SparkApplicationSuspending", "SparkApplicationSuspended", "SparkApplicationResuming"):
        await play.event(app, reason)


@pytest.mark.parametrize("how", ["deleted", "suspended", "changed"])
async def test_a_submission_that_is_no_longer_wanted_is_ended(play: Play, how: str) -> None:
    play.submitter.held.clear()
    await play.create()
    async with asyncio.timeout(SECONDS):
        while not play.submitter.submitted:
            await asyncio.sleep(0.01)
    if how == "deleted":
        await play.client.delete(API, "pi", play.namespace, propagation="Background")
    elif how == "suspended":
        await play.change(suspend=True)
    else:
        await play.change(arguments=["other"])
    async with asyncio.timeout(SECONDS):
        while not play.submitter.ended_early:
            await asyncio.sleep(0.01)
    play.submitter.held.set()
    if how == "changed":
        await play.until("SUBMITTED")
    elif how == "suspended":
        await play.until("SUSPENDED")
    expected = 2 if how == "changed" else 1
    assert len(play.submitter.submitted) == expected


async def test_deletion_takes_the_driver_along(play: Play) -> None:
    """Whatever the garbage collector does, and even if it is deleted with finalizers of somebody."""
    await play.create()
    await play.running()
    await play.client.patch(API, "pi", {"metadata": {"finalizers": ["example.com/wait"]}}, play.namespace)
    await play.client.delete(API, "pi", play.namespace, propagation="Background")
    await play.absent(POD, "pi-driver")
    await play.client.patch(API, "pi", {"metadata": {"finalizers": None}}, play.namespace)
    await play.absent(API, "pi")


# --- a controller that dies ------------------------------------------------------------------------------------------


async def test_a_submission_that_was_not_noted_is_adopted(play: Play) -> None:
    """The controller died after spark-submit had made the driver pod and before the status told of it."""
    await play.stop()
    app = await play.create()
    await make_pod(play.client, app, "s-before")
    await play.driver("Running")
    await play.start()
    app = await play.until("RUNNING")
    assert app["status"]["submissionID"] == "s-before"
    assert (app["status"]["submissionAttempts"], app["status"]["executionAttempts"]) == (1, 1)
    assert play.submitter.submitted == []


@pytest.mark.parametrize("whole", [True, False])
async def test_half_a_submission_is_cleared_away(play: Play, whole: bool) -> None:
    """The controller died with its spark-submit, which makes the driver pod first and then what the pod mounts."""
    await play.stop()
    app = await play.create()
    name = "spark-drv-x-conf-map"
    volume = {"name": "v", "configMap": {"name": name}}
    template = {"spec": {"volumes": [volume]}}
    before = await make_pod(play.client, app | {"spec": app["spec"] | {"driver": {"template": template}}}, "s-before")
    if whole:
        await play.client.create(CONFIG_MAP, {"metadata": {"name": name}}, play.namespace)
    # It is adopted, or replaced; either way the spec is what it was.
    note = {"metadata": {"annotations": {SPEC_HASH: spark_state.spec_hash(app)}}}
    await play.client.patch(POD, "pi-driver", note, play.namespace)
    await play.start()
    app = await play.until("SUBMITTED")
    driver = await play.client.get(POD, "pi-driver", play.namespace)
    assert (driver["metadata"]["uid"] == before["metadata"]["uid"]) is whole
    assert play.submitter.submitted == ([] if whole else [app["status"]["submissionID"]])


@pytest.mark.parametrize("state", ["SUBMITTED", "RUNNING", "FAILING"])
async def test_a_new_controller_goes_on_where_the_old_one_stopped(play: Play, state: str) -> None:
    # Counted from the submission: long enough for FAILING to be seen, where that matters.
    interval = 4 if state == "FAILING" else 1
    await play.create(restartPolicy={"type": "OnFailure", "onFailureRetries": 1, "onFailureRetryInterval": interval})
    app = await play.until("SUBMITTED")
    if state != "SUBMITTED":
        app = await play.running()
    if state == "FAILING":
        await play.driver("Failed", 1)
        await play.until("FAILING")
    await play.stop()
    if state != "FAILING":
        await play.driver("Failed", 1)
    await play.start()
    app = await play.until("SUBMITTED", lambda app: app["status"]["executionAttempts"] == 2)
    assert app["status"]["submissionAttempts"] == 2
    assert len(play.submitter.submitted) == 2


async def test_a_change_while_no_controller_ran_is_noticed(play: Play) -> None:
    await play.create()
    first = await play.running()
    await play.stop()
    await play.change(arguments=["more"])
    await play.start()
    await play.until("SUBMITTED", lambda app: app["status"]["submissionID"] != first["status"]["submissionID"])


async def test_other_namespaces_are_left_alone(play: Play, api_server: Any) -> None:
    app = {"metadata": {"name": "elsewhere"}, "spec": (await play.create())["spec"]}
    await play.client.create(API, app, "default")
    await play.until("SUBMITTED")
    await asyncio.sleep(0.2)
    elsewhere = await play.client.get(API, "elsewhere", "default")
    assert "status" not in elsewhere
    await play.client.delete(API, "elsewhere", "default", propagation="Background")
