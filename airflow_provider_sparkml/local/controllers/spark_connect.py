"""The controller of SparkConnects: a pod with the genuine Spark Connect server, and the Service that leads to it.

Follows kubeflow/spark-operator v2.5, ``internal/controller/sparkconnect``, with two differences: the image's entry
point starts the server, since Spark from PyPI has no ``sbin/start-connect-server.sh``; and what is not done here
(``executor.template``) is refused in the status rather than passed over.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable
from typing import Any

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import ForbiddenError, InvalidObjectError
from airflow_provider_sparkml.local.controllers.objects import (
    OccupiedError,
    ensure,
    find,
    is_deleting,
    put_condition,
    selector_of,
    write_status,
)
from airflow_provider_sparkml.local.controllers.runtime import Controller, Key, Source, now, owner_key
from airflow_provider_sparkml.local.controllers.spark_properties import LAUNCHED, LOCAL_DEFAULTS, OPERATOR
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.core import POD, SERVICE
from airflow_provider_sparkml.resources.spark_connect import API, PORT, SERVER_CONTAINER
from airflow_provider_sparkml.resources.spark_properties import allocation_properties, role_properties

NAME = "spark-connect-controller"
CONNECT_NAME = f"{OPERATOR}/connect-name"
MAIN_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"
READY = "ServerPodReady"
AGAIN_SECONDS = 5.0
"""A service account that was missing, or a name that was taken, may be there or free by then."""
PORTS = {"driver-rpc": 7078, "blockmanager": 7079, "web-ui": 4040, "spark-connect-server": PORT}


def spark_connect_controller(client: KubernetesClient) -> Controller:
    """Return the controller of all SparkConnects.

    :param client: the API server.
    """
    sources = [Source(API), Source(POD, _connect_of), Source(SERVICE, owner_key(API.kind))]
    return Controller(NAME, client, sources, _Servers(client).reconcile)


def _connect_of(pod: Manifest) -> Iterable[Key]:
    """Yield the SparkConnect of a server's or an executor's pod."""
    name = (pod["metadata"].get("labels") or {}).get(CONNECT_NAME)
    if name:
        yield pod["metadata"]["namespace"], name


class _Servers:
    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Take a server one step on; see :data:`~.runtime.Reconcile`."""
        connect = await find(self._client, API, name, namespace)
        if connect is None or is_deleting(connect):
            return None  # what it owns goes with it
        status = copy.deepcopy(connect.get("status") or {})
        status.setdefault("startTime", now())
        try:
            problem = unsupported(connect)
            if not problem:
                pod = await ensure(self._client, POD, server_pod(connect), connect)
                service = await ensure(self._client, SERVICE, server_service(connect), connect)
                put_server(status, pod, service)
                status["executors"] = await self._executors(connect)
        except (OccupiedError, ForbiddenError, InvalidObjectError) as error:
            problem = str(error).splitlines()[0]
        if problem:
            put_condition(status, READY, False, "ServerPodNotReady", f"Server pod is not ready: {problem}")
            status["state"] = "NotReady"
        if status != connect.get("status"):
            await write_status(self._client, API, connect, status | {"lastUpdateTime": now()})
        return AGAIN_SECONDS if problem else None

    async def _executors(self, connect: Manifest) -> dict[str, int]:
        """Return how many executors are in each phase."""
        meta = connect["metadata"]
        selector = selector_of({CONNECT_NAME: meta["name"], "spark-role": "executor"})
        found = (await self._client.list(POD, meta["namespace"], label_selector=selector)).items
        return dict(Counter(str((pod.get("status") or {}).get("phase") or "Unknown").lower() for pod in found))


def unsupported(connect: Manifest) -> str:
    """Return what of a SparkConnect the local cluster cannot do, with the fix; empty when it can do all."""
    if (connect["spec"].get("executor") or {}).get("template"):
        return "spec.executor.template is set: the local cluster has no pod templates of executors; leave it out"
    return ""


def put_server(status: dict[str, Any], pod: Manifest, service: Manifest) -> None:
    """Write how the server's pod stands into a status."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    waiting = (pod.get("status") or {}).get("message") or ""
    message = "Server pod is ready" if ready else f"Server pod is not ready: {waiting}"
    put_condition(status, READY, ready, "ServerPodReady" if ready else "ServerPodNotReady", message)
    status["state"] = "Ready" if ready else "NotReady"
    status["server"] = {
        "podName": pod["metadata"]["name"],
        "podIp": (pod.get("status") or {}).get("podIP") or "",
        "serviceName": service["metadata"]["name"],
    }


def server_labels(connect: Manifest) -> dict[str, str]:
    """Return the labels of the server's pod, by which its Service finds it."""
    return {
        LAUNCHED: "true",
        CONNECT_NAME: connect["metadata"]["name"],
        "spark-role": "connect-server",
        f"{OPERATOR}/spark-version": str(connect["spec"]["sparkVersion"]),
    }


def server_pod(connect: Manifest) -> Manifest:
    """Return the pod of the server: its template, with the server in the container of that name, or the first."""
    template = copy.deepcopy(connect["spec"]["server"].get("template") or {})
    spec, meta = template.get("spec") or {}, template.get("metadata") or {}
    containers = spec.setdefault("containers", []) or [{"name": SERVER_CONTAINER}]
    spec["containers"] = containers
    container = next((each for each in containers if each["name"] == SERVER_CONTAINER), containers[0])
    container.setdefault("image", connect["spec"].get("image"))
    words = ["driver"]
    for key, value in properties(connect, container["image"]).items():
        words += ["--conf", f"{key}={value}"]
    container.pop("command", None)
    container["args"] = [*words, "--name", connect["metadata"]["name"], "--class", MAIN_CLASS, "spark-internal"]
    container["env"] = [
        *(container.get("env") or ()),
        {"name": "SPARK_DRIVER_BIND_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    # Upstream asks every ten seconds; what is waited for on one machine is there sooner.
    probe = {"tcpSocket": {"port": PORT}, "periodSeconds": 1}
    container.setdefault("startupProbe", {**probe, "failureThreshold": 300})
    container.setdefault("readinessProbe", {**probe, "failureThreshold": 3})
    labels = {**(meta.get("labels") or {}), **server_labels(connect)}
    metadata = {"name": f"{connect['metadata']['name']}-server", "labels": labels}
    if meta.get("annotations"):
        metadata["annotations"] = meta["annotations"]
    return {"metadata": metadata, "spec": spec}


def properties(connect: Manifest, image: str) -> dict[str, str]:
    """Return the server's Spark properties; those of the SparkConnect win over the defaults, and not over identity.

    :param image: image of the server, and so of its executors.
    """
    spec, meta = connect["spec"], connect["metadata"]
    found = {
        **LOCAL_DEFAULTS,
        "spark.driver.port": "7078",
        "spark.driver.blockManager.port": "7079",
        "spark.kubernetes.container.image": image,
        **dict(role_properties(spec.get("server") or {}, "driver")),
        **dict(role_properties(spec.get("executor") or {}, "executor")),
        **dict(allocation_properties(spec.get("dynamicAllocation") or {})),
        **{key: str(value) for key, value in (spec.get("sparkConf") or {}).items()},
        **{f"spark.hadoop.{key}": str(value) for key, value in (spec.get("hadoopConf") or {}).items()},
        "spark.master": "k8s://https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)",
        "spark.kubernetes.namespace": meta["namespace"],
        "spark.kubernetes.driver.pod.name": f"{meta['name']}-server",
        "spark.kubernetes.executor.podNamePrefix": f"{meta['name']}-server",
        "spark.driver.host": "$(SPARK_DRIVER_BIND_ADDRESS)",
        "spark.connect.grpc.binding.address": "$(SPARK_DRIVER_BIND_ADDRESS)",
        "spark.connect.grpc.binding.port": str(PORT),
    }
    labels = {LAUNCHED: "true", CONNECT_NAME: meta["name"]}
    return found | {f"spark.kubernetes.executor.label.{key}": value for key, value in labels.items()}


def server_service(connect: Manifest) -> Manifest:
    """Return the Service that leads to the server."""
    wanted = (connect["spec"]["server"].get("service") or {}).get("metadata") or {}
    labels = {f"{OPERATOR}/created-by-spark-operator": "true", CONNECT_NAME: connect["metadata"]["name"]}
    return {
        "metadata": {
            "name": wanted.get("name") or f"{connect['metadata']['name']}-server",
            "labels": {**(wanted.get("labels") or {}), **labels},
        },
        "spec": {
            "selector": server_labels(connect),
            "ports": [{"name": name, "port": port, "targetPort": port} for name, port in PORTS.items()],
        },
    }


__all__ = ["server_pod", "server_service", "spark_connect_controller"]
