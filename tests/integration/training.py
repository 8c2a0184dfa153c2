"""A light program of several ranks over real sockets, and what the tests of training jobs share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_sparkml.resources.base import Manifest

IMAGE = "python:3.11"

ALLREDUCE = '''
"""Adds up a vector over all ranks, step by step: rank 0 gathers, adds and gives back, as a parameter server would."""
import json, os, socket, sys, time

def variable(*names):
    return next(os.environ[name] for name in names if name in os.environ)

rank = int(variable("RANK", "PET_NODE_RANK", "JOB_COMPLETION_INDEX"))
size = int(variable("WORLD_SIZE", "PET_NNODES"))
address = variable("MASTER_ADDR", "PET_MASTER_ADDR")
port = int(variable("MASTER_PORT", "PET_MASTER_PORT"))
vector, steps = [float(rank + 1)] * 4, int(os.environ.get("STEPS", "3"))

def connect():
    while True:
        try:
            return socket.create_connection((address, port))
        except (ConnectionRefusedError, socket.gaierror):
            time.sleep(0.02)

def tell(line):
    sys.stdout.write(line + "\\n")  # in one piece: the ranks of an MPIJob share the launcher's log
    sys.stdout.flush()

def send(stream, what):
    stream.write(json.dumps(what) + "\\n")
    stream.flush()

def receive(stream):
    line = stream.readline()
    if not line:
        time.sleep(30)  # as a collective that waits for one who is gone
        sys.exit("a peer is gone")
    return json.loads(line)

if rank == 0:
    server = socket.create_server((os.environ["SPARKML_POD_IP"], port))
    peers = [server.accept()[0].makefile("rw") for _ in range(size - 1)]
else:
    peers = [connect().makefile("rw")]
for step in range(1, steps + 1):
    if os.environ.get("FAIL") == str(rank) and step == 2:
        sys.exit(int(os.environ.get("EXIT_CODE", "3")))
    if rank == 0:
        others = [receive(peer) for peer in peers]
        vector = [sum(column) for column in zip(vector, *others)]
        for peer in peers:
            send(peer, vector)
    else:
        send(peers[0], vector)
        vector = receive(peers[0])
    tell(f"step={step} sum={vector[0]}")
    vector = [value / size for value in vector]
    while os.path.exists(os.environ.get("HOLD", "")):
        time.sleep(0.02)
tell(f"rank={rank} result={vector}")
'''


def container(name: str, script: str = ALLREDUCE, **env: str) -> Manifest:
    """Return a container that runs a Python program."""
    variables = [{"name": key, "value": value} for key, value in env.items()]
    return {"name": name, "image": IMAGE, "command": ["python", "-c", script], "env": variables}


def template(main: Manifest, **spec: Any) -> Manifest:
    """Return a pod template that ends at once when it is to end."""
    given = {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0}
    return {"spec": {**given, "containers": [main], **spec}}


def conditions(obj: Manifest | None) -> Mapping[str, str]:
    """Return condition → reason of those that are true."""
    found = ((obj or {}).get("status") or {}).get("conditions") or ()
    return {each["type"]: each.get("reason", "") for each in found if each["status"] == "True"}
