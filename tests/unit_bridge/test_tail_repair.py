"""What Redis loses is sent again: a cut tail, a vanished key, an emptied server, also while nothing happens."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from bridge import tail_repair
from tests.unit_bridge.outboxes import OutboxServer
from tests.unit_bridge.polling import until
from tests.unit_bridge.publishing import CLOSED, EXECUTED, all_published, entries, publishing, some
from tests.unit_bridge.valkey import Valkey


def losses(logs: Any) -> list[dict[str, Any]]:
    return [line for line in logs if line["event"] == "stream.lost_its_end"]


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


async def _roll_back(outbox: OutboxServer, redis: Redis) -> None:
    """Publishes 25 entries and takes back the last 20, as a failover does."""
    outbox.record(EXECUTED, some(5))
    await until(all_published(outbox, redis))
    backup: Any = await redis.dump(EXECUTED)
    outbox.record(EXECUTED, some(20))
    await until(all_published(outbox, redis))
    await redis.restore(EXECUTED, 0, backup, replace=True)


async def test_lost_end_comes_back_with_the_next_event(outbox: OutboxServer, redis: Redis) -> None:
    async with publishing(outbox, redis):
        await _roll_back(outbox, redis)
        outbox.record(EXECUTED, some(1))
        await until(all_published(outbox, redis))


async def test_lost_end_comes_back_while_nothing_happens(outbox: OutboxServer, redis: Redis) -> None:
    with capture_logs() as logs:
        async with publishing(outbox, redis) as publisher:
            await _roll_back(outbox, redis)
            await until(all_published(outbox, redis))
            assert not publisher.stopped
    [loss] = losses(logs)
    assert (loss["stream"], loss["sent_again"], loss["log_level"]) == (EXECUTED, 20, "error")


async def test_control_without_the_comparison_a_lost_end_stays_lost(
    outbox: OutboxServer, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_repair, "EVERY_SECONDS", 3600)
    async with publishing(outbox, redis):
        await _roll_back(outbox, redis)
        await asyncio.sleep(2.5)
        assert len(await entries(redis, EXECUTED)) == 5


async def test_end_lost_while_the_tail_was_down_is_found_at_the_connect(outbox: OutboxServer, redis: Redis) -> None:
    with capture_logs() as logs:
        async with publishing(outbox, redis):
            outbox.record(EXECUTED, some(25))
            await until(all_published(outbox, redis))
            await outbox.stop()
            await redis.delete(EXECUTED)
            await outbox.start()
            await until(all_published(outbox, redis))
    assert [loss["sent_again"] for loss in losses(logs)] == [25]


async def test_vanished_stream_gets_its_groups_again_from_the_first_entry(outbox: OutboxServer, redis: Redis) -> None:
    async with publishing(outbox, redis):
        outbox.record(EXECUTED, some(5))
        await until(all_published(outbox, redis))
        for group in ("fast", "slow"):
            await redis.xgroup_create(EXECUTED, group, id="0")
        await redis.xreadgroup("fast", "c", {EXECUTED: ">"})
        await asyncio.sleep(2 * tail_repair.EVERY_SECONDS)  # until the bridge has seen the groups
        await redis.delete(EXECUTED)
        await until(all_published(outbox, redis))
    for group in ("fast", "slow"):
        delivered: Any = await redis.xreadgroup(group, "c", {EXECUTED: ">"})
        assert len(delivered[0][1]) == 5


async def test_stray_entry_is_found_while_nothing_happens(outbox: OutboxServer, redis: Redis) -> None:
    async with publishing(outbox, redis) as publisher:
        outbox.record(EXECUTED, some(3))
        await until(all_published(outbox, redis))
        stray: Any = await redis.xadd(EXECUTED, {"e": b"stray"})
        await until(lambda: EXECUTED in publisher.stopped, "the stop")
        assert stray.decode() in publisher.stopped[EXECUTED]
        outbox.record(CLOSED, some(3))
        await until(lambda: _has_closed(redis, 3))


async def _has_closed(redis: Redis, count: int) -> bool:
    return len(await entries(redis, CLOSED)) == count
