"""Streams are trimmed to what every group has finished, kept below their cap, and outbox rows go when they are old."""

import asyncio
from typing import Any

import grpc
import pytest
from astra.event.v1.outbox_service_pb2 import PurgeResponse
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from bridge.guards import Gate
from bridge.membership import Membership
from bridge.trimming import Trimmer
from services.runtime import revocations
from tests.unit_bridge.outboxes import OutboxServer
from tests.unit_bridge.polling import until
from tests.unit_bridge.publishing import CLOSED, EXECUTED, STREAMS, publishing, some

NODE = 100
"""Entries that Redis keeps together: trims are exact to one node."""


class Purges:
    """Notes what may be purged."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int]] = []

    async def purge(self, stream: str, *, anchor: str, finished_below: int) -> PurgeResponse:
        self.asked.append((stream, anchor, finished_below))
        return PurgeResponse(purged=0)


def trimmer(redis: Redis, *, now: int = 1 << 45, keep_ms: int = 0, purges: Purges | None = None) -> Trimmer:
    return Trimmer(
        redis, STREAMS, outboxes=purges or Purges(), gate=Gate(insist=True), clock=lambda: now, keep_ms=keep_ms
    )


async def fill(redis: Redis, count: int = 1000) -> None:
    pipe: Any = redis.pipeline(transaction=False)
    for n in range(1, count + 1):
        pipe.xadd(EXECUTED, {"e": b"x"}, id=f"{1000 + n}-{n}")
    await pipe.execute()


async def first_ordinal(redis: Redis) -> int:
    found: Any = await redis.xrange(EXECUTED, count=1)
    return int(found[0][0].decode().partition("-")[2])


async def read(redis: Redis, group: str, count: int, *, ack: int) -> None:
    """Has a group read entries and acknowledge the first of them."""
    answer: Any = await redis.xreadgroup(group, "c", {EXECUTED: ">"}, count=count)
    if ack:
        await redis.xack(EXECUTED, group, *(id_ for id_, _ in answer[0][1][:ack]))


@pytest.mark.parametrize(
    ("groups", "finished"),
    [
        pytest.param({}, 0, id="nobody has read"),
        pytest.param({"a": (600, 600)}, 600, id="one group"),
        pytest.param({"a": (1000, 1000), "b": (400, 400)}, 400, id="the slower of two"),
        pytest.param({"a": (1000, 1000), "b": (0, 0)}, 0, id="one that has not begun"),
        pytest.param({"a": (1000, 300)}, 300, id="pending ones stay"),
    ],
)
async def test_what_every_group_has_finished_goes_and_nothing_else(
    redis: Redis, groups: dict[str, tuple[int, int]], finished: int
) -> None:
    await fill(redis)
    for name, (count, ack) in groups.items():
        await redis.xgroup_create(EXECUTED, name, id="0")
        if count:
            await read(redis, name, count, ack=ack)
    await trimmer(redis).trim()
    assert finished - NODE < await first_ordinal(redis) <= finished + 1


@pytest.mark.parametrize(("full", "days", "left"), [(0.0, 0.9, 1000), (0.85, 0.9, 1000), (0.0, 1.1, 0)])
async def test_whose_access_has_ended_stays_to_be_read_for_a_day_also_when_redis_runs_full(
    redis: Redis, full: float, days: float, left: int
) -> None:
    pipe: Any = redis.pipeline(transaction=False)
    for n in range(1, 1001):
        pipe.xadd(revocations.STREAM, {"e": b"x"}, id=f"{1000 + n}-{n}")
    await pipe.execute()
    await redis.xgroup_create(revocations.STREAM, "g", id="$")
    now = 2000 + int(days * 24 * 3600 * 1000)
    trimming = Trimmer(
        redis, [revocations.STREAM], outboxes=Purges(), gate=Gate(insist=True), clock=lambda: now, keep_ms=500
    )
    trimming._gate.full = full
    await trimming.trim()
    assert left <= await redis.xlen(revocations.STREAM) <= left + NODE


async def test_finished_entries_stay_for_a_while_unless_redis_runs_full(redis: Redis) -> None:
    await fill(redis)
    await redis.xgroup_create(EXECUTED, "g", id="$")
    keeping = trimmer(redis, now=2000, keep_ms=500)
    await keeping.trim()
    assert 500 - NODE < await first_ordinal(redis) <= 500
    keeping._gate.full = 0.85
    await keeping.trim()
    assert await redis.xlen(EXECUTED) <= NODE


async def test_outbox_may_drop_what_every_group_has_finished(redis: Redis) -> None:
    await fill(redis)
    purges = Purges()
    await redis.xgroup_create(CLOSED, "g", id="0", mkstream=True)
    for name, (count, ack) in {"a": (1000, 1000), "b": (500, 500), "c": (700, 300)}.items():
        await redis.xgroup_create(EXECUTED, name, id="0")
        await read(redis, name, count, ack=ack)
        await trimmer(redis, purges=purges).purge()
    assert purges.asked == [(EXECUTED, "2000-1000", 1001), (EXECUTED, "1500-500", 501), (EXECUTED, "1301-301", 301)]


async def test_trimmer_outlives_a_service_and_a_redis_that_are_away(redis: Redis) -> None:
    class Away(Purges):
        async def purge(self, stream: str, *, anchor: str, finished_below: int) -> PurgeResponse:
            await super().purge(stream, anchor=anchor, finished_below=finished_below)
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())

    await fill(redis, 10)
    await redis.xgroup_create(EXECUTED, "g", id="$")
    away = Away()
    steady = Trimmer(
        redis, STREAMS, outboxes=away, gate=Gate(), clock=lambda: 0, every_seconds=0.01, purge_every_seconds=0.01
    )
    task = asyncio.create_task(steady.run())
    await until(lambda: len(away.asked) > 2)
    task.cancel()
    await asyncio.wait([task])


async def test_stream_never_grows_past_its_cap_though_a_group_is_far_behind(outbox: OutboxServer, redis: Redis) -> None:
    cap, most = 2000, 0
    await redis.xgroup_create(EXECUTED, "behind", id="0", mkstream=True)
    async with publishing(outbox, redis, cap=cap):
        for _ in range(30):
            outbox.record(EXECUTED, some(200))
            most = max(most, await redis.xlen(EXECUTED))

        async def all_appended() -> bool:
            nonlocal most
            most = max(most, await redis.xlen(EXECUTED))
            info: Any = await redis.xinfo_stream(EXECUTED)
            return bool(info["last-generated-id"].decode() == outbox.entries[EXECUTED][-1].id)

        await until(all_appended)
    assert cap / 2 < most <= cap


async def test_silent_consumer_that_holds_nothing_is_forgotten_and_one_that_holds_something_never(redis: Redis) -> None:
    await fill(redis, 10)
    await redis.xgroup_create(EXECUTED, "g", id="0")
    await redis.xreadgroup("g", "holding", {EXECUTED: ">"}, count=5)
    await redis.xgroup_createconsumer(EXECUTED, "g", "silent")
    await redis.xgroup_createconsumer(EXECUTED, "g", "g-0")
    membership = Membership(redis, "g", "g-0", [EXECUTED])
    assert await membership.forget_silent(EXECUTED, ["g-0"], idle_ms=60_000) == []
    await asyncio.sleep(0.05)
    assert await membership.forget_silent(EXECUTED, ["g-0"], idle_ms=20) == ["silent"]
    names = {row["name"] for row in await redis.xinfo_consumers(EXECUTED, "g")}
    assert names == {b"holding", b"g-0"}
    with pytest.raises(ResponseError):
        await membership.forget_silent(CLOSED, ["g-0"], idle_ms=20)
