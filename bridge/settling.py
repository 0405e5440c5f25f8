"""What becomes of one entry: done, tried again, or moved to the dead letters."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

import structlog
from redis.exceptions import RedisError

from bridge import metrics
from bridge.backoff import Backoff, Random
from bridge.entries import Entry, decode, is_transient
from bridge.groups import Reaction, Route
from bridge.ids import ordinal_of, parse
from bridge.membership import Membership
from services.runtime.delivery import Delivery
from services.runtime.errors import Unavailable

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a consumer works."""

    workers: int = 512
    """Entries in hand at once, at least one for each stream; the more, the more share a commit."""
    block_ms: int = 1_000
    """How long a read waits for entries; also how long a stop waits for the read."""
    idle_ms: int = 30_000
    """How long an entry is left with a silent consumer before others take it."""
    claim_every_seconds: float = 5.0
    max_deliveries: int = 5
    """Deliveries after which a failing entry becomes a dead letter."""
    retry_first_seconds: float = 0.1
    retry_cap_seconds: float = 2.0
    forget_ms: int = 3_600_000
    """How long a consumer that holds nothing is silent before its name is deleted."""
    drain_seconds: float = 5.0
    """How long entries in hand may take after a stop; the rest is finished at the next start."""


DEFAULTS = Settings()


class Outcome(Enum):
    """What became of an entry."""

    DONE = "done"
    """Applied, now or before: to be acknowledged."""
    DEAD = "dead"
    """A dead letter now, and acknowledged with it."""
    LEFT = "left"
    """Still pending: because of the stop, or because Redis refused the dead letter."""


class Reactor(Protocol):
    """The store's side: applies an event once per group."""

    @property
    def domain(self) -> str: ...

    async def react(self, group: str, delivery: Delivery, apply: Reaction) -> bool: ...

    async def park(self, group: str, stream: str, ordinal: int) -> None: ...


class EndsProcess(Exception):
    """An entry was taken up so often without an outcome that its reaction must have ended the process each time."""


class Settler:
    """Sees to a consumer's entries, one by one, for as long as it takes."""

    def __init__(
        self,
        membership: Membership,
        routes: Mapping[str, Route],
        store: Reactor,
        settings: Settings,
        stop: asyncio.Event,
        chance: Random,
    ) -> None:
        self._membership = membership
        self._routes = routes
        self._store = store
        self._settings = settings
        self._stop = stop
        self._chance = chance

    async def settle(self, entry: Entry) -> Outcome:
        """Applies an entry, again and again if need be.

        What is left is taken up again at the next start, or when it has been idle.
        """
        backoff = Backoff(self._settings.retry_first_seconds, self._settings.retry_cap_seconds, self._chance)
        while True:
            error = await self._attempt(entry)
            if error is None:
                consumed, seconds = metrics.of_effects(self._membership.group, entry.stream)
                consumed.inc()
                seconds.observe(metrics.since(parse(entry.id)[0]))
                return Outcome.DONE
            transient = is_transient(error)
            if not transient and entry.deliveries >= self._settings.max_deliveries:
                return await self._bury(entry, error)
            metrics.RETRIED.labels(self._membership.group, entry.stream).inc()
            self._log(entry).warning("entry.failed", transient=transient, error=repr(error))
            await pause(self._stop, backoff.next_seconds())
            if self._stop.is_set():
                return Outcome.LEFT
            if not transient:
                entry = replace(entry, deliveries=entry.deliveries + 1)
                with suppress(RedisError, OSError):
                    await self._membership.count_delivery(entry)

    async def _attempt(self, entry: Entry) -> Exception | None:
        if entry.deliveries > 2 * self._settings.max_deliveries:
            return EndsProcess(f"{entry.deliveries} deliveries, and none came to an end")
        route = self._routes[entry.stream]
        try:
            await self._store.react(self._membership.group, decode(entry, route.kind), route.reaction)
        except Exception as error:
            return error
        return None

    async def _bury(self, entry: Entry, error: Exception) -> Outcome:
        try:
            # The watermark passes it first; the other way round, a crash in between would leave a hole for ever.
            await self._store.park(self._membership.group, entry.stream, ordinal_of(entry.id))
            await self._membership.bury(entry, error)
        except (RedisError, OSError, Unavailable) as refusal:
            self._log(entry).error("entry.dead_letter_refused", refusal=repr(refusal), exc_info=error)
            return Outcome.LEFT
        metrics.DEAD.labels(self._membership.group, entry.stream).inc()
        self._log(entry).error("entry.dead", exc_info=error)
        return Outcome.DEAD

    def _log(self, entry: Entry) -> structlog.stdlib.BoundLogger:
        bound: structlog.stdlib.BoundLogger = log.bind(
            consumer=self._membership.consumer, stream=entry.stream, id=entry.id, deliveries=entry.deliveries
        )
        return bound


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Waits, but not longer than until the stop."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
