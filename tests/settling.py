"""Runs what a domain does by itself (timers, workers, the groups that read its own events) until it is quiet."""

import asyncio

from astra.event.v1.envelope_pb2 import Envelope

from bridge.groups import routes
from services import contracts
from services.domain import Domain
from services.runtime.delivery import Delivery
from services.runtime.timers import _fire
from services.runtime.transaction import Reader

Event = tuple[str, int, int, bytes]


async def settle(domain: Domain, *, workers: bool = True) -> None:
    """Fires what is due, carries on what is begun, and delivers the domain's own events, until nothing is left."""
    for _ in range(100):
        busy = await fire_due(domain)
        if workers:
            busy |= await carry_on(domain)
        busy |= await deliver_own(domain)
        if not busy:
            return
    raise AssertionError("it does not come to rest")


async def fire_due(domain: Domain) -> bool:
    """Fires the timers that are due now. Returns whether there were any."""
    now = domain.store.clock()
    rows = await domain.store.read(lambda db: db.all("SELECT kind, key FROM due WHERE at_ms <= ?", now))
    for kind, key in map(tuple, rows):
        timer = domain.timers[kind]
        await domain.store.write(lambda tx, timer=timer, kind=kind, key=key: _fire(tx, timer, kind, key))  # type: ignore[misc]
    return bool(rows)


async def carry_on(domain: Domain) -> bool:
    """Runs the workers until nothing is left that they would take now. Returns whether there was something."""
    before = await domain.store.read(lambda db: _takeable(db, domain.store.clock()))
    if not before:
        return False
    stop = asyncio.Event()
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        for worker in domain.workers:
            tasks.create_task(worker(stop))
        while await domain.store.read(lambda db: _takeable(db, domain.store.clock())):  # noqa: ASYNC110 - see the database
            await asyncio.sleep(0.002)
        stop.set()
    return True


async def deliver_own(domain: Domain, *, backwards: bool = False) -> bool:
    """Hands the domain's own events to its groups. Returns whether one of them was new."""
    rows = await domain.store.read(lambda db: db.all("SELECT stream, ms, ordinal, envelope FROM outbox"))
    new = False
    for group in domain.groups:
        reads = routes(group, domain.store.domain)
        for stream, ms, ordinal, data in reversed(rows) if backwards else rows:
            if stream in reads:
                envelope = Envelope.FromString(data)
                event = contracts.events()[stream].message.FromString(envelope.data)
                delivery = Delivery(stream, ms, ordinal, envelope, event)
                new |= await domain.store.react(group.name, delivery, reads[stream].reaction)
    return new


def _takeable(db: Reader, now_ms: int) -> int:
    return int(db.value("SELECT count(*) FROM saga WHERE take_ms <= ?", now_ms))
