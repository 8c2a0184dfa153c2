"""Answers that do not end by themselves: the events of a watch and the lines of a log."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

from airflow_provider_sparkml.client.errors import error_from_status
from airflow_provider_sparkml.client.requests import Request
from airflow_provider_sparkml.client.transport import Transport
from airflow_provider_sparkml.exceptions import ApiError, ApiUnavailableError

_WATCH_SLACK_SECONDS = 15
_LONGEST_LOG_LINE = 256 * 1024


async def watch_events(
    transport: Transport, request: Request, timeout_seconds: int, on_open: Callable[[], None] | None
) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the events of a watch until the server ends it.

    :param timeout_seconds: after how long the server was asked to end it; a silence beyond that is a dead peer.
    :param on_open: called when the server has accepted the watch.
    :raises ApiError: an ERROR event, by its status; ``ApiUnavailableError`` also for an event cut off in the middle.
    """
    async with transport.stream(request, read_seconds=timeout_seconds + _WATCH_SLACK_SECONDS) as content:
        if on_open is not None:
            on_open()
        rest = b""
        async for chunk in content.iter_any():  # not by readline, which refuses lines beyond 64 KiB
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = _event(request, line)
                if event.get("type") == "ERROR":
                    status = event.get("object") or {}
                    raise error_from_status(request.call, int(status.get("code") or 500), status)
                yield event
        if rest:
            raise ApiUnavailableError(f"the watch broke off in the middle of an event ({request.call})")


async def log_lines(transport: Transport, request: Request, *, follow: bool) -> AsyncGenerator[str, None]:
    """Yield the lines of a container's log; a line beyond 256 KiB comes in pieces.

    :param follow: whether silence is normal; keep-alive probes then notice a dead peer.
    """
    try:
        async with transport.stream(request, read_seconds=None if follow else 60.0) as content:
            rest = b""
            async for chunk in content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                while len(rest) > _LONGEST_LOG_LINE:
                    lines.append(rest[:_LONGEST_LOG_LINE])
                    rest = rest[_LONGEST_LOG_LINE:]
                for line in lines:
                    yield _text(line)
            if rest:
                yield _text(rest)
    except ApiError as error:
        if error.status == 400 and "waiting to start" in str(error):
            return  # no log yet is no error: an API server without that kubelet answers 204 to the same question
        raise


def _event(request: Request, line: bytes) -> dict[str, Any]:
    """Return the event in a line of a watch."""
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:
        raise ApiUnavailableError(f"the watch sent something else than an event ({request.call})") from None
    return event


def _text(line: bytes) -> str:
    """Return a log line as text, whatever bytes the program wrote."""
    return line.decode(errors="replace").removesuffix("\r")
