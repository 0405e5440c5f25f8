"""The publisher between a list-backed outbox and a real server, through outages of either."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from bridge.backoff import Backoff
from bridge.publisher import Publisher
from bridge.tail import TailClient
from services import contracts
from tests.unit_bridge.outboxes import OutboxServer
from tests.unit_bridge.polling import until
from tests.unit_bridge.valkey import Valkey

EXECUTED = "astra.trading.trade_executed.v1"
CLOSED = "astra.trading.position_closed.v1"
STREAMS = contracts.streams_of("trading")


@pytest.fixture
async def outbox() -> AsyncIterator[OutboxServer]:
    server = OutboxServer()
    await server.start()
    yield server
    await server.stop()


@asynccontextmanager
async def publishing(outbox: OutboxServer, redis: Redis) -> AsyncIterator[Publisher]:
    """Runs a publisher, and cancels it at the end wherever it is."""
    tail = TailClient(outbox.address, "trading", lambda: "token")
    backoff = Backoff(0.01, 0.2, random.random)
    publisher = Publisher("trading", streams=STREAMS, tail=tail, redis=redis, backoff=backoff)
    task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        task.cancel()
        await asyncio.wait([task])
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


async def test_what_was_recorded_before_and_after_the_connect_arrives_in_order(
    outbox: OutboxServer, redis: Redis
) -> None:
    outbox.record(EXECUTED, some(30))
    async with publishing(outbox, redis):
        await until(all_published(outbox, redis), "the backlog")
        for _ in range(20):
            outbox.record(EXECUTED, some(3))
            outbox.record(CLOSED, some(1))
            await until(all_published(outbox, redis), "the push")
    assert len(outbox.calls) == 1
    metadata, request = outbox.calls[0]
    assert metadata["authorization"] == "Bearer token"
    assert sorted(cursor.stream for cursor in request.cursors) == STREAMS


async def test_publisher_restarted_at_any_moment_loses_and_doubles_nothing(outbox: OutboxServer, redis: Redis) -> None:
    chance = random.Random(7)
    for _ in range(60):
        outbox.record(EXECUTED, some(chance.randrange(1, 20)))
        outbox.record(CLOSED, some(chance.randrange(3)))
        async with publishing(outbox, redis):
            await asyncio.sleep(chance.random() * 0.012)
    async with publishing(outbox, redis):
        await until(all_published(outbox, redis))
    assert len(outbox.entries[EXECUTED]) > 300


async def test_two_bridges_at_once_are_harmless(outbox: OutboxServer, redis: Redis) -> None:
    async with publishing(outbox, redis) as one, publishing(outbox, redis) as other:
        for _ in range(200):
            outbox.record(EXECUTED, some(3))
            outbox.record(CLOSED, some(1))
            await asyncio.sleep(0)
        await until(all_published(outbox, redis))
        assert not one.stopped
        assert not other.stopped


async def test_diverged_stream_stops_alone(outbox: OutboxServer, redis: Redis) -> None:
    outbox.record(EXECUTED, some(3))
    stray: Any = await redis.xadd(EXECUTED, {"e": b"stray"})
    async with publishing(outbox, redis) as publisher:
        outbox.record(CLOSED, some(3))
        await until(lambda: EXECUTED in publisher.stopped, "the stop")
        outbox.record(CLOSED, some(3))
        outbox.record(EXECUTED, some(3))
        await until(lambda: _has(redis, CLOSED, 6))
        assert stray.decode() in publisher.stopped[EXECUTED]
        assert list(publisher.stopped) == [EXECUTED]
    assert await entries(redis, EXECUTED) == [(stray.decode(), b"stray")]


async def test_stray_entry_between_two_events_is_found_at_the_next_one(outbox: OutboxServer, redis: Redis) -> None:
    async with publishing(outbox, redis) as publisher:
        outbox.record(EXECUTED, some(3))
        await until(lambda: _has(redis, EXECUTED, 3))
        await redis.xadd(EXECUTED, {"e": b"stray"})
        outbox.record(EXECUTED, some(1))
        await until(lambda: EXECUTED in publisher.stopped, "the stop")
    assert await redis.xlen(EXECUTED) == 4


async def test_key_of_another_type_stops_its_stream_alone(outbox: OutboxServer, redis: Redis) -> None:
    await redis.set(EXECUTED, "mine")
    async with publishing(outbox, redis) as publisher:
        outbox.record(EXECUTED, some(1))
        outbox.record(CLOSED, some(2))
        await until(lambda: _has(redis, CLOSED, 2))
        await until(lambda: list(publisher.stopped) == [EXECUTED])
        await redis.set(CLOSED, "mine too")
        outbox.record(CLOSED, some(50 * 7))
        outbox.record(STREAMS[0], some(2))
        await until(lambda: _has(redis, STREAMS[0], 2), "the streams beside it")
        assert set(publisher.stopped) == {EXECUTED, CLOSED}


async def test_service_that_goes_and_comes_back_is_followed_again(outbox: OutboxServer, redis: Redis) -> None:
    async with publishing(outbox, redis):
        for _ in range(3):
            outbox.record(EXECUTED, some(5))
            await until(all_published(outbox, redis))
            await outbox.stop()
            outbox.record(EXECUTED, some(5))
            await outbox.start()
        await until(all_published(outbox, redis))


async def test_redis_that_comes_back_empty_is_filled_from_the_start(
    outbox: OutboxServer, start_server: Callable[..., Valkey]
) -> None:
    server = start_server()
    redis = server.client()
    async with publishing(outbox, redis):
        outbox.record(EXECUTED, some(25))
        await until(all_published(outbox, redis))
        server.kill()
        outbox.record(EXECUTED, some(1))
        outbox.record(CLOSED, some(4))
        server.start()
        async with server.client() as looking:
            await until(all_published(outbox, looking))
    await redis.aclose()


async def test_redis_that_lost_its_end_gets_it_again_with_the_next_event(outbox: OutboxServer, redis: Redis) -> None:
    async with publishing(outbox, redis):
        outbox.record(EXECUTED, some(5))
        await until(all_published(outbox, redis))
        backup: Any = await redis.dump(EXECUTED)
        outbox.record(EXECUTED, some(20))
        await until(all_published(outbox, redis))
        await redis.restore(EXECUTED, 0, backup, replace=True)
        outbox.record(EXECUTED, some(1))
        await until(all_published(outbox, redis))


async def test_full_redis_holds_events_up_and_no_more(outbox: OutboxServer, redis: Redis) -> None:
    async with publishing(outbox, redis) as publisher:
        outbox.record(EXECUTED, some(5))
        await until(all_published(outbox, redis))
        await redis.config_set("maxmemory", 1)
        outbox.record(EXECUTED, some(50))
        calls = len(outbox.calls)
        await until(lambda: len(outbox.calls) > calls + 2, "more than one try")
        assert await redis.xlen(EXECUTED) == 5
        await redis.config_set("maxmemory", 0)
        await until(all_published(outbox, redis))
        assert not publisher.stopped


async def test_outbox_whose_first_entries_are_purged_fills_an_empty_stream(outbox: OutboxServer, redis: Redis) -> None:
    outbox.record(EXECUTED, some(20))
    purged = outbox.entries[EXECUTED][7]
    del outbox.entries[EXECUTED][:8]
    outbox.purged[EXECUTED] = purged.id
    async with publishing(outbox, redis) as publisher:
        await until(all_published(outbox, redis))
        assert not publisher.stopped
    assert await redis.xlen(EXECUTED) == 12


async def _has(redis: Redis, stream: str, count: int) -> bool:
    return bool(await redis.xlen(stream) == count)
