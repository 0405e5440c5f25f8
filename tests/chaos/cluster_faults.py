"""What is done to a cluster, beside all that is done to the processes: a lane of its own, mostly failovers."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError

from tests.chaos.faults import CUT_BYTES, PAUSE_SECONDS, Faults
from tests.chaos.fleet import Fleet
from tests.chaos.streams_cluster import StreamsCluster

FAULT_SECONDS = 90.0
"""How long a fault may take, with the return of the cluster."""


class ClusterFaults(Faults):
    """Deals faults to processes and, at the same time, to the nodes."""

    kill_every_seconds = 1.5
    """Less often than where the kills are the point: what is appended is to be there to be lost."""

    def __init__(self, fleet: Fleet, cluster: StreamsCluster, chance: random.Random) -> None:
        super().__init__(fleet, cluster, chance)
        self._cluster = cluster
        self._failed: list[str] = []
        """Faults that could not be dealt, as when the nodes did not vote in time."""

    def notes(self) -> list[str]:
        said = f"{self._cluster.failovers:,} failovers, which dropped {self._cluster.dropped:,} acknowledged entries"
        return [said, *(f"not dealt: {line}" for line in self._failed[:10])]

    async def deal(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(super().deal())
            tasks.create_task(self._deal_to_nodes())

    def _of_redis(self) -> list[Callable[[], Awaitable[None]]]:
        return []

    async def _deal_to_nodes(self) -> None:
        deck: list[Callable[[], Awaitable[None]]] = []
        while True:
            await asyncio.sleep(PAUSE_SECONDS * 2 * self._chance.random())
            if not deck:
                deck = [
                    *[self.takeover_by_one_left_behind] * 8,
                    *[self.failover_forced] * 3,
                    *[self.primary_s_tail_cut] * 2,
                    self.primary_killed,
                    self.primary_frozen,
                    self.power_and_tails_cut,
                ]
                self._chance.shuffle(deck)
            fault = deck.pop()
            try:
                async with asyncio.timeout(FAULT_SECONDS):
                    await fault()
            except (RedisError, OSError, AssertionError) as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise asyncio.CancelledError from error  # it failed on its way out
                self._failed.append(f"{fault.__name__}: {error!r}")
                continue
            self.done[fault.__name__.replace("_", " ").replace(" s ", "'s ")] += 1

    async def takeover_by_one_left_behind(self) -> None:
        """A failover that loses what was acknowledged last."""
        await self._cluster.fail_over("TAKEOVER", behind_seconds=0.1 + 0.9 * self._chance.random())

    async def failover_forced(self) -> None:
        await self._cluster.fail_over("FORCE", behind_seconds=0)

    async def primary_s_tail_cut(self) -> None:
        self.cut_bytes += await self._cluster.restart_primary(self._some_bytes())

    async def primary_killed(self) -> None:
        self.cut_bytes += await self._cluster.lose_primary(frozen=False, most_bytes=self._some_bytes())

    async def primary_frozen(self) -> None:
        await self._cluster.lose_primary(frozen=True, most_bytes=0)

    async def power_and_tails_cut(self) -> None:
        await self.tail_cut()

    def _some_bytes(self) -> int:
        return self._chance.randrange(1, self._chance.choice(CUT_BYTES))
