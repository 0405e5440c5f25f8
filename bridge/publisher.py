"""Follows the outbox of one service and appends what it records to the streams, each in its order.

Keeps nothing: where a stream goes on is read from the stream itself at every connect.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import grpc
import structlog
from astra.event.v1.outbox_service_pb2 import Batch
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from bridge.append import EMPTY, Elsewhere, Entry, append, last_id
from bridge.backoff import Backoff
from bridge.tail import Tail

LANE_BATCHES = 8
"""Batches of one stream that wait for its append; then the service is held up, by gRPC's flow control."""

REDIS_TIMEOUT_SECONDS = 10.0
"""How long an answer may take; then the connection is given up and everything asked anew."""

log = structlog.get_logger()


class Publisher:
    """Appends one service's events until cancelled, through whatever outages of the service, Envoy or Redis."""

    def __init__(self, service: str, *, streams: Sequence[str], tail: Tail, redis: Redis, backoff: Backoff) -> None:
        self.service = service
        self.stopped: dict[str, str] = {}
        """Streams that are left alone until somebody looks, with the reason; all others go on."""
        self._streams = tuple(streams)
        self._tail = tail
        self._redis = redis
        self._backoff = backoff
        self._outage = ""

    async def run(self) -> None:
        """Follows the outbox, again and again. Returns when every stream has stopped."""
        while len(self.stopped) < len(self._streams):
            try:
                await self._follow()
            except* Exception as errors:
                self._report(errors)
            if (task := asyncio.current_task()) is not None and task.cancelling():
                # Before Python 3.13 a task group that fails while it is being cancelled forgets the latter.
                raise asyncio.CancelledError
            await asyncio.sleep(self._backoff.next_seconds())

    async def _follow(self) -> None:
        """Runs one Tail: a lane per stream, so that no stream waits for another's append."""
        cursors = await self._cursors()
        lanes: dict[str, asyncio.Queue[Batch]] = {stream: asyncio.Queue(LANE_BATCHES) for stream in cursors}
        async with asyncio.TaskGroup() as tasks, aclosing(self._tail(cursors)) as responses:
            for stream, lane in lanes.items():
                tasks.create_task(self._append_lane(stream, cursors[stream], lane), name=f"append {stream}")
            log.debug("tail.opening", service=self.service, streams=len(cursors))
            async for response in responses:
                if self._outage:
                    log.info("publisher.goes_on", service=self.service)
                    self._outage = ""
                if response.HasField("divergence"):
                    found = response.divergence
                    self._stop(response.stream, f"DIVERGED: ends with {found.id}, the outbox with {found.last}")
                else:
                    await lanes[response.stream].put(response.batch)
            raise TailEnded(f"{self.service} ended the Tail")

    async def _cursors(self) -> dict[str, str]:
        """Reads the last id of each stream that is followed."""
        cursors = {}
        for stream in self._streams:
            if stream in self.stopped:
                continue
            try:
                async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                    cursors[stream] = await last_id(self._redis, stream)
            except ResponseError as error:
                self._stop_if_no_stream(stream, error)
        return cursors

    async def _append_lane(self, stream: str, cursor: str, lane: asyncio.Queue[Batch]) -> None:
        """Appends the batches of one stream. Raises `Moved` when the stream ends elsewhere than they begin."""
        while True:
            batch = await lane.get()
            if stream in self.stopped:
                continue
            prev, entries = batch.prev, [Entry(entry.id, entry.envelope) for entry in batch.entries]
            if cursor == EMPTY != prev:
                # Asked from the start, the outbox begins later: what was before is purged from it.
                log.error("stream.history_lost", stream=stream, lost_through=prev)
                prev = EMPTY
            try:
                async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                    result = await append(self._redis, stream, prev, entries)
            except ResponseError as error:
                self._stop_if_no_stream(stream, error)
                continue
            if isinstance(result, Elsewhere):
                raise Moved(stream, expected=prev, found=result.last)
            cursor = result.last
            self._backoff.reset()

    def _stop_if_no_stream(self, stream: str, error: ResponseError) -> None:
        if not str(error).startswith("WRONGTYPE"):
            raise error
        self._stop(stream, "its key holds something else than a stream")

    def _stop(self, stream: str, reason: str) -> None:
        """Leaves a stream alone. Nothing is written to it, so nothing gets worse; the outbox keeps its events."""
        self.stopped[stream] = reason
        log.error(
            "stream.stopped",
            stream=stream,
            service=self.service,
            reason=reason,
            do="repair it, then restart the bridge",
        )

    def _report(self, errors: ExceptionGroup[Exception]) -> None:
        for error in _leaves(errors):
            if isinstance(error, Moved):
                note = log.error if error.found == EMPTY else log.info
                note("stream.moved", stream=error.stream, expected=error.expected, found=error.found)
            elif isinstance(error, grpc.aio.AioRpcError):
                self._report_outage(f"{error.code().name}: {error.details()}")
            elif isinstance(error, RedisError | OSError | TailEnded):
                self._report_outage(repr(error))
            else:
                log.error("publisher.failed", service=self.service, exc_info=error)

    def _report_outage(self, text: str) -> None:
        """Warns of an outage when it begins or changes, not at every try."""
        note = log.debug if text == self._outage else log.warning
        note("publisher.waits", service=self.service, error=text)
        self._outage = text


class TailEnded(Exception):
    """The service ended a Tail without an error, as it does when it stops."""


class Moved(Exception):
    """A stream ends elsewhere than a batch begins: another bridge is ahead, or Redis lost its end. Asked anew."""

    def __init__(self, stream: str, *, expected: str, found: str) -> None:
        super().__init__(f"{stream} ends with {found}, not {expected}")
        self.stream = stream
        self.expected = expected
        self.found = found


def _leaves(error: Exception) -> list[Exception]:
    if isinstance(error, ExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
