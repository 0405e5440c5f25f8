"""Holes: what a group missed because it was trimmed before the group came to it, taken from the outbox instead.

A stream is cut at its cap whoever is behind. What a group has neither applied nor can read any more lies between its
watermark and the first entry the stream still has; one worker at a time, under a lease, applies it from the outbox.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

import structlog
from astra.event.v1.outbox_service_pb2 import Entry as OutboxEntry
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from bridge import metrics
from bridge.applying import Reactor, apply_entries
from bridge.backoff import Backoff, Random
from bridge.entries import Entry, is_transient
from bridge.groups import Route
from bridge.ids import ordinal_of
from bridge.membership import ANSWER_SECONDS, dead_letter
from bridge.outbox_client import History
from bridge.settings import Settings
from bridge.settling import pause
from services.runtime import inbox, leases
from services.runtime.inbox import Effect
from services.runtime.store import Store

log = structlog.get_logger()


class Holes:
    """Fills the holes of one group."""

    def __init__(
        self,
        group: str,
        routes: Mapping[str, Route],
        *,
        store: Store,
        reactor: Reactor,
        redis: Redis,
        history: History,
        holder: str,
        settings: Settings,
        stop: asyncio.Event,
        chance: Random,
        ordered: bool = False,
    ) -> None:
        self._group = group
        self._routes = routes
        self._store = store
        self._reactor = reactor
        self._redis: Any = redis
        self._history = history
        self._holder = holder
        self._settings = settings
        self._stop = stop
        self._chance = chance
        self._ordered = ordered

    async def fill(self, streams: Sequence[str]) -> int:
        """Fills the holes of these streams that nobody else is filling. Returns how many events had their effect.

        Raises `RedisError`, `AioRpcError` or `TimeoutError` when something is away; the next call goes on.
        """
        filled = 0
        for stream, (first, through) in (await self._spans(streams)).items():
            # Ordinals begin with 1: a stream that still has its first entry has no hole.
            if first > 1 and self.done_below(stream) < first:
                filled += await self._fill(stream, first, through)
        return filled

    async def _spans(self, streams: Sequence[str]) -> dict[str, tuple[int, str]]:
        """Returns the first ordinal that can be read of each stream, and an id from which on nothing is missing."""
        pipe = self._redis.pipeline(transaction=False)
        for stream in streams:
            pipe.xinfo_stream(stream)
        async with asyncio.timeout(ANSWER_SECONDS):
            answers = await pipe.execute(raise_on_error=False)
        spans = {}
        for stream, info in zip(streams, answers, strict=True):
            if isinstance(info, ResponseError):
                continue  # no stream, yet
            if isinstance(info, Exception):
                raise info
            if info["first-entry"]:
                id_ = info["first-entry"][0].decode()
                spans[stream] = ordinal_of(id_), id_
            else:
                id_ = info["last-generated-id"].decode()
                spans[stream] = ordinal_of(id_) + 1, id_
        return spans

    def done_below(self, stream: str) -> int:
        """Returns the ordinal below which the group is done with a stream."""
        return self._store.read_now(lambda db: inbox.done_below(db, self._group, stream))

    async def _fill(self, stream: str, first: int, through: str) -> int:
        if not await self._leads(stream):
            return 0
        begun, filled = self.done_below(stream), 0
        log.warning("group.hole", group=self._group, stream=stream, from_ordinal=begun, below=first)
        try:
            async with aclosing(self._history.read(stream, begun, through)) as pages:
                async for purged, entries in pages:
                    await self._skip_lost(stream, min(purged + 1, first))
                    missing = [entry for entry in entries if ordinal_of(entry.id) < first]
                    filled += await self._apply(stream, missing)
                    if self._stop.is_set() or not await self._leads(stream):
                        return filled
        finally:
            await self._store.write(lambda tx: leases.give_back(tx, self._lease(stream), self._holder))
        log.warning("group.hole_filled", group=self._group, stream=stream, below=first, effects=filled)
        return filled

    def _lease(self, stream: str) -> str:
        return f"hole {self._group} {stream}"

    async def _leads(self, stream: str) -> bool:
        """Takes or renews the lease; an ordered group has one for all it does, and needs no other."""
        lease, lease_ms = self._lease(stream), self._settings.hole_lease_ms
        return self._ordered or await self._store.write(lambda tx: leases.take(tx, lease, self._holder, ms=lease_ms))

    async def _skip_lost(self, stream: str, ordinal: int) -> None:
        """Passes over what is purged from the outbox too: it exists nowhere any more."""
        lost = await self._store.write(lambda tx: inbox.skip_below(tx, self._group, stream, ordinal))
        if lost:
            metrics.SKIPPED.labels(self._group, stream).inc(lost)
            log.error("group.history_lost", group=self._group, stream=stream, events=lost, below=ordinal)

    async def _apply(self, stream: str, page: Sequence[OutboxEntry]) -> int:
        """Applies a page, one after the other if the order counts. Returns how many had their effect now."""
        entries = [Entry(stream, entry.id, entry.envelope, deliveries=1) for entry in page]
        if self._ordered:
            done = 0
            for entry in entries:
                if self._stop.is_set():
                    break  # the one before may have been left
                done += await self._settle(entry)
            return done
        effects = await self._attempt(entries)
        failed = [(entry, error) for entry, error in zip(entries, effects, strict=True) if isinstance(error, Exception)]
        later = await asyncio.gather(*(self._settle(entry, error) for entry, error in failed))
        return effects.count(True) + sum(later)

    async def _settle(self, entry: Entry, error: Exception | None = None) -> bool:
        """Applies one entry, again and again if need be, and in the end gives it up as the consumers do."""
        backoff = Backoff(self._settings.retry_first_seconds, self._settings.retry_cap_seconds, self._chance)
        failures = 0
        while True:
            effect = error or (await self._attempt([entry]))[0]
            if not isinstance(effect, Exception):
                return effect
            failures += not is_transient(effect)
            if failures >= self._settings.max_deliveries and await self._bury(entry, effect, failures):
                return False
            log.warning("entry.failed", group=self._group, stream=entry.stream, id=entry.id, error=repr(effect))
            await pause(self._stop, backoff.next_seconds())
            if self._stop.is_set():
                return False
            error = None

    async def _attempt(self, entries: Sequence[Entry]) -> list[Effect]:
        effects = await apply_entries(self._reactor, self._group, self._routes, entries)
        if entries:
            metrics.FILLED.labels(self._group, entries[0].stream).inc(effects.count(True))
        return effects

    async def _bury(self, entry: Entry, error: Exception, deliveries: int) -> bool:
        """Makes it a dead letter, if Redis lets it. First the letter: a crash in between makes two rather than none."""
        key, fields = dead_letter(entry, error, group=self._group, consumer=self._holder, deliveries=deliveries)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._redis.xadd(key, fields)
        except (RedisError, OSError, TimeoutError):
            return False
        await self._store.park(self._group, entry.stream, ordinal_of(entry.id))
        metrics.DEAD.labels(self._group, entry.stream).inc()
        log.error("entry.dead", group=self._group, stream=entry.stream, id=entry.id, exc_info=error)
        return True
