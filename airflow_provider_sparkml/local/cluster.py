"""The local cluster in one process: the API server, the node, the controllers, and what every cluster begins with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.exceptions import AlreadyExistsError, LocalClusterError
from airflow_provider_sparkml.local.accounts import airflow_token, apply_accounts
from airflow_provider_sparkml.local.apiserver import ApiServer, write_kubeconfig
from airflow_provider_sparkml.local.controllers.apache_spark import apache_spark_controller
from airflow_provider_sparkml.local.controllers.deployments import deployment_controller
from airflow_provider_sparkml.local.controllers.experiments import experiment_controller
from airflow_provider_sparkml.local.controllers.garbage import GarbageCollector
from airflow_provider_sparkml.local.controllers.jobs import job_controller
from airflow_provider_sparkml.local.controllers.kubeflow_v1 import training_controllers
from airflow_provider_sparkml.local.controllers.kueue import kueue_controller
from airflow_provider_sparkml.local.controllers.mpijobs import mpi_job_controller
from airflow_provider_sparkml.local.controllers.namespaces import namespace_controller
from airflow_provider_sparkml.local.controllers.runtime import run_controllers
from airflow_provider_sparkml.local.controllers.scheduled import scheduled_controller
from airflow_provider_sparkml.local.controllers.services import ServiceProxy
from airflow_provider_sparkml.local.controllers.serving import serving_controller
from airflow_provider_sparkml.local.controllers.spark import SparkController
from airflow_provider_sparkml.local.controllers.spark_cluster import spark_cluster_controller
from airflow_provider_sparkml.local.controllers.spark_connect import spark_connect_controller
from airflow_provider_sparkml.local.controllers.spark_properties import Target
from airflow_provider_sparkml.local.controllers.spark_submission import Submitter
from airflow_provider_sparkml.local.controllers.statefulsets import stateful_set_controller
from airflow_provider_sparkml.local.controllers.trainjobs import install_runtimes, train_job_controller
from airflow_provider_sparkml.local.controllers.trials import trial_controller
from airflow_provider_sparkml.local.images import ImageStore, default_cache, image_folders
from airflow_provider_sparkml.local.java import find_java_home
from airflow_provider_sparkml.local.kubelet import Kubelet
from airflow_provider_sparkml.local.statedir import StateDir, write_private
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import PERSISTENT_VOLUME_CLAIM

NAME = "sparkml"
"""Name of the cluster, the user and the context in the kubeconfig."""

JOB_NAMESPACES = ("default",)
"""Where SparkApplications are run unless somebody says otherwise; as the Spark operator's chart has it."""

STOP_SECONDS = 30.0
"""Longest that an orderly stop takes; the pods get two seconds of it."""

BANNER = (
    "The local cluster is for development: its pods are processes of your own user on this machine.\n"
    "They are no sandbox: a pod can do whatever you can. Do not use it in production."
)


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """A running cluster.

    :param server: URL of its API.
    :param kubeconfig: file with which to reach it as its administrator.
    :param work: runs as long as the cluster does.
    """

    server: str
    kubeconfig: Path
    work: asyncio.Task[None]

    async def run_until(self, event: asyncio.Future[int]) -> int:
        """Wait for an event while the cluster runs.

        :raises LocalClusterError: when a part of the cluster fails before.
        """
        either: set[asyncio.Future[Any]] = {event, self.work}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not event.done():
            self.work.result()
            raise LocalClusterError("the cluster ended by itself")
        return event.result()


@contextlib.asynccontextmanager
async def local_cluster(
    state: StateDir,
    *,
    port: int | None = None,
    kubeconfig: Path | None = None,
    airflow_kubeconfig: Path | None = None,
    job_namespaces: Collection[str] | None = JOB_NAMESPACES,
    images: Sequence[Path] = (),
) -> AsyncIterator[LocalCluster]:
    """Run a cluster for the length of the block; then its pods are stopped in an orderly way.

    :param state: its state directory, held from here on; a state that was there before goes on.
    :param port: port of the API on 127.0.0.1; where none is given the last one, or else a free one.
    :param kubeconfig: where to write the administrator's kubeconfig besides the state directory.
    :param airflow_kubeconfig: the same for Airflow's.
    :param job_namespaces: where SparkApplications are run; everywhere when ``None``.
    :param images: directories with image folders of the user's own.
    :raises LocalClusterError: it is already up, the port is taken, the kubeconfig is somebody else's, or a directory
        has no images.
    """
    store = ImageStore(image_folders(images), default_cache())
    with state.hold():
        for path in filter(None, (kubeconfig, airflow_kubeconfig)):
            refuse_foreign(path)
        # A Java takes its time to say which it is; the API server comes up meanwhile.
        java = asyncio.create_task(asyncio.to_thread(find_java_home, default_cache()))
        server = ApiServer(state.path)
        await _listen(server, state, port)
        try:
            for path in filter(None, (state.kubeconfig, kubeconfig)):
                write_kubeconfig(path, server.secure_url, server.admin_token, ca=server.ca)
            async with KubernetesClient(kubeconfig_file(state.kubeconfig)) as client:
                token = await bootstrap(client)
                for path in filter(None, (state.airflow_kubeconfig, airflow_kubeconfig)):
                    write_kubeconfig(path, server.secure_url, token, ca=server.ca)
                async with _parts(
                    client, state, server, java_home=await java, job_namespaces=job_namespaces, images=store
                ) as work:
                    yield LocalCluster(server.secure_url, state.kubeconfig, work)
        finally:
            await server.stop()


async def _listen(server: ApiServer, state: StateDir, port: int | None) -> None:
    """Have the API server listen; where nobody asks for a port, on the last one, so that kubeconfigs stay valid."""
    if port is None and (last := _last_port(state)):
        with contextlib.suppress(LocalClusterError):  # somebody else has it now
            await server.start(port=last)
            return
    await server.start(port=port or 0)


def _last_port(state: StateDir) -> int:
    """Return the port of the last start, 0 when there was none."""
    try:
        config = yaml.safe_load(state.kubeconfig.read_text())
        return urlsplit(config["clusters"][0]["cluster"]["server"]).port or 0
    except (FileNotFoundError, yaml.YAMLError, TypeError, KeyError, IndexError):
        return 0


@contextlib.asynccontextmanager
async def _parts(
    client: KubernetesClient,
    state: StateDir,
    server: ApiServer,
    *,
    java_home: Path,
    job_namespaces: Collection[str] | None,
    images: ImageStore,
) -> AsyncIterator[asyncio.Task[None]]:
    """Run node and controllers for the length of the block; the pods are stopped with the node."""
    kubelet = Kubelet(client, images, java_home=java_home, state_dir=state.path, server=server.url, ca=server.ca)
    token_file = state.path / "controller-token"
    write_private(token_file, server.admin_token)
    submitter = Submitter(images, java_home, Target(server.url, token_file))
    parts = (
        kubelet,
        SparkController(client, submitter, namespaces=job_namespaces),
        GarbageCollector(client),
        ServiceProxy(client),
    )
    controllers = (
        namespace_controller(client),
        apache_spark_controller(client, submitter),
        serving_controller(client),
        deployment_controller(client),
        stateful_set_controller(client),
        job_controller(client),
        mpi_job_controller(client),
        *training_controllers(client),
        train_job_controller(client),
        trial_controller(client),
        experiment_controller(client),
        scheduled_controller(client),
        spark_connect_controller(client),
        spark_cluster_controller(client),
        kueue_controller(client),
    )

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            for part in parts:
                tasks.create_task(part.run(), name=type(part).__name__)
            tasks.create_task(run_controllers(client, controllers), name="controllers")
            # Not waited for: a TrainJob that comes before its runtime is looked at again.
            tasks.create_task(install_runtimes(client), name="training runtimes")

    work = asyncio.create_task(run(), name="cluster")
    registered = asyncio.create_task(kubelet.ready.wait())
    try:
        either: set[asyncio.Task[Any]] = {registered, work}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        yield work
    finally:
        registered.cancel()
        work.cancel()
        await asyncio.gather(work, registered, return_exceptions=True)


def refuse_foreign(path: Path) -> None:
    """Refuse to write over a file that is no kubeconfig of a local cluster.

    :raises LocalClusterError: it is one with other clusters, or something else altogether.
    """
    if not path.exists():
        return
    try:
        found = yaml.safe_load(path.read_text())
        names = [cluster["name"] for cluster in found["clusters"]]
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError) as error:
        raise LocalClusterError(f"{path} exists and is no kubeconfig; choose another path with --kubeconfig") from error
    if names != [NAME]:
        raise LocalClusterError(
            f"{path} knows other clusters ({', '.join(names)}), which would be lost; choose another path with "
            "--kubeconfig"
        )


async def bootstrap(client: KubernetesClient) -> str:
    """Create what every cluster begins with, and return a token of Airflow's account.

    The accounts are made as shipped; whatever else is there already stays as it is.
    """
    await apply_accounts(client, "default")
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "10Gi"}}}
    await _ensure(
        client,
        PERSISTENT_VOLUME_CLAIM,
        {"metadata": {"namespace": "default", "name": "sparkml-data"}, "spec": claim},
    )
    return await airflow_token(client, "default")


async def _ensure(client: KubernetesClient, api: ApiResource, manifest: Manifest) -> None:
    with contextlib.suppress(AlreadyExistsError):
        await client.create(api, manifest)
