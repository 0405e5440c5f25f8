"""A process that runs one consumer group, and may kill itself at a named point.

`python -m tests.crash.reacting REDIS_URL DATABASE POINT NTH`: at the NTH event it gets to POINT, which is one of
`before-commit` (within the reaction), `after-commit` (before the acknowledgement), `never`. With `without-inbox` in
front, as in `without-inbox:after-commit`, it is the control: the effect commits, but no note that it was done.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from bridge.group_runner import run_group
from bridge.groups import Group, Reaction
from services.runtime.delivery import Delivery
from services.runtime.store import Store
from services.runtime.transaction import Tx
from tests.unit_bridge.consuming import QUICK, SCHEMA, note


class KilledAt:
    """A store whose process ends at a point."""

    def __init__(self, store: Store, point: str, nth: int) -> None:
        self.domain = store.domain
        self._store = store
        self._inbox, _, self._point = point.rpartition(":")
        self._left = nth

    async def react(self, group: str, delivery: Delivery, apply: Reaction) -> bool:
        def killed(tx: Tx, event: Any) -> None:
            apply(tx, event)
            self._reach("before-commit")

        if self._inbox == "without-inbox":
            await self._store.write(lambda tx: killed(tx, delivery.event))
            applied = True
        else:
            applied = await self._store.react(group, delivery, killed)
        self._reach("after-commit")
        return applied

    async def park(self, group: str, stream: str, ordinal: int) -> None:
        await self._store.park(group, stream, ordinal)

    def _reach(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


async def main(redis_url: str, database: str, point: str, nth: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    store = Store(Path(database), domain="gamification", schema=SCHEMA)
    redis: Redis = Redis.from_url(redis_url, socket_timeout=None)
    group = Group(name="g", consumers=2, reactions={"trading.*": note("g")})
    await run_group(group, store=KilledAt(store, point, int(nth)), redis=redis, stop=stop, settings=QUICK)
    await redis.aclose()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
