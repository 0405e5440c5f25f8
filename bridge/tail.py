"""Opens a service's `OutboxService.Tail` through Envoy's internal listener."""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from astra.event.v1.outbox_service_pb2 import Cursor, TailRequest, TailResponse

from services import contracts
from services.runtime.clock import uuid7
from services.runtime.door import Door

Tail = Callable[[Mapping[str, str]], AsyncGenerator[TailResponse, None]]
"""Follows an outbox from the cursors by stream. To be closed by `contextlib.aclosing`."""

_TAIL = contracts.rpcs()["/astra.event.v1.OutboxService/Tail"]

OPTIONS = (
    # Nothing may come for hours: a peer that vanished without a word is noticed by its missing pongs.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # The publisher has the backoff; gRPC's own would grow to two minutes behind it.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    # A batch is bounded by the service; no limit here may stop a stream for ever.
    ("grpc.max_receive_message_length", -1),
)


class TailClient:
    """Calls one service by its authority `{service}.mesh`: the path is the same in every service."""

    def __init__(self, door: Door, service: str, token: Callable[[], str]) -> None:
        self._line = door.line(f"{service}.mesh", OPTIONS)
        self._token = token

    async def __call__(self, cursors: Mapping[str, str]) -> AsyncGenerator[TailResponse, None]:
        """Follows the outbox from the cursors until the service, or the caller, ends it. Raises `AioRpcError`."""
        request = TailRequest(cursors=[Cursor(stream=stream, id=id_) for stream, id_ in cursors.items()])
        metadata = (("authorization", f"Bearer {self._token()}"), ("x-correlation-id", uuid7()))
        tail: Any = self._line.channel.unary_stream(
            _TAIL.path, request_serializer=TailRequest.SerializeToString, response_deserializer=TailResponse.FromString
        )
        call = tail(request, metadata=metadata)
        try:
            async for response in call:
                yield response
        finally:
            call.cancel()

    async def close(self) -> None:
        """Closes the channel, and with it the calls on it."""
        await self._line.close()
