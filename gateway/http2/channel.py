"""A channel to one gRPC server: what a call's headers say, and which calls may be sent again."""

import asyncio
from collections.abc import Iterable
from functools import lru_cache
from types import TracebackType
from typing import Self

from gateway.http2 import hpack, messages
from gateway.http2.call import Call
from gateway.http2.connections import Connections, Security
from gateway.http2.limits import Limits
from gateway.http2.status import CallFailed, Unprocessed

AskMetadata = Iterable[tuple[str, str]]
_USER_AGENT = "astra-gateway"


class Channel:
    """Calls one server. Use it as an async context manager: it holds connections, and the task that makes them."""

    def __init__(self, target: str, *, limits: Limits | None = None, security: Security | None = None) -> None:
        self._target = target
        self._limits = limits or Limits()
        self._scheme = "https" if security else "http"
        self._connections = Connections(target, self._limits, security)
        self._head = lru_cache(maxsize=4096)(self._headers_of)

    async def unary(
        self,
        rpc: str,
        message: bytes,
        *,
        metadata: AskMetadata = (),
        timeout_seconds: float,
        authority: str | None = None,
    ) -> tuple[list[bytes], Call]:
        """Calls an rpc with one message, and returns all it answers with the call, which has ended.

        Cancelling cancels the call. A call that no server has looked at is sent again, on another connection if
        need be; no other one is.

        Raises:
            CallFailed: it ended with an error.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        for attempt in range(self._limits.attempts):
            left = deadline - loop.time() if attempt else timeout_seconds
            connection = self._connections.with_room() or await self._connections.within(deadline)
            call = connection.start(self._block(rpc, authority, left, metadata), message)
            call.end_in(left)
            try:
                return await call.finish(), call
            except Unprocessed:
                if attempt + 1 == self._limits.attempts:
                    raise
            finally:
                call.cancel()
        raise AssertionError("a channel makes at least one attempt")

    async def begin(
        self,
        rpc: str,
        *,
        metadata: AskMetadata = (),
        timeout_seconds: float | None,
        authority: str | None = None,
    ) -> Call:
        """Begins a call whose messages are sent and read one by one. Whoever begins it has to cancel it in the end.

        Raises:
            CallFailed: there is no connection, or none in time.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeout_seconds is None else loop.time() + timeout_seconds
        connection = self._connections.with_room() or await self._connections.within(deadline)
        left = None if deadline is None else deadline - loop.time()
        call = connection.start(self._block(rpc, authority, left, metadata), None)
        if left is not None:
            call.end_in(left)
        return call

    async def ready(self, within_seconds: float) -> bool:
        """Tells whether a call could begin, now or in time."""
        try:
            await self._connections.within(asyncio.get_running_loop().time() + within_seconds)
        except CallFailed:
            return False
        return True

    async def __aenter__(self) -> Self:
        self._connections.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connections.close()

    def _block(self, rpc: str, authority: str | None, left: float | None, metadata: AskMetadata) -> bytes:
        parts = [self._head(rpc, authority or self._target)]
        if left is not None:
            parts.append(_timeout(left))
        parts += [hpack.encoded(name, value) for name, value in metadata]
        return b"".join(parts)

    def _headers_of(self, rpc: str, authority: str) -> bytes:
        """Returns the part of the header block that all calls of an rpc have in common."""
        headers = {
            ":method": "POST",
            ":scheme": self._scheme,
            ":path": rpc,
            ":authority": authority,
            "te": "trailers",
            "content-type": "application/grpc",
            "user-agent": _USER_AGENT,
            "grpc-accept-encoding": messages.ACCEPTED,
        }
        return b"".join(hpack.encoded(name, value) for name, value in headers.items())


@lru_cache(maxsize=256)
def _timeout(seconds: float) -> bytes:
    """Returns the header `grpc-timeout`: at most eight digits and a unit."""
    for unit, a_second in (("u", 1_000_000), ("m", 1000)):
        if (amount := int(seconds * a_second)) < 100_000_000:
            return hpack.encoded("grpc-timeout", f"{max(amount, 1)}{unit}")
    return hpack.encoded("grpc-timeout", f"{min(int(seconds), 99_999_999)}S")
