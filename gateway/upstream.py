"""The one way out: unary gRPC calls with raw bytes, to Envoy's internal listener or whatever stands in for it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from grpc import aio

from gateway.metadata import joined
from gateway.outcome import Outcomes
from gateway.refusal import Refused

_OPTIONS = (
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
    # The default backs off for up to two minutes, long after the mesh is back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)


@dataclass(frozen=True, slots=True)
class Reply:
    payload: bytes
    metadata: Mapping[str, str | bytes]


class Upstream:
    """A channel to the mesh, shared by all requests. Use it as an async context manager."""

    def __init__(self, target: str, outcomes: Outcomes) -> None:
        self.target = target
        self._outcomes = outcomes
        self._channel = aio.insecure_channel(target, options=_OPTIONS)
        self._calls: dict[str, Any] = {}

    async def call(
        self, rpc: str, payload: bytes, *, metadata: tuple[tuple[str, str], ...], timeout_seconds: float
    ) -> Reply:
        """Calls an rpc. A caller that is cancelled cancels the call.

        Raises:
            Refused: it ended with an error.
        """
        multicallable = self._calls.get(rpc)
        if multicallable is None:
            multicallable = self._calls[rpc] = self._channel.unary_unary(rpc)
        call = multicallable(payload, timeout=timeout_seconds, metadata=metadata)
        try:
            reply = await call
        except aio.AioRpcError as error:
            received = joined(error.initial_metadata(), error.trailing_metadata())
            failure = self._outcomes.failure(error.code(), error.details() or "", received)
            raise Refused(failure) from None
        return Reply(reply, joined(await call.initial_metadata(), await call.trailing_metadata()))

    async def ready(self, within_seconds: float) -> bool:
        """Tells whether the channel is connected, or gets connected in time."""
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
        await self._channel.close()
