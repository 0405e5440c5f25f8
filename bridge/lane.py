"""The appends of one stream: batch after batch, each where the last one ended, and the stream kept below its cap."""

import asyncio
from collections.abc import Sequence

import structlog
from astra.event.v1.envelope_pb2 import Envelope
from astra.event.v1.outbox_service_pb2 import Batch, Entry
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from bridge import metrics
from bridge.append import EMPTY, Elsewhere, append
from bridge.guards import Gate
from bridge.ids import ms_of, ordinal_of
from services.runtime.outbox import BATCH_ENTRIES
from services.telemetry import spans, tracing

LANE_BATCHES = 2
"""Batches of one stream that wait for its append; then the service is held up, by gRPC's flow control."""

REDIS_TIMEOUT_SECONDS = 10.0
"""How long an answer may take; then the connection is given up and everything asked anew."""

STREAM_CAP = 100_000
"""Entries that a stream never exceeds, whoever is behind; what a group misses then, it takes from the outbox."""

NODE_ENTRIES = 100
"""Entries in a node of a stream: Redis' `stream-node-max-entries`, unless somebody raises it."""

log = structlog.get_logger()


class Moved(Exception):
    """A stream ends elsewhere than was known: another bridge is ahead, or Redis lost its end. Asked anew."""

    def __init__(self, stream: str, *, expected: str, found: str) -> None:
        super().__init__(f"{stream} ends with {found}, not {expected}")
        self.stream = stream
        self.expected = expected
        self.found = found


class Lane:
    """Takes the batches of one stream and appends them until cancelled."""

    def __init__(self, stream: str, last: str, *, redis: Redis, gate: Gate, cap: int) -> None:
        self.stream = stream
        self.last = last
        """Id that the stream ends with, as far as is known."""
        self._queue: asyncio.Queue[Batch] = asyncio.Queue(LANE_BATCHES)
        self._redis = redis
        self._gate = gate
        self._cap = cap
        self._margin = max(cap // 20, BATCH_ENTRIES)
        """Entries that are appended between two cuts."""
        self._room = 0
        """Entries that may be appended before the next cut. None at first: who was here before may have left none."""

    async def put(self, batch: Batch) -> None:
        """Hands over a batch; waits while too many wait already."""
        await self._queue.put(batch)

    async def next(self) -> Batch:
        return await self._queue.get()

    @property
    def idle(self) -> bool:
        return self._queue.empty()

    async def append(self, batch: Batch) -> None:
        """Appends a batch, when there is room. Raises `Moved` if the stream ends elsewhere than it begins."""
        began_ns = spans.now_ns()
        prev, entries = batch.prev, batch.entries
        if self.last == EMPTY != prev:
            # Asked from the start, the outbox begins later: what was before is purged from it.
            log.error("stream.history_lost", stream=self.stream, lost_through=prev)
            metrics.LOST.labels(self.stream).inc(ordinal_of(prev))
            prev = EMPTY
        metrics.PUBLISHED.labels(self.stream).inc(len(entries))
        if self._room < len(entries):
            await self._cut()
        while True:
            await self._gate.passed()
            try:
                async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                    result = await append(self._redis, self.stream, prev, entries)
            except OutOfMemoryError:
                # A part may be written. The next try goes on after it.
                self._gate.pause("Redis answered OOM")
                continue
            if isinstance(result, Elsewhere):
                raise Moved(self.stream, expected=prev, found=result.last)
            break
        self.last = result.last
        metrics.APPENDED.labels(self.stream).inc(result.count)
        appended = entries[len(entries) - result.count :]
        seconds = metrics.since_all([ms_of(entry.id) for entry in appended])
        metrics.APPEND_SECONDS.labels(self.stream).observe_all(seconds)
        if tracing.on():
            _trace(self.stream, appended, began_ns)
        self._room -= result.count

    async def _cut(self) -> None:
        """Makes room below the cap for the next entries; only whole nodes of the stream go, so a part of one stays."""
        trim = self._redis.xtrim(self.stream, maxlen=max(0, self._cap - self._margin - NODE_ENTRIES), approximate=True)
        async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
            cut = await trim
        self._room = self._margin
        if cut:
            metrics.CUT.labels(self.stream).inc(cut)
            log.info("stream.cut_to_cap", stream=self.stream, entries=cut, last_ordinal=ordinal_of(self.last))


def _trace(stream: str, appended: Sequence[Entry], began_ns: int) -> None:
    envelopes = [Envelope.FromString(entry.envelope) for entry in appended]
    spans.sent(stream, [(one.traceparent, one.id, one.correlation_id) for one in envelopes], began_ns)
