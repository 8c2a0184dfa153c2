"""The controller of SparkApplications: submits them with the genuine spark-submit and drives their status.

Follows kubeflow/spark-operator v2.5, ``internal/controller/sparkapplication/controller.go``; its states, texts and
times are those of the operator. Beyond it, an application is never submitted twice: a driver pod that a submission
left behind, before its end could be noted, is found by its owner and adopted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import (
    AlreadyExistsError,
    ApiError,
    InvalidManifestError,
    LocalClusterError,
    NotFoundError,
)
from airflow_provider_sparkml.local.controllers import spark_state as states
from airflow_provider_sparkml.local.controllers.runtime import Controller, Key, Source, controller_of, now, record_event
from airflow_provider_sparkml.local.controllers.spark_properties import (
    APP_NAME,
    LAUNCHED,
    SPEC_HASH,
    SUBMISSION_ID,
    ignored_fields,
)
from airflow_provider_sparkml.local.controllers.spark_state import Note, Status
from airflow_provider_sparkml.local.controllers.spark_submission import Submitter
from airflow_provider_sparkml.local.controllers.spark_ui import ui_service, ui_service_name
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import CONFIG_MAP, POD, SERVICE
from airflow_provider_sparkml.resources.spark import API
from airflow_provider_sparkml.resources.spark_retries import next_retry

log = logging.getLogger(__name__)

NAME = "spark-application-controller"
WORKERS = 16
PARALLEL_SUBMISSIONS = 2  # each is a JVM of its own, busy for seconds
GONE_RETRY_SECONDS = 0.3
WANTED_SECONDS = 0.5  # how often a running spark-submit is asked whether its application is still wanted


Step = Callable[[Manifest], Awaitable[float | None]]
"""Takes an application one step on; returns after how many seconds to look again, if at all."""


class SparkController:
    """Reconciles SparkApplications.

    :param client: the API server.
    :param submitter: runs spark-submit.
    :param namespaces: where; in all when ``None``. Upstream's chart has ``default`` alone (``spark.jobNamespaces``).
    """

    def __init__(
        self, client: KubernetesClient, submitter: Submitter, *, namespaces: Collection[str] | None = None
    ) -> None:
        self._client = client
        self._submitter = submitter
        self._namespaces = namespaces
        self._submissions = asyncio.Semaphore(PARALLEL_SUBMISSIONS)
        self._seen: dict[str, str] = {}  # UID → hash of the spec that was acted on

    async def run(self) -> None:
        """Reconcile for ever."""
        sources = [Source(API), Source(POD, _application_of)]
        await Controller(NAME, self._client, sources, self.reconcile, workers=WORKERS).run()

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Take an application one step on; see :data:`~.runtime.Reconcile`."""
        if self._namespaces is not None and namespace not in self._namespaces:
            return None
        try:
            app = await self._client.get(API, name, namespace)
        except NotFoundError:
            return None
        if app["metadata"].get("deletionTimestamp"):
            await self._delete_driver(app)
            return None
        step = await self._step(app)
        return await step(app)

    async def _step(self, app: Manifest) -> Step:
        """Return what is to be done next."""
        state = states.state_of(app)
        if state != states.NEW and await self._spec_changed(app):
            return self._begin_invalidating
        self._seen[app["metadata"]["uid"]] = states.spec_hash(app)
        if app["spec"].get("suspend") and state not in (*states.TERMINAL, "SUSPENDED", "SUSPENDING"):
            return self._begin_suspending
        steps: dict[str, Step] = {
            states.NEW: self._submit,
            "RESUMING": self._submit,
            "SUBMITTED": self._observe,
            "RUNNING": self._observe,
            "UNKNOWN": self._observe,
            "PENDING_RERUN": self._rerun,
            "SUBMISSION_FAILED": self._after_failed_submission,
            "SUCCEEDING": self._after_run,
            "FAILING": self._after_run,
            "INVALIDATING": self._invalidate,
            "SUSPENDING": self._suspend,
            "SUSPENDED": self._suspend,
            "COMPLETED": self._after_end,
            "FAILED": self._after_end,
        }
        if state not in steps:
            raise LocalClusterError(f"state {state!r} of the application is none that this controller knows")
        return steps[state]

    # --- submitting --------------------------------------------------------------------------------------------------

    async def _submit(self, app: Manifest) -> float | None:
        """Submit the application, unless a driver of it is there already."""
        pod = await self._pod(app, states.driver_pod_name(app))
        if pod is not None and _belongs(pod, app):
            return await self._adopt(app, pod)
        status = states.copy_status(app)
        submission_id = str(uuid.uuid4())
        status["submissionID"] = submission_id
        status["driverInfo"]["podName"] = states.driver_pod_name(app)
        status["lastSubmissionAttemptTime"] = now()
        status["submissionAttempts"] = status.get("submissionAttempts", 0) + 1
        try:
            if pod is not None:
                raise LocalClusterError("driver pod already exist")
            if not await self._spark_submit(app, submission_id):
                return 0.0  # it is no longer wanted as it was; look again
        except (LocalClusterError, InvalidManifestError) as error:
            message = f"failed to submit spark application: {error}"
            states.set_state(status, "SUBMISSION_FAILED", message)
            text = f"failed to submit SparkApplication {app['metadata']['name']}: {message}"
            notes = [Note("Warning", "SparkApplicationSubmissionFailed", text)]
        else:
            notes = [_submitted(app, status), *_ignored(app)]
        await self._write(app, status, notes)
        return None

    async def _spark_submit(self, app: Manifest, submission_id: str) -> bool:
        """Run spark-submit; end it, and return ``False``, when the application is deleted or changed meanwhile."""

        def progress(line: str) -> None:
            log.info("installing Spark: %s", line)

        async with self._submissions:
            submitting = asyncio.create_task(self._submitter.submit(app, submission_id, progress=progress))
            try:
                while not submitting.done():
                    await asyncio.wait((submitting,), timeout=WANTED_SECONDS)
                    if not submitting.done() and not await self._still_wanted(app):
                        return False
                submitting.result()
            finally:
                submitting.cancel()
                await asyncio.gather(submitting, return_exceptions=True)
        return True

    async def _still_wanted(self, app: Manifest) -> bool:
        try:
            newest = await self._client.get(API, app["metadata"]["name"], app["metadata"]["namespace"])
        except NotFoundError:
            return False
        same = newest["metadata"]["uid"] == app["metadata"]["uid"] and states.spec_hash(newest) == states.spec_hash(app)
        return same and not newest["metadata"].get("deletionTimestamp") and not newest["spec"].get("suspend")

    async def _adopt(self, app: Manifest, pod: Manifest) -> float | None:
        """Take note of a submission whose end was not noted, or clear away what is left of a broken one."""
        labels, status = pod["metadata"].get("labels") or {}, states.copy_status(app)
        submission_id = labels.get(SUBMISSION_ID, "")
        leaving = pod["metadata"].get("deletionTimestamp") is not None
        if leaving or submission_id == status.get("submissionID") or not await self._is_complete(pod):
            if not leaving:
                await self._delete_driver(app)
            return GONE_RETRY_SECONDS
        log.info("SparkApplication %s: adopting driver pod %s", app["metadata"]["name"], pod["metadata"]["name"])
        status["submissionID"] = submission_id
        status["driverInfo"]["podName"] = pod["metadata"]["name"]
        status["lastSubmissionAttemptTime"] = pod["metadata"]["creationTimestamp"]
        status["submissionAttempts"] = status.get("submissionAttempts", 0) + 1
        await self._write(app, status, [_submitted(app, status)])
        return None

    async def _is_complete(self, pod: Manifest) -> bool:
        """Whether spark-submit got to making what the driver pod mounts; it makes the pod first."""
        for volume in pod["spec"].get("volumes") or ():
            name = (volume.get("configMap") or {}).get("name", "")
            if name.startswith("spark-drv-"):
                try:
                    await self._client.get(CONFIG_MAP, name, pod["metadata"]["namespace"])
                except NotFoundError:
                    return False
        return True

    async def _after_failed_submission(self, app: Manifest) -> float | None:
        retry = next_retry(app)
        if retry is None:
            status = states.copy_status(app)
            states.set_state(status, "FAILED")
            status["terminationTime"] = now()
            message = status["applicationState"].get("errorMessage", "")
            text = f"SparkApplication {app['metadata']['name']} failed: {message}"
            await self._write(app, status, [Note("Warning", "SparkApplicationFailed", text)])
            return None
        wait = states.seconds_until(retry, states.utc_now())
        return wait if wait > 0 else await self._submit(app)

    # --- running -----------------------------------------------------------------------------------------------------

    async def _observe(self, app: Manifest) -> float | None:
        """Bring the status up to what the pods say."""
        status, moment = states.copy_status(app), states.utc_now()
        name = status["driverInfo"].get("podName") or states.driver_pod_name(app)
        pod = await self._pod(app, name)
        if pod is None and states.state_of(app) == "SUBMITTED" and (wait := states.grace_left(app, moment)) > 0:
            return wait
        notes = list(states.read_driver(app, status, pod, moment))
        notes += states.read_executors(status, await self._executors(app))
        if pod is not None and not status["driverInfo"].get("webUIAddress"):
            status["driverInfo"] |= await self._ui_service(app, pod)
        await self._write(app, status, notes)
        return None

    async def _after_run(self, app: Manifest) -> float | None:
        """Decide between another run and the end."""
        status, retry = states.copy_status(app), next_retry(app)
        if retry is None:
            states.set_state(status, "COMPLETED" if states.state_of(app) == "SUCCEEDING" else "FAILED")
            states.end_executors(status)
            await self._write(app, status)
            return None
        if (wait := states.seconds_until(retry, states.utc_now())) > 0:
            return wait
        await self._delete_resources(app)
        states.reset(status)
        states.set_state(status, "PENDING_RERUN")
        text = f"SparkApplication {app['metadata']['name']} is pending rerun"
        await self._write(app, status, [Note("Warning", "SparkApplicationPendingRerun", text)])
        return None

    async def _rerun(self, app: Manifest) -> float | None:
        return await self._submit(app) if await self._is_clear(app) else GONE_RETRY_SECONDS

    async def _after_end(self, app: Manifest) -> float | None:
        """Keep the executors' states true, and delete the application when its time is up."""
        left = states.seconds_until_expiry(app, states.utc_now())
        meta = app["metadata"]
        if left is not None and left <= 0:
            await self._client.delete(API, meta["name"], meta["namespace"], propagation="Background", uid=meta["uid"])
            return None
        status = states.copy_status(app)
        notes = list(states.read_executors(status, await self._executors(app)))
        await self._write(app, status, notes)
        return left

    # --- changes by the user -----------------------------------------------------------------------------------------

    async def _spec_changed(self, app: Manifest) -> bool:
        """Whether the spec is another than the one that was acted on; the driver pod remembers for a new controller."""
        seen = self._seen.get(app["metadata"]["uid"])
        if seen is None:
            pod = await self._pod(app, states.driver_pod_name(app))
            if pod is not None and _belongs(pod, app):
                seen = (pod["metadata"].get("annotations") or {}).get(SPEC_HASH)
        return seen is not None and seen != states.spec_hash(app)

    async def _begin_invalidating(self, app: Manifest) -> None:
        await self._enter(app, "INVALIDATING")
        self._seen[app["metadata"]["uid"]] = states.spec_hash(app)

    async def _begin_suspending(self, app: Manifest) -> None:
        await self._enter(app, "SUSPENDING")

    async def _enter(self, app: Manifest, state: str) -> None:
        status = states.copy_status(app)
        states.set_state(status, state)
        await self._write(app, status)

    async def _invalidate(self, app: Manifest) -> float | None:
        await self._delete_resources(app)
        status = states.copy_status(app)
        states.reset(status, counters=True)
        states.set_state(status, "PENDING_RERUN")
        await self._write(app, status)
        return None

    async def _suspend(self, app: Manifest) -> float | None:
        status, name = states.copy_status(app), app["metadata"]["name"]
        if states.state_of(app) == "SUSPENDING":
            await self._delete_resources(app)
            states.reset(status)
            states.set_state(status, "SUSPENDED")
            notes = [
                Note("Warning", "SparkApplicationSuspending", f"SparkApplication {name} is suspending"),
                Note("Warning", "SparkApplicationSuspended", f"SparkApplication {name} is suspended"),
            ]
        elif app["spec"].get("suspend"):
            return None
        elif not await self._is_clear(app):
            return GONE_RETRY_SECONDS
        else:
            states.set_state(status, "RESUMING")
            notes = [Note("Warning", "SparkApplicationResuming", f"SparkApplication {name} is resuming")]
        await self._write(app, status, notes)
        return None

    # --- objects -----------------------------------------------------------------------------------------------------

    async def _write(self, app: Manifest, status: Status, notes: Iterable[Note] = ()) -> None:
        """Store the status if it changed, and tell of it; somebody else's change meanwhile is a conflict: look anew."""
        if status != app.get("status"):
            await self._client.replace(
                API, {**app, "status": status}, app["metadata"]["namespace"], subresource="status"
            )
        for note in notes:
            try:
                await record_event(self._client, app, note.kind, reason=note.reason, message=note.message, source=NAME)
            except ApiError as error:
                log.warning("event %s of SparkApplication %s: %s", note.reason, app["metadata"]["name"], error)

    async def _pod(self, app: Manifest, name: str) -> Manifest | None:
        try:
            return await self._client.get(POD, name, app["metadata"]["namespace"])
        except NotFoundError:
            return None

    async def _executors(self, app: Manifest) -> list[Manifest]:
        selector = f"{APP_NAME}={app['metadata']['name']},spark-role=executor"
        if submission_id := app["status"].get("submissionID"):
            selector += f",{SUBMISSION_ID}={submission_id}"
        return (await self._client.list(POD, app["metadata"]["namespace"], label_selector=selector)).items

    async def _delete_driver(self, app: Manifest) -> None:
        pod = await self._pod(app, states.driver_pod_name(app))
        if pod is not None and _belongs(pod, app):
            meta = pod["metadata"]
            await self._client.delete(POD, meta["name"], meta["namespace"], propagation="Background", uid=meta["uid"])

    async def _delete_resources(self, app: Manifest) -> None:
        await self._delete_driver(app)
        service = await self._service(app)
        if service is not None:
            await self._client.delete(
                SERVICE, service["metadata"]["name"], service["metadata"]["namespace"], propagation="Background"
            )

    async def _is_clear(self, app: Manifest) -> bool:
        """Whether nothing of the former run is in the way; a driver of a newer submission is not of the former."""
        pod = await self._pod(app, states.driver_pod_name(app))
        if pod is not None and _belongs(pod, app):
            former = (app.get("status") or {}).get("submissionID")
            if (pod["metadata"].get("labels") or {}).get(SUBMISSION_ID) == former:
                return False
        return await self._service(app) is None

    async def _service(self, app: Manifest) -> Manifest | None:
        try:
            service = await self._client.get(SERVICE, ui_service_name(app), app["metadata"]["namespace"])
        except NotFoundError:
            return None
        return service if _belongs(service, app) else None

    async def _ui_service(self, app: Manifest, pod: Manifest) -> Manifest:
        """Make the service of the Spark UI and return what ``driverInfo`` says of it.

        The address is the driver pod's own as soon as it has one: on one machine it is reachable from everywhere.
        """
        service = ui_service(app)
        with contextlib.suppress(AlreadyExistsError):
            await self._client.create(SERVICE, service, app["metadata"]["namespace"])
        port = service["spec"]["ports"][0]
        info = {"webUIServiceName": service["metadata"]["name"], "webUIPort": port["port"]}
        if address := (pod.get("status") or {}).get("podIP"):
            info["webUIAddress"] = f"{address}:{port['targetPort']}"
        return info


def _application_of(pod: Manifest) -> Iterable[Key]:
    """Yield the key of the application that a pod was launched for."""
    labels = pod["metadata"].get("labels") or {}
    if labels.get(LAUNCHED) == "true" and APP_NAME in labels:
        yield pod["metadata"]["namespace"], labels[APP_NAME]


def _belongs(obj: Manifest, app: Manifest) -> bool:
    owner = controller_of(obj)
    return owner is not None and owner["uid"] == app["metadata"]["uid"]


def _ignored(app: Manifest) -> Iterable[Note]:
    if fields := ignored_fields(app):
        text = f"the local cluster does not act on {', '.join(fields)}"
        yield Note("Warning", "SparkApplicationFieldsIgnored", text)


def _submitted(app: Manifest, status: Status) -> Note:
    """Note a successful submission in the status, and return the event that tells of it."""
    status["applicationState"] = {"state": "SUBMITTED"}
    status["executionAttempts"] = status.get("executionAttempts", 0) + 1
    text = f"SparkApplication {app['metadata']['name']} was submitted successfully"
    return Note("Normal", "SparkApplicationSubmitted", text)
