"""One port for HTTP and HTTPS: the first byte of a connection tells which.

kubectl and other Go programs send a token over TLS alone; Spark and the controllers save its cost on loopback.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger(__name__)

_TLS_HANDSHAKE = b"\x16"
_FIRST_BYTE_SECONDS = 60.0
_BACKLOG = 1024


class Listener:
    """Accepts connections and hands them to a protocol.

    :param factory: makes a connection's protocol.
    :param context: the server's side of TLS.
    """

    def __init__(self, factory: Callable[[], asyncio.Protocol], context: ssl.SSLContext) -> None:
        self._factory = factory
        self._context = context
        self._beginning: set[asyncio.Task[None]] = set()

    def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen, and return the address.

        :raises OSError: the port is taken.
        """
        self._socket = socket.create_server((host, port), backlog=_BACKLOG)
        self._socket.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(), name="API server accepts")
        address: tuple[str, int] = self._socket.getsockname()[:2]
        return address

    async def stop(self) -> None:
        """Listen no longer; connections that are open stay."""
        self._accepting.cancel()
        for task in self._beginning:
            task.cancel()
        await asyncio.gather(self._accepting, *self._beginning, return_exceptions=True)
        self._socket.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._socket)
            except OSError as error:  # out of file descriptors: those who are here go first
                log.warning("cannot accept a connection: %s", error)
                await asyncio.sleep(0.1)
                continue
            task = asyncio.create_task(self._begin(connection))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _begin(self, connection: socket.socket) -> None:
        """Find out what a connection speaks, and let the protocol take it over."""
        loop = asyncio.get_running_loop()
        taken_over = False
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(_FIRST_BYTE_SECONDS):
                await _readable(loop, connection)
            first = connection.recv(1, socket.MSG_PEEK)
            if first:
                context = self._context if first == _TLS_HANDSHAKE else None
                taken_over = True  # from here on the transport closes it
                await loop.connect_accepted_socket(self._factory, connection, ssl=context)
        except (OSError, TimeoutError) as error:  # among them whatever is wrong with a client's TLS
            log.debug("a connection did not come about: %s", error)
        finally:
            if not taken_over:
                connection.close()


async def _readable(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    """Return when something can be read."""
    arrived = loop.create_future()
    loop.add_reader(connection, _settle, arrived)
    try:
        await arrived
    finally:
        loop.remove_reader(connection)


def _settle(future: asyncio.Future[None]) -> None:
    with suppress(asyncio.InvalidStateError):
        future.set_result(None)
