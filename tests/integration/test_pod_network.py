"""Pods that find and command one another by the names a cluster gives them."""

from __future__ import annotations

import base64
from typing import Any

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.local.controllers.mpi_pods import new_keys
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import POD, SECRET, SERVICE
from tests.integration.conftest import until

ECHO = """
import socket
server = socket.create_server((socket.gethostname() and "0.0.0.0", 7001))
while True:
    connection, _ = server.accept()
    connection.sendall(connection.getsockname()[0].encode())
    connection.close()
"""

# The address that the other side was reached at, by every way that Python has to connect by name.
ASK = """
import os, socket, sys, time, asyncio
def retry(connect):
    while True:
        try:
            return connect()
        except (ConnectionRefusedError, socket.gaierror):
            time.sleep(0.05)
full = "zero.ring." + sys.argv[1] + ".svc.cluster.local"
names = ("zero.ring", "ring", full)
found = {retry(lambda: socket.create_connection((name, 7001))).recv(99).decode() for name in names}
plain = socket.socket()
plain.connect(("zero.ring", 7001))
found.add(plain.recv(99).decode())
async def stream():
    reader, writer = await asyncio.open_connection("zero.ring", 7001)
    return (await reader.read(99)).decode()
found.add(asyncio.run(stream()))
found.add(os.environ["MASTER_ADDR"])
found.add(os.environ["PEERS"].removeprefix('{"chief": ["').removesuffix(':7001"]}'))
print(*found, os.environ["APP"], flush=True)
assert socket.gethostbyname(os.environ["HOSTNAME"]) == os.environ["SPARKML_POD_IP"]
try:
    socket.create_connection(("nobody" + ".ring", 7001))
except socket.gaierror:
    print("unknown")
"""


def pod(name: str, *command: str, env: dict[str, str] | None = None, **spec: Any) -> Manifest:
    container = {
        "name": "main",
        "image": "python:3.11",
        "command": list(command),
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
        **spec.pop("container", {}),
    }
    meta = {"name": name, "labels": {"ring": "yes"}}
    given = {"restartPolicy": "Never", "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0}
    return {"metadata": meta, "spec": {**given, "containers": [container], **spec}}


def ended(obj: Manifest | None) -> bool:
    return obj is not None and obj["status"]["phase"] in ("Succeeded", "Failed")


async def log_of(client: KubernetesClient, namespace: str, name: str) -> list[str]:
    return [line async for line in client.pod_log(namespace, name)]


async def make_ring(client: KubernetesClient, namespace: str) -> None:
    service = {"clusterIP": "None", "selector": {"ring": "yes"}, "ports": [{"port": 7001}]}
    await client.create(SERVICE, {"metadata": {"name": "ring"}, "spec": service}, namespace)


async def test_pods_resolve_one_another_as_on_a_cluster(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    await make_ring(cluster_client, cluster_namespace)
    env = {"MASTER_ADDR": "zero.ring", "PEERS": '{"chief": ["zero.ring:7001"]}', "APP": "ring"}
    # The asking pod is there first: its variables wait for the other's address.
    asking = pod("one", "python", "-c", ASK, cluster_namespace, env=env, hostname="one", subdomain="ring")
    asking["metadata"]["labels"] = {}
    await cluster_client.create(POD, asking, cluster_namespace)
    await cluster_client.create(
        POD, pod("zero", "python", "-c", ECHO, hostname="zero", subdomain="ring"), cluster_namespace
    )
    zero = await until(cluster_client, POD, cluster_namespace, "zero", lambda p: p and p["status"].get("podIP"))
    done = await until(cluster_client, POD, cluster_namespace, "one", ended)
    lines = await log_of(cluster_client, cluster_namespace, "one")
    assert done["status"]["phase"] == "Succeeded", lines
    assert lines == [f"{zero['status']['podIP']} ring", "unknown"]


async def test_a_pod_runs_commands_in_another_over_ssh(
    cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    await make_ring(cluster_client, cluster_namespace)
    private, public = new_keys()
    data = {"key": base64.b64encode(private).decode(), "pub": base64.b64encode(public).decode()}
    await cluster_client.create(SECRET, {"metadata": {"name": "keys"}, "data": data}, cluster_namespace)
    items = [
        {"key": "key", "path": "id_rsa"},
        {"key": "pub", "path": "id_rsa.pub"},
        {"key": "pub", "path": "authorized_keys"},
    ]
    volumes = [{"name": "keys", "secret": {"secretName": "keys", "items": items, "defaultMode": 0o600}}]
    container = {"volumeMounts": [{"name": "keys", "mountPath": "/root/.ssh"}]}
    worker = pod(
        "zero", "/usr/sbin/sshd", "-De", hostname="zero", subdomain="ring", volumes=volumes, container=container
    )
    await cluster_client.create(POD, worker, cluster_namespace)
    script = """
ssh -o StrictHostKeyChecking=no -o ConnectionAttempts=50 root@zero.ring 'echo on $HOSTNAME; echo aside >&2; exit 7'
echo "exit $?"
echo words | ssh zero.ring cat
ssh zero.ring 'trap "echo ended > $HOME/said; exit" TERM; echo up > $HOME/said; while :; do sleep 0.05; done' &
client=$!
ssh zero.ring 'until grep -q up $HOME/said 2>/dev/null; do sleep 0.05; done'
kill -9 $client
ssh zero.ring 'until grep -q ended $HOME/said; do sleep 0.05; done; cat $HOME/said'
ssh zero.ring 'kill -9 $PPID; sleep 60'; echo "exit $?"
ssh -o ConnectTimeout=2 nobody''.ring true  # quoted so, it is no name to wait for
echo "exit $?"
"""
    launcher = pod("launcher", "sh", "-c", script, volumes=volumes, container=container)
    await cluster_client.create(POD, launcher, cluster_namespace)
    await until(cluster_client, POD, cluster_namespace, "launcher", ended)
    lines = await log_of(cluster_client, cluster_namespace, "launcher")
    assert sorted(lines[:2]) == ["aside", "on zero"], lines
    assert lines[2:5] == ["exit 7", "words", "ended"], lines
    # The other pod's sshd dies, and with it the pod.
    address = (await cluster_client.get(POD, "zero", cluster_namespace))["status"]["podIP"]
    assert lines[5:7] == [f"Connection to {address} closed by remote host.", "exit 255"], lines
    assert lines[7].startswith("ssh: connect to host nobody.ring port 2222"), lines
    assert lines[8] == "exit 255"
