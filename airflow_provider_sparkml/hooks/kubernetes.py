"""Turns an Airflow connection of type ``kubernetes`` into a client and a watch that one event loop shares."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow.sdk import BaseHook

from airflow_provider_sparkml.exceptions import InvalidConnectionError

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient
    from airflow_provider_sparkml.client.credentials import CredentialsSource
    from airflow_provider_sparkml.client.watch import WatchHub

_PREFIX = "extra__kubernetes__"
_LONGEST_TOLD = 20
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """What a connection's extras say, checked; at most one of the first three is set.

    :param in_cluster: use the service account of the pod this process runs in.
    :param kube_config_path: a kubeconfig on this machine; only such a file may run an exec plug-in.
    :param kube_config: an inline kubeconfig, as a mapping or as JSON or YAML text.
    :param cluster_context: the kubeconfig's context to use, or ``None`` for its current one.
    :param disable_verify_ssl: accept any certificate of the server.
    :param disable_tcp_keepalive: do not probe idle connections.
    :param namespace: the namespace of whoever does not name one, or empty.
    """

    in_cluster: bool = False
    kube_config_path: str = ""
    kube_config: Mapping[str, Any] | str = field(default="", repr=False)
    cluster_context: str | None = None
    disable_verify_ssl: bool = False
    disable_tcp_keepalive: bool = False
    namespace: str = ""


@dataclass(eq=False, slots=True)
class Cluster:
    """One cluster as one event loop uses it.

    :param client: its API.
    :param hub: the watch that everybody on this event loop shares.
    :param connection_namespace: the connection's namespace, or empty.
    """

    client: KubernetesClient
    hub: WatchHub
    connection_namespace: str = ""
    _users: int = 0

    async def default_namespace(self) -> str:
        """Return the namespace of whoever names none: the connection's, the kubeconfig context's, ``default``."""
        return self.connection_namespace or await self.client.default_namespace()


class KubernetesApiHook(BaseHook):
    """Opens the cluster of a ``kubernetes`` connection, the same one that the cncf provider's ``KubernetesHook`` would.

    All extras of that connection type that say how to reach a cluster count: ``in_cluster``, ``kube_config_path``,
    ``kube_config``, ``cluster_context``, ``disable_verify_ssl``, ``disable_tcp_keepalive`` and ``namespace``, each
    also with the prefix ``extra__kubernetes__``. Without any, and when ``kubernetes_default`` does not exist, the pod's
    service account is used, and outside of a pod the default kubeconfig.

    One difference is on purpose: an exec plug-in in an *inline* kubeconfig is refused. Whoever may edit a connection
    must not thereby run programs on a worker.

    :param kubernetes_conn_id: the connection; ``None`` means no extras at all.

    .. code-block:: python

        async with KubernetesApiHook("kubernetes_default").connect() as cluster:
            pods = await cluster.client.list(POD, await cluster.default_namespace())
    """

    conn_name_attr = "kubernetes_conn_id"
    default_conn_name = "kubernetes_default"
    conn_type = "kubernetes"
    hook_name = "Kubernetes Cluster Connection"

    def __init__(self, kubernetes_conn_id: str | None = default_conn_name) -> None:
        super().__init__()
        self.kubernetes_conn_id = kubernetes_conn_id

    async def extras(self) -> dict[str, Any]:
        """Return the connection's extras, their secrets masked in logs.

        :raises AirflowNotFoundException: no such connection, unless it is ``kubernetes_default``.
        :raises InvalidConnectionError: its extra is not a JSON object.
        """
        from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
        from airflow.sdk.exceptions import AirflowNotFoundException

        if self.kubernetes_conn_id is None:
            return {}
        try:
            connection = await get_async_connection(self.kubernetes_conn_id)
        except AirflowNotFoundException:
            if self.kubernetes_conn_id == self.default_conn_name:
                return {}
            raise
        extras = await get_async_extra_dejson(connection)
        # Airflow reads broken JSON as {}, which would mean another cluster than the one that was meant.
        if not isinstance(extras, dict) or (not extras and (connection.extra or "{}").strip() != "{}"):
            raise InvalidConnectionError(f"connection {self.kubernetes_conn_id!r}: extra must be a JSON object")
        return extras

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Cluster]:
        """Open the cluster, or join those who have it open on this event loop; the last one to leave closes it.

        :raises AirflowNotFoundException: no such connection.
        :raises InvalidConnectionError: it cannot be used; the message names the field.
        """
        extras = await self.extras()
        settings = read_extras(extras, self.kubernetes_conn_id or "")
        await _mask(settings)
        clusters = _CLUSTERS.setdefault(asyncio.get_running_loop(), {})
        # A connection that was edited is another cluster to whoever comes next.
        key = (self.kubernetes_conn_id, _fingerprint(extras))
        cluster = clusters.get(key)
        if cluster is None:
            cluster = clusters[key] = _open(settings)
        cluster._users += 1
        try:
            yield cluster
        finally:
            cluster._users -= 1
            if not cluster._users:
                del clusters[key]
                try:
                    await cluster.hub.close()
                finally:
                    await cluster.client.close()


_CLUSTERS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str | None, str], Cluster]] = WeakKeyDictionary()


def _open(settings: ConnectionSettings) -> Cluster:
    """Return a cluster; nothing is sent yet."""
    from airflow_provider_sparkml.client.client import KubernetesClient
    from airflow_provider_sparkml.client.watch import WatchHub

    client = KubernetesClient(credentials(settings), tcp_keepalive=not settings.disable_tcp_keepalive)
    return Cluster(client, WatchHub(client), settings.namespace)


def read_extras(extras: Mapping[str, Any], conn_id: str) -> ConnectionSettings:
    """Check a connection's extras (fields of Airflow's ``kubernetes`` connection type).

    :param extras: the connection's extra, as a mapping.
    :param conn_id: for messages.
    :raises InvalidConnectionError: a field has the wrong type, or two fields exclude each other.
    """

    def value(name: str) -> Any:
        # As KubernetesHook reads them: the plain name counts more, and what is empty is not set.
        return extras[name] or None if name in extras else extras.get(_PREFIX + name) or None

    def text(name: str) -> str:
        found = value(name)
        if found is not None and not isinstance(found, str):
            raise InvalidConnectionError(f"connection {conn_id!r}: {name} is {_told(found)}: it must be a text")
        return found or ""

    def flag(name: str) -> bool:
        found = value(name)
        if found is None or isinstance(found, bool):
            return bool(found)
        if (text := str(found).strip().lower()) not in _FLAGS:
            raise InvalidConnectionError(f"connection {conn_id!r}: {name} is {_told(found)}: set it to true or false")
        return _FLAGS[text]

    inline = value("kube_config")
    if inline is not None and not isinstance(inline, (str, Mapping)):
        raise InvalidConnectionError(
            f"connection {conn_id!r}: kube_config is a {type(inline).__name__}: it must be a kubeconfig as JSON or YAML"
        )
    path = text("kube_config_path")
    if "\n" in path.strip() or path.lstrip().startswith("{"):
        raise InvalidConnectionError(
            f"connection {conn_id!r}: kube_config_path is no path but a text of {len(path)} characters: put a "
            "kubeconfig's content into kube_config"
        )
    settings = ConnectionSettings(
        in_cluster=flag("in_cluster"),
        kube_config_path=path,
        kube_config=inline or "",
        cluster_context=text("cluster_context") or None,
        disable_verify_ssl=flag("disable_verify_ssl"),
        disable_tcp_keepalive=flag("disable_tcp_keepalive"),
        namespace=text("namespace"),
    )
    chosen = [name for name in ("in_cluster", "kube_config_path", "kube_config") if getattr(settings, name)]
    if len(chosen) > 1:
        raise InvalidConnectionError(
            f"connection {conn_id!r}: {' and '.join(chosen)} exclude each other; keep the one that is meant"
        )
    return settings


def _told(value: Any) -> str:
    """Return a value for a message, but nothing that is long: a kubeconfig may have been put into the wrong field."""
    text = repr(value)
    return text if len(text) <= _LONGEST_TOLD else f"a {type(value).__name__} of {len(text)} characters"


def credentials(settings: ConnectionSettings) -> CredentialsSource:
    """Return the credentials that a connection's settings stand for."""
    from airflow_provider_sparkml.client import credentials as source
    from airflow_provider_sparkml.client.in_cluster import read_in_cluster

    verify = not settings.disable_verify_ssl
    if settings.in_cluster:
        return source.in_cluster(verify=verify)
    if settings.kube_config_path:
        return source.kubeconfig_file(settings.kube_config_path, settings.cluster_context, verify=verify)
    if settings.kube_config:
        return source.kubeconfig_dict(settings.kube_config, settings.cluster_context, verify=verify)
    try:
        read_in_cluster()
    except InvalidConnectionError:
        return source.kubeconfig_file(None, settings.cluster_context, verify=verify)
    return source.in_cluster(verify=verify)


async def _mask(settings: ConnectionSettings) -> None:
    """Tell Airflow's masker the credentials of an inline kubeconfig: to Airflow they are just text."""
    if not settings.kube_config:
        return
    from airflow.sdk.log import amask_secret

    from airflow_provider_sparkml.client.kubeconfig import credentials_in

    for secret in credentials_in(settings.kube_config):
        await amask_secret(secret)


def _fingerprint(extras: Mapping[str, Any]) -> str:
    """Return what tells one content of a connection from another, and gives no secret away."""
    return hashlib.sha256(json.dumps(extras, sort_keys=True, default=str).encode()).hexdigest()


__all__ = ["Cluster", "ConnectionSettings", "KubernetesApiHook", "credentials", "read_extras"]
