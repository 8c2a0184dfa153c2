"""HTTP to one API server: authentication, retries with jittered back-off, time-outs, and dead peers noticed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from yarl import URL

from airflow_provider_sparkml import __version__
from airflow_provider_sparkml.client.credentials import Credentials, CredentialsSource
from airflow_provider_sparkml.client.errors import error_from_answer
from airflow_provider_sparkml.client.requests import JSON, Request
from airflow_provider_sparkml.exceptions import ApiError, ApiUnavailableError, InvalidConnectionError

log = logging.getLogger(__name__)

_PARALLEL_REQUESTS = 64
_LONGEST_PAUSE_SECONDS = 5.0
_CONNECTION_ERRORS = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError, ConnectionError)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds.

    :param total: of one call of the client, all its retries included.
    :param request: of one HTTP exchange.
    :param connect: of connecting, TLS included.
    """

    total: float = 60.0
    request: float = 30.0
    connect: float = 10.0


def backoff(failures: int) -> float:
    """Return the seconds to pause after that many failures in a row.

    Exponential with full jitter: the many clients that lost one server must not come back at the same moment.
    """
    return random.uniform(0, min(_LONGEST_PAUSE_SECONDS, 0.25 * 2 ** min(failures, 16)))  # noqa: S311 - no secret


class Transport:
    """An HTTP session with one API server; belongs to one event loop.

    :param source: where the credentials come from.
    :param timeouts: limits of calls; streams have their own.
    :param tcp_keepalive: whether idle connections are probed, so that a peer gone silently is noticed.
    """

    def __init__(self, source: CredentialsSource, timeouts: Timeouts, *, tcp_keepalive: bool = True) -> None:
        self._source = source
        self._timeouts = timeouts
        self._tcp_keepalive = tcp_keepalive
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._warnings: set[str] = set()
        self._lock = asyncio.Lock()
        self._room = asyncio.Semaphore(_PARALLEL_REQUESTS)

    async def close(self) -> None:
        """Close all connections, for good."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def credentials(self, refused: Credentials | None = None) -> Credentials:
        """Return valid credentials.

        :param refused: those the server answered 401 to; read anew once, however many requests met the 401.
        """
        async with self._lock:
            current = await self._source.load()
            return await self._source.load(force=True) if current is refused else current

    async def send(self, request: Request) -> Any:
        """Send a request and return the decoded JSON of the answer.

        :raises ApiError: what the server's refusal means; ``ApiUnavailableError`` when retries did not help in time.
        """
        data = _encode(request.body)
        deadline = time.monotonic() + self._timeouts.total
        failures = 0
        while True:
            try:
                async with self._room:
                    left = min(self._timeouts.request, deadline - time.monotonic())
                    timeout = aiohttp.ClientTimeout(total=max(left, 0.001), sock_connect=self._timeouts.connect)
                    async with self._open(request, data, timeout) as response:
                        return _decode(request, response.status, await response.read())
            except ApiUnavailableError as error:
                failures += 1
                pause = max(error.retry_after, backoff(failures))
                if not _may_repeat(request, error) or time.monotonic() + pause >= deadline:
                    raise
                log.log(logging.INFO if failures == 1 else logging.DEBUG, "trying again in %.1f s: %s", pause, error)
            await asyncio.sleep(pause)

    @contextlib.asynccontextmanager
    async def stream(self, request: Request, *, read_seconds: float | None) -> AsyncIterator[aiohttp.StreamReader]:
        """Open a stream and yield its content; it is not retried and has no total time-out.

        :param read_seconds: the longest silence that is no sign of a dead peer, or ``None``.
        :raises ApiError: the server refuses, or the connection is lost, also while the caller reads.
        """
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._timeouts.connect, sock_read=read_seconds, connect=None
        )
        async with self._open(request, _encode(request.body), timeout) as response:
            try:
                yield response.content
            finally:
                if response.connection is not None and response.connection.transport is not None:
                    # Left before its end: TLS would wait for the peer's farewell, perhaps longer than the loop runs.
                    response.connection.transport.abort()

    @contextlib.asynccontextmanager
    async def _open(
        self, request: Request, data: bytes | None, timeout: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Open one exchange with a good status; translates every failure, also of reading, to our exceptions."""
        credentials = await self.credentials()
        for attempt in (1, 2):
            with _translated(request, credentials):
                async with self._exchange(request, data, credentials, timeout) as response:
                    if response.status == 401 and attempt == 1:
                        await response.read()
                    elif response.status >= 300:
                        raise _refusal(request, response, await response.read())
                    else:
                        self._pass_on_warnings(response)
                        yield response
                        return
            credentials = await self.credentials(refused=credentials)

    def _exchange(
        self, request: Request, data: bytes | None, credentials: Credentials, timeout: aiohttp.ClientTimeout
    ) -> Any:
        """Begin one HTTP exchange."""
        if self._closed:
            raise RuntimeError(f"the client is closed ({request.call})")
        if self._session is None:
            self._session = self._new_session()
        headers = [*credentials.headers, ("Content-Type", request.content_type)] if data else [*credentials.headers]
        return self._session.request(
            request.method,
            URL(credentials.server + request.path, encoded=True).with_query(
                {key: value for key, value in request.query.items() if value}
            ),
            data=data,
            headers=headers,
            timeout=timeout,
            ssl=credentials.tls or True,
            server_hostname=credentials.tls_server_name if credentials.tls else None,
            proxy=credentials.proxy,
            allow_redirects=False,  # a redirect would carry the token to wherever it points
        )

    def _pass_on_warnings(self, response: aiohttp.ClientResponse) -> None:
        """Log, once each, what the API server warns of, such as unknown fields and deprecated versions."""
        for warning in response.headers.getall("Warning", ()):
            if warning not in self._warnings:
                self._warnings.add(warning)
                log.warning("the API server warns: %s", warning.removeprefix("299 - ").strip('"'))

    def _new_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            # Every followed log holds a connection, so connections are not limited, but requests are.
            connector=aiohttp.TCPConnector(limit=0, socket_factory=_socket if self._tcp_keepalive else None),
            headers={"User-Agent": f"airflow-provider-sparkml/{__version__}", "Accept": JSON},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )


def _socket(address: Any) -> socket.socket:
    """Return a socket that probes its idle peer: a NAT or load balancer that forgot us is noticed within a minute."""
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
    return sock


def _encode(body: Any) -> bytes | None:
    """Return a body as JSON."""
    return None if body is None else json.dumps(body, separators=(",", ":")).encode()


def _decode(request: Request, status: int, body: bytes) -> Any:
    """Return the JSON of a good answer."""
    try:
        return json.loads(body) if body else None
    except ValueError:
        raise ApiError(
            f"the answer is no JSON: is this an API server? ({request.call}: HTTP {status})", status=status
        ) from None


def _refusal(request: Request, response: aiohttp.ClientResponse, body: bytes) -> ApiError:
    """Return the exception for an answer that is no success."""
    error = error_from_answer(request.call, response.status, body)
    if isinstance(error, ApiUnavailableError):
        error.retry_after = _retry_after(response.headers.get("Retry-After", ""))
    return error


def _retry_after(value: str) -> float:
    """Return the seconds of a Retry-After header, which holds seconds or a date (RFC 9110, 10.2.3)."""
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


def _may_repeat(request: Request, error: ApiUnavailableError) -> bool:
    """Tell whether a request can be sent again without doing something twice."""
    return request.retry and (request.repeatable or error.status == 429 or not error.sent)


@contextlib.contextmanager
def _translated(request: Request, credentials: Credentials) -> Iterator[None]:
    """Turn errors of the HTTP library into the package's own, naming the server and the cause."""
    try:
        yield
    except (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError) as error:
        raise InvalidConnectionError(
            f"the certificate of {credentials.server} is not accepted: {_cause(error)}; set the cluster's "
            f"certificate-authority to the CA that signed it, or tls-server-name to the name in it ({request.call})"
        ) from error
    except aiohttp.InvalidURL:
        # Not from the error: the URL may be the proxy's, with its password.
        raise InvalidConnectionError(f"server {credentials.server!r} is no usable URL ({request.call})") from None
    except (*_CONNECTION_ERRORS, aiohttp.ClientHttpProxyError) as error:
        unavailable = ApiUnavailableError(f"no answer from {credentials.server}: {_cause(error)} ({request.call})")
        unavailable.sent = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
        # What a proxy refused is told with its URL, which may have a password.
        raise unavailable from None if isinstance(error, aiohttp.ClientHttpProxyError) else error


def _cause(error: BaseException) -> str:
    """Return the reason of a connection error in a few words."""
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.strerror:
        return str(error.os_error.strerror)
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy refuses: HTTP {error.status} {error.message}"
    return str(error) or type(error).__name__
