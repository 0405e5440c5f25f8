"""What publisher tests are made of: a list-backed outbox, a running publisher, and the comparison of both ends."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from bridge.backoff import Backoff
from bridge.guards import Gate
from bridge.lane import STREAM_CAP
from bridge.publisher import Publisher
from bridge.tail import TailClient
from services import contracts
from services.runtime.door import Door
from tests.unit_bridge.outboxes import OutboxServer

EXECUTED = "astra.trading.trade_executed.v1"
CLOSED = "astra.trading.position_closed.v1"
STREAMS = contracts.streams_of("trading")


@asynccontextmanager
async def publishing(outbox: OutboxServer, redis: Redis, cap: int | None = None) -> AsyncIterator[Publisher]:
    """Runs a publisher, and cancels it at the end wherever it is."""
    tail = TailClient(Door(outbox.address), "trading", lambda: "token")
    backoff, gate = Backoff(0.01, 0.2, random.random), Gate(insist=True)
    publisher = Publisher(
        "trading", streams=STREAMS, tail=tail, redis=redis, backoff=backoff, gate=gate, cap=cap or STREAM_CAP
    )
    task, looking = asyncio.create_task(publisher.run()), asyncio.create_task(gate.run(redis))
    try:
        yield publisher
    finally:
        task.cancel()
        looking.cancel()
        await asyncio.wait([task, looking])
        await tail.close()
    assert task.cancelled(), task.exception()


async def entries(redis: Redis, stream: str) -> list[tuple[str, bytes]]:
    found: Any = await redis.xrange(stream)
    return [(id_.decode(), fields[b"e"]) for id_, fields in found]


def all_published(outbox: OutboxServer, redis: Redis) -> Callable[[], Any]:
    """Returns the condition that every stream is, entry for entry, what the outbox holds."""

    async def check() -> bool:
        for stream, held in outbox.entries.items():
            found = await entries(redis, stream)
            wanted = [(entry.id, entry.envelope) for entry in held]
            assert found == wanted[: len(found)], f"{stream} is no prefix of its outbox"
            if len(found) < len(wanted):
                return False
        return True

    return check


def some(count: int) -> list[bytes]:
    return [b"envelope %d" % n for n in range(count)]


async def has(redis: Redis, stream: str, count: int) -> bool:
    return bool(await redis.xlen(stream) == count)
