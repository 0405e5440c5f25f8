"""What is done to the processes: two seeded lanes, one that kills and one that sees to everything else in turn."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError

from tests.chaos.fleet import Fleet
from tests.chaos.streams import Streams

KILL_EVERY_SECONDS = 0.28
PAUSE_SECONDS = 0.35
CUT_BYTES = (2_000, 20_000, 100_000)
"""Up to how much a cut takes; one of these each time."""
LAST_CUT_BYTES = 40_000
"""Enough to hold events, whatever groups had written after them."""


class Faults:
    """Deals faults until cancelled. Each kind comes in turn, shuffled, so that a short run has some of each."""

    kill_every_seconds = KILL_EVERY_SECONDS

    def __init__(self, fleet: Fleet, server: Streams, chance: random.Random) -> None:
        self.done: Counter[str] = Counter()
        self.cut_bytes = 0
        self._fleet = fleet
        self._server = server
        self._chance = chance
        self._deck: list[Callable[[], Awaitable[None]]] = []

    def notes(self) -> list[str]:
        """Returns what else is worth knowing."""
        return []

    async def kill_members(self) -> None:
        """Kills one process after the other, at whatever it is doing."""
        names = [name for name in self._fleet.members if name != "bridge-2"]
        while True:
            await asyncio.sleep(self.kill_every_seconds * 2 * self._chance.random())
            self._fleet.kill(self._chance.choice(names))

    async def deal(self) -> None:
        """Does everything else."""
        while True:
            await asyncio.sleep(PAUSE_SECONDS * 2 * self._chance.random())
            if not self._deck:
                self._deck = [
                    *self._of_redis(),
                    self.aof_rewritten,
                    self.redis_full,
                    self.second_bridge,
                    self.bridge_frozen,
                    self.service_frozen,
                    self.envoy_killed,
                ]
                self._chance.shuffle(self._deck)
            fault = self._deck.pop()
            try:
                await fault()
            except (RedisError, OSError):
                continue  # a server that has just started may refuse; the next fault comes soon
            self.done[fault.__name__.replace("_", " ")] += 1

    def _of_redis(self) -> list[Callable[[], Awaitable[None]]]:
        """Returns what is done to Redis, as often as it comes up in a deck."""
        return [self.redis_killed, *[self.tail_cut] * 5, self.tail_cut_after_rewrite]

    async def redis_killed(self) -> None:
        self._server.kill()
        await self._away()
        await self._server.start()

    async def tail_cut(self) -> None:
        """Takes what was appended last, acknowledged or not, from under the groups as well."""
        await self._cut(self._chance.randrange(1, self._chance.choice(CUT_BYTES)))

    async def last_cut(self) -> None:
        """Cuts when nothing is appended any more, so that the loss must be noticed by itself."""
        await self._cut(LAST_CUT_BYTES)
        self.done["tail cut while idle"] += 1

    async def tail_cut_after_rewrite(self) -> None:
        await self._server.rewrite()
        await self._away()
        await self.tail_cut()

    async def aof_rewritten(self) -> None:
        await self._server.rewrite()

    async def redis_full(self) -> None:
        await self._server.fill()
        await asyncio.sleep(0.5 + 2 * self._chance.random())
        await self._server.free()

    async def second_bridge(self) -> None:
        """Two bridges publish the same, for a while."""
        second = self._fleet.members["bridge-2"]
        second.wanted.set()
        await asyncio.sleep(1 + 2 * self._chance.random())
        second.wanted.clear()
        self._fleet.kill("bridge-2")

    async def bridge_frozen(self) -> None:
        """A bridge that is taken for dead comes back, in the middle of what it did, after another has gone on."""
        second = self._fleet.members["bridge-2"]
        second.wanted.set()
        await self._freeze("bridge", 1 + 2 * self._chance.random())
        second.wanted.clear()
        self._fleet.kill("bridge-2")

    async def service_frozen(self) -> None:
        names = [name for name in self._fleet.members if not name.startswith("bridge")]
        await self._freeze(self._chance.choice(names), 1 + 2 * self._chance.random())

    async def envoy_killed(self) -> None:
        self._fleet.kill_envoy()
        await self._away()
        self._fleet.start_envoy()

    async def _freeze(self, name: str, seconds: float) -> None:
        member = self._fleet.members[name]
        if member.freeze():
            await asyncio.sleep(seconds)
            member.thaw()

    async def _cut(self, most_bytes: int) -> None:
        self._server.kill()
        self.cut_bytes += self._server.cut(most_bytes)
        await self._away()
        await self._server.start()

    async def _away(self) -> None:
        await asyncio.sleep(0.5 * self._chance.random())
