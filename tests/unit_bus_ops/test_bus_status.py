"""The status: numbers that are exact, whatever was trimmed or is pending."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from astra.bridge.v1 import bus_service_pb2 as pb
from redis.asyncio import Redis

from tests.serving import reason_of
from tests.serving_bus import NOWHERE, serving_bus
from tests.unit_bus_ops.world import EXECUTED, GROUP, START_MS, World


async def status_of(world: World, stream: str = EXECUTED, channel: grpc.aio.Channel | None = None) -> Any:
    answer = await world.call("GetBusStatus", pb.GetBusStatusRequest(), channel)
    (found,) = [row for row in answer.streams if row.stream == stream]
    return found


async def test_lag_pending_and_age_are_exact(world: World) -> None:
    await world.record(*(f"t{n}" for n in range(1, 11)))  # t1 at second 0, …, t10 at second 9
    await world.redis.xgroup_create(EXECUTED, GROUP, "0")
    await world.redis.xreadgroup(GROUP, "c", {EXECUTED: ">"}, count=4)
    await world.redis.xack(EXECUTED, GROUP, f"{START_MS}-1", f"{START_MS + 1000}-2")
    await world.redis.xadd(f"{{{EXECUTED}}}.dlq.{GROUP}", {"e": b""})
    world.now_ms[0] = START_MS + 60_000
    found = await status_of(world)
    assert (found.length, found.last_ordinal, found.last_time.ToMilliseconds()) == (10, 10, START_MS + 9000)
    (group,) = found.groups
    assert (group.group, group.consumers, group.lag, group.pending, group.dead_letters) == (GROUP, 1, 6, 2, 1)
    assert group.oldest_age.ToMilliseconds() == 58_000, "t3 is the oldest that is not acknowledged"


async def test_age_without_pending_entries_is_that_of_the_next_one(world: World) -> None:
    await world.record("t1", "t2", "t3")
    await world.redis.xgroup_create(EXECUTED, GROUP, f"{START_MS}-1")
    world.now_ms[0] = START_MS + 60_000
    (group,) = (await status_of(world)).groups
    assert (group.lag, group.pending, group.oldest_age.ToMilliseconds()) == (2, 0, 59_000)
    await world.redis.xgroup_setid(EXECUTED, GROUP, f"{START_MS + 2000}-3")
    (group,) = (await status_of(world)).groups
    assert (group.lag, group.pending, group.HasField("oldest_age")) == (0, 0, False)


async def test_lag_counts_what_was_trimmed_where_redis_does_not(world: World) -> None:
    await world.record(*(f"t{n}" for n in range(1, 11)))
    await world.redis.xtrim(EXECUTED, maxlen=3, approximate=False)
    await world.redis.xgroup_create(EXECUTED, GROUP, f"{START_MS + 1000}-2")
    found = await status_of(world)
    assert (found.length, found.last_ordinal, found.groups[0].lag) == (3, 10, 8)
    (native,) = await world.redis.xinfo_groups(EXECUTED)
    assert native["lag"] != 8, "the control: what Redis says of itself is no use"


async def test_a_group_on_no_stream_and_a_key_of_another_type_are_no_failure(world: World) -> None:
    await world.redis.xgroup_create(EXECUTED, GROUP, "0", mkstream=True)
    await world.redis.set("astra.trading.position_closed.v1", "stray")
    found = await status_of(world)
    assert (found.length, found.last_ordinal, found.groups[0].lag) == (0, 0, 0)


async def test_a_stopped_stream_says_why(world: World) -> None:
    stopped = {EXECUTED: "DIVERGED: ends with 5-5"}
    async with serving_bus(world.folder / "second", world.redis, stopped=stopped) as channel:
        assert (await status_of(world, channel=channel)).stopped == "DIVERGED: ends with 5-5"


async def test_without_redis_it_is_unavailable(world: World, tmp_path: Path) -> None:
    redis = Redis.from_url(f"redis://{NOWHERE}/0")
    async with serving_bus(tmp_path / "second", redis) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await world.call("GetBusStatus", pb.GetBusStatusRequest(), channel)
    assert (caught.value.code().name, reason_of(caught.value)) == ("UNAVAILABLE", "REDIS_UNAVAILABLE")
    await redis.aclose()
