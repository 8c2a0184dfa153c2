"""Whatever happens, in any order: never two live jobs, never a lost outcome, and nothing left at the end."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.exceptions import JobFailedError
from airflow_provider_sparkml.jobs.finish import finish
from airflow_provider_sparkml.jobs.outcome import Deadlines
from airflow_provider_sparkml.jobs.submit import submit
from airflow_provider_sparkml.jobs.wait import wait
from airflow_provider_sparkml.resources import naming
from airflow_provider_sparkml.resources.base import Manifest, Phase
from airflow_provider_sparkml.resources.spark import API, SPARK_APPLICATION
from tests.integration.jobs.conftest import Operator, Told, identity, pi

STATES = (
    "", "SUBMITTED", "RUNNING", "SUCCEEDING", "FAILING", "SUBMISSION_FAILED", "PENDING_RERUN", "INVALIDATING",
    "SUSPENDING", "SUSPENDED", "RESUMING", "UNKNOWN", "NEVER_HEARD_OF",
)  # fmt: skip
TERMINAL = ("COMPLETED", "FAILED")

STEPS = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(STATES)),
    st.tuples(st.just("end"), st.sampled_from(TERMINAL)),
    st.tuples(st.just("end and crash"), st.sampled_from(TERMINAL)),
    st.tuples(st.just("crash"), st.floats(0, 0.02)),
    st.tuples(st.just("zombie"), st.none()),
    st.tuples(st.just("delete"), st.none()),
)


@dataclass
class Worker:
    """One process that runs a try of the task."""

    world: World
    try_number: int
    doing: str = "submit"
    uid: str = ""
    task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        world = self.world
        submission = await submit(
            world.client,
            SPARK_APPLICATION,
            pi(),
            identity(self.try_number, 99, world.run),
            namespace=world.namespace,
            log=world.told,
        )
        self.doing, self.uid = "wait", submission.ref.uid
        outcome = await wait(world.client, world.hub, SPARK_APPLICATION, submission.ref, Deadlines(), log=world.told)
        assert outcome.verdict.phase.is_terminal or outcome.deleted
        assert not outcome.verdict.phase.is_terminal or self.uid in world.ends
        self.doing = "finish"
        try:
            result = await finish(world.client, SPARK_APPLICATION, outcome, on_finish="delete", log=world.told)
            world.reported[self.uid] = result["phase"]
        except JobFailedError:
            world.reported[self.uid] = "FAILED"


@dataclass
class World:
    """One task of Airflow's, its processes, and what the cluster did to its jobs.

    :param client: Airflow's, with its rights only.
    :param admin: of whoever acts on jobs.
    """

    client: KubernetesClient
    admin: KubernetesClient
    hub: WatchHub
    namespace: str
    run: str
    told: Told = field(default_factory=Told)
    workers: list[Worker] = field(default_factory=list)
    tries: int = 0
    ends: dict[str, str] = field(default_factory=dict)
    reported: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    broken_off: set[str] = field(default_factory=set)

    async def objects(self) -> list[Manifest]:
        found = await self.client.list(
            API, self.namespace, label_selector=naming.selector(identity(run=self.run, max_tries=99))
        )
        return [item for item in found.items if "deletionTimestamp" not in item["metadata"]]

    async def live(self) -> Manifest | None:
        """Return the job that is neither over nor given up; there must never be two."""
        alive = [
            item for item in await self.objects()
            if not naming.is_consumed(item) and SPARK_APPLICATION.read(item).phase is not Phase.FAILED
        ]  # fmt: skip
        assert len(alive) <= 1
        return alive[0] if alive else None

    def start(self) -> None:
        self.tries += 1
        worker = Worker(self, self.tries)
        worker.task = asyncio.create_task(worker.run())
        self.workers.append(worker)

    async def crash(self) -> None:
        """All processes die; Airflow starts the next try."""
        for worker in self.workers:
            if not worker.task.done():
                if worker.doing == "finish":
                    self.broken_off.add(worker.uid)
                worker.task.cancel()
            with suppress(asyncio.CancelledError):
                await worker.task
        self.workers.clear()

    async def waiting(self) -> Manifest | None:
        """Return the live job once every process waits for one, or has ended."""
        async with asyncio.timeout(20):
            while any(not w.task.done() and w.doing != "wait" for w in self.workers):
                await asyncio.sleep(0.005)
        return await self.live()

    async def step(self, action: str, value: object) -> None:
        if action == "crash":
            await asyncio.sleep(value)
            await self.crash()
        elif action == "zombie":
            self.start()
        else:
            await self.to_the_job(await self.waiting(), action, value)
        await self.live()
        if all(worker.task.done() for worker in self.workers) and not self.has_succeeded:
            for worker in self.workers:
                worker.task.result()
            self.start()

    async def to_the_job(self, job: Manifest | None, action: str, value: object) -> None:
        if job is None or SPARK_APPLICATION.read(job).phase is Phase.SUCCEEDED:
            return
        uid, name = job["metadata"]["uid"], job["metadata"]["name"]
        if action == "delete":
            self.deleted.add(uid)
            await self.admin.delete(API, name, self.namespace, propagation="Background")
        else:
            if value in TERMINAL:
                self.ends[uid] = value
            await Operator(self.admin, self.namespace, None).write(name, value)
        if action == "end and crash":
            await self.crash()
        elif action in ("end", "delete"):
            await self.all_told(uid)

    async def all_told(self, uid: str) -> None:
        """Wait until the processes that wait for a job have learnt its end."""
        tasks = [worker.task for worker in self.workers if worker.uid == uid]
        if tasks:
            await asyncio.wait_for(asyncio.gather(*tasks), 20)

    @property
    def has_succeeded(self) -> bool:
        return "SUCCEEDED" in self.reported.values()


async def live_through(kubeconfigs, namespace, steps):
    airflow, admin = (KubernetesClient(kubeconfig_file(path)) for path in kubeconfigs)
    async with airflow, admin:
        world = World(airflow, admin, WatchHub(airflow), namespace, run=uuid.uuid4().hex)
        world.start()
        for action, value in steps:
            if world.has_succeeded:
                break
            await world.step(action, value)
        while not world.has_succeeded:
            if not world.workers or all(worker.task.done() for worker in world.workers):
                world.start()
            await world.to_the_job(await world.waiting(), "end", "COMPLETED")
            if (job := await world.live()) is not None:
                await world.all_told(job["metadata"]["uid"])
        await asyncio.wait_for(asyncio.gather(*(worker.task for worker in world.workers)), 20)
        assert await world.objects() == []
        for uid, state in world.ends.items():
            if uid in world.deleted | world.broken_off:
                continue
            told = world.reported.get(uid)
            if state == "COMPLETED":
                assert told == "SUCCEEDED"
            else:
                assert told == "FAILED" or "of an earlier try, had failed" in world.told.text
        await world.hub.close()


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, max_size=12))
def test_never_two_live_jobs_never_a_lost_outcome(api_server, namespace, steps):
    airflow = api_server.state_dir / f"{namespace}-airflow-kubeconfig"
    if not airflow.exists():
        api_server.airflow_kubeconfig(namespace)
    asyncio.run(live_through((airflow, api_server.kubeconfig), namespace, steps))
