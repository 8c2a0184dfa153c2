"""A local cluster in a process of its own, for tests that need all of it, and a fresh namespace for each test."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest
import yaml

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_dict, kubeconfig_file
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.local.accounts import airflow_token, apply_accounts
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import NAMESPACE

SCRIPTS = Path(sys.executable).parent


class Condition(Protocol):
    """Whether an object is as wanted; ``None`` is an absent one."""

    def __call__(self, obj: Manifest | None, /) -> Any: ...


@dataclass(frozen=True)
class ClusterProcess:
    """A running local cluster.

    :param state: its state directory.
    """

    state: Path

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def airflow_kubeconfig(self) -> Path:
        """With the rights that the shipped roles give Airflow in the namespace ``default``, and with no others."""
        return self.state / "airflow-kubeconfig"

    def up(self) -> None:
        self._run("up", "--detach")

    def down(self) -> None:
        self._run("down")

    def _run(self, *arguments: str) -> None:
        subprocess.run(
            [SCRIPTS / "sparkml", "cluster", *arguments, "--state-dir", self.state],
            check=True,
            timeout=60,
            stdout=subprocess.DEVNULL,
        )


@pytest.fixture(scope="session")
def local_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    """A local cluster shared by all tests; keep to your own namespace (`cluster_namespace`). It must stay up."""
    cluster = ClusterProcess(tmp_path_factory.mktemp("local-cluster"))
    cluster.up()
    yield cluster
    cluster.down()


@pytest.fixture
async def cluster_client(local_cluster: ClusterProcess) -> AsyncIterator[KubernetesClient]:
    """A client of the local cluster."""
    async with KubernetesClient(kubeconfig_file(local_cluster.kubeconfig)) as client:
        yield client


@pytest.fixture
async def cluster_namespace(cluster_client: KubernetesClient) -> AsyncIterator[str]:
    """A namespace in the local cluster, which goes after the test with all that is in it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    await cluster_client.create(NAMESPACE, {"metadata": {"name": name}})
    yield name
    await cluster_client.delete(NAMESPACE, name, propagation="Background")


@pytest.fixture
async def airflow_client(
    local_cluster: ClusterProcess, cluster_client: KubernetesClient, cluster_namespace: str
) -> AsyncIterator[KubernetesClient]:
    """A client with the rights that the shipped roles give Airflow in the test's namespace, and with no others."""
    await apply_accounts(cluster_client, cluster_namespace)
    config = yaml.safe_load(local_cluster.kubeconfig.read_text())
    config["users"][0]["user"]["token"] = await airflow_token(cluster_client, cluster_namespace)
    async with KubernetesClient(kubeconfig_dict(config)) as client:
        yield client


async def evict(cluster: ClusterProcess, namespace: str, pod: str) -> None:
    """Do what ``kubectl drain`` does to each pod of a node."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    url, token = config["clusters"][0]["cluster"]["server"], config["users"][0]["user"]["token"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.post(f"{url}/api/v1/namespaces/{namespace}/pods/{pod}/eviction", json=eviction, ssl=False) as answer,
    ):
        assert answer.status == 201, await answer.text()


async def until(
    client: KubernetesClient,
    api: ApiResource,
    namespace: str,
    name: str,
    condition: Condition,
    *,
    seconds: float = 30,
) -> Any:
    """Return the object as soon as it is as wanted."""
    hub = WatchHub(client)
    seen: Manifest | None = None
    try:
        async with asyncio.timeout(seconds), aclosing(hub.follow(api, namespace, name)) as changes:
            async for _ in changes:
                # The hub's cache is compact; the whole object is what tests look at.
                found = await client.list(api, namespace, field_selector=f"metadata.name={name}")
                seen = found.items[0] if found.items else None
                if condition(seen):
                    return seen
    except TimeoutError:
        pytest.fail(f"{api.kind} {name} not as wanted within {seconds} s: {json.dumps(seen, indent=1)}")
    finally:
        await hub.close()
    return None
