"""Calls `OutboxService` of any service through Envoy's internal listener: a history to read, rows to drop."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Protocol

import grpc
from astra.event.v1.outbox_service_pb2 import (
    AdoptRequest,
    AdoptResponse,
    Entry,
    PurgeRequest,
    PurgeResponse,
    ReadRequest,
    ReadResponse,
)

from bridge.tail import OPTIONS
from services import contracts
from services.runtime.clock import uuid7
from services.runtime.door import Door, Line

TIMEOUT_SECONDS = 60.0

_SERVICE = "/astra.event.v1.OutboxService"


class History(Protocol):
    """Reads what a stream has had."""

    def read(self, stream: str, first: int, through: str) -> AsyncGenerator[tuple[int, list[Entry]], None]:
        """Yields the ordinal up to which entries are gone for good, and the next entries from `first` through an id."""
        ...


class OutboxClient:
    """Calls services by their authority `{service}.mesh`. Raises `AioRpcError`."""

    def __init__(self, door: Door, token: Callable[[], str]) -> None:
        self._door = door
        self._token = token
        self._lines: dict[str, Line] = {}

    async def read(self, stream: str, first: int, through: str) -> AsyncGenerator[tuple[int, list[Entry]], None]:
        """See `History`."""
        call: Any = self._channel(stream).unary_stream(
            f"{_SERVICE}/Read",
            request_serializer=ReadRequest.SerializeToString,
            response_deserializer=ReadResponse.FromString,
        )(
            ReadRequest(stream=stream, from_ordinal=first, through=through),
            metadata=self._metadata(),
            timeout=TIMEOUT_SECONDS,
        )
        try:
            async for response in call:
                yield int(response.purged_through.partition("-")[2]), list(response.entries)
        finally:
            call.cancel()

    async def purge(self, stream: str, *, anchor: str, finished_below: int) -> PurgeResponse:
        """Has rows dropped that every group has finished, if they are old enough. The anchor is an id of the stream."""
        send: Any = self._channel(stream).unary_unary(
            f"{_SERVICE}/Purge",
            request_serializer=PurgeRequest.SerializeToString,
            response_deserializer=PurgeResponse.FromString,
        )
        request = PurgeRequest(request_id=uuid7(), stream=stream, anchor=anchor, finished_below=finished_below)
        response: PurgeResponse = await send(request, metadata=self._metadata(), timeout=TIMEOUT_SECONDS)
        return response

    async def adopt(self, stream: str, *, after: str, last: str, entries: Sequence[Entry]) -> AdoptResponse:
        """Has an outbox take over entries that the stream has and it has lost."""
        send: Any = self._channel(stream).unary_unary(
            f"{_SERVICE}/Adopt",
            request_serializer=AdoptRequest.SerializeToString,
            response_deserializer=AdoptResponse.FromString,
        )
        request = AdoptRequest(request_id=uuid7(), stream=stream, after=after, last=last, entries=entries)
        response: AdoptResponse = await send(request, metadata=self._metadata(), timeout=TIMEOUT_SECONDS)
        return response

    async def close(self) -> None:
        for line in self._lines.values():
            await line.close()

    def _channel(self, stream: str) -> grpc.aio.Channel:
        domain = contracts.events()[stream].domain
        if domain not in self._lines:
            self._lines[domain] = self._door.line(f"{domain}.mesh", OPTIONS)
        return self._lines[domain].channel

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._token()}"), ("x-correlation-id", uuid7()))
