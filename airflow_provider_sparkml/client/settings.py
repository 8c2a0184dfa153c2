"""What a kubeconfig or a service account says about a cluster and a user: plain data, whose repr shows no secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidConnectionError

FileMark = tuple[int, int, int] | None
"""Modification time, size and inode of a file, ``None`` while it is absent: changes when the file does."""


@dataclass(frozen=True, slots=True)
class ExecPlugin:
    """A credential plug-in of a kubeconfig's user (``client.authentication.k8s.io``).

    :param api_version: the protocol's version, sent to the plug-in and expected back.
    :param command: the program; a path when it contains a separator, else looked up in ``PATH``.
    :param args: its arguments.
    :param env: variables added to the worker's environment.
    :param cwd: directory of the kubeconfig.
    :param cluster: what ``provideClusterInfo`` asks to hand over, or ``None``.
    :param install_hint: what to tell when the program is missing.
    """

    api_version: str
    command: str
    args: tuple[str, ...] = field(default=(), repr=False)
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    cwd: Path | None = None
    cluster: Mapping[str, Any] | None = field(default=None, repr=False)
    install_hint: str = ""


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """All that a TLS context is made of; PEM bytes, empty when not given.

    :param ca: certificates to trust; the system's when empty.
    :param certificate: the client's certificate chain.
    :param key: the client's private key.
    :param verify: whether the server's certificate is checked.
    """

    ca: bytes = field(default=b"", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Settings:
    """One context of a kubeconfig, resolved: where the server is and how to authenticate.

    :param server: URL of the API server without a slash at the end.
    :param namespace: namespace of the context, or empty.
    :param tls: what the TLS context is made of.
    :param tls_server_name: name to expect in the server's certificate, or empty.
    :param proxy: URL of the proxy, or empty.
    :param token: bearer token, or empty.
    :param basic: ``user:password``, or empty.
    :param exec_plugin: the plug-in that yields token or certificate, or ``None``.
    :param headers: impersonation headers.
    :param files: each file that was read, or would have been if it existed, with its :func:`file_mark` of before.
    """

    server: str
    namespace: str = ""
    tls: TlsMaterial = field(default_factory=TlsMaterial)
    tls_server_name: str = ""
    proxy: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    basic: str = field(default="", repr=False)
    exec_plugin: ExecPlugin | None = None
    headers: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[Path, FileMark], ...] = ()


def file_mark(path: Path) -> FileMark:
    """Return what changes when a file does; links are followed, as mounted secrets are links."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def read_file(path: Path, wanted_by: str) -> bytes:
    """Return a file's content.

    :param wanted_by: the field that names it.
    :raises InvalidConnectionError: it cannot be read, or is empty.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidConnectionError(f"{wanted_by}: cannot read {path}: {error.strerror}") from None
    if not content:
        raise InvalidConnectionError(f"{wanted_by}: {path} is empty; is it written completely?")
    return content


def bearer_token(text: str, source: str) -> str:
    """Return a bearer token fit for a header.

    :raises InvalidConnectionError: the text is something else; it is not quoted, as it may be another secret.
    """
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidConnectionError(f"{source} holds no bearer token: it must be one printable ASCII word")
    return token
