"""A pod on the local cluster that uses a Secret in every way: its values are in no command line and no open file."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import POD, SECRET
from airflow_provider_sparkml.resources.pod_secrets import Secret
from airflow_provider_sparkml.resources.training_pods import Replica
from tests.integration.conftest import ClusterProcess, until

VALUE = "correct-horse-battery-staple"
SPELLINGS = [VALUE.encode(), base64.b64encode(VALUE.encode())]
SEES = f"""
import hashlib, os, pathlib, time
found = [os.environ["PASSWORD"], os.environ["DB_password"], pathlib.Path("/etc/db/password").read_text()]
print([hashlib.sha256(each.encode()).hexdigest()[:8] for each in found], flush=True)
time.sleep({600})
"""


def files_with(folder: Path, spellings: list[bytes]) -> Iterator[Path]:
    """Yield the files below a folder that hold one of these."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and any(each in path.read_bytes() for each in spellings):
            yield path


def mode_of(path: Path) -> str:
    return stat.filemode(path.stat().st_mode)


async def test_the_values_are_nowhere_that_others_can_read(
    local_cluster: ClusterProcess, cluster_client: KubernetesClient, cluster_namespace: str
) -> None:
    from hashlib import sha256

    secret = {"metadata": {"name": "db"}, "stringData": {"password": VALUE}}
    await cluster_client.create(SECRET, secret, cluster_namespace)
    secrets = [
        Secret(name="db", env={"PASSWORD": "password"}, env_from=True, prefix="DB_"),
        Secret(name="db", mount_path="/etc/db"),
    ]
    template = Replica(image="python:1", command=["python", "-c", SEES], secrets=secrets).to_template("main")
    template["spec"] |= {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0}
    await cluster_client.create(POD, {"metadata": {"name": "p"}, **template}, cluster_namespace)

    async def log() -> str:
        return "\n".join([line async for line in cluster_client.pod_log(cluster_namespace, "p")])

    def runs(obj: Manifest | None) -> Any:
        return obj and (obj.get("status") or {}).get("phase") in ("Running", "Failed")

    await until(cluster_client, POD, cluster_namespace, "p", runs, seconds=60)
    async with asyncio.timeout(30):
        while sha256(VALUE.encode()).hexdigest()[:8] not in (printed := await log()):
            assert "Traceback" not in printed, printed
            await asyncio.sleep(0.05)
    assert printed.count(sha256(VALUE.encode()).hexdigest()[:8]) == 3, "in every way"

    found = list(files_with(local_cluster.state, SPELLINGS))
    assert found, "where is the store?"
    assert [f"{mode_of(path)} {path}" for path in found if path.stat().st_mode & 0o177] == []
    assert stat.S_IMODE(local_cluster.state.stat().st_mode) == 0o700
    for process in psutil.process_iter(["cmdline"]):
        assert VALUE not in " ".join(process.info["cmdline"] or ())
    pod = await cluster_client.get(POD, "p", cluster_namespace)
    assert VALUE not in json.dumps(pod)
