"""The connections of a channel: made, made anew when they break, and chosen for calls."""

import asyncio
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ssl import SSLContext

import structlog
from grpc import StatusCode

from gateway.http2.connection import Connection
from gateway.http2.limits import Limits
from gateway.http2.status import CallFailed, Unreachable

log = structlog.get_logger("gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """How connections are encrypted."""

    context: Callable[[], SSLContext]
    """Called for each connection. Offers `h2` by ALPN, holds the client's certificate where the server wants one."""
    server_name: str
    """Whom the server's certificate has to name."""


class Connections:
    """The connections to one server. They are made in the background, one at a time."""

    def __init__(
        self, target: str, limits: Limits, security: Security | None, jitter: Callable[[], float] = random.random
    ) -> None:
        host, _, port = target.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._target = target
        self._limits = limits
        self._security = security
        self._jitter = jitter
        self._all: list[Connection] = []
        self._connecting: asyncio.Task[None] | None = None
        self._fault: str | None = None
        """Why the last attempt to connect failed, until one does not."""
        self._waiting: dict[asyncio.Future[None], None] = {}
        """In the order they began to wait, which is the order they are served in."""
        self._closed = False

    def with_room(self) -> Connection | None:
        """Returns a connection on which a call may begin now."""
        for connection in self._all:
            if connection.has_room:
                return connection
        return None

    async def within(self, deadline: float | None) -> Connection:
        """Returns a connection on which a call may begin, made if need be; `deadline` is in the loop's time.

        Raises:
            CallFailed: none can be made, or there is none in time.
        """
        try:
            async with asyncio.timeout_at(deadline):
                while (connection := self.with_room()) is None:
                    if self._closed:
                        raise Unreachable("the channel is closed")
                    if self._fault is not None and not self._serving():
                        raise Unreachable(self._fault)
                    self.connect()
                    await self._change()
        except TimeoutError:
            raise CallFailed(StatusCode.DEADLINE_EXCEEDED, "no connection had room before the deadline") from None
        return connection

    def connect(self) -> None:
        """Makes another connection in the background, unless one is being made or there are enough."""
        if self._connecting is None and self._serving() < self._limits.max_connections and not self._closed:
            self._connecting = asyncio.create_task(self._keep_connecting())
            self._connecting.add_done_callback(self._has_connected)

    async def close(self) -> None:
        """Closes all; calls in hand fail."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        await asyncio.gather(*(connection.close() for connection in self._all))
        self._changed()

    def _serving(self) -> int:
        return sum(not connection.draining for connection in self._all)

    async def _change(self) -> None:
        """Waits until some connection has changed, or an attempt has failed."""
        waited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[waited] = None
        try:
            await waited
        finally:
            del self._waiting[waited]

    def _changed(self) -> None:
        self._all = [connection for connection in self._all if not connection.closed.done()]
        if not self._serving():
            self.connect()
        for waited in self._waiting:
            if not waited.done():
                waited.set_result(None)

    def _has_connected(self, task: asyncio.Task[None]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.result()
            self._changed()

    async def _keep_connecting(self) -> None:
        """Tries until it succeeds: calls do not wait for that, they fail with what the last attempt said."""
        backoff = self._limits.first_backoff_seconds
        while True:
            try:
                async with asyncio.timeout(self._limits.connect_seconds):
                    connection = await self._open()
            except (OSError, TimeoutError, Unreachable) as error:
                if self._fault is None:
                    log.warning("upstream_unreachable", target=self._target, problem=str(error) or "no answer in time")
                self._fault = f"cannot connect to {self._target}: {error or 'no answer in time'}"
                self._changed()
                await asyncio.sleep(backoff * (0.8 + 0.4 * self._jitter()))
                backoff = min(backoff * 1.6, self._limits.most_backoff_seconds)
                continue
            self._fault = None
            self._all.append(connection)
            return

    async def _open(self) -> Connection:
        """Connects, and waits until the server has said how it wants to be spoken to."""
        loop = asyncio.get_running_loop()
        security = self._security
        transport, connection = await loop.create_connection(
            partial(Connection, self._limits, self._changed),
            self._host,
            self._port,
            ssl=security.context() if security else None,
            server_hostname=security.server_name if security else None,
        )
        try:
            if security and (chosen := transport.get_extra_info("ssl_object").selected_alpn_protocol()) != "h2":
                raise Unreachable(f"the server speaks {chosen or 'nothing that ALPN names'}, not h2")
            _watch_by_tcp(transport.get_extra_info("socket"))
            await connection.ready
            if connection.draining:
                raise Unreachable("it closes at once; is it a gRPC server?")
        except BaseException:
            transport.abort()
            raise
        return connection


def _watch_by_tcp(connected: socket.socket) -> None:
    """Lets the kernel notice a machine that is gone, also where HTTP/2 may not ask any more."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
