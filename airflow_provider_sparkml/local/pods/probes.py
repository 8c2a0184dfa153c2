"""Startup, readiness and liveness probes: is a container started, may it get requests, must it be started anew."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Manifest

Execute = Callable[[list[str], float], Awaitable[tuple[int, str]]]
"""Runs a command inside the container for at most so many seconds; returns exit code and output."""


@dataclass(frozen=True, slots=True)
class Result:
    """One answer of a probe.

    :param healthy: what the probe says of the container now, ``None`` while too few answers are alike to say.
    :param problem: what was wrong with this answer, empty when nothing was.
    """

    healthy: bool | None
    problem: str = ""


async def results(probe: Manifest, container: Manifest, address: str, execute: Execute) -> AsyncIterator[Result]:
    """Probe for ever, and yield every answer.

    :param probe: the probe's spec; durations are in seconds.
    :param container: the container's spec, for the names of its ports.
    :param address: address of the pod.
    :param execute: runs the command of an ``exec`` probe.
    """
    await asyncio.sleep(probe.get("initialDelaySeconds") or 0)
    needed = {True: probe.get("successThreshold") or 1, False: probe.get("failureThreshold") or 3}
    in_row, before = 0, None
    while True:
        problem = await _problem(probe, container, address, execute)
        good = not problem
        in_row = in_row + 1 if good == before else 1
        before = good
        yield Result(good if in_row >= needed[good] else None, problem)
        await asyncio.sleep(probe.get("periodSeconds") or 10)


async def _problem(probe: Manifest, container: Manifest, address: str, execute: Execute) -> str:
    """Probe once; return what is wrong, or an empty text."""
    timeout = probe.get("timeoutSeconds") or 1
    try:
        if "httpGet" in probe:
            return await _http(probe["httpGet"], container, address, timeout)
        if "tcpSocket" in probe:
            spec = probe["tcpSocket"]
            async with asyncio.timeout(timeout):
                _, writer = await asyncio.open_connection(spec.get("host") or address, _port(spec, container))
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return ""
        if "exec" in probe:
            code, output = await execute(probe["exec"]["command"], timeout)
            return "" if code == 0 else output or f"exit code {code}"
    except TimeoutError:
        return f"timeout: no answer within {timeout} s"
    except (OSError, aiohttp.ClientError, InvalidManifestError) as error:
        return str(error) or type(error).__name__
    return f"the local cluster has no {', '.join(set(probe) & {'grpc'}) or 'such'} probes"


async def _http(spec: Manifest, container: Manifest, address: str, timeout: float) -> str:
    scheme = (spec.get("scheme") or "HTTP").lower()
    url = f"{scheme}://{spec.get('host') or address}:{_port(spec, container)}/{(spec.get('path') or '/').lstrip('/')}"
    headers = {header["name"]: header["value"] for header in spec.get("httpHeaders") or ()}
    limit = aiohttp.ClientTimeout(total=timeout)
    async with (
        aiohttp.ClientSession(timeout=limit) as session,
        # A kubelet does not verify the certificates of what it probes.
        session.get(url, headers=headers, ssl=False, allow_redirects=False) as answer,
    ):
        return "" if 200 <= answer.status < 400 else f"HTTP probe failed with statuscode: {answer.status}"


def _port(spec: Manifest, container: Manifest) -> int:
    port = spec["port"]
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    for declared in container.get("ports") or ():
        if declared.get("name") == port:
            return int(declared["containerPort"])
    raise InvalidManifestError(f"container {container['name']!r} declares no port named {port!r}")
