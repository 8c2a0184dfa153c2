"""The local cluster's API server: the Kubernetes HTTP API on loopback, over a store that survives restarts."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from airflow_provider_sparkml.exceptions import LocalClusterError
from airflow_provider_sparkml.local.api.bootstrap import bootstrap
from airflow_provider_sparkml.local.api.builtin import BUILTIN
from airflow_provider_sparkml.local.api.bundled import DEFINITIONS
from airflow_provider_sparkml.local.api.certificates import load_certificates
from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.codec import LARGEST_BODY
from airflow_provider_sparkml.local.api.dispatch import Dispatcher
from airflow_provider_sparkml.local.api.listener import Listener
from airflow_provider_sparkml.local.statedir import write_private
from airflow_provider_sparkml.local.store import Store

SHUTDOWN_SECONDS = 2.0
"""How long open requests have when the server stops; watches are cut."""


class ApiServer:
    """One Kubernetes API on loopback. Use :meth:`start` and :meth:`stop`, in one event loop.

    :param state_dir: where objects, tokens and keys are kept; made when absent.
    :param log_path: UID of a pod and name of a container → the file with its log; by default the kubelet's place
        below ``state_dir``.
    """

    def __init__(self, state_dir: Path, *, log_path: Callable[[str, str], Path] | None = None) -> None:
        self._state_dir = state_dir
        self._log_path = log_path or (lambda uid, container: state_dir / "pods" / uid / f"{container}.log")
        self._secrets = _load_secrets(state_dir)
        self._certificates = load_certificates(state_dir)
        self.url = ""

    @property
    def admin_token(self) -> str:
        """Bearer token that may do everything; the same after a restart."""
        return self._secrets["admin_token"]

    @property
    def secure_url(self) -> str:
        """The URL over TLS, on the same port; Go programs such as kubectl send a token to no other."""
        return self.url.replace("http://", "https://", 1)

    @property
    def ca(self) -> str:
        """Certificate authority in PEM form, by which the server is recognised over TLS."""
        return self._certificates.authority

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Serve HTTP, and HTTPS on the same port; return the URL over plain HTTP.

        :param host: a loopback address.
        :param port: 0 takes a free one.
        :raises LocalClusterError: the port is taken.
        """
        self._store = Store(self._state_dir / "objects.sqlite")
        await self._store.open()
        key = bytes.fromhex(self._secrets["signing_key"])
        cluster = Cluster(self._store, self._log_path, self.admin_token, key)
        await bootstrap(cluster, BUILTIN, copy.deepcopy(DEFINITIONS))
        server = web.Server(Dispatcher(cluster), request_factory=_request, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_SECONDS)
        await self._runner.setup()
        self._listener = Listener(server, self._certificates.context())
        try:
            bound = self._listener.start(host, port)
        except OSError as error:
            await self._runner.cleanup()
            await self._store.close()
            raise LocalClusterError(
                f"the API server cannot listen on {host}:{port}: {error.strerror}; choose another --port"
            ) from error
        self.url = f"http://{bound[0]}:{bound[1]}"
        return self.url

    async def stop(self) -> None:
        """Serve no longer: cut watches, finish writes, close the store."""
        await self._listener.stop()
        await self._runner.cleanup()
        await self._store.close()


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    """Return a request whose body may be as large as a real API server lets it be."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=LARGEST_BODY)


def _load_secrets(state_dir: Path) -> dict[str, str]:
    """Return the token and the key of a cluster, made at its first start."""
    path = state_dir / "secrets.json"
    with suppress(FileNotFoundError):
        loaded: dict[str, str] = json.loads(path.read_text())
        return loaded
    made = {"admin_token": secrets.token_urlsafe(32), "signing_key": secrets.token_hex(32)}
    write_private(path, json.dumps(made))
    return made


def write_kubeconfig(
    path: Path, url: str, token: str, *, ca: str = "", name: str = "sparkml", namespace: str = "default"
) -> None:
    """Write a kubeconfig that only the user can read, at no moment half.

    :param url: of the API server.
    :param token: the bearer token.
    :param ca: certificate authority in PEM form, for a URL over TLS.
    :param name: of its cluster, context and user.
    :param namespace: what kubectl takes when none is given.
    :raises LocalClusterError: it cannot be written.
    """
    authority = {"certificate-authority-data": base64.b64encode(ca.encode()).decode()} if ca else {}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url, **authority}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        "current-context": name,
    }
    write_private(path, yaml.safe_dump(config, sort_keys=False))
