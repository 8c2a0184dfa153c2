"""A client of the local API server, a task's identity, and a Spark operator played by the test over HTTP."""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_dict, kubeconfig_file
from airflow_provider_sparkml.client.reflector import Reflector
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.exceptions import AlreadyExistsError
from airflow_provider_sparkml.jobs.submit import Submission, submit
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import EVENT, POD, ROLE, ROLE_BINDING, SERVICE_ACCOUNT
from airflow_provider_sparkml.resources.naming import TaskIdentity
from airflow_provider_sparkml.resources.spark import API, DRIVER_CONTAINER, SPARK_APPLICATION

PI: Manifest = {
    "apiVersion": API.api_version,
    "kind": API.kind,
    "metadata": {"name": "pi", "labels": {"team": "a"}},
    "spec": {
        "type": "Python",
        "mode": "cluster",
        "image": "registry/spark:1.0",
        "mainApplicationFile": "local:///opt/sparkml/pi.py",
        "sparkVersion": "4.0.1",
        "driver": {"cores": 1, "memory": "512m", "serviceAccount": "spark"},
        "executor": {"cores": 1, "instances": 1, "memory": "512m"},
    },
}


class Told:
    """A job log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.warnings: list[str] = []

    def info(self, msg: str, /, *args: Any) -> None:
        self.lines.append(msg % args)

    def warning(self, msg: str, /, *args: Any) -> None:
        self.warnings.append(msg % args)
        self.lines.append(msg % args)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def driver(self) -> list[str]:
        return [line.removeprefix("[driver] ") for line in self.lines if line.startswith("[driver] ")]

    async def until(self, text: str) -> None:
        """Wait until a text has been told."""
        async with asyncio.timeout(20):
            while text not in self.text:
                await asyncio.sleep(0.01)


def identity(try_number: int = 1, max_tries: int = 2, run: str = "run-1") -> TaskIdentity:
    return TaskIdentity("http://airflow", "dag", "task", run, -1, try_number, max_tries)


class Operator:
    """What the Spark operator and the kubelet would write."""

    def __init__(self, client: KubernetesClient, namespace: str, server: Any) -> None:
        self.client = client
        self.namespace = namespace
        self.server = server

    async def write(self, name: str, state: str, message: str = "", **status: Any) -> Manifest:
        """Write the state of an application."""
        application = {"state": state, "errorMessage": message}
        body = {"applicationState": application, "driverInfo": {}, "executionAttempts": 1, **status}
        return await self.client.patch(API, name, {"status": body}, self.namespace, subresource="status")

    async def run(self, name: str, *, submission: str = "s1", attempt: int = 1) -> Manifest:
        """Bring an application to RUNNING, with a driver pod; return the pod."""
        pod = await self.pod(name)
        await self.write(
            name, "RUNNING", driverInfo={"podName": pod["metadata"]["name"]}, submissionID=submission,
            executionAttempts=attempt, lastSubmissionAttemptTime=now(), sparkApplicationId=f"spark-{submission}",
        )  # fmt: skip
        return pod

    async def end(self, name: str, *, code: int = 0, reason: str = "", result: str = "", message: str = "") -> None:
        """End the driver, and then the application."""
        word = reason or ("Completed" if code == 0 else "Error")
        ended = {"exitCode": code, "reason": word, "message": result, "startedAt": now(), "finishedAt": now()}
        await self.pod(name, "Succeeded" if code == 0 else "Failed", {"terminated": ended})
        said = message or (f"driver container failed with ExitCode: {code}, Reason: {word}" if code else "")
        await self.write(name, "FAILED" if code else "COMPLETED", said, terminationTime=now())

    async def pod(
        self, app: str, phase: str = "Running", state: Any = None, *, name: str = "", container: str = DRIVER_CONTAINER
    ) -> Manifest:
        """Write a pod of an application as it is now."""
        name = name or f"{app}-driver"
        owner = await self.client.get(API, app, self.namespace)
        manifest = {
            "metadata": {
                "name": name,
                "labels": {"sparkoperator.k8s.io/app-name": app},
                "ownerReferences": [
                    {
                        "apiVersion": API.api_version, "kind": API.kind, "name": app, "uid": owner["metadata"]["uid"],
                        "controller": True, "blockOwnerDeletion": True,
                    }
                ],
            },
            "spec": {"nodeName": "node-1", "containers": [{"name": container, "image": "registry/spark:1.0"}]},
        }  # fmt: skip
        with suppress(AlreadyExistsError):
            await self.client.create(POD, manifest, self.namespace)
        status = {
            "name": container, "image": "registry/spark:1.0", "imageID": "", "ready": phase == "Running",
            "restartCount": 0, "state": state or {"running": {"startedAt": now()}},
        }  # fmt: skip
        body = {"status": {"phase": phase, "containerStatuses": [status]}}
        return await self.client.patch(POD, name, body, self.namespace, subresource="status")

    def log(self, pod: Manifest, *lines: str, container: str = DRIVER_CONTAINER) -> None:
        """Append to a container's log, as the kubelet does."""
        with self.server.log_path(pod["metadata"]["uid"], container).open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    async def warn(self, about: Manifest, reason: str, message: str) -> None:
        """Record a warning event."""
        meta = about["metadata"]
        involved = {"kind": about["kind"], "name": meta["name"], "namespace": self.namespace, "uid": meta["uid"]}
        await self.client.create(
            EVENT,
            {
                "metadata": {"name": f"{meta['name']}.{uuid.uuid4().hex[:10]}"},
                "involvedObject": involved,
                "type": "Warning", "reason": reason, "message": message, "count": 1,
                "firstTimestamp": now(), "lastTimestamp": now(), "source": {"component": "test"},
            },
            self.namespace,
        )  # fmt: skip

    async def live(self) -> list[str]:
        """Return the names of the applications that nobody has deleted yet."""
        found = await self.client.list(API, self.namespace)
        return sorted(item["metadata"]["name"] for item in found.items if "deletionTimestamp" not in item["metadata"])


@asynccontextmanager
async def limited_client(
    server: Any, admin: KubernetesClient, namespace: str, verbs: list[str]
) -> AsyncIterator[KubernetesClient]:
    """Give a client whose service account has these verbs on SparkApplications, and no others."""
    name = "limited"
    rules = [{"apiGroups": [API.group], "resources": [API.plural], "verbs": verbs}]
    reference = {"apiGroup": ROLE.group, "kind": "Role", "name": name}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    await admin.create(SERVICE_ACCOUNT, {"metadata": {"name": name}}, namespace)
    await admin.create(ROLE, {"metadata": {"name": name}, "rules": rules}, namespace)
    bound = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
    await admin.create(ROLE_BINDING, bound, namespace)
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
    status, answer = await asyncio.to_thread(server.request, "POST", path, {"spec": {}})
    assert status == 201, answer
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {"token": answer["status"]["token"]}}],
    }
    async with KubernetesClient(kubeconfig_dict(config)) as limited:
        yield limited


def now(offset: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=offset)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pi() -> Manifest:
    return copy.deepcopy(PI)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def client(api_server) -> AsyncIterator[KubernetesClient]:
    """The administrator: who sets up what a test needs, and plays operators and kubelet."""
    async with KubernetesClient(kubeconfig_file(api_server.kubeconfig)) as client:
        yield client


@pytest.fixture
async def airflow(api_server, namespace) -> AsyncIterator[KubernetesClient]:
    """What the code under test uses: it has the rights of the shipped roles, in the test's namespace, and no others."""
    kubeconfig = await asyncio.to_thread(api_server.airflow_kubeconfig, namespace)
    async with KubernetesClient(kubeconfig_file(kubeconfig)) as client:
        yield client


@pytest.fixture
async def hub(airflow) -> AsyncIterator[WatchHub]:
    hub = WatchHub(airflow)
    yield hub
    await hub.close()


@pytest.fixture
def fall_behind(monkeypatch):
    """From its call on, let no watch hear of any change."""

    def fall_behind() -> None:
        monkeypatch.setattr(Reflector, "_apply", lambda self, kind, obj: None)

    return fall_behind


@pytest.fixture
def operator(client, namespace, api_server) -> Operator:
    return Operator(client, namespace, api_server)


@pytest.fixture
def start(airflow, namespace, told):
    """Submit the application of a try."""

    async def start(try_number: int = 1, **options: Any) -> Submission:
        who = identity(try_number, options.pop("max_tries", 2))
        manifest = options.pop("manifest", None) or pi()
        return await submit(airflow, SPARK_APPLICATION, manifest, who, namespace=namespace, log=told, **options)

    return start
