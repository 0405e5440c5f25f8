"""A group that was stopped while its stream went on for three times its cap misses nothing, whoever is killed then."""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import pytest
from astra.event.v1 import outbox_service_pb2 as pb
from astra.event.v1.outbox_service_pb2_grpc import OutboxServiceStub
from astra.trading.v1.events_pb2 import TradeExecuted
from redis.asyncio import Redis

from bridge.backoff import Backoff
from bridge.guards import Gate
from bridge.publisher import Publisher
from services.domain import Domain
from services.mesh import ROOT
from services.runtime import inbox
from services.runtime.store import Store
from services.runtime.transaction import Tx
from tests.conftest import OpenStore
from tests.serving import as_service, served
from tests.unit_bridge.consuming import EXECUTED, SCHEMA, effects
from tests.unit_bridge.polling import until
from tests.unit_bridge.valkey import Valkey

POINTS = ("before-commit", "after-commit")


@dataclass(slots=True)
class Stream:
    """A service's outbox, published into a stream with a cap, and the longest that the stream has been."""

    store: Store
    address: str
    redis: Redis
    recorded: int = 0
    longest: int = 0

    async def record(self, count: int) -> None:
        """Records events and waits until they are in the stream."""
        for first in range(self.recorded, self.recorded + count, 500):
            numbers = range(first, min(first + 500, self.recorded + count))
            await self.store.write(partial(_record, numbers=numbers))
            await self.look()
        self.recorded += count
        await until(self._is_published, "the appends", 60)

    async def look(self) -> None:
        self.longest = max(self.longest, await self.redis.xlen(EXECUTED))

    async def _is_published(self) -> bool:
        await self.look()
        info = await self.redis.xinfo_stream(EXECUTED) if await self.redis.exists(EXECUTED) else None
        return bool(info and info["last-generated-id"].endswith(b"-%d" % self.recorded))


def _record(tx: Tx, numbers: range) -> None:
    for number in numbers:
        tx.record(TradeExecuted(trade_id=str(number)))


@asynccontextmanager
async def published(store: Store, redis: Redis, cap: int) -> AsyncIterator[Stream]:
    """Publishes a store's events for as long as it is open."""
    async with served(Domain(store=store, apis={})) as address, grpc.aio.insecure_channel(address) as channel:

        async def tail(cursors: Mapping[str, str]) -> AsyncGenerator[pb.TailResponse, None]:
            request = pb.TailRequest(cursors=[pb.Cursor(stream=name, id=id_) for name, id_ in cursors.items()])
            call = OutboxServiceStub(channel).Tail(request, metadata=as_service("bridge"))
            try:
                async for response in call:
                    yield response
            finally:
                call.cancel()

        publisher = Publisher(
            "trading",
            streams=[EXECUTED],
            tail=tail,
            redis=redis,
            backoff=Backoff(0.01, 0.2, random.random),
            gate=Gate(insist=True),
            cap=cap,
        )
        task = asyncio.create_task(publisher.run())
        try:
            yield Stream(store, address, redis)
        finally:
            task.cancel()
            await asyncio.wait([task])


@asynccontextmanager
async def consumer(
    server: Valkey, database: Path, stream: Stream, slot: int, point: str = "never", nth: int = 0
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs one consumer of the group in a process of its own; it is killed at the end, if not before."""
    command = ("tests.crash.reacting", server.url, str(database), point, str(nth), stream.address, str(slot))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", *command, cwd=ROOT)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    ("cap", "lives"), [(1_000, 1), pytest.param(20_000, 8, marks=pytest.mark.long)], ids=["slice", "long"]
)
async def test_group_stopped_for_three_caps_misses_nothing_and_its_stream_keeps_its_cap(
    server: Valkey, tmp_path: Path, open_store: OpenStore, cap: int, lives: int
) -> None:
    chance = random.Random(cap)
    database = tmp_path / "gamification" / "gamification.db"
    applied = open_store("gamification", schema=SCHEMA)
    kills = 0

    def done_below() -> int:
        return applied.read_now(lambda db: inbox.done_below(db, "g", EXECUTED))

    async with server.client() as redis, published(open_store(), redis, cap) as stream:
        await stream.record(20)
        async with consumer(server, database, stream, 0):
            await until(lambda: done_below() == 21, "the group's beginning")
        await stream.record(3 * cap)

        async def live(slot: int) -> None:
            """Is killed at points again and again; what is left is done by whoever comes last."""
            nonlocal kills
            for _ in range(lives):
                nth = chance.randrange(1, cap // 4)
                async with consumer(server, database, stream, slot, chance.choice(POINTS), nth) as process:
                    await until(lambda p=process: p.returncode is not None or done_below() > 4 * cap + 20, "a kill", 60)  # type: ignore[misc]
                    kills += process.returncode is not None
            async with consumer(server, database, stream, slot):
                await until(lambda: done_below() == 4 * cap + 21, "the end of the work", 120)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(live(0))
            tasks.create_task(live(1))
            tasks.create_task(stream.record(cap))
        found = Counter(effects(applied))
    print(f"{kills} kills, {4 * cap + 20} events, longest stream {stream.longest} of {cap}")
    assert kills >= lives
    assert found == Counter(str(n) for n in range(4 * cap + 20))
    assert stream.longest <= cap
