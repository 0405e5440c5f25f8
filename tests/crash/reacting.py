"""A process that runs one consumer group, and may kill itself at a named point.

`python -m tests.crash.reacting REDIS_URL DATABASE POINT NTH [OUTBOX SLOT]`: at the NTH event it gets to POINT, one of
`before-commit` (within the reaction), `after-commit` (before the acknowledgement), `never`. With `without-inbox` in
front, as in `without-inbox:after-commit`, it is the control: the effect commits, but no note that it was done.
With the address of an OUTBOX it fills its holes from there, and is one consumer, SLOT, of several processes.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from bridge.group_runner import Past, run_group
from bridge.groups import Group, Reaction
from bridge.outbox_client import OutboxClient
from services.runtime.delivery import Delivery
from services.runtime.door import Door
from services.runtime.inbox import Effect
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

    async def react_all(self, group: str, given: Sequence[tuple[Delivery, Reaction]]) -> list[Effect]:
        def killed(apply: Reaction, tx: Tx, event: Any) -> None:
            apply(tx, event)
            self._reach("before-commit")

        if self._inbox == "without-inbox":
            for delivery, apply in given:
                await self._store.write(partial(killed, apply, event=delivery.event))
                self._reach("after-commit")
            return [True] * len(given)
        effects = await self._store.react_all(group, [(delivery, partial(killed, apply)) for delivery, apply in given])
        for _ in given:
            self._reach("after-commit")
        return effects

    async def park(self, group: str, stream: str, ordinal: int) -> None:
        await self._store.park(group, stream, ordinal)

    def _reach(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class DirectOutboxes(OutboxClient):
    """Calls a service itself, as Envoy would hand the call on."""

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-astra-service", "service:bridge"),)


async def main(redis_url: str, database: str, point: str, nth: str, outbox: str = "", slot: str = "") -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    store = Store(Path(database), domain="gamification", schema=SCHEMA)
    redis: Redis = Redis.from_url(redis_url, socket_timeout=None)
    group = Group(name="g", consumers=2, reactions={"trading.*": note("g")}, settings=QUICK)
    outboxes = DirectOutboxes(Door(outbox), lambda: "")
    await run_group(
        group,
        store=KilledAt(store, point, int(nth)),
        redis=redis,
        stop=stop,
        past=Past(store, outboxes) if outbox else None,
        slots=[int(slot)] if slot else (),
    )
    await outboxes.close()
    await redis.aclose()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
