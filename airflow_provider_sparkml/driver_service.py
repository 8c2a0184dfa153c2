"""For a Spark driver in a pod that somebody else has started, as a notebook is: its label, its Service, its conf.

It needs the standard library alone and nothing else of this package: an image needs only this file.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

LABEL = "airflow-provider-sparkml/driver"
"""Label of a driver's pod: the pod's UID, so that it selects this pod alone."""
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
RPC_PORT, BLOCK_MANAGER_PORT, UI_PORT = 7078, 7079, 4040
_SECONDS = 30.0


class DriverServiceError(Exception):
    """The pod cannot be made known to executors; the message says why, and what to do."""


@contextmanager
def driver_service(**options: Any) -> Iterator[dict[str, str]]:
    """Give the Spark properties of :func:`prepare_driver_service`, and delete the Service at the end.

    A Service that cannot be deleted is warned of: it goes with its pod, and is no reason for the program to fail.

    .. code-block:: python

        from pyspark.sql import SparkSession

        from airflow_provider_sparkml.driver_service import driver_service

        with driver_service() as conf, SparkSession.builder.config(map=conf).getOrCreate() as spark:
            spark.range(100).count()

    :param options: those of :func:`prepare_driver_service`.
    """
    conf = prepare_driver_service(**options)
    try:
        yield conf
    finally:
        account = options.get("service_account") or SERVICE_ACCOUNT
        service = conf["spark.driver.host"].partition(".")[0]
        try:
            _Api(Path(account)).delete("services", service)
        except DriverServiceError as error:
            log.warning("The Service %s stays until its pod goes: %s", service, error)


def prepare_driver_service(
    *,
    pod: str = "",
    image: str = "",
    port: int = RPC_PORT,
    block_manager_port: int = BLOCK_MANAGER_PORT,
    service_account: str | Path = SERVICE_ACCOUNT,
) -> dict[str, str]:
    """Label this pod, make a headless Service that leads to it alone, and return the Spark properties for client mode.

    The Service belongs to the pod, as do executors, their ConfigMap and their volumes: whatever kills the pod, they go
    with it. It may be called again; it then changes nothing. The pod's service account needs the verbs ``get`` and
    ``patch`` on pods, ``create`` and ``delete`` on services, and what every driver needs.

    :param pod: name of this pod; by default the variable ``POD_NAME``, else the host's name.
    :param image: image of the executors; by default that of the pod's first container.
    :param port: ``spark.driver.port``.
    :param block_manager_port: ``spark.driver.blockManager.port``.
    :param service_account: directory of the service account's files.
    :return: Spark properties, for ``SparkSession.builder.config(map=…)`` or as ``--conf`` of ``spark-submit``.
    :raises DriverServiceError: this is no pod, or its service account may not do this.
    """
    api = _Api(Path(service_account))
    name = pod or os.environ.get("POD_NAME") or os.environ.get("HOSTNAME") or ""
    found = api.call("GET", f"pods/{name}")
    uid, address = found["metadata"]["uid"], found["status"].get("podIP", "")
    api.call("PATCH", f"pods/{name}", {"metadata": {"uid": uid, "labels": {LABEL: uid}}})
    service = f"driver-{uid}"
    ports = {"driver-rpc-port": port, "blockmanager": block_manager_port, "spark-ui": UI_PORT}
    api.create("services", _service(service, name, uid, ports))
    return {
        "spark.master": f"k8s://{api.server}",
        "spark.submit.deployMode": "client",
        "spark.app.id": service,
        "spark.driver.host": f"{service}.{api.namespace}.svc",
        "spark.driver.bindAddress": address,
        # By default executors of Spark 4.3 connect to the address rather than to the name.
        "spark.executorEnv.SPARK_DRIVER_POD_IP": address,
        "spark.driver.port": str(port),
        "spark.driver.blockManager.port": str(block_manager_port),
        "spark.kubernetes.namespace": api.namespace,
        "spark.kubernetes.driver.pod.name": name,
        "spark.kubernetes.executor.podNamePrefix": service,
        "spark.kubernetes.container.image": image or found["spec"]["containers"][0]["image"],
    }


def _service(name: str, pod: str, uid: str, ports: Mapping[str, int]) -> dict[str, Any]:
    """Return a headless Service that is a pod's own."""
    owner = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid, "blockOwnerDeletion": True}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "ownerReferences": [owner], "labels": {"spark-app-selector": name}},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {LABEL: uid},
            "ports": [{"name": port_name, "port": port} for port_name, port in ports.items()],
        },
    }


@dataclass(frozen=True)
class _Api:
    """The API server, as a pod's service account sees it."""

    account: Path

    @property
    def namespace(self) -> str:
        return self._read("namespace").strip()

    @property
    def server(self) -> str:
        host, port = (os.environ.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
        return f"https://{f'[{host}]' if ':' in host else host}:{port}"

    def _read(self, name: str) -> str:
        try:
            return (self.account / name).read_text()
        except OSError as error:
            raise DriverServiceError(
                f"{self.account / name} cannot be read ({error.strerror}): this must run in a pod with a service "
                "account, whose automountServiceAccountToken must not be false"
            ) from error

    def create(self, resource: str, body: Mapping[str, Any]) -> None:
        """Create an object; one that is there is this pod's, whose UID its name has."""
        self.call("POST", resource, body, accepted=(409,))

    def delete(self, resource: str, name: str) -> None:
        """Delete an object; one that is gone is fine, for Spark deletes it when it stops."""
        self.call("DELETE", f"{resource}/{name}", accepted=(404,))

    def call(self, verb: str, path: str, body: Any = None, accepted: tuple[int, ...] = ()) -> Any:
        """Send a request for something in the pod's namespace, and return the object answered.

        :raises DriverServiceError: the API server cannot be reached, or refuses.
        """
        where = f"/api/v1/namespaces/{self.namespace}/{path}"
        headers = {"Authorization": f"Bearer {self._read('token').strip()}", "Accept": "application/json"}
        headers["Content-Type"] = "application/merge-patch+json" if verb == "PATCH" else "application/json"
        context = ssl.create_default_context(cadata=self._read("ca.crt"))
        host = self.server.removeprefix("https://")
        connection = http.client.HTTPSConnection(host, context=context, timeout=_SECONDS)
        try:
            connection.request(verb, where, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            status, text = answer.status, answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise DriverServiceError(f"the API server {host} cannot be reached: {error}") from error
        finally:
            connection.close()
        if status >= http.client.BAD_REQUEST and status not in accepted:
            raise DriverServiceError(_refusal(verb, path, status, text))
        return json.loads(text)


def _refusal(verb: str, path: str, status: int, text: str) -> str:
    """Return what a refusal means."""
    try:
        said = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        said = text[:500]
    if status == http.client.NOT_FOUND:
        return f"{said} ({path}): set the variable POD_NAME from metadata.name (fieldRef), or give `pod`"
    if status == http.client.FORBIDDEN:
        return f"{said}: the pod's service account needs the Role in airflow_provider_sparkml/rbac/driver.yaml"
    return f"{verb} {path}: {status} {said}"


__all__ = ["DriverServiceError", "driver_service", "prepare_driver_service"]
