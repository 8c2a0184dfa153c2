"""Credentials for an API server, kept fresh: read anew when files rotate, a token expires, or the server says 401."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from airflow_provider_sparkml.client.exec_plugin import ExecCredential, run_plugin
from airflow_provider_sparkml.client.in_cluster import read_in_cluster
from airflow_provider_sparkml.client.kubeconfig import read_files, read_inline
from airflow_provider_sparkml.client.settings import FileMark, Settings, TlsMaterial, file_mark
from airflow_provider_sparkml.exceptions import InvalidConnectionError

log = logging.getLogger(__name__)

_REREADS = 5
_REREAD_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request needs to reach and satisfy the API server; its repr shows no secret.

    :param server: URL of the API server, without a slash at the end.
    :param namespace: namespace of the context, or empty.
    :param headers: headers of every request: authorization and impersonation.
    :param tls: context for https, ``None`` for http.
    :param tls_server_name: name to expect in the server's certificate, or ``None`` for the URL's host.
    :param proxy: URL of the proxy, or ``None``.
    :param expires_at: epoch seconds, or ``None``.
    """

    server: str
    namespace: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    tls_server_name: str | None = None
    proxy: str | None = field(default=None, repr=False)
    expires_at: float | None = None


class CredentialsSource(Protocol):
    """Yields credentials that are valid now."""

    async def load(self, *, force: bool = False) -> Credentials:
        """Return the credentials: the same object as before unless something changed.

        :param force: read everything anew, since the server refused the last ones.
        :raises InvalidConnectionError: they cannot be read or used.
        """
        ...


def kubeconfig_file(
    path: str | os.PathLike[str] | None, context: str | None = None, *, verify: bool = True
) -> CredentialsSource:
    """Return credentials from kubeconfig files on this machine; only these may run exec plug-ins.

    :param path: a file, ``~`` allowed, or a list as ``KUBECONFIG`` holds it; ``None`` for ``KUBECONFIG``, else
        ``~/.kube/config``.
    :param context: the context to use instead of ``current-context``.
    :param verify: ``False`` accepts any certificate of the server, whatever the kubeconfig says.
    """
    label = f"kubeconfig_file({str(path) if path is not None else None!r}, context={context!r})"
    return _Source(label, lambda: read_files(path, context), verify=verify)


def kubeconfig_dict(
    data: Mapping[str, Any] | str, context: str | None = None, *, allow_exec: bool = False, verify: bool = True
) -> CredentialsSource:
    """Return credentials from a kubeconfig given as a mapping, or as JSON or YAML text.

    :param context: the context to use instead of ``current-context``.
    :param allow_exec: run its exec plug-in; only for data that the deployment itself wrote, never for a connection's.
    :param verify: ``False`` accepts any certificate of the server, whatever the kubeconfig says.
    """
    label = f"kubeconfig_dict(context={context!r})"
    return _Source(label, lambda: read_inline(data, context, allow_exec=allow_exec), verify=verify)


def in_cluster(*, verify: bool = True) -> CredentialsSource:
    """Return the credentials of the pod this process runs in.

    :param verify: ``False`` accepts any certificate of the server.
    """
    return _Source("in_cluster()", read_in_cluster, verify=verify)


class _Source:
    """Reads settings, runs the exec plug-in, and makes them credentials; remembers them while they hold."""

    def __init__(self, label: str, read: Callable[[], Settings], *, verify: bool) -> None:
        self._label = label
        self._read = read
        self._verify = verify
        self._current: Credentials | None = None
        self._files: tuple[tuple[Path, FileMark], ...] = ()
        self._material: TlsMaterial | None = None
        self._tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return self._label

    async def load(self, *, force: bool = False) -> Credentials:
        """Return the credentials; see :meth:`CredentialsSource.load`."""
        current = self._current
        if current is None:
            return await self._load()
        expired = current.expires_at is not None and time.time() >= current.expires_at
        if not force and not expired and all(file_mark(path) == mark for path, mark in self._files):
            return current
        for _ in range(_REREADS if force or expired else 0):
            try:
                return await self._load()
            except InvalidConnectionError as error:
                log.info("%s cannot be read anew, trying again: %s", self._label, error)
                await asyncio.sleep(_REREAD_SECONDS)  # somebody may be in the middle of writing it
        try:
            return await self._load()
        except InvalidConnectionError as error:
            if force or expired:
                raise
            log.warning("%s has changed but cannot be read; going on with the former: %s", self._label, error)
            return current

    async def _load(self) -> Credentials:
        settings = await asyncio.to_thread(self._read)
        issued = await run_plugin(settings.exec_plugin) if settings.exec_plugin else ExecCredential()
        material = settings.tls
        if issued.certificate:
            material = replace(material, certificate=issued.certificate, key=issued.key)
        if not self._verify:
            material = replace(material, verify=False)
        if settings.server.startswith("https") and material != self._material:
            self._tls = await asyncio.to_thread(_tls_context, material)
        self._material = material
        self._files = settings.files
        self._current = Credentials(
            server=settings.server,
            namespace=settings.namespace,
            headers=_authorization(settings, issued) + settings.headers,
            tls=self._tls if settings.server.startswith("https") else None,
            tls_server_name=settings.tls_server_name or None,
            proxy=settings.proxy or _proxy_from_environment(settings.server),
            expires_at=issued.expires_at,
        )
        return self._current


def _authorization(settings: Settings, issued: ExecCredential) -> tuple[tuple[str, str], ...]:
    """Return the Authorization header, if there is anything to put into it."""
    if token := issued.token or settings.token:
        return (("Authorization", f"Bearer {token}"),)
    if settings.basic:
        return (("Authorization", f"Basic {base64.b64encode(settings.basic.encode()).decode()}"),)
    return ()


def _tls_context(material: TlsMaterial) -> ssl.SSLContext:
    """Return a client's TLS context."""
    try:
        context = ssl.create_default_context(cadata=material.ca.decode() if material.ca else None)
    except (ssl.SSLError, UnicodeDecodeError):
        raise InvalidConnectionError("certificate-authority holds no certificate in PEM form") from None
    # Python ≥3.13 is stricter than client-go: many clusters' own CAs lack an authority key identifier.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not material.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if bool(material.certificate) != bool(material.key):
        missing = "client-key" if material.certificate else "client-certificate"
        raise InvalidConnectionError(f"the kubeconfig's user lacks {missing}: certificate and key belong together")
    if material.certificate:
        _load_client_certificate(context, material)
    return context


def _load_client_certificate(context: ssl.SSLContext, material: TlsMaterial) -> None:
    """Load certificate and key; OpenSSL takes them from a file only, so one exists for a moment, for our eyes only."""
    with tempfile.NamedTemporaryFile(prefix="sparkml-", suffix=".pem") as pem:
        pem.write(material.certificate + b"\n" + material.key)
        pem.flush()
        try:
            # A password callback, since OpenSSL would otherwise ask on the terminal for an encrypted key's.
            context.load_cert_chain(pem.name, password=lambda: "")
        except (ssl.SSLError, ValueError):
            raise InvalidConnectionError(
                "client-certificate and client-key are not a matching pair of unencrypted PEM files"
            ) from None


def _proxy_from_environment(server: str) -> str | None:
    """Return the proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY ask for, as kubectl does."""
    parts = urlsplit(server)
    if proxy_bypass(parts.netloc):
        return None
    proxy = getproxies().get(parts.scheme)
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"
