"""SparkConnect of the Kubeflow Spark operator: its typed builder, how its status is read, and where clients connect.

The states: ``api/v1alpha1/sparkconnect_types.go`` and ``internal/controller/sparkconnect`` of kubeflow/spark-operator
v2.5.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import (
    ApiResource,
    LogSource,
    Manifest,
    Phase,
    Resource,
    Verdict,
    plain,
    present,
    register,
)
from airflow_provider_sparkml.resources.fields import refuse, text
from airflow_provider_sparkml.resources.spark_lint import misspelt
from airflow_provider_sparkml.resources.spark_rules import conflicts

API = ApiResource("sparkoperator.k8s.io", "v1alpha1", "sparkconnects", "SparkConnect")
SERVER_CONTAINER = "spark-kubernetes-driver"
PORT = 15002
_PHASES = {
    "": Phase.PENDING,
    "Provisioning": Phase.PENDING,
    "NotReady": Phase.PENDING,
    "Ready": Phase.SUCCEEDED,
    "Failed": Phase.FAILED,
}
_NUMBERS = (("executor", "instances", 0), ("executor", "cores", 1), ("server", "cores", 1))


def read(obj: Manifest) -> Verdict:
    """Return the verdict of a server: ``SUCCEEDED`` means that clients can connect.

    The operator writes ``Ready`` and ``NotReady`` only: a server that cannot start stays ``NotReady``, until a start-up
    time-out ends the wait.
    """
    status: Mapping[str, Any] = obj.get("status") or {}
    state = str(status.get("state") or "")
    created = str(obj["metadata"].get("creationTimestamp") or "")
    condition: Mapping[str, Any] = next(iter(status.get("conditions") or ()), {})
    if obj["metadata"].get("deletionTimestamp"):
        return Verdict(Phase.PENDING, state=state, reason="BeingDeleted", pending_since=created)
    phase = _PHASES.get(state, Phase.UNKNOWN)
    return Verdict(
        phase,
        state=state,
        reason=str(condition.get("reason") or "") if phase is not Phase.SUCCEEDED else "",
        message=str(condition.get("message") or "") if phase is not Phase.SUCCEEDED else "",
        attempt=1 if state else 0,
        pending_since=created if phase is Phase.PENDING else "",
        started_at=str(status.get("startTime") or ""),
        finished_at=str(status.get("lastUpdateTime") or "") if phase.is_terminal else "",
    )


def log_source(obj: Manifest) -> LogSource | None:
    """Return the server's container while it starts; the log of one that is ready has no end to wait for."""
    status = obj.get("status") or {}
    pod = (status.get("server") or {}).get("podName") or ""
    return LogSource(pod, SERVER_CONTAINER, "server") if pod and status.get("state") != "Ready" else None


def facts(obj: Manifest) -> dict[str, Any]:
    """Return where clients connect: by the Service's name, and by the pod's address."""
    server = (obj.get("status") or {}).get("server") or {}
    service, address = server.get("serviceName") or "", server.get("podIp") or ""
    host = f"[{address}]" if ":" in address else address
    return {
        "url": f"sc://{service}.{obj['metadata'].get('namespace', 'default')}.svc:{PORT}" if service else "",
        "pod_url": f"sc://{host}:{PORT}" if host else "",
        "server_pod": server.get("podName") or "",
    }


def pod_selector(obj: Manifest) -> str:
    """Return the label selector of the server and its executors."""
    return f"sparkoperator.k8s.io/connect-name={obj['metadata']['name']}"


def normalize(manifest: Manifest) -> Manifest:
    """Return a copy with numbers where templates have rendered to text."""
    result = copy.deepcopy(manifest)
    spec = result.get("spec")
    if isinstance(spec, dict) and isinstance(spec.get("sparkConf"), dict):
        spec["sparkConf"] = {key: text(value) for key, value in spec["sparkConf"].items()}
    for role, name, _ in _NUMBERS:
        part = spec.get(role) if isinstance(spec, dict) else None
        value = part.get(name) if isinstance(part, dict) else None
        if isinstance(part, dict) and isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
            part[name] = int(value)
    return result


def check(manifest: Manifest) -> None:
    """Refuse a server that could never start.

    :raises InvalidManifestError: field, value and fix.
    """
    spec = manifest.get("spec")
    if not isinstance(spec, Mapping):
        raise InvalidManifestError(f"spec is {spec!r}: set sparkVersion, image, server and executor")
    for name in ("sparkVersion", "image"):
        if not isinstance(spec.get(name), str) or not spec[name]:
            raise InvalidManifestError(f"spec.{name} is {spec.get(name)!r}: set it to a text")
    for name in ("server", "executor"):
        if not isinstance(spec.get(name), Mapping):
            raise InvalidManifestError(f"spec.{name} is {spec.get(name)!r}: set it to a mapping")
    for role, name, least in _NUMBERS:
        value = spec[role].get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise InvalidManifestError(f"spec.{role}.{name} is {value!r}: set it to a whole number, at least {least}")
    refuse(conflicts(manifest, fatal=True))


def lint(manifest: Manifest) -> list[str]:
    """Return what is accepted and yet does nothing, or not what it looks like."""
    return [*misspelt(manifest), *conflicts(manifest, fatal=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkConnectServer:
    """A Spark Connect server with executors of its own.

    .. code-block:: python

        SparkConnectServer(
            image="example.com/spark:1", spark_version="4.3.0", service_account="spark", executor_instances=2
        )

    :param image: image of server and executors, with Spark's Connect jars.
    :param spark_version: the image's Spark version.
    :param name: what the object's name begins with; the DAG and the task when empty.
    :param service_account: Kubernetes service account of the server, which makes the executors' pods.
    :param server_cores: cores of the server.
    :param server_memory: its JVM's memory, such as ``1g``.
    :param executor_instances: how many executors.
    :param executor_cores: cores of each.
    :param executor_memory: memory of each.
    :param spark_conf: Spark properties.
    :param labels: labels of the SparkConnect; its pods have them too.
    """

    image: str
    spark_version: str
    name: str = ""
    service_account: str = ""
    server_cores: int | str = 1
    server_memory: str = "1g"
    executor_instances: int | str = 1
    executor_cores: int | str = 1
    executor_memory: str = "1g"
    spark_conf: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def to_manifest(self) -> Manifest:
        """Return the manifest, new at each call."""
        server: dict[str, Any] = {"cores": self.server_cores, "memory": self.server_memory}
        if self.service_account:
            containers = [{"name": SERVER_CONTAINER}]
            server["template"] = {
                "spec": {"serviceAccountName": self.service_account, "containers": containers},
            }
        return {
            "apiVersion": API.api_version,
            "kind": API.kind,
            "metadata": present({"name": self.name, "labels": plain(self.labels)}),
            "spec": {
                "sparkVersion": self.spark_version,
                "image": self.image,
                "server": server,
                "executor": {
                    "instances": self.executor_instances,
                    "cores": self.executor_cores,
                    "memory": self.executor_memory,
                },
                **present({"sparkConf": plain(self.spark_conf)}),
            },
        }


SPARK_CONNECT = register(
    Resource(
        api=API,
        read=read,
        normalize=normalize,
        check=check,
        lint=lint,
        log_source=log_source,
        facts=facts,
        pod_selector=pod_selector,
        main_container=SERVER_CONTAINER,
    )
)

__all__ = ["API", "PORT", "SPARK_CONNECT", "SparkConnectServer", "read"]
