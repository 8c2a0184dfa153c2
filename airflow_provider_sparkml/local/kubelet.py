"""The node of the local cluster: registers it, schedules pods onto it, and runs them as processes of this machine."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import psutil

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import AlreadyExistsError, ApiError, NotFoundError
from airflow_provider_sparkml.local.controllers.objects import find
from airflow_provider_sparkml.local.controllers.runtime import Controller, Source, record_event
from airflow_provider_sparkml.local.images import ImageStore
from airflow_provider_sparkml.local.pods.access import PodAccess, claims_of, release_volumes, wants_service_account
from airflow_provider_sparkml.local.pods.addresses import AddressPool
from airflow_provider_sparkml.local.pods.context import PodContext, Tell
from airflow_provider_sparkml.local.pods.memory import MemoryWatch
from airflow_provider_sparkml.local.pods.names import ClusterNames, host_name, search_domains, write_programs
from airflow_provider_sparkml.local.pods.program import SERVICE_ACCOUNT
from airflow_provider_sparkml.local.pods.scheduling import is_finished, is_ours_to_schedule, obstacle
from airflow_provider_sparkml.local.pods.status import merge_conditions, now
from airflow_provider_sparkml.local.pods.volumes import Volumes
from airflow_provider_sparkml.local.pods.worker import PodWorker
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import CONFIG_MAP, NODE, PERSISTENT_VOLUME_CLAIM, POD, SECRET, SERVICE

log = logging.getLogger(__name__)

HOST_ADDRESS = "127.0.0.1"
UNSCHEDULABLE_RETRY_SECONDS = 1.0
RELEASE_RETRY_SECONDS = 2.0
SHUTDOWN_GRACE_SECONDS = 2.0
MAX_PODS = 110  # a kubelet's default

# Processes share cores by turns: a driver, its executors and a model server all fit on a laptop with two. Memory is
# never promised twice.
CPU_OVERCOMMIT = 8
NODE_NAME = "local"
VOLUMES = ("", "all volumes")
"""The one key of the controller of volumes: whichever claim changed, it looks at all of them."""


@dataclass(frozen=True, slots=True)
class _Running:
    """A pod that this process runs."""

    worker: PodWorker
    task: asyncio.Task[None]
    root: Path


class Kubelet:
    """Runs the pods of the API server on this machine, until it is cancelled; their processes end with it.

    :param client: the API server.
    :param images: where images come from.
    :param java_home: the Java that containers get.
    :param state_dir: holds the pods' directories and the volumes of claims.
    :param server: URL of the API server as pods are to use it.
    :param ca: certificate authority of the API server in PEM form, empty for plain HTTP.
    """

    def __init__(
        self,
        client: KubernetesClient,
        images: ImageStore,
        *,
        java_home: Path,
        state_dir: Path,
        server: str,
        ca: str = "",
    ) -> None:
        self._client = client
        self._images = images
        self._java_home = java_home
        self._pods_dir = state_dir / "pods"
        self._claims_dir = state_dir / "volumes"
        self._server = server
        self._ca = ca
        self._commands_dir = state_dir / "bin"
        self._addresses = AddressPool()
        self._names = ClusterNames(state_dir / "names")
        self._memory = MemoryWatch()
        self._running: dict[tuple[str, str], _Running] = {}
        self._on_node: dict[str, Manifest] = {}
        self._scheduling = asyncio.Lock()
        self._events: asyncio.Queue[tuple[Manifest, Literal["Normal", "Warning"], str, str, str]] = asyncio.Queue()
        self._node: Manifest = {}
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Register the node and run pods for ever; :attr:`ready` is set when the node is registered."""
        self._pods_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_programs(self._commands_dir, sys.executable)
        self._node = await register_node(self._client)
        for service in (await self._client.list(SERVICE)).items:
            self._names.put_service(service["metadata"]["namespace"], service["metadata"]["name"], service)
        await self._take_stock()
        await self._release_volumes(*VOLUMES)
        self.ready.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._memory.run(), name="memory watch")
                tasks.create_task(self._record_events(), name="pod events")
                tasks.create_task(Controller("kubelet", self._client, [Source(POD)], self.reconcile, workers=8).run())
                claims = Source(PERSISTENT_VOLUME_CLAIM, lambda claim: [VOLUMES])
                tasks.create_task(Controller("volumes", self._client, [claims], self._release_volumes).run())
                tasks.create_task(
                    Controller("names", self._client, [Source(SERVICE)], self._take_note_of_service).run()
                )
                mounted = [Source(api, self._pods_that_mount) for api in (CONFIG_MAP, SECRET)]
                tasks.create_task(Controller("mounted files", self._client, mounted, self._refresh).run())
        finally:
            await self._shut_down()

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Bring one pod nearer to what the API server says of it; see :data:`~.controllers.runtime.Reconcile`."""
        try:
            pod = await self._client.get(POD, name, namespace)
        except NotFoundError:
            await self._forget(namespace, name)
            return None
        running = self._running.get((namespace, name))
        if running and running.worker.uid != pod["metadata"]["uid"]:
            await self._forget(namespace, name)
            running = None
        if not pod["spec"].get("nodeName"):
            return await self._schedule(pod)
        if pod["spec"]["nodeName"] != NODE_NAME:
            return None
        self._on_node[pod["metadata"]["uid"]] = pod
        if running is None:
            running = self._start(pod)
        self._name(pod, running.worker.address)
        if pod["metadata"].get("deletionTimestamp"):
            running.worker.delete(pod["metadata"].get("deletionGracePeriodSeconds", 0))
        return None

    async def _release_volumes(self, _namespace: str, _name: str) -> float | None:
        in_use = {claim for pod in self._on_node.values() if not is_finished(pod) for claim in claims_of(pod)}
        done = await release_volumes(self._claims_dir, self._client, in_use)
        return None if done else RELEASE_RETRY_SECONDS

    # --- names and files -------------------------------------------------------------------------------------------

    def _name(self, pod: Manifest, address: str) -> None:
        """Let others find a pod by name for as long as it runs."""
        if is_finished(pod):
            self._names.drop_pod(pod["metadata"]["uid"])
        else:
            self._names.put_pod({**pod, "status": {"podIP": address}})

    async def _take_note_of_service(self, namespace: str, name: str) -> None:
        self._names.put_service(namespace, name, await find(self._client, SERVICE, name, namespace))

    def _pods_that_mount(self, obj: Manifest) -> list[tuple[str, str]]:
        """Return the running pods that mount a ConfigMap or Secret."""
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        return [
            key for key, each in self._running.items() if key[0] == namespace and each.worker.mounts(obj["kind"], name)
        ]

    async def _refresh(self, namespace: str, name: str) -> None:
        """Bring a pod's mounted files up to date, as a kubelet does now and then."""
        if running := self._running.get((namespace, name)):
            await running.worker.refresh()

    # --- pods ------------------------------------------------------------------------------------------------------

    def _start(self, pod: Manifest, *, lost: bool = False) -> _Running:
        meta = pod["metadata"]
        root = self._pods_dir / meta["uid"]
        root.mkdir(exist_ok=True, mode=0o700)
        name = f"{meta['namespace']}/{meta['name']}"
        pod = {**pod, "status": {**pod.get("status", {}), "podIP": self._addresses.take(name), "hostIP": HOST_ADDRESS}}
        self._name(pod, pod["status"]["podIP"])
        worker = PodWorker(self._client, self._context(pod, root))
        if lost:
            worker.lose()
        task = asyncio.create_task(worker.run(), name=f"pod {name}")
        task.add_done_callback(_report_failure)
        running = self._running[meta["namespace"], meta["name"]] = _Running(worker, task, root)
        return running

    def _context(self, pod: Manifest, root: Path) -> PodContext:
        access = PodAccess(self._client, pod, self._claims_dir)
        volumes = Volumes(pod, root / "volumes", lookup=access.lookup, token=access.token, claim=access.claim)
        service_account = wants_service_account(pod)

        async def mount() -> dict[str, Path]:
            made = await volumes.make()
            if service_account:
                made[SERVICE_ACCOUNT] = await access.mount_service_account(root, self._server, self._ca)
            return made

        server = urlsplit(self._server)
        env = {
            "PATH": f"{self._commands_dir}:{self._java_home / 'bin'}:{os.defpath}",
            "JAVA_HOME": str(self._java_home),
            "LANG": "C.UTF-8",
            "HOSTNAME": host_name(pod),
            "SPARKML_POD_IP": pod["status"]["podIP"],
            "SPARKML_DNS": str(self._names.file),
            "SPARKML_DNS_SEARCH": " ".join(search_domains(pod)),
            "KUBERNETES_SERVICE_HOST": server.hostname or "",
            "KUBERNETES_SERVICE_PORT": str(server.port or ""),
        }
        if service_account:
            env["KUBECONFIG"] = str(root / "service-account" / "kubeconfig")
        return PodContext(
            pod=pod,
            root=root,
            node_env=env,
            images=self._images,
            memory=self._memory,
            names=self._names,
            commands=self._commands_dir,
            lookup=access.lookup,
            mount=mount,
            refresh=volumes.refresh,
            tell=self._teller(pod, "kubelet"),
        )

    async def _forget(self, namespace: str, name: str) -> None:
        """Clear up after a pod whose object is gone, however it went."""
        running = self._running.pop((namespace, name), None)
        if running is None:
            return
        await running.worker.abandon(grace_seconds=0)
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)
        self._on_node.pop(running.worker.uid, None)
        self._names.drop_pod(running.worker.uid)
        self._addresses.release(running.worker.address)
        await asyncio.to_thread(shutil.rmtree, running.root, ignore_errors=True)

    async def _take_stock(self) -> None:
        """Learn which pods were on the node when it went down; nothing of them runs any more."""
        pods = (await self._client.list(POD)).items
        known = {pod["metadata"]["uid"] for pod in pods}
        for left_over in self._pods_dir.iterdir():
            if left_over.name not in known:
                await asyncio.to_thread(shutil.rmtree, left_over, ignore_errors=True)
        for pod in pods:
            if pod["spec"].get("nodeName") == NODE_NAME:
                self._on_node[pod["metadata"]["uid"]] = pod
                self._start(pod, lost=not is_finished(pod))

    async def _shut_down(self) -> None:
        """End all pods without a word to the API server: what became of them is found when the node comes up again."""
        running = list(self._running.values())
        await asyncio.gather(*(each.worker.abandon(SHUTDOWN_GRACE_SECONDS) for each in running))
        for each in running:
            each.task.cancel()
        await asyncio.gather(*(each.task for each in running), return_exceptions=True)

    # --- scheduling ------------------------------------------------------------------------------------------------

    async def _schedule(self, pod: Manifest) -> float | None:
        meta = pod["metadata"]
        if meta.get("deletionTimestamp"):  # nothing of it runs anywhere
            await self._client.delete(
                POD, meta["name"], meta["namespace"], propagation=None, uid=meta["uid"], grace_seconds=0
            )
            return None
        if not is_ours_to_schedule(pod):
            return None
        async with self._scheduling:
            problem = obstacle(pod, self._node, self._on_node.values())
            if problem:
                await self._say_unschedulable(pod, problem)
                return UNSCHEDULABLE_RETRY_SECONDS
            binding = {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": meta["name"], "uid": meta["uid"]},
                "target": {"apiVersion": "v1", "kind": "Node", "name": NODE_NAME},
            }
            subresource = ApiResource("", "v1", f"pods/{meta['name']}/binding", "Binding")
            await self._client.create(subresource, binding, meta["namespace"])
            self._on_node[meta["uid"]] = pod
        self._teller(pod, "default-scheduler")(
            "Normal", "Scheduled", f"Successfully assigned {meta['namespace']}/{meta['name']} to {NODE_NAME}"
        )
        return None

    async def _say_unschedulable(self, pod: Manifest, problem: str) -> None:
        meta = pod["metadata"]
        before = (pod.get("status") or {}).get("conditions") or []
        if any(each["type"] == "PodScheduled" and each.get("message") == problem for each in before):
            return
        wanted = {"PodScheduled": {"status": "False", "reason": "Unschedulable", "message": problem}}
        patch = {"metadata": {"uid": meta["uid"]}, "status": {"conditions": merge_conditions(before, wanted)}}
        await self._client.patch(POD, meta["name"], patch, meta["namespace"], subresource="status")
        self._teller(pod, "default-scheduler")("Warning", "FailedScheduling", problem)

    # --- events ----------------------------------------------------------------------------------------------------

    def _teller(self, pod: Manifest, component: str) -> Tell:
        def tell(kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
            self._events.put_nowait((pod, kind, reason, message, component))

        return tell

    async def _record_events(self) -> None:
        """Record events one after the other; an event that cannot be recorded must not hold up a pod."""
        while True:
            pod, kind, reason, message, component = await self._events.get()
            try:
                await record_event(self._client, pod, kind, reason=reason, message=message, source=component)
            except ApiError as error:
                log.warning("event %s of pod %s: %s", reason, pod["metadata"]["name"], error)


def _report_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("%s: %s", task.get_name(), error, exc_info=error)


async def register_node(client: KubernetesClient) -> Manifest:
    """Make this machine the cluster's node and return it."""
    cores, memory = psutil.cpu_count() or 1, psutil.virtual_memory().total
    system, machine = platform.system().lower(), platform.machine().lower()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    labels = {
        "kubernetes.io/hostname": NODE_NAME,
        "kubernetes.io/os": system,
        "kubernetes.io/arch": architecture,
    }
    manifest = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE_NAME, "labels": labels}}
    try:
        node = await client.create(NODE, manifest)
    except AlreadyExistsError:
        node = await client.get(NODE, NODE_NAME)
    capacity = {"cpu": str(cores), "memory": f"{memory // 1024}Ki", "pods": str(MAX_PODS)}
    ready = {"status": "True", "reason": "KubeletReady", "message": "pods run as processes of this machine"}
    status = {
        "capacity": capacity,
        "allocatable": capacity | {"cpu": str(cores * CPU_OVERCOMMIT)},
        "addresses": [{"type": "InternalIP", "address": HOST_ADDRESS}, {"type": "Hostname", "address": NODE_NAME}],
        "conditions": [
            condition | {"lastHeartbeatTime": now()}
            for condition in merge_conditions((node.get("status") or {}).get("conditions") or [], {"Ready": ready})
        ],
        "nodeInfo": {
            "architecture": architecture,
            "bootID": "",
            "containerRuntimeVersion": f"process://{platform.python_version()}",
            "kernelVersion": platform.release(),
            "kubeProxyVersion": "",
            "kubeletVersion": "v1.36.0-sparkml",
            "machineID": "",
            "operatingSystem": system,
            "osImage": platform.platform(),
            "systemUUID": "",
        },
    }
    return await client.patch(NODE, NODE_NAME, {"status": status}, subresource="status")
