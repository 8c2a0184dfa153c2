"""Queues on a real API server: who is held back, who may go when, and what the Workloads say; nobody runs the jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.local.controllers.kueue import kueue_controller
from airflow_provider_sparkml.resources.base import resource_for
from airflow_provider_sparkml.resources.kubeflow_v1 import PyTorchJob, TFJob, XGBoostJob
from airflow_provider_sparkml.resources.mpi import MPIJob
from airflow_provider_sparkml.resources.spark import SparkApplication
from airflow_provider_sparkml.resources.trainer import Trainer, TrainJob
from airflow_provider_sparkml.resources.training import Replica

QUEUE = "kueue.x-k8s.io/queue-name"
API = "/apis/kueue.x-k8s.io/v1beta2"


class Api:
    """The API server, as an administrator sees it, and this test's namespace."""

    def __init__(self, api_server: Any, namespace: str) -> None:
        self._server = api_server
        self.namespace = namespace
        self.jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"

    async def request(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        status, answer = await asyncio.to_thread(self._server.request, *args, **kwargs)
        assert status in (200, 201), answer.get("message")
        found: dict[str, Any] = answer
        return found

    async def patch(self, path: str, patch: dict[str, Any]) -> None:
        await self.request("PATCH", path, patch, content_type="application/merge-patch+json")

    async def make_queue(self, cpu: str, memory: str = "1Gi", **spec: Any) -> str:
        """Make a ClusterQueue with so much, and the LocalQueue ``team``; return the ClusterQueue's path."""
        quotas = [{"name": name, "nominalQuota": quota} for name, quota in (("cpu", cpu), ("memory", memory))]
        group = {"coveredResources": ["cpu", "memory"], "flavors": [{"name": "default", "resources": quotas}]}
        name = f"cq-{self.namespace}"
        version = {"apiVersion": "kueue.x-k8s.io/v1beta2"}
        queue = {**version, "kind": "ClusterQueue", "metadata": {"name": name}}
        queue |= {"spec": {"resourceGroups": [group], **spec}}
        await self.request("POST", f"{API}/clusterqueues", queue)
        local = {**version, "kind": "LocalQueue", "metadata": {"name": "team"}, "spec": {"clusterQueue": name}}
        await self.request("POST", f"{API}/namespaces/{self.namespace}/localqueues", local)
        return f"{API}/clusterqueues/{name}"

    async def make_job(self, name: str, cpu: str = "1", queue: str = "team", **metadata: Any) -> dict[str, Any]:
        container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
        template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        metadata = {"name": name, "labels": {QUEUE: queue} if queue else {}, **metadata}
        return await self.request("POST", self.jobs, {"metadata": metadata, "spec": {"template": template}})

    async def end(self, name: str) -> None:
        """Let a job succeed."""
        condition = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        times = {"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:00Z"}
        await self.patch(f"{self.jobs}/{name}/status", {"status": {"succeeded": 1, "conditions": [condition], **times}})

    async def until(self, path: str, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return an object as soon as it is as wanted."""
        async with asyncio.timeout(20):
            while not holds(found := await self.request("GET", path)):
                await asyncio.sleep(0.05)
        return found

    async def until_released(self, name: str) -> None:
        await self.until(f"{self.jobs}/{name}", lambda job: not job["spec"].get("suspend"))

    async def workload(self, name: str, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return a job's Workload as soon as it is as wanted."""
        uid = (await self.request("GET", f"{self.jobs}/{name}"))["metadata"]["uid"]
        path = f"{API}/namespaces/{self.namespace}/workloads?labelSelector=kueue.x-k8s.io/job-uid={uid}"
        found = await self.until(path, lambda listing: any(map(holds, listing["items"])))
        workload: dict[str, Any] = found["items"][0]
        return workload

    async def is_held_back(self, name: str) -> bool:
        return bool((await self.request("GET", f"{self.jobs}/{name}"))["spec"].get("suspend"))


def condition(workload: dict[str, Any], kind: str) -> dict[str, Any]:
    found = (each for each in workload.get("status", {}).get("conditions", ()) if each["type"] == kind)
    return next(found, {})


@pytest.fixture
def api(api_server: Any, namespace: str) -> Api:
    return Api(api_server, namespace)


@asynccontextmanager
async def running(api_server: Any) -> AsyncIterator[None]:
    async with KubernetesClient(kubeconfig_file(api_server.kubeconfig)) as client:
        work = asyncio.create_task(kueue_controller(client).run())
        try:
            yield
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


async def test_the_next_may_go_when_the_one_before_has_ended(api_server: Any, api: Api) -> None:
    await api.make_queue("2")
    for name in ("first", "second"):
        await api.make_job(name, cpu="1500m")
        assert await api.is_held_back(name), "from its creation on"
    async with running(api_server):
        await api.until_released("first")
        waiting = await api.workload("second", lambda each: condition(each, "QuotaReserved"))
        assert condition(waiting, "QuotaReserved")["message"].endswith(
            "pod set main: insufficient unused quota for cpu in flavor default, 1 more needed"
        )
        assert await api.is_held_back("second")
        await api.patch(f"{api.jobs}/second", {"spec": {"suspend": False}})
        await api.until(f"{api.jobs}/second", lambda job: job["spec"]["suspend"])  # nobody else may let it go
        await api.end("first")
        await api.until_released("second")
        done = await api.workload("first", lambda each: condition(each, "Finished"))
        assert done["status"]["admission"]["podSetAssignments"][0]["resourceUsage"] == {"cpu": "1.5", "pods": "1"}


async def test_a_small_one_need_not_wait_for_a_large_one(api_server: Any, api: Api) -> None:
    await api.make_queue("2")
    await api.make_job("large", cpu="3")
    await api.make_job("small", cpu="1")
    async with running(api_server):
        await api.until_released("small")
        waiting = await api.workload("large", lambda each: condition(each, "QuotaReserved"))
        assert "insufficient quota for cpu in flavor default" in condition(waiting, "QuotaReserved")["message"]


async def test_a_restart_forgets_nothing_and_gives_nothing_away_twice(api_server: Any, api: Api) -> None:
    await api.make_queue("1")
    await api.make_job("first")
    async with running(api_server):
        await api.until_released("first")
    # It had ended between the two writes: admitted, and not yet let go.
    await api.patch(f"{api.jobs}/first", {"spec": {"suspend": True}})
    await api.make_job("second")
    async with running(api_server):
        await api.until_released("first")
        await api.workload("second", lambda each: condition(each, "QuotaReserved").get("status") == "False")
        assert await api.is_held_back("second")


async def test_what_a_deleted_job_held_is_free(api_server: Any, api: Api) -> None:
    await api.make_queue("1")
    await api.make_job("first")
    async with running(api_server):
        await api.until_released("first")
        await api.make_job("second")
        await api.workload("second", lambda each: condition(each, "QuotaReserved").get("status") == "False")
        await asyncio.to_thread(api_server.request, "DELETE", f"{api.jobs}/first?propagationPolicy=Background")
        await api.until_released("second")


async def test_one_that_is_deactivated_is_suspended_until_somebody_activates_it(api_server: Any, api: Api) -> None:
    await api.make_queue("1")
    await api.make_job("first")
    async with running(api_server):
        await api.until_released("first")
        workload = await api.workload("first", lambda each: condition(each, "Admitted"))
        path = f"{API}/namespaces/{api.namespace}/workloads/{workload['metadata']['name']}"
        await api.patch(path, {"spec": {"active": False}})
        await api.until(f"{api.jobs}/first", lambda job: job["spec"]["suspend"])
        evicted = await api.workload("first", lambda each: condition(each, "Evicted"))
        assert condition(evicted, "Evicted")["reason"] == "Deactivated"
        await api.patch(path, {"spec": {"active": True}})
        await api.until_released("first")


async def test_queues_that_are_missing_or_stopped_let_nobody_go(api_server: Any, api: Api) -> None:
    await api.make_job("early")
    async with running(api_server):
        lost = await api.workload("early", lambda each: condition(each, "QuotaReserved"))
        assert condition(lost, "QuotaReserved")["message"] == "LocalQueue team doesn't exist"
        queue = await api.make_queue("2", stopPolicy="Hold")
        name = queue.rpartition("/")[2]
        await api.workload(
            "early", lambda each: condition(each, "QuotaReserved")["message"] == f"ClusterQueue {name} is stopped"
        )
        assert await api.is_held_back("early")
        await api.patch(queue, {"spec": {"stopPolicy": "None"}})
        await api.until_released("early")


async def test_only_jobs_with_a_queue_that_are_their_own_masters_are_held_back(api: Api) -> None:
    await api.make_job("free", queue="")
    owner = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "name": "x", "uid": "1-2-3"}
    part = await api.make_job("part", ownerReferences=[{**owner, "controller": True}])
    assert not await api.is_held_back("free")
    assert not part["spec"].get("suspend")
    # Kueue knows no Trials, so a job of one is asked for as any other.
    owner |= {"apiVersion": "kubeflow.org/v1beta1", "kind": "Trial"}
    trial = await api.make_job("trial", ownerReferences=[{**owner, "controller": True}])
    assert trial["spec"]["suspend"] is True


ONE, TWO = Replica(image="i:1", command=["train"]), Replica(image="i:1", command=["train"], replicas=2)


@pytest.mark.parametrize(
    ("job", "place"),
    [
        (SparkApplication(image="i:1", main_application_file="local:///x.py"), ("spec",)),
        (TrainJob(trainer=Trainer(image="i:1", command=["train"], num_nodes=2)), ("spec",)),
        (MPIJob(launcher=ONE, worker=TWO), ("spec", "runPolicy")),
        (PyTorchJob(master=ONE, worker=TWO), ("spec", "runPolicy")),
        (TFJob(chief=ONE, worker=TWO), ("spec", "runPolicy")),
        (XGBoostJob(master=ONE, worker=TWO), ("spec", "runPolicy")),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_every_kind_is_held_back_and_let_go(api_server: Any, api: Api, job: Any, place: tuple[str, ...]) -> None:
    manifest = job.to_manifest()
    resource = resource_for(manifest["apiVersion"], manifest["kind"])
    manifest = resource.normalize({**manifest, "metadata": {"name": "queued", "labels": {QUEUE: "team"}}})

    def is_held_back(obj: dict[str, Any]) -> bool:
        for name in place:
            obj = obj.get(name) or {}
        return bool(obj.get("suspend"))

    path = resource.api.path(api.namespace)
    assert is_held_back(await api.request("POST", path, manifest))
    await api.make_queue("100", memory="100Gi")
    async with running(api_server):
        await api.until(f"{path}/queued", lambda obj: not is_held_back(obj))
