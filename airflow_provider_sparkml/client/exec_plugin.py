"""Running a kubeconfig's credential plug-in: a child process without a shell, with a time-out, its output checked."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any

from airflow_provider_sparkml.client.settings import ExecPlugin
from airflow_provider_sparkml.exceptions import InvalidConnectionError

TIMEOUT_SECONDS = 30.0
_LONGEST_STDERR = 500
_LARGEST_OUTPUT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ExecCredential:
    """What a plug-in returned in ``status``.

    :param token: bearer token, or empty.
    :param certificate: PEM of the client's certificate, or empty.
    :param key: PEM of the client's key, or empty.
    :param expires_at: epoch seconds after which the plug-in is to be run again, or ``None``.
    """

    token: str = field(default="", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    expires_at: float | None = None


async def run_plugin(plugin: ExecPlugin, *, timeout: float = TIMEOUT_SECONDS) -> ExecCredential:
    """Run a plug-in as ``client.authentication.k8s.io`` describes, and return its credential.

    :param timeout: seconds after which it is killed, with its children.
    :raises InvalidConnectionError: it is missing, fails, hangs, or answers something else. Its standard output is
        never shown, since it holds the token.
    """
    # Files, not pipes: nothing can then block on a full pipe, or on a grandchild that keeps one open (until Python 3.12
    # asyncio's wait() does, and a start that is cancelled while pipes are being connected never returns).
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        returncode = await _run(plugin, timeout, stdout, stderr)
        printed, said = _content(stdout), _content(stderr)
    name = os.path.basename(plugin.command)
    if returncode != 0:
        last_words = said.decode(errors="replace").strip()[-_LONGEST_STDERR:]
        raise InvalidConnectionError(f"exec plug-in {name!r} ended with exit code {returncode}: {last_words}")
    return _credential(plugin, name, printed)


async def _run(plugin: ExecPlugin, timeout: float, stdout: IO[bytes], stderr: IO[bytes]) -> int:
    """Run the program and return its exit code."""
    try:
        process = await asyncio.create_subprocess_exec(
            plugin.command,
            *plugin.args,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=plugin.cwd,
            env={**os.environ, **dict(plugin.env), "KUBERNETES_EXEC_INFO": json.dumps(_request(plugin))},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        hint = f"; {' '.join(plugin.install_hint.split())}" if plugin.install_hint else ""
        raise InvalidConnectionError(
            f"exec plug-in {plugin.command!r} cannot be started: {getattr(error, 'strerror', error)}; install it where "
            f"workers and triggerer find it{hint}"
        ) from None
    try:
        return await asyncio.wait_for(process.wait(), timeout)
    except BaseException as error:
        # Also when this task is cancelled: a plug-in and its children must not outlive whoever asked for it.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if not isinstance(error, TimeoutError):
            raise
        raise InvalidConnectionError(
            f"exec plug-in {plugin.command!r} did not answer within {timeout:g} s; run it by hand on this machine to "
            "see what it waits for"
        ) from None


def _content(file: IO[bytes]) -> bytes:
    """Return what a program wrote, up to a bound."""
    file.seek(0)
    return file.read(_LARGEST_OUTPUT)


def _request(plugin: ExecPlugin) -> dict[str, Any]:
    """Return the ``ExecCredential`` that tells the plug-in what it is asked for."""
    spec: dict[str, Any] = {"interactive": False}
    if plugin.cluster is not None:
        spec["cluster"] = dict(plugin.cluster)
    return {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}


def _credential(plugin: ExecPlugin, name: str, stdout: bytes) -> ExecCredential:
    """Check and read the ``ExecCredential`` a plug-in printed."""
    try:
        answer = json.loads(stdout)
        status = answer["status"]
        version = answer["apiVersion"]
        token, certificate, key = (
            str(status.get(part) or "") for part in ("token", "clientCertificateData", "clientKeyData")
        )
        expiry = status.get("expirationTimestamp")
        expires_at = _epoch_seconds(expiry) if expiry else None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidConnectionError(
            f"exec plug-in {name!r} did not print an ExecCredential with apiVersion and status as JSON"
        ) from None
    if version != plugin.api_version:
        raise InvalidConnectionError(
            f"exec plug-in {name!r} answered in {version!r}, but exec.apiVersion says {plugin.api_version!r}"
        )
    if not token and not (certificate and key):
        raise InvalidConnectionError(
            f"exec plug-in {name!r} returned neither status.token nor clientCertificateData with clientKeyData"
        )
    return ExecCredential(token.strip(), certificate.encode(), key.encode(), expires_at)


def _epoch_seconds(timestamp: str) -> float:
    """Return an RFC 3339 time in epoch seconds; without an offset it is UTC."""
    moment = datetime.fromisoformat(timestamp)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
