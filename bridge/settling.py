"""What becomes of one entry: done, tried again, or moved to the dead letters."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import Enum

import structlog
from redis.exceptions import RedisError

from bridge import metrics
from bridge.applying import Reactor, apply_entries
from bridge.backoff import Backoff, Random
from bridge.entries import Entry, is_transient
from bridge.groups import Route
from bridge.ids import ms_of, ordinal_of
from bridge.membership import Membership
from bridge.settings import Settings
from services.runtime.errors import Unavailable
from services.runtime.inbox import Effect

log = structlog.get_logger()


class Outcome(Enum):
    """What became of an entry."""

    DONE = "done"
    """Applied, now or before: to be acknowledged."""
    DEAD = "dead"
    """A dead letter now, and acknowledged with it."""
    LEFT = "left"
    """Still pending: because of the stop, or because Redis refused the dead letter."""


class EndsProcess(Exception):
    """An entry was taken up so often without an outcome that its reaction must have ended the process each time."""


class Settler:
    """Sees to a consumer's entries: to many at once, and to one that fails for as long as it takes."""

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

    async def settle_all(self, entries: Sequence[Entry]) -> list[Effect]:
        """Applies entries together, once, and returns what became of each."""
        effects = await apply_entries(self._store, self._membership.group, self._routes, entries)
        done: dict[str, list[int]] = defaultdict(list)
        for entry, effect in zip(entries, effects, strict=True):
            if not isinstance(effect, Exception):
                done[entry.stream].append(ms_of(entry.id))
        for stream, times_ms in done.items():
            consumed, seconds = metrics.of_effects(self._membership.group, stream)
            consumed.inc(len(times_ms))
            seconds.observe_all(metrics.since_all(times_ms))
        return effects

    async def settle(self, entry: Entry, error: Exception | None = None) -> Outcome:
        """Applies one entry, that may have failed with an error already, again and again if need be.

        What is left is taken up again at the next start, or when it has been idle.
        """
        backoff = Backoff(self._settings.retry_first_seconds, self._settings.retry_cap_seconds, self._chance)
        error = error or await self._attempt(entry)
        while error is not None:
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
            error = await self._attempt(entry)
        return Outcome.DONE

    async def _attempt(self, entry: Entry) -> Exception | None:
        if entry.deliveries > 2 * self._settings.max_deliveries:
            return EndsProcess(f"{entry.deliveries} deliveries, and none came to an end")
        (effect,) = await self.settle_all([entry])
        return effect if isinstance(effect, Exception) else None

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
