"""Follows the outbox of one service and appends what it records to the streams, each in its order.

Keeps nothing that a restart would need: where a stream goes on is read from the stream itself at every connect.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import grpc
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from bridge import metrics
from bridge.backoff import Backoff
from bridge.guards import Gate
from bridge.lane import STREAM_CAP, Lane, Moved
from bridge.stopped import Repaired, watch_stopped
from bridge.tail import Tail
from bridge.tail_repair import Ends

log = structlog.get_logger()


class Publisher:
    """Appends one service's events until cancelled, through whatever outages of the service, Envoy or Redis."""

    def __init__(
        self,
        service: str,
        *,
        streams: Sequence[str],
        tail: Tail,
        redis: Redis,
        backoff: Backoff,
        gate: Gate,
        cap: int = STREAM_CAP,
    ) -> None:
        self.service = service
        self.stopped: dict[str, str] = {}
        """Streams that are left alone until somebody looks, with the reason; all others go on."""
        self._streams = tuple(streams)
        self._tail = tail
        self._redis = redis
        self._backoff = backoff
        self._gate = gate
        self._cap = cap
        self._ends = Ends(redis)
        metrics.known_streams(streams)
        for stream in streams:
            metrics.STOPPED.labels(stream).set(0)
        self._outage = ""

    async def run(self) -> None:
        """Follows the outbox, again and again."""
        while True:
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
        found = await self._ends.read([stream for stream in self._streams if stream not in self.stopped])
        for stream, error in found.unreadable.items():
            self._stop_if_no_stream(stream, error)
        lanes = {
            stream: Lane(stream, last, redis=self._redis, gate=self._gate, cap=self._cap)
            for stream, last in found.last.items()
        }
        async with asyncio.TaskGroup() as tasks, aclosing(self._tail(found.last)) as responses:
            stopped = tasks.create_task(watch_stopped(self.stopped, self._redis, self._tail), name="stopped")
            if not lanes:
                await asyncio.wait([stopped])
            for stream, lane in lanes.items():
                tasks.create_task(self._append_lane(lane), name=f"append {stream}")
            tasks.create_task(self._ends.watch(lanes, self.stopped), name=f"ends of {self.service}")
            log.debug("tail.opening", service=self.service, streams=len(lanes))
            async for response in responses:
                if self._outage:
                    log.info("publisher.goes_on", service=self.service)
                    self._outage = ""
                if response.HasField("divergence"):
                    diverged = response.divergence
                    self._stop(response.stream, f"DIVERGED: ends with {diverged.id}, the outbox with {diverged.last}")
                elif response.stream not in self.stopped:
                    await lanes[response.stream].put(response.batch)
            raise TailEnded(f"{self.service} ended the Tail")

    async def _append_lane(self, lane: Lane) -> None:
        """Appends the batches of one stream. Raises `Moved` when the stream ends elsewhere than they begin."""
        while True:
            batch = await lane.next()
            if lane.stream in self.stopped:
                continue
            try:
                await lane.append(batch)
            except ResponseError as error:
                self._stop_if_no_stream(lane.stream, error)
                continue
            self._ends.known[lane.stream] = lane.last
            self._backoff.reset()

    def _stop_if_no_stream(self, stream: str, error: ResponseError) -> None:
        if not str(error).startswith("WRONGTYPE"):
            raise error
        self._stop(stream, "its key holds something else than a stream")

    def _stop(self, stream: str, reason: str) -> None:
        """Leaves a stream alone. Nothing is written to it, so nothing gets worse; the outbox keeps its events."""
        self.stopped[stream] = reason
        self._ends.known.pop(stream, None)  # whoever repairs it may shorten it
        metrics.STOPPED.labels(stream).set(1)
        log.error(
            "stream.stopped",
            stream=stream,
            service=self.service,
            reason=reason,
            do=f"python -m bridge reconcile {stream}; it goes on by itself then",
        )

    def _go_on(self, streams: Sequence[str]) -> None:
        """Takes up streams that somebody has repaired."""
        for stream in streams:
            del self.stopped[stream]
            metrics.STOPPED.labels(stream).set(0)
            log.warning("stream.goes_on", stream=stream, service=self.service)

    def _report(self, errors: ExceptionGroup[Exception]) -> None:
        for error in _leaves(errors):
            if isinstance(error, Repaired):
                self._go_on(error.streams)
            elif isinstance(error, Moved):
                log.info("stream.moved", stream=error.stream, expected=error.expected, found=error.found)
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


def _leaves(error: Exception) -> list[Exception]:
    if isinstance(error, ExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]
