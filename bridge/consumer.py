"""One consumer of a group: reads, reacts, acknowledges, and claims what the dead left behind.

An entry has its effect once: the reaction, its note in the inbox and its new events commit together, and only then is
the entry acknowledged. So everything here may be killed, and repeated, at any moment.

What has come together is handed to the store together; only an entry that fails gets a worker, a task, of its own.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import structlog
from redis.exceptions import RedisError

from bridge.backoff import Backoff, Random
from bridge.entries import Entry
from bridge.membership import Membership
from bridge.settings import Settings
from bridge.settling import Outcome, Settler, pause

ALONE_SECONDS = 1.0
"""How long an entry that has often failed has this process for itself."""

log = structlog.get_logger()


class Consumer:
    """One consumer: a reader, a settler of what was read, and workers for what fails."""

    def __init__(
        self,
        membership: Membership,
        settler: Settler,
        settings: Settings,
        stop: asyncio.Event,
        chance: Random,
        *,
        capacity: int = 1,
    ) -> None:
        self._membership = membership
        self._settler = settler
        self._settings = settings
        self._stop = stop
        self._chance = chance
        self._capacity = max(settings.workers, capacity)
        self._in_hand: dict[tuple[str, str], asyncio.Task[None] | None] = {}
        """What is taken and not done, by stream and id; with its worker, if it has one."""
        self._freed = asyncio.Event()
        self._taken: list[Entry] = []
        self._some_taken = asyncio.Event()
        self._done: dict[str, list[str]] = defaultdict(list)
        self._some_done = asyncio.Event()
        self._tasks: asyncio.TaskGroup

    async def run(self) -> None:
        """Works until the stop event; then finishes what is in hand."""
        async with asyncio.TaskGroup() as self._tasks:
            for step in (self._acknowledge, self._renew, self._claim):
                self._tasks.create_task(self._steadily(step))
            self._tasks.create_task(self._wake_at_stop())
            settling = self._tasks.create_task(self._settle_taken())
            await self._steadily(self._begin, once=True)
            await self._steadily(self._read)
            await self._drain()
            settling.cancel()

    async def _steadily(self, step: Callable[[], Coroutine[Any, Any, None]], *, once: bool = False) -> None:
        """Repeats a step until the stop, or until it succeeds once, with growing waits while Redis is away."""
        backoff = Backoff(self._settings.retry_first_seconds, self._settings.retry_cap_seconds, self._chance)
        told: set[str] = set()
        while not self._stop.is_set():
            try:
                await step()
            except (RedisError, OSError) as error:
                note = log.debug if str(error) in told else log.warning
                note("consumer.waits", consumer=self._membership.consumer, step=step.__name__, error=str(error))
                told.add(str(error))
                if "NOGROUP" in str(error) or "WRONGTYPE" in str(error):
                    # The stream or the group is gone. From 0 again: the inbox knows what was done.
                    self._membership.joined = []
                await pause(self._stop, backoff.next_seconds())
            else:
                if once:
                    return
                backoff.reset()
                told.clear()

    async def _wake_at_stop(self) -> None:
        await self._stop.wait()
        self._freed.set()
        self._some_done.set()

    async def _begin(self) -> None:
        """Joins, and takes up what this consumer, in an earlier life, left pending."""
        await self._membership.join()
        for stream in self._membership.joined:
            await self._take_pending(stream, idle_ms=0, own=True)

    async def _read(self) -> None:
        """Takes new entries."""
        self._take_all(await self._new_entries())

    async def _new_entries(self) -> list[Entry]:
        """Reads new entries, no more than may be in hand; Redis counts them per stream. None at the stop."""
        if not self._membership.joined:
            await self._membership.join()
            if not self._membership.joined:
                raise RedisError("none of its streams can be read")
        streams = len(self._membership.joined)
        free = await self._free(at_least=streams)
        if self._stop.is_set():
            return []
        # By halves: the next are read while the store has the first.
        at_once = max(streams, min(free, self._capacity // 2))
        return await self._membership.read(at_once // streams, self._settings.block_ms)

    async def _claim(self) -> None:
        """Takes what has been idle for too long, whoever had it: a dead consumer, or a dead letter refused."""
        await pause(self._stop, self._settings.claim_every_seconds * (1 - self._chance() / 2))
        if not self._membership.complete:
            await self._membership.join()
        for stream in await self._membership.with_idle(self._settings.idle_ms):
            await self._take_pending(stream, idle_ms=self._settings.idle_ms, own=False)

    async def _take_pending(self, stream: str, *, idle_ms: int, own: bool) -> None:
        """Takes up pending entries of a stream, page by page, as there is room in hand.

        XPENDING and XCLAIM, where XAUTOCLAIM would do both: how often an entry was delivered decides how it is taken.
        """
        after = "0-0"
        while not self._stop.is_set():
            free = await self._free(at_least=1)
            found = await self._membership.pending(stream, idle_ms=idle_ms, count=free, after=after, own=own)
            if not found:
                return
            after = list(found)[-1]
            found = {id_: deliveries for id_, deliveries in found.items() if (stream, id_) not in self._in_hand}
            worn = {id_: deliveries for id_, deliveries in found.items() if deliveries >= self._settings.max_deliveries}
            fresh = {id_: deliveries for id_, deliveries in found.items() if id_ not in worn}
            if fresh:
                self._take_all(await self._membership.claim(stream, fresh, idle_ms))
            for id_, deliveries in worn.items():
                # One at a time: if it is this one that ends the process, no other is counted with it.
                for entry in await self._membership.claim(stream, {id_: deliveries}, idle_ms):
                    if worker := self._take(entry):
                        await asyncio.wait([worker], timeout=ALONE_SECONDS)

    def _take_all(self, entries: Sequence[Entry]) -> None:
        """Takes entries in hand, to be settled with whatever else is taken by then."""
        for entry in entries:
            if (entry.stream, entry.id) not in self._in_hand:
                self._in_hand[entry.stream, entry.id] = None
                self._taken.append(entry)
        self._some_taken.set()

    async def _settle_taken(self) -> None:
        """Settles what is taken, batch after batch, so that a consumer keeps the order of its streams."""
        while True:
            await self._some_taken.wait()
            self._some_taken.clear()
            taken, self._taken = self._taken, []
            effects = await self._settler.settle_all(taken)
            for entry, effect in zip(taken, effects, strict=True):
                if isinstance(effect, Exception):
                    self._in_hand[entry.stream, entry.id] = self._tasks.create_task(self._work(entry, effect))
                else:
                    self._put_down(entry, done=True)

    def _take(self, entry: Entry) -> asyncio.Task[None] | None:
        """Takes an entry in hand, with a worker of its own. Returns the worker; None if it is with the settler."""
        key = (entry.stream, entry.id)
        if key not in self._in_hand:
            self._in_hand[key] = self._tasks.create_task(self._work(entry))
        return self._in_hand[key]

    async def _work(self, entry: Entry, error: Exception | None = None) -> None:
        done = False
        try:
            done = await self._settler.settle(entry, error) is Outcome.DONE
        finally:
            self._put_down(entry, done=done)

    def _put_down(self, entry: Entry, *, done: bool) -> None:
        """Has an entry no more in hand: done, and to be given back; or left pending, or buried."""
        del self._in_hand[entry.stream, entry.id]
        self._freed.set()
        if done:
            self._done[entry.stream].append(entry.id)
            self._some_done.set()

    async def _acknowledge(self) -> None:
        """Gives back what is done, as much as has come together."""
        await self._some_done.wait()
        self._some_done.clear()
        done, self._done = self._done, defaultdict(list)
        try:
            await self._membership.acknowledge(done)
        except (RedisError, OSError):
            for stream, ids in done.items():
                self._done[stream] += ids
            self._some_done.set()
            raise

    async def _renew(self) -> None:
        """Keeps what takes long from being claimed: what waits for a retry, above all."""
        await pause(self._stop, self._settings.idle_ms / 3000)
        held = defaultdict(list)
        for stream, id_ in self._in_hand:
            held[stream].append(id_)
        await self._membership.renew(held)

    async def _drain(self) -> None:
        """Waits for what is in hand and gives it back. What takes too long stays pending."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_seconds):
                while self._in_hand:
                    self._freed.clear()
                    await self._freed.wait()
        for worker in self._in_hand.values():
            if worker is not None:
                worker.cancel()
        with suppress(RedisError, OSError):
            await self._membership.acknowledge(self._done)

    async def _free(self, *, at_least: int) -> int:
        """Returns how many entries more may be in hand, as soon as they are enough; or fewer at the stop."""
        while (free := self._capacity - len(self._in_hand)) < at_least and not self._stop.is_set():
            self._freed.clear()
            await self._freed.wait()
        return free
