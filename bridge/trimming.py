"""Drops what every group has finished: from the streams soon, from the outboxes when their retention is over."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import structlog
from astra.event.v1.outbox_service_pb2 import PurgeResponse
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bridge import metrics
from bridge.append import EMPTY
from bridge.guards import SLOW_AT, Gate
from bridge.ids import Id, parse
from bridge.lane import REDIS_TIMEOUT_SECONDS
from services.runtime import revocations
from services.runtime.clock import Clock

EVERY_SECONDS = 5.0
PURGE_EVERY_SECONDS = 600.0

KEEP_MS = 10 * 60 * 1000
"""How long finished entries stay for whoever looks, unless Redis runs full."""

KEEP_LONGER_MS: Mapping[str, int] = {revocations.STREAM: revocations.KEPT_MS}
"""Streams that are followed by no group but by every server; one that was away for less must find no gap there."""

log = structlog.get_logger()


class Outboxes(Protocol):
    """Drops rows of the outboxes; see `OutboxClient.purge`."""

    async def purge(self, stream: str, *, anchor: str, finished_below: int) -> PurgeResponse: ...


@dataclass(frozen=True, slots=True)
class Finished:
    """How far every group of a stream is done."""

    below: Id
    """Ids below it are finished by all groups."""
    anchor: str
    """An id that the stream has had, the last one below or the first one not; `0-0` for none."""


class Trimmer:
    """Trims all streams, again and again."""

    def __init__(
        self,
        redis: Redis,
        streams: Sequence[str],
        *,
        outboxes: Outboxes,
        gate: Gate,
        clock: Clock,
        keep_ms: int = KEEP_MS,
        every_seconds: float = EVERY_SECONDS,
        purge_every_seconds: float = PURGE_EVERY_SECONDS,
    ) -> None:
        self._redis: Any = redis
        self._streams = tuple(streams)
        self._outboxes = outboxes
        self._gate = gate
        self._clock = clock
        self._keep_ms = keep_ms
        self._every_seconds = every_seconds
        self._purge_every_seconds = purge_every_seconds

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._steadily(self.trim, self._every_seconds))
            tasks.create_task(self._steadily(self.purge, self._purge_every_seconds))

    async def _steadily(self, step: Any, seconds: float) -> None:
        told = ""
        while True:
            await asyncio.sleep(seconds)
            try:
                await step()
                told = ""
            except (RedisError, OSError, TimeoutError, grpc.RpcError) as error:
                if repr(error) != told:
                    log.warning("trimmer.waits", step=step.__name__, error=repr(error))
                told = repr(error)

    async def trim(self) -> int:
        """Trims once. Returns how many entries went; whole nodes of a stream go, so some more stay."""
        keep_ms = 0 if self._gate.full >= SLOW_AT else self._keep_ms
        now_ms = self._clock()
        pipe = self._redis.pipeline(transaction=False)
        for stream, finished in (await self.finished()).items():
            newest_ms = now_ms - max(keep_ms, KEEP_LONGER_MS.get(stream, 0))
            ms, ordinal = min(finished.below, (newest_ms, 0))
            pipe.xtrim(stream, minid=f"{max(0, ms)}-{ordinal}", approximate=True)
        async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
            trimmed = sum(count for count in await pipe.execute(raise_on_error=False) if isinstance(count, int))
        metrics.TRIMMED.inc(trimmed)
        if trimmed:
            log.debug("streams.trimmed", entries=trimmed)
        return trimmed

    async def purge(self) -> int:
        """Has outbox rows dropped that are finished and old. Returns how many went."""
        gone = 0
        for stream, finished in (await self.finished()).items():
            if finished.anchor == EMPTY:
                continue
            below = finished.below[1]
            while purged := (await self._outboxes.purge(stream, anchor=finished.anchor, finished_below=below)).purged:
                gone += purged
        metrics.PURGED.inc(gone)
        if gone:
            log.info("outboxes.purged", rows=gone)
        return gone

    async def finished(self) -> Mapping[str, Finished]:
        """Asks Redis how far all groups are, by stream; a stream without groups is finished by nobody."""
        pipe = self._redis.pipeline(transaction=False)
        for stream in self._streams:
            pipe.xinfo_groups(stream)
        async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
            answers = await pipe.execute(raise_on_error=False)
        groups = {
            stream: answer
            for stream, answer in zip(self._streams, answers, strict=True)
            if isinstance(answer, list) and answer
        }
        found = {}
        for stream, rows in groups.items():
            found[stream] = min([await self._end(stream, row) for row in rows], key=lambda end: end.below)
        return found

    async def _end(self, stream: str, row: Mapping[str, Any]) -> Finished:
        """Returns how far one group is: before its oldest pending entry, else through the last one delivered."""
        last = row["last-delivered-id"].decode()
        ms, ordinal = parse(last)
        if row["pending"]:
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                pending = await self._redis.xpending(stream, row["name"])
            if pending["pending"]:
                oldest = pending["min"].decode()
                return Finished(below=parse(oldest), anchor=oldest)
        return Finished(below=(ms, ordinal + 1), anchor=last)
