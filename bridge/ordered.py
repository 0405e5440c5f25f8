"""An ordered group: one active consumer over all processes, and within it one event of a subject after the other."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import grpc
import structlog
from redis.exceptions import RedisError

from bridge.backoff import Random
from bridge.consumer import ALONE_SECONDS, Consumer
from bridge.entries import BadEntry, Entry, decode
from bridge.groups import Reaction, Route
from bridge.holes import Holes
from bridge.ids import ordinal_of
from bridge.membership import Membership
from bridge.settings import Settings
from bridge.settling import Outcome, Settler, pause
from services.runtime import leases
from services.runtime.clock import uuid7
from services.runtime.delivery import Delivery
from services.runtime.errors import Unavailable
from services.runtime.inbox import Effect
from services.runtime.store import Store
from services.runtime.transaction import Tx

LEASE_MS = 10_000
"""How long a group rests when its active consumer has died without a word."""

log = structlog.get_logger()


async def run_ordered(
    membership: Membership,
    routes: Mapping[str, Route],
    store: Store,
    holes_of: Callable[..., Holes],
    settings: Settings,
    stop: asyncio.Event,
    chance: Random,
    lease_ms: int = LEASE_MS,
) -> None:
    """Is the group's active consumer whenever nobody else is, until the stop."""
    name, holder = f"ordered {membership.group}", f"{membership.consumer} {uuid7()}"

    async def held() -> bool:
        try:
            return await store.write(lambda tx: leases.take(tx, name, holder, ms=lease_ms))
        except Unavailable:
            return False

    async def hold(over: asyncio.Event) -> None:
        while not over.is_set():
            await pause(stop, lease_ms / 3000)
            if stop.is_set() or not await held():
                over.set()

    while not stop.is_set():
        if not await held():
            await pause(stop, lease_ms / 5000)
            continue
        over = asyncio.Event()
        log.info("group.active", group=membership.group, consumer=membership.consumer)
        fenced = Fenced(store, name, holder)
        settler = Settler(membership, routes, fenced, settings, over, chance)
        holes = holes_of(reactor=fenced, stop=over)
        consumer = OrderedConsumer(membership, settler, routes, holes, settings, over, chance)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(hold(over))
            tasks.create_task(consumer.run())
        await store.write(lambda tx: leases.give_back(tx, name, holder))


class Fenced:
    """A store that applies nothing for a consumer which has lost its lease: a frozen process may come back late."""

    def __init__(self, store: Store, lease: str, holder: str) -> None:
        self.domain = store.domain
        self._store = store
        self._lease = lease
        self._holder = holder

    async def react_all(self, group: str, given: Sequence[tuple[Delivery, Reaction]]) -> list[Effect]:
        def fenced(apply: Reaction, tx: Tx, event: Any) -> None:
            if not leases.holds(tx, self._lease, self._holder):
                raise Unavailable(f"another consumer of {group} is active", reason="LEASE_LOST")
            apply(tx, event)

        return await self._store.react_all(group, [(delivery, partial(fenced, apply)) for delivery, apply in given])

    async def park(self, group: str, stream: str, ordinal: int) -> None:
        await self._store.park(group, stream, ordinal)


class OrderedConsumer(Consumer):
    """A consumer that has everything of its group, and whose workers wait for earlier events of the same subject."""

    def __init__(
        self,
        membership: Membership,
        settler: Settler,
        routes: Mapping[str, Route],
        holes: Holes,
        settings: Settings,
        over: asyncio.Event,
        chance: Random,
    ) -> None:
        super().__init__(membership, settler, settings, over, chance, capacity=len(routes))
        self._routes = routes
        self._holes = holes
        self._last_of: dict[str, asyncio.Future[bool]] = {}
        """How the last event taken of each subject ends: True for applied or given up."""
        self._seen: dict[str, int] = {}
        """Highest ordinal taken, by stream."""
        self._taking = asyncio.Lock()
        """Entries are taken from one place at a time: holes, then what is pending, then new ones."""

    async def _begin(self) -> None:
        """Joins, takes what was trimmed before anybody came to it, then what earlier active consumers left."""
        async with self._taking:
            await self._membership.join()
            await self._fill(self._membership.joined)
            for stream in self._membership.joined:
                await self._take_pending(stream, idle_ms=0, own=False)

    async def _claim(self) -> None:
        """Takes what has been idle though everything should be in hand here: Redis went back in time."""
        await pause(self._stop, self._settings.claim_every_seconds)
        async with self._taking:
            if not self._membership.complete:
                await self._membership.join()
            for stream in self._membership.joined:
                await self._take_pending(stream, idle_ms=self._settings.idle_ms, own=False)

    async def _take_pending(self, stream: str, *, idle_ms: int, own: bool) -> None:
        """Takes up pending entries in their order; one that is worn ends the batch, and has a moment for itself."""
        after = "0-0"
        while not self._stop.is_set():
            free = await self._free(at_least=1)
            found = await self._membership.pending(stream, idle_ms=idle_ms, count=free, after=after, own=own)
            if not found:
                return
            for id_, deliveries in found.items():
                for entry in await self._membership.claim(stream, {id_: deliveries}, idle_ms):
                    worker = self._take(entry)
                    if worker and deliveries >= self._settings.max_deliveries:
                        await asyncio.wait([worker], timeout=ALONE_SECONDS)
            after = list(found)[-1]

    def _take(self, entry: Entry) -> asyncio.Task[None] | None:
        if (entry.stream, entry.id) in self._in_hand:
            return self._in_hand[entry.stream, entry.id]
        self._seen[entry.stream] = max(self._seen.get(entry.stream, 0), ordinal_of(entry.id))
        key = self._key(entry)
        earlier = self._last_of.get(key)
        done = self._last_of[key] = asyncio.get_running_loop().create_future()
        task = self._tasks.create_task(self._work_after(entry, key, earlier, done))
        self._in_hand[entry.stream, entry.id] = task
        return task

    async def _work_after(
        self, entry: Entry, key: str, earlier: "asyncio.Future[bool] | None", done: "asyncio.Future[bool]"
    ) -> None:
        """Sees to an entry once the earlier one of its subject has come to its end; if that is left, so is this."""
        ended = False
        try:
            # Shielded: cancelling this worker must not cancel what the earlier one has to say to others.
            if earlier is None or await asyncio.shield(earlier):
                ended = await self._settle(entry)
        finally:
            done.set_result(ended)
            # One that is left stays: whatever of its subject is still read in this term is left too.
            if ended and self._last_of.get(key) is done:
                del self._last_of[key]
            del self._in_hand[entry.stream, entry.id]
            self._freed.set()

    async def _settle(self, entry: Entry) -> bool:
        while True:
            outcome = await self._settler.settle(entry)
            if outcome is Outcome.DONE:
                self._done[entry.stream].append(entry.id)
                self._some_done.set()
            if outcome is not Outcome.LEFT:
                return True
            if self._stop.is_set():
                return False
            await pause(self._stop, self._settings.retry_cap_seconds)  # the dead letter was refused

    async def _read(self) -> None:
        """Takes new entries; if some were trimmed before they could be read, those first."""
        async with self._taking:
            for entry in await self._new_entries():
                seen = self._seen.get(entry.stream) or self._holes.done_below(entry.stream) - 1
                if ordinal_of(entry.id) > seen + 1:
                    await self._drained()
                    await self._fill([entry.stream])
                self._take(entry)

    async def _fill(self, streams: Sequence[str]) -> None:
        """Fills holes for as long as it takes: nothing later may come before them."""
        while not self._stop.is_set():
            try:
                await self._holes.fill(streams)
            except (RedisError, OSError, TimeoutError, grpc.RpcError, Unavailable) as error:
                log.warning("group.waits", group=self._membership.group, error=repr(error))
                await pause(self._stop, self._settings.retry_cap_seconds)
            else:
                return

    async def _drained(self) -> None:
        while self._in_hand and not self._stop.is_set():
            self._freed.clear()
            await self._freed.wait()

    def _key(self, entry: Entry) -> str:
        try:
            return decode(entry, self._routes[entry.stream].kind).envelope.subject
        except BadEntry:
            return entry.id
