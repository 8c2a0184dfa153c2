"""The service proxy: answers on 127.0.0.1 for Services of type NodePort and passes connections to their ready pods."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from hashlib import sha256

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import LocalClusterError, NotFoundError
from airflow_provider_sparkml.local.controllers.deployments import is_ready
from airflow_provider_sparkml.local.controllers.runtime import Controller, Key, Source, own_key
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import POD, SERVICE

log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
NODE_PORTS = range(30000, 32768)
ENDPOINT_WAIT_SECONDS = 5.0
"""How long a connection waits for a pod to become ready; a pod that restarts is not the client's trouble."""
CHUNK_BYTES = 1 << 16

Endpoint = tuple[str, int]
"""Address and port of a pod."""


class Listener:
    """One port of one Service: listens on loopback, and passes connections to the pods behind it."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._endpoints: list[Endpoint] = []
        self._ready = asyncio.Event()
        self._turn = itertools.count()

    async def start(self, port: int) -> int:
        """Listen on a port, 0 for any free one, and return it.

        :raises OSError: when it is taken.
        """
        self._server = await asyncio.start_server(self._accept, ADDRESS, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Listen no longer, and cut the connections that are open."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def point_at(self, endpoints: list[Endpoint]) -> None:
        """Send new connections to these pods."""
        self._endpoints = endpoints
        if endpoints:
            self._ready.set()
        else:
            self._ready.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._handle(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of a client."""
        try:
            upstream = await self._connect()
            if upstream is not None:
                await _join((reader, writer), upstream)
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Connect to a ready pod, each in turn; ``None`` when none answers in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ENDPOINT_WAIT_SECONDS):
                while True:
                    await self._ready.wait()
                    address, port = self._endpoints[next(self._turn) % len(self._endpoints)]
                    with contextlib.suppress(OSError):  # it ended just now, and the next list will not have it
                        return await asyncio.open_connection(address, port)
                    await asyncio.sleep(0.05)
        return None


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _join(client: Stream, pod: Stream) -> None:
    """Copy both ways until both sides have ended, passing on each end as it comes."""
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_copy(client[0], pod[1]))
            tasks.create_task(_copy(pod[0], client[1]))
    except* OSError as errors:  # either side went away in the middle, as sides do
        log.debug("service proxy: %s", errors.exceptions[0])
    finally:
        pod[1].close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while chunk := await source.read(CHUNK_BYTES):
        target.write(chunk)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()


class ServiceProxy:
    """Keeps a listener for every port of every Service of type NodePort.

    :param client: the API server.
    """

    def __init__(self, client: KubernetesClient) -> None:
        self._client = client
        self._listeners: dict[Key, dict[int, Listener]] = {}

    async def run(self) -> None:
        """Listen for ever; every port is closed when this is cancelled."""
        sources = [Source(SERVICE, own_key), Source(POD, self._services_of)]
        try:
            await Controller("services", self._client, sources, self.reconcile).run()
        finally:
            for key in list(self._listeners):
                await self._close(key)

    def _services_of(self, pod: Manifest) -> list[Key]:
        """Return the listening Services of the pod's namespace: which of them select it is told by reading it anew."""
        return [key for key in self._listeners if key[0] == pod["metadata"]["namespace"]]

    async def reconcile(self, namespace: str, name: str) -> None:
        """Listen on the ports of one Service and point them at its ready pods."""
        key = (namespace, name)
        try:
            service = await self._client.get(SERVICE, name, namespace)
        except NotFoundError:
            await self._close(key)
            return
        spec = service["spec"]
        if spec.get("type") != "NodePort" or not spec.get("selector"):
            await self._close(key)
            return
        service = await self._with_node_ports(service)
        listeners = await self._listen(key, [port["nodePort"] for port in service["spec"]["ports"]])
        selector = ",".join(f"{label}={value}" for label, value in spec["selector"].items())
        pods = (await self._client.list(POD, namespace, label_selector=selector)).items
        ready = [pod for pod in pods if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]
        for port in service["spec"]["ports"]:
            endpoints = [(pod["status"]["podIP"], target_port(pod, port)) for pod in ready]
            listeners[port["nodePort"]].point_at(endpoints)

    async def _with_node_ports(self, service: Manifest) -> Manifest:
        """Return the Service with a node port for each port, chosen here where the API server has chosen none."""
        ports = service["spec"]["ports"]
        if all(port.get("nodePort") for port in ports):
            return service
        taken = {
            port.get("nodePort")
            for other in (await self._client.list(SERVICE)).items
            for port in other["spec"].get("ports") or []
        }
        meta = service["metadata"]
        for port in ports:
            if not port.get("nodePort"):
                port["nodePort"] = await free_node_port(f"{meta['namespace']}/{meta['name']}/{port['port']}", taken)
                taken.add(port["nodePort"])
        return await self._client.replace(SERVICE, service, meta["namespace"])

    async def _listen(self, key: Key, ports: list[int]) -> dict[int, Listener]:
        listeners = self._listeners.setdefault(key, {})
        for port in [port for port in listeners if port not in ports]:
            await listeners.pop(port).close()
        for port in ports:
            if port not in listeners:
                listener = Listener()
                try:
                    await listener.start(port)
                except OSError as error:
                    raise LocalClusterError(
                        f"Service {'/'.join(key)} cannot listen on {ADDRESS}:{port}: {error.strerror}; "
                        "end the program that holds the port, or give the Service another nodePort"
                    ) from error
                listeners[port] = listener
        return listeners

    async def _close(self, key: Key) -> None:
        for listener in self._listeners.pop(key, {}).values():
            await listener.close()


def target_port(pod: Manifest, port: Manifest) -> int:
    """Return the pod's port behind a port of a Service, which may be given by name."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    named = {
        entry["name"]: int(entry["containerPort"])
        for container in pod["spec"]["containers"]
        for entry in container.get("ports") or []
        if "name" in entry
    }
    return named.get(target, int(port["port"]))


async def free_node_port(seed: str, taken: set[int | None]) -> int:
    """Return a port nobody listens on, the same for the same seed as long as it is free.

    :raises LocalClusterError: when the whole range is taken.
    """
    start = int(sha256(seed.encode()).hexdigest(), 16) % len(NODE_PORTS)
    for offset in range(len(NODE_PORTS)):
        port = NODE_PORTS[(start + offset) % len(NODE_PORTS)]
        if port in taken:
            continue
        with contextlib.suppress(OSError):
            probe = Listener()
            await probe.start(port)
            await probe.close()
            return port
    raise LocalClusterError(f"all ports from {NODE_PORTS.start} to {NODE_PORTS.stop - 1} of {ADDRESS} are taken")
