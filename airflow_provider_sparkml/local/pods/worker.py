"""The life of one pod on the node: volumes, init containers, containers, status, deadline, deletion."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import ApiError, ConflictError, NotFoundError
from airflow_provider_sparkml.local.pods.container import Container
from airflow_provider_sparkml.local.pods.context import PodContext
from airflow_provider_sparkml.local.pods.scheduling import is_finished
from airflow_provider_sparkml.local.pods.status import (
    ContainerStatus,
    now,
    pod_conditions,
    pod_phase,
    terminated,
    waiting,
)
from airflow_provider_sparkml.local.pods.volumes import MountError, sources_of
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import POD

log = logging.getLogger(__name__)

MOUNT_RETRY_SECONDS = (0.05, 0.1, 0.2, 0.4, 1.0)  # Spark makes what a pod mounts a moment after the pod
API_RETRY_SECONDS = 1.0
DEFAULT_GRACE_SECONDS = 30
LOST_EXIT_CODE = 137


class PodWorker:
    """Runs one pod until its object is deleted.

    :param client: the API server, which is told the pod's status.
    :param context: the pod.
    """

    def __init__(self, client: KubernetesClient, context: PodContext) -> None:
        self._client = client
        self._context = context
        self._pod = context.pod
        spec, status = self._pod["spec"], self._pod.get("status") or {}
        first = "PodInitializing" if spec.get("initContainers") else "ContainerCreating"
        self._inits = _containers(context, spec.get("initContainers"), status.get("initContainerStatuses"), first)
        self._containers = _containers(context, spec["containers"], status.get("containerStatuses"), first)
        self._conditions: list[Manifest] = status.get("conditions") or []
        self._start_time: str = status.get("startTime") or now()
        # What the containers alone do not tell; a pod that has ended keeps what was said of it.
        kept = ("phase", "reason", "message") if is_finished(self._pod) else ()
        self._verdict: dict[str, str] = {key: status[key] for key in kept if key in status}
        self._pushing = asyncio.Lock()
        self._grace: float = spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS)
        self._deleted = asyncio.Event()
        self._stopping = asyncio.Event()
        self._abandoned = False

    @property
    def uid(self) -> str:
        """The pod's UID."""
        return str(self._pod["metadata"]["uid"])

    @property
    def address(self) -> str:
        """The pod's address."""
        return self._context.address

    def delete(self, grace_seconds: float) -> None:
        """Take note that somebody deletes the pod: end it and confirm."""
        self._grace = grace_seconds
        self._deleted.set()

    async def run(self) -> None:
        """Run the pod; return when its object may go, having said so to the API server."""
        telling = asyncio.create_task(self._tell_status(), name=f"status of pod {self.uid}")
        living = asyncio.create_task(self._live(), name=f"containers of pod {self.uid}")
        try:
            await self._until_over(living)
            await self._push()
            await self._deleted.wait()
            await self.stop(self._grace)
            await living
            await self._push()
            await self._confirm_deletion()
        finally:
            telling.cancel()
            living.cancel()
            await asyncio.gather(telling, living, return_exceptions=True)

    async def _confirm_deletion(self) -> None:
        meta = self._pod["metadata"]
        while not self._abandoned:
            try:
                await self._client.delete(
                    POD, meta["name"], meta["namespace"], propagation=None, uid=self.uid, grace_seconds=0
                )
                return
            except ApiError as error:
                log.warning("deletion of pod %s/%s: %s", meta["namespace"], meta["name"], error)
                await asyncio.sleep(API_RETRY_SECONDS)

    def mounts(self, kind: str, name: str) -> bool:
        """Whether a volume of the pod is of a ConfigMap or Secret (``kind``) of this name."""
        return (kind, name) in sources_of(self._pod)

    async def refresh(self) -> None:
        """Bring the files of mounted ConfigMaps and Secrets up to date."""
        if self._context.volumes and not self._stopping.is_set():
            await self._context.refresh()

    async def stop(self, grace_seconds: float) -> None:
        """End all containers: SIGTERM, and SIGKILL after the grace period."""
        self._stopping.set()
        await asyncio.gather(*(each.stop(grace_seconds) for each in (*self._inits, *self._containers)))

    async def abandon(self, grace_seconds: float) -> None:
        """End all containers and say nothing of it: the object is gone, or the node goes down."""
        self._abandoned = True
        await self.stop(grace_seconds)

    def lose(self) -> None:
        """Give up containers that ran when the node went down; those that restart by policy will be started anew."""
        for container in (*self._inits, *self._containers):
            status = container.status
            if status.is_running:
                message = "The container could not be located when the node came up again"
                reason = "ContainerStatusUnknown"
                status.state = terminated(LOST_EXIT_CODE, reason, started_at=status.started_at, message=message)
                status.ready = status.started = False
        if self._context.restart_policy == "Never" and any(c.status.has_run for c in (*self._inits, *self._containers)):
            self._fail("NodeLost", "The node went down while the pod was running on it")

    # --- life ------------------------------------------------------------------------------------------------------

    async def _until_over(self, living: asyncio.Task[None]) -> None:
        """Wait until all containers have ended for good, the pod is deleted, or its deadline has passed."""
        deleted = asyncio.create_task(self._deleted.wait())
        try:
            done, _ = await asyncio.wait(
                (living, deleted), timeout=self._seconds_left(), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            deleted.cancel()
        if living in done:
            living.result()
        elif not done:
            message = "Pod was active on the node longer than the specified deadline"
            self._context.tell("Normal", "DeadlineExceeded", message)
            self._fail("DeadlineExceeded", message)
            await self.stop(self._grace)
            await living

    def _seconds_left(self) -> float | None:
        deadline = self._pod["spec"].get("activeDeadlineSeconds")
        if deadline is None:
            return None
        started = datetime.fromisoformat(self._start_time)
        return max(0.0, float(deadline) - (datetime.now(UTC) - started).total_seconds())

    async def _live(self) -> None:
        """Run all containers to the end that the restart policy knows."""
        self._context.changed()
        if self._verdict:
            return
        await self._mount()
        policy = self._context.restart_policy
        async with contextlib.AsyncExitStack() as sidecars:
            for init in self._inits:
                if init.is_sidecar:
                    await sidecars.enter_async_context(self._beside(init))
                elif not await self._prepare(init, policy):
                    return
            if not self._stopping.is_set():
                await asyncio.gather(*(self._run(container, policy) for container in self._containers))

    async def _prepare(self, init: Container, policy: str) -> bool:
        """Run an init container; return whether it ended well, be it before the kubelet was restarted."""
        if init.status.exit_code == 0:
            return True
        return await init.run("Never" if policy == "Never" else "OnFailure") == 0

    @contextlib.asynccontextmanager
    async def _beside(self, sidecar: Container) -> AsyncIterator[None]:
        """Have a side-car run beside what comes after it, and end it last."""
        running = asyncio.create_task(sidecar.run("Always"))
        started = asyncio.create_task(sidecar.started.wait())
        try:
            await asyncio.wait((running, started), return_when=asyncio.FIRST_COMPLETED)
            yield
        finally:
            started.cancel()
            await sidecar.stop(self._grace)
            await running

    async def _run(self, container: Container, policy: str) -> None:
        code = container.status.exit_code
        if code is None or policy == "Always" or (policy == "OnFailure" and code != 0):
            await container.run(policy)

    async def _mount(self) -> None:
        pauses = iter(MOUNT_RETRY_SECONDS)
        while not self._stopping.is_set():
            try:
                self._context.volumes.update(await self._context.mount())
                return
            except (MountError, ApiError) as error:
                pause = next(pauses, MOUNT_RETRY_SECONDS[-1])
                if pause == MOUNT_RETRY_SECONDS[-1]:
                    self._context.tell("Warning", "FailedMount", f"MountVolume.SetUp failed: {error}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()

    def _fail(self, reason: str, message: str) -> None:
        self._verdict = {"phase": "Failed", "reason": reason, "message": message}
        self._context.changed()

    # --- status ----------------------------------------------------------------------------------------------------

    async def _tell_status(self) -> None:
        while True:
            await self._context.dirty.wait()
            await self._push()

    async def _push(self) -> None:
        """Bring the API server's copy of the status up to date, however often that must be tried."""
        meta = self._pod["metadata"]
        async with self._pushing:
            while self._context.dirty.is_set():
                self._context.dirty.clear()
                if self._abandoned:
                    return
                patch = {"metadata": {"uid": self.uid}, "status": self._status()}
                try:
                    await self._client.patch(POD, meta["name"], patch, meta["namespace"], subresource="status")
                except (NotFoundError, ConflictError):
                    return  # the pod is gone, and perhaps another has its name
                except ApiError as error:
                    log.warning("status of pod %s/%s: %s", meta["namespace"], meta["name"], error)
                    self._context.dirty.set()
                    await asyncio.sleep(API_RETRY_SECONDS)

    def _status(self) -> Manifest:
        inits = [each.status for each in self._inits if not each.is_sidecar]
        containers = [each.status for each in self._containers]
        phase = self._verdict.get("phase") or pod_phase(self._context.restart_policy, inits, containers)
        if (
            not self._verdict
            and phase in ("Succeeded", "Failed")
            and any(each.is_sidecar and each.status.is_running for each in self._inits)
        ):
            phase = "Running"  # until its side-cars have ended, too
        self._conditions = pod_conditions(phase, inits, containers, self._conditions)
        status = self._pod["status"]
        return {
            "phase": phase,
            "reason": self._verdict.get("reason"),
            "message": self._verdict.get("message"),
            "conditions": self._conditions,
            "hostIP": status["hostIP"],
            "podIP": status["podIP"],
            "podIPs": [{"ip": status["podIP"]}],
            "startTime": self._start_time,
            "initContainerStatuses": [each.status.to_json() for each in self._inits] or None,
            "containerStatuses": [each.to_json() for each in containers],
        }


def _containers(
    context: PodContext, specs: list[Manifest] | None, statuses: list[Manifest] | None, first_reason: str
) -> list[Container]:
    known = {status["name"]: ContainerStatus.from_json(status) for status in statuses or ()}
    return [
        Container(
            context,
            spec,
            known.get(spec["name"]) or ContainerStatus(spec["name"], spec["image"], waiting(first_reason)),
        )
        for spec in specs or ()
    ]
