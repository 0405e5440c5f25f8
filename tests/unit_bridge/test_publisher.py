"""The publisher between a list-backed outbox and a real server, through outages of either."""

import asyncio
import random
from typing import Any

from redis.asyncio import Redis

from tests.unit_bridge.outboxes import OutboxServer
from tests.unit_bridge.polling import until
from tests.unit_bridge.publishing import CLOSED, EXECUTED, STREAMS, all_published, entries, has, publishing, some


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
        await until(lambda: has(redis, CLOSED, 6))
        assert stray.decode() in publisher.stopped[EXECUTED]
        assert list(publisher.stopped) == [EXECUTED]
    assert await entries(redis, EXECUTED) == [(stray.decode(), b"stray")]


async def test_stray_entry_between_two_events_is_found_at_the_next_one(outbox: OutboxServer, redis: Redis) -> None:
    async with publishing(outbox, redis) as publisher:
        outbox.record(EXECUTED, some(3))
        await until(lambda: has(redis, EXECUTED, 3))
        await redis.xadd(EXECUTED, {"e": b"stray"})
        outbox.record(EXECUTED, some(1))
        await until(lambda: EXECUTED in publisher.stopped, "the stop")
    assert await redis.xlen(EXECUTED) == 4


async def test_repaired_stream_goes_on_by_itself(outbox: OutboxServer, redis: Redis) -> None:
    outbox.record(EXECUTED, some(3))
    await redis.xadd(EXECUTED, {"e": b"stray"})
    await redis.set(CLOSED, "mine")
    async with publishing(outbox, redis) as publisher:
        outbox.record(CLOSED, some(1))
        outbox.record(STREAMS[0], some(1))
        await until(lambda: set(publisher.stopped) == {EXECUTED, CLOSED}, "the stops")
        await redis.delete(CLOSED)
        await until(lambda: list(publisher.stopped) == [EXECUTED], "the first repair")
        await redis.delete(EXECUTED)
        outbox.record(EXECUTED, some(3))
        await until(all_published(outbox, redis))
        assert not publisher.stopped


async def test_outbox_all_of_whose_streams_are_stopped_is_still_looked_after(
    outbox: OutboxServer, redis: Redis
) -> None:
    for stream in STREAMS:
        await redis.xadd(stream, {"e": b"stray"})
    async with publishing(outbox, redis) as publisher:
        await until(lambda: set(publisher.stopped) == set(STREAMS), "the stops")
        await redis.flushall()
        outbox.record(EXECUTED, some(3))
        await until(all_published(outbox, redis))
        await until(lambda: not publisher.stopped)


async def test_key_of_another_type_stops_its_stream_alone(outbox: OutboxServer, redis: Redis) -> None:
    await redis.set(EXECUTED, "mine")
    async with publishing(outbox, redis) as publisher:
        outbox.record(EXECUTED, some(1))
        outbox.record(CLOSED, some(2))
        await until(lambda: has(redis, CLOSED, 2))
        await until(lambda: list(publisher.stopped) == [EXECUTED])
        await redis.set(CLOSED, "mine too")
        outbox.record(CLOSED, some(50 * 7))
        outbox.record(STREAMS[0], some(2))
        await until(lambda: has(redis, STREAMS[0], 2), "the streams beside it")
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


async def test_outbox_whose_first_entries_are_purged_fills_an_empty_stream(outbox: OutboxServer, redis: Redis) -> None:
    outbox.record(EXECUTED, some(20))
    purged = outbox.entries[EXECUTED][7]
    del outbox.entries[EXECUTED][:8]
    outbox.purged[EXECUTED] = purged.id
    async with publishing(outbox, redis) as publisher:
        await until(all_published(outbox, redis))
        assert not publisher.stopped
    assert await redis.xlen(EXECUTED) == 12
