"""The one way out: gRPC calls with raw bytes, to Envoy's internal listener or whatever stands in for it."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from grpc import aio
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from gateway.certificates import Certificates, open_channel
from gateway.metadata import joined
from gateway.outcome import Outcomes
from gateway.refusal import Refused, refusal

_OPTIONS = (
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
    # The default backs off for up to two minutes, long after the mesh is back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)

_LOOK_SECONDS = 1.0
"""How soon certificates that are replaced are taken."""


@dataclass(frozen=True, slots=True)
class Reply:
    payload: bytes
    metadata: Mapping[str, str | bytes]


class Stream:
    """A call of any kind whose messages are read and sent one by one."""

    def __init__(self, call: Any, outcomes: Outcomes) -> None:
        self._call = call
        self._outcomes = outcomes
        self._fault: Refused | None = None

    async def read(self) -> bytes | None:
        """Returns the next message, or None at the end.

        Raises:
            Refused: the call ended with an error, or what the client sends cannot be passed on.
        """
        try:
            message = await self._call.read()
        except asyncio.CancelledError:
            if self._fault is not None:
                raise self._fault from None
            raise
        except aio.AioRpcError as error:
            received = joined(error.initial_metadata(), error.trailing_metadata())
            raise Refused(self._outcomes.failure(error.code(), error.details() or "", received)) from None
        return None if message is aio.EOF else message

    async def reply(self) -> Reply:
        """Returns the one message of a call that answers with one, after its end.

        Raises:
            Refused: as `read`; or there is none, or more than one, with 502.
        """
        reply = await self.read()
        if reply is None or await self.read() is not None:
            raise refusal(502, "BAD_REPLY", "the service did not answer with exactly one message")
        return Reply(reply, joined(await self._call.initial_metadata(), await self._call.trailing_metadata()))

    async def send(self, messages: AsyncIterator[bytes]) -> None:
        """Sends every message, as fast as the service takes them."""
        try:
            await self._call.wait_for_connection()
            async for message in messages:
                # grpc.aio's `write` puts an INTERNAL of its own in the place of the status with which a service ends
                # a call early; test_service_that_ends_a_client_stream_early_is_heard fails with it.
                await self._call._cython_call.send_serialized_message(message)
            await self._call.done_writing()
        except Refused as refused:
            self._fault = refused
            self._call.cancel()
        except (aio.AioRpcError, cygrpc.InternalError, asyncio.InvalidStateError):
            return  # the service has ended the call before; reading tells how


class Upstream:
    """A channel to the mesh, shared by all requests. Use it as an async context manager."""

    def __init__(self, target: str, certificates: Certificates | None = None) -> None:
        self.target = target
        self._certificates = certificates
        self._held = certificates.stamps() if certificates else []
        self._channel = open_channel(target, certificates, _OPTIONS)
        self._calls: dict[str, Any] = {}
        self._streams: dict[str, Any] = {}
        self._retired: list[aio.Channel] = []
        self._looked_at = 0.0

    async def call(
        self,
        rpc: str,
        payload: bytes,
        outcomes: Outcomes,
        *,
        metadata: tuple[tuple[str, str], ...],
        timeout_seconds: float,
    ) -> Reply:
        """Calls an rpc. A caller that is cancelled cancels the call.

        Raises:
            Refused: it ended with an error.
        """
        self._renew()
        multicallable = self._calls.get(rpc)
        if multicallable is None:
            multicallable = self._calls[rpc] = self._channel.unary_unary(rpc)
        call = multicallable(payload, timeout=timeout_seconds, metadata=metadata)
        try:
            reply = await call
        except aio.AioRpcError as error:
            received = joined(error.initial_metadata(), error.trailing_metadata())
            failure = outcomes.failure(error.code(), error.details() or "", received)
            raise Refused(failure) from None
        return Reply(reply, joined(await call.initial_metadata(), await call.trailing_metadata()))

    @asynccontextmanager
    async def stream(
        self,
        rpc: str,
        messages: AsyncIterator[bytes],
        outcomes: Outcomes,
        *,
        metadata: tuple[tuple[str, str], ...],
        timeout_seconds: float | None,
    ) -> AsyncIterator[Stream]:
        """Calls an rpc that streams and yields its stream. The call ends with the block, at the latest."""
        self._renew()
        multicallable = self._streams.get(rpc)
        if multicallable is None:
            multicallable = self._streams[rpc] = self._channel.stream_stream(rpc)
        call = multicallable(timeout=timeout_seconds, metadata=metadata)
        stream = Stream(call, outcomes)
        sending = asyncio.create_task(stream.send(messages))
        try:
            yield stream
        finally:
            call.cancel()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def ready(self, within_seconds: float) -> bool:
        """Tells whether the channel is connected, or gets connected in time."""
        self._renew()
        if self._channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY:
            return True
        try:
            await asyncio.wait_for(self._channel.channel_ready(), within_seconds)
        except TimeoutError:
            return False
        return True

    async def __aenter__(self) -> Self:
        self._channel.get_state(try_to_connect=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in (self._channel, *self._retired):
            await channel.close()

    def _renew(self) -> None:
        """Goes on with another channel when the certificates have been replaced; calls under way end on theirs."""
        if self._certificates is None or time.monotonic() < self._looked_at + _LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        with suppress(OSError):  # half of them are in place
            if (now := self._certificates.stamps()) != self._held:
                renewed = open_channel(self.target, self._certificates, _OPTIONS)
                # An idle channel of earlier certificates costs little; gRPC closes its connection by itself.
                self._retired = [self._channel, *self._retired[:2]]
                self._channel, self._held = renewed, now
                self._calls.clear()
                self._streams.clear()
