"""One container: its image pulled, its program started, probed and watched, ended, and started again by policy."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator
from time import monotonic

from airflow_provider_sparkml.local.images import Image
from airflow_provider_sparkml.local.pods.context import PodContext
from airflow_provider_sparkml.local.pods.environment import ContainerConfigError
from airflow_provider_sparkml.local.pods.probes import results
from airflow_provider_sparkml.local.pods.program import (
    Program,
    build_program,
    container_directory,
    log_file,
    message_file,
    termination_message,
)
from airflow_provider_sparkml.local.pods.pulling import BackOff, pull_image
from airflow_provider_sparkml.local.pods.requests import memory_limit
from airflow_provider_sparkml.local.pods.status import (
    ContainerStatus,
    State,
    running,
    terminated,
    waiting,
    will_restart,
)
from airflow_provider_sparkml.local.pods.volumes import MountError
from airflow_provider_sparkml.local.processes import ProgramNotStartedError, TiedProcess
from airflow_provider_sparkml.resources.base import Manifest

log = logging.getLogger(__name__)

CONFIG_RETRY_SECONDS = 2.0
STEADY_SECONDS = 600.0  # after so long a run a crash is a new trouble
START_ERROR_EXIT_CODE = 128  # what a container runtime reports when it cannot start the program


class Container:
    """One container of a pod.

    :param context: the pod.
    :param spec: its entry in the pod's spec.
    :param status: what is known of it; kept up to date.
    """

    def __init__(self, context: PodContext, spec: Manifest, status: ContainerStatus) -> None:
        self._context = context
        self._spec = spec
        self.status = status
        self._process: TiedProcess | None = None
        self._reason = ""  # why the kubelet itself killed the program
        self._stopping = asyncio.Event()
        self.started = asyncio.Event()

    @property
    def is_sidecar(self) -> bool:
        """Whether it is an init container that keeps running beside the others (Kubernetes 1.28 and later)."""
        return self._spec.get("restartPolicy") == "Always"

    @property
    def name(self) -> str:
        """Its name in the pod."""
        return str(self._spec["name"])

    async def run(self, policy: str) -> int | None:
        """Run to the end that the restart policy knows; return the last exit code, ``None`` if it never started."""
        back_off = BackOff()
        while not self._stopping.is_set():
            image = await pull_image(self._context, self._spec["image"], self._wait_for, self._stopping)
            program = await self._program_when_possible(image) if image else None
            if image is None or program is None:
                break
            began = monotonic()
            code = await self._run_once(image, program)
            if self._stopping.is_set() or not will_restart(policy, code):
                break
            if monotonic() - began > STEADY_SECONDS:
                back_off = BackOff()
            await self._back_off(back_off)
        return self.status.exit_code

    async def stop(self, grace_seconds: float) -> None:
        """End it for good: SIGTERM, and SIGKILL after the grace period; :meth:`run` returns then."""
        self._stopping.set()
        if self._process is not None and self._process.returncode is None:
            self._context.tell("Normal", "Killing", f"Stopping container {self.name}")
            await self._process.stop(grace_seconds)

    # --- program ---------------------------------------------------------------------------------------------------

    async def _run_once(self, image: Image, program: Program) -> int:
        """Start the program, wait for its end, and return its exit code."""
        self._reason = ""
        if self.status.has_run:
            self.status.restart_count += 1
        output = log_file(self._context.root, self._spec)
        if output.exists():
            output.replace(output.with_name(f"{self.name}.previous.log"))
        message_file(self._context.root, self._spec).write_text("")
        self._context.tell("Normal", "Created", f"Created container: {self.name}")
        try:
            self._process = await TiedProcess.start(program.argv, env=program.env, cwd=program.cwd, log=output)
        except ProgramNotStartedError as error:
            problem = f"failed to start container {self.name!r}: {error}"
            self._context.tell("Warning", "Failed", f"Error: {problem}")
            self._set(terminated(START_ERROR_EXIT_CODE, "StartError", started_at=None, message=problem))
            return START_ERROR_EXIT_CODE
        self._context.tell("Normal", "Started", f"Started container {self.name}")
        self.status.image_id = f"sparkml://{image.prefix.name}"
        self.status.container_id = f"process://{self._process.pid}"
        self.status.started = "startupProbe" not in self._spec
        self.status.ready = self.status.started and "readinessProbe" not in self._spec
        self._set(running())
        if self._stopping.is_set():  # asked to stop while it was being started
            self._process.signal(signal.SIGKILL)
        async with self._watched(self._process, program):
            code = await self._process.wait()
        return self._ended(code)

    def _ended(self, code: int) -> int:
        exit_code = code if code >= 0 else 128 - code
        reason = self._reason or ("Completed" if exit_code == 0 else "Error")
        message = termination_message(self._context.root, self._spec, exit_code)
        self.status.ready = self.status.started = False
        self._set(terminated(exit_code, reason, started_at=self.status.started_at, message=message))
        return exit_code

    async def _program_when_possible(self, image: Image) -> Program | None:
        while True:
            try:
                return await build_program(self._context, self._spec, image)
            except (ContainerConfigError, MountError) as error:
                self._context.tell("Warning", "Failed", f"Error: {error}")
                self._wait_for("CreateContainerConfigError", str(error))
            if not await self._pause(CONFIG_RETRY_SECONDS):
                return None

    # --- watching --------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _watched(self, process: TiedProcess, program: Program) -> AsyncIterator[None]:
        """Probe the container and watch its memory while the block runs."""
        probing = asyncio.create_task(self._probe(process, program), name=f"probes of {self.name}")
        limit = memory_limit(self._spec)
        watch = self._context.memory.limit(process.pid, limit, self._oom_kill) if limit else contextlib.nullcontext()
        try:
            with watch:
                yield
        finally:
            probing.cancel()
            for error in await asyncio.gather(probing, return_exceptions=True):
                if isinstance(error, Exception):
                    log.error("probes of container %s: %s", self.name, error, exc_info=error)

    def _oom_kill(self) -> None:
        if self._process is not None:
            self._reason = "OOMKilled"
            self._process.signal(signal.SIGKILL)

    async def _probe(self, process: TiedProcess, program: Program) -> None:
        spec = self._spec
        if "startupProbe" in spec:
            async for healthy in self._answers("startupProbe", program):
                if healthy:
                    break
                await self._kill_unhealthy(process, "startup")
            self.status.started = True
            self.started.set()
            self.status.ready = "readinessProbe" not in spec
            self._context.changed()
        async with asyncio.TaskGroup() as group:
            if "readinessProbe" in spec:
                group.create_task(self._follow_readiness(program))
            if "livenessProbe" in spec:
                group.create_task(self._follow_liveness(process, program))

    async def _follow_readiness(self, program: Program) -> None:
        async for healthy in self._answers("readinessProbe", program):
            if healthy != self.status.ready:
                self.status.ready = healthy
                self._context.changed()

    async def _follow_liveness(self, process: TiedProcess, program: Program) -> None:
        async for healthy in self._answers("livenessProbe", program):
            if not healthy:
                await self._kill_unhealthy(process, "liveness")

    async def _answers(self, kind: str, program: Program) -> AsyncIterator[bool]:
        async def execute(command: list[str], timeout: float) -> tuple[int, str]:
            return await self._execute(command, program, timeout)

        async for result in results(self._spec[kind], self._spec, self._context.address, execute):
            if result.problem:
                name = kind.removesuffix("Probe").capitalize()
                self._context.tell("Warning", "Unhealthy", f"{name} probe failed: {result.problem}")
            if result.healthy is not None:
                yield result.healthy

    async def _kill_unhealthy(self, process: TiedProcess, which: str) -> None:
        self._context.tell("Normal", "Killing", f"Container {self.name} failed {which} probe, will be restarted")
        await process.stop(self._context.pod["spec"].get("terminationGracePeriodSeconds", 30))

    async def _execute(self, command: list[str], program: Program, timeout: float) -> tuple[int, str]:
        output = container_directory(self._context.root, self._spec) / "probe.log"
        output.unlink(missing_ok=True)
        argv = [program.paths.rewrite(word) for word in command]
        try:
            process = await TiedProcess.start(argv, env=program.env, cwd=program.cwd, log=output)
        except ProgramNotStartedError as error:
            return START_ERROR_EXIT_CODE, str(error)
        try:
            async with asyncio.timeout(timeout):
                code = await process.wait()
        finally:
            await process.stop(grace_seconds=0)
        return code, output.read_text(errors="replace").strip()

    # --- small parts -----------------------------------------------------------------------------------------------

    async def _back_off(self, back_off: BackOff) -> None:
        """Wait longer from restart to restart; the first one is at once."""
        seconds = back_off.next(first=0.0)
        if seconds:
            self._context.tell("Warning", "BackOff", f"Back-off restarting failed container {self.name}")
            self._wait_for("CrashLoopBackOff", f"back-off {seconds:.0f}s restarting failed container={self.name}")
            await self._pause(seconds)

    async def _pause(self, seconds: float) -> bool:
        """Wait; return whether the pod still wants to run."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return not self._stopping.is_set()

    def _wait_for(self, reason: str, message: str) -> None:
        self._set(waiting(reason, message))

    def _set(self, state: State) -> None:
        if self.status.started:
            self.started.set()
        if "terminated" in self.status.state:
            self.status.last_state = self.status.state
        self.status.state = state
        self._context.changed()
