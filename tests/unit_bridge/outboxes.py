"""A list-backed OutboxService on a real gRPC server: what a service's outbox answers, without the service."""

import asyncio
from bisect import bisect
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from astra.event.v1.outbox_service_pb2 import Batch, Divergence, Entry, TailRequest, TailResponse

from services.mesh import HOST

BATCH_ENTRIES = 7


class OutboxServer:
    """Holds entries by stream and pushes them to whoever tails. May be stopped and started again on its port."""

    def __init__(self) -> None:
        self.entries: dict[str, list[Entry]] = defaultdict(list)
        self.purged: dict[str, str] = {}
        """Ids up to which entries are gone, by stream."""
        self.calls: list[tuple[dict[str, str], TailRequest]] = []
        """Metadata and request of each call so far."""
        self.sent = 0
        """Entries handed over so far, to whomever."""
        self.port = 0
        self._changed = asyncio.Event()
        self._server: Any = None

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handler = grpc.unary_stream_rpc_method_handler(
            self._tail,
            request_deserializer=TailRequest.FromString,
            response_serializer=TailResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("astra.event.v1.OutboxService", {"Tail": handler}),)
        )
        self.port = self._server.add_insecure_port(f"{HOST}:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    def record(self, stream: str, envelopes: Iterable[bytes], ms: int = 1_000) -> None:
        """Appends entries with the next ordinals, ten to a millisecond."""
        held = self.entries[stream]
        ordinal = int(held[-1].id.partition("-")[2]) if held else 0
        for envelope in envelopes:
            ordinal += 1
            held.append(Entry(id=f"{ms + ordinal // 10}-{ordinal}", envelope=envelope))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _tail(self, request: TailRequest, context: Any) -> AsyncIterator[TailResponse]:
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        self.calls.append((metadata, request))
        cursors: dict[str, str] = {}
        for cursor in request.cursors:
            held = self.entries[cursor.stream]
            if cursor.id in {"0-0", self.purged.get(cursor.stream), *(entry.id for entry in held)}:
                cursors[cursor.stream] = cursor.id
            else:
                last = held[-1].id if held else "0-0"
                yield TailResponse(stream=cursor.stream, divergence=Divergence(id=cursor.id, last=last))
        while cursors:
            changed = self._changed
            for stream in cursors:
                while batch := self._batch_after(stream, cursors[stream]):
                    cursors[stream] = batch.entries[-1].id
                    yield TailResponse(stream=stream, batch=batch)
                    self.sent += len(batch.entries)
            await changed.wait()

    def _batch_after(self, stream: str, cursor: str) -> Batch | None:
        held = self.entries[stream]
        at = bisect(held, int(cursor.partition("-")[2]), key=_ordinal)
        prev = self.purged.get(stream, cursor) if cursor == "0-0" else cursor
        entries = held[at : at + BATCH_ENTRIES]
        return Batch(prev=prev, entries=entries) if entries else None


def _ordinal(entry: Entry) -> int:
    return int(entry.id.partition("-")[2])
