"""A Redis that may lose streams is refused; one that runs full holds events up, and no more."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from bridge.guards import PAUSE_AT, SLOW_AT, Gate, ServerState, read_state, refusals
from tests.unit_bridge.outboxes import OutboxServer
from tests.unit_bridge.polling import until
from tests.unit_bridge.publishing import EXECUTED, all_published, has, publishing, some
from tests.unit_bridge.valkey import Valkey

AOF = ("--appendonly", "yes")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(AOF, [], id="as make run has it"),
        pytest.param(("--save", "60 1"), [], id="snapshots alone"),
        pytest.param((*AOF, "--maxmemory-policy", "allkeys-lru"), ["allkeys-lru"], id="evicts anything"),
        pytest.param((*AOF, "--maxmemory-policy", "volatile-ttl"), ["volatile-ttl"], id="evicts some"),
        pytest.param((), ["persisted"], id="keeps nothing"),
        pytest.param(("--maxmemory-policy", "allkeys-lfu"), ["allkeys-lfu", "persisted"], id="both"),
    ],
)
async def test_server_that_may_lose_streams_is_refused(
    start_server: Callable[..., Valkey], options: tuple[str, ...], words: list[str]
) -> None:
    async with start_server(*options).client() as redis:
        found = await refusals(redis)
        assert len(found) == len(words)
        assert all(word in text for word, text in zip(words, found, strict=True))


@pytest.mark.parametrize(("options", "count"), [(AOF, 0), ((), 1), (("--maxmemory-policy", "allkeys-lru"), 2)])
async def test_server_with_config_closed_is_judged_by_info(
    start_server: Callable[..., Valkey], options: tuple[str, ...], count: int
) -> None:
    async with start_server(*options).client() as redis:
        await redis.acl_setuser("default", enabled=True, nopass=True, commands=["-config"])
        with pytest.raises(ResponseError):
            await redis.config_get("save")
        assert len(await refusals(redis)) == count


async def test_server_that_is_set_up_otherwise_after_a_restart_pauses_appends(
    start_server: Callable[..., Valkey],
) -> None:
    server, gate = start_server(*AOF), Gate()
    async with server.client() as redis:
        await gate.look(redis)
        assert gate.reason == ""
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        await gate.look(redis)
        assert gate.reason == "", "looked at again only when the server is another"
        server.kill()
        server._options = (*AOF, "--maxmemory-policy", "allkeys-lru")
        server.start()
    async with server.client() as redis:
        await gate.look(redis)
        assert "allkeys-lru" in gate.reason
        await redis.config_set("maxmemory-policy", "noeviction")
        await gate.look(redis)
        assert gate.reason == ""


def _filled(part: float) -> ServerState:
    return ServerState(
        run_id="r",
        replication_id="r",
        policy="noeviction",
        aof=True,
        persists=True,
        used_bytes=int(part * 1000),
        max_bytes=1000,
    )


@pytest.mark.parametrize(
    ("part", "waits"), [(0.5, "not"), (SLOW_AT, "a little"), (0.88, "a little"), (PAUSE_AT, "until it frees")]
)
async def test_appends_slow_down_and_then_wait_as_memory_fills(
    monkeypatch: pytest.MonkeyPatch, part: float, waits: str
) -> None:
    async def states(_: Any) -> list[ServerState]:
        return [_filled(part), _filled(0.1)]

    monkeypatch.setattr("bridge.guards.read_states", states)
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr("bridge.guards.asyncio.sleep", nap)
    gate = Gate(insist=True)
    await gate.look(None)  # type: ignore[arg-type]
    passing = asyncio.ensure_future(gate.passed())
    await asyncio.wait({passing}, timeout=0.05)
    assert passing.done() == (waits != "until it frees")
    assert bool(naps) == (waits == "a little")
    passing.cancel()


async def test_buffers_that_are_not_counted_do_not_fill_the_server(redis: Redis) -> None:
    info = {"used_memory": 900, "mem_not_counted_for_evict": 500, "maxmemory": 1000}
    assert ServerState.of(info).full == 0.4
    assert (await read_state(redis)).full == 0.0, "no bound, never full"


async def test_full_redis_holds_events_up_and_no_more(outbox: OutboxServer, redis: Redis) -> None:
    async with publishing(outbox, redis) as publisher:
        outbox.record(EXECUTED, some(5))
        await until(all_published(outbox, redis))
        await redis.config_set("maxmemory", 1)
        outbox.record(EXECUTED, some(50))
        await until(lambda: publisher._gate.reason != "", "the pause")
        assert await redis.xlen(EXECUTED) == 5
        await redis.config_set("maxmemory", 0)
        await until(all_published(outbox, redis), seconds=5)
        assert not publisher.stopped
        assert len(outbox.calls) == 1, "the batch in hand was kept, not asked for again"


async def test_paused_publisher_takes_a_bounded_part_of_a_backlog(outbox: OutboxServer, redis: Redis) -> None:
    large = [b"x" * 4096] * 20_000
    await redis.config_set("maxmemory", 1)
    async with publishing(outbox, redis) as publisher:
        outbox.record(EXECUTED, large)
        await until(lambda: publisher._gate.reason != "", "the pause")
        taken = 0

        async def settled() -> bool:
            nonlocal taken
            before, taken = taken, outbox.sent
            await asyncio.sleep(0.3)
            return before == taken == outbox.sent

        await until(settled, "the end of the flow")
        assert taken < len(large) / 4, "a few batches, and what gRPC's windows hold"
        await redis.config_set("maxmemory", 0)
        await until(lambda: has(redis, EXECUTED, len(large)), seconds=60)
