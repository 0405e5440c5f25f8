"""Replays: the range that was asked for, from wherever it still is, and no effect twice unless forced."""

import time
from functools import partial
from typing import Any

import grpc
import pytest
from astra.bridge.v1 import bus_service_pb2 as pb
from astra.bridge.v1.bus_pb2 import Position
from astra.trading.v1.events_pb2 import PositionClosed
from google.protobuf.timestamp_pb2 import Timestamp

from services.runtime import outbox
from tests.serving import as_user, reason_of
from tests.serving_bus import NOWHERE, serving_bus
from tests.unit_bus_ops.world import CLOSED, EXECUTED, GROUP, START_MS, World

T = [f"t{n}" for n in range(1, 8)]
"""Trades, a second apart, of the ordinals 1 to 7."""


def second(n: float) -> Position:
    time_ = Timestamp()
    time_.FromMilliseconds(START_MS + int(n * 1000))
    return Position(time=time_)


async def replay(world: World, channel: grpc.aio.Channel | None = None, **fields: Any) -> list[Any]:
    request = pb.ReplayEventsRequest(**{"group": GROUP, "rate_limit": 100_000, **fields})
    return [response async for response in world.stream("ReplayEvents", request, channel)]


def counts(response: Any) -> tuple[int, ...]:
    return (response.total, response.done, response.applied, response.already_applied, response.failed, response.gone)


async def test_what_was_applied_has_no_second_effect(world: World) -> None:
    await world.record(*T)
    await world.record("c1", kind=PositionClosed)
    await world.consume()
    before = world.effects()
    assert before == ["c1", *T]
    responses = await replay(world)
    assert counts(responses[0]) == (8, 0, 0, 0, 0, 0), "a caller hears at once how much there is"
    assert counts(responses[-1]) == (8, 8, 0, 8, 0, 0)
    assert world.effects() == before


async def test_a_forced_replay_has_every_effect_once_per_name(world: World) -> None:
    await world.record("t1", "t2")
    await world.consume()
    first = (await replay(world, force=True, request_id="again"))[-1]
    assert counts(first) == (2, 2, 2, 0, 0, 0)
    assert world.effects() == ["t1", "t1", "t2", "t2"]
    repeated = (await replay(world, force=True, request_id="again"))[-1]
    assert counts(repeated) == (2, 2, 0, 2, 0, 0)
    assert world.effects() == ["t1", "t1", "t2", "t2"]
    await replay(world, force=True)
    assert world.effects() == ["t1", "t1", "t1", "t2", "t2", "t2"]


async def test_what_a_replay_applied_is_left_alone_by_the_consumers(world: World) -> None:
    await world.record("t1", "t2")
    assert counts((await replay(world))[-1]) == (2, 2, 2, 0, 0, 0)
    await world.consume()
    assert world.effects() == ["t1", "t2"]


RANGES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, T),
    ({"start": Position(ordinal=3)}, T[2:]),
    ({"start": Position(ordinal=3), "end": Position(ordinal=3)}, ["t3"]),
    ({"end": Position(ordinal=2)}, T[:2]),
    ({"start": second(2), "end": second(4)}, ["t3", "t4", "t5"]),
    ({"start": second(1.5), "end": second(2.5)}, ["t3"]),
    ({"start": second(-9), "end": second(0)}, ["t1"]),
    ({"start": Position(ordinal=2), "end": second(2)}, ["t2", "t3"]),
    ({"start": second(99)}, []),
    ({"start": Position(ordinal=99)}, []),
    ({"start": second(4), "end": second(2)}, []),
    ({"end": Position(ordinal=99)}, T),
]


@pytest.mark.parametrize("left_in_redis", [7, 3, 0])
async def test_a_range_is_met_exactly_whatever_was_trimmed(world: World, left_in_redis: int) -> None:
    await world.record(*T)
    await world.redis.xtrim(EXECUTED, maxlen=left_in_redis, approximate=False)
    for number, (bounds, expected) in enumerate(RANGES):
        await world.store.write(lambda tx: tx.execute("DELETE FROM effect"))
        last = (await replay(world, streams=[EXECUTED], force=True, request_id=f"r{number}", **bounds))[-1]
        assert world.effects() == expected, bounds
        assert counts(last)[:3] == (len(expected),) * 3, bounds


async def test_events_of_one_millisecond_are_told_apart(world: World) -> None:
    for trade in T:
        await world.record(trade)
        world.now_ms[0] = START_MS
    await replay(world, streams=[EXECUTED], start=Position(ordinal=4), end=Position(ordinal=6))
    assert world.effects() == ["t4", "t5", "t6"]


async def test_an_event_that_fails_is_told_and_holds_up_no_other(world: World) -> None:
    await world.record(*T)
    await world.break_("t3")
    responses = await replay(world)
    assert counts(responses[-1]) == (7, 7, 6, 0, 1, 0)
    (failure,) = [failure for response in responses for failure in response.failures]
    assert (failure.stream, failure.id) == (EXECUTED, f"{START_MS + 2000}-3")
    assert failure.error == "ValueError: t3 is broken"
    assert world.effects() == [trade for trade in T if trade != "t3"]


async def test_a_replay_that_was_cut_off_goes_on(world: World) -> None:
    await world.record(*T)
    request: dict[str, Any] = {"force": True, "request_id": "cut", "streams": [EXECUTED]}
    stream = world.stream("ReplayEvents", pb.ReplayEventsRequest(group=GROUP, rate_limit=10, **request))
    seen = [await anext(aiter(stream)) for _ in range(4)]  # what was planned, then an event each
    stream.cancel()
    assert 0 < seen[-1].done < 7
    last = (await replay(world, resume_token=seen[-1].resume_token, **request))[-1]
    assert (last.total, last.done, last.failed, last.gone) == (7, 7, 0, 0)
    assert last.request_id == "cut"
    assert world.effects() == T


async def test_a_rate_is_kept(world: World) -> None:
    await world.record(*T)
    began = time.monotonic()
    await replay(world, rate_limit=20)
    assert time.monotonic() - began > 0.2


async def test_what_the_outbox_has_purged_is_counted_as_gone(world: World) -> None:
    await world.record(*T)
    world.now_ms[0] += outbox.OUTBOX_RETENTION_MS + 7000
    assert await world.store.write(partial(outbox.purge, stream=EXECUTED, below=3)) == 2
    await world.redis.xtrim(EXECUTED, maxlen=2, approximate=False)
    last = (await replay(world, streams=[EXECUTED]))[-1]
    assert counts(last) == (7, 7, 5, 0, 0, 2)
    assert world.effects() == T[2:]


async def test_a_stream_of_another_history_is_not_filled_from_the_outbox(world: World) -> None:
    await world.record(*T)
    await world.redis.xadd(EXECUTED, {"e": b"stray"}, id="9999999999999-8")
    await world.redis.xtrim(EXECUTED, maxlen=2, approximate=False)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await replay(world, streams=[EXECUTED])
    assert (caught.value.code().name, reason_of(caught.value)) == ("FAILED_PRECONDITION", "HISTORY_DIVERGED")
    assert world.effects() == []


@pytest.mark.parametrize(
    ("fields", "refusal", "says"),
    [
        ({"group": "nobody"}, ("NOT_FOUND", "GROUP_NOT_FOUND"), "the groups are takers"),
        ({"streams": ["astra.nft.nft_sold.v1"]}, ("INVALID_ARGUMENT", "INVALID_FIELD"), "it reads astra.trading"),
        ({"start": Position(ordinal=1)}, ("INVALID_ARGUMENT", "INVALID_FIELD"), "name one, or give times"),
        ({"start": Position(ordinal=0), "streams": [EXECUTED]}, ("INVALID_ARGUMENT", "INVALID_FIELD"), "begin with 1"),
        ({"rate_limit": -1}, ("INVALID_ARGUMENT", "INVALID_FIELD"), "1–100000"),
        ({"resume_token": "made-up"}, ("INVALID_ARGUMENT", "INVALID_FIELD"), "resume_token"),
        ({"request_id": "a/b"}, ("INVALID_ARGUMENT", "INVALID_FIELD"), "request_id"),
    ],
)
async def test_a_bad_replay_is_refused_and_changes_nothing(
    world: World, fields: dict[str, Any], refusal: tuple[str, str], says: str
) -> None:
    await world.record("t1")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await replay(world, **fields)
    assert (caught.value.code().name, reason_of(caught.value)) == refusal
    assert says in (caught.value.details() or "")
    assert world.effects() == []


async def test_a_service_that_is_away_is_named(world: World) -> None:
    await world.record("t1")
    async with serving_bus(world.folder / "b", world.redis, trading=NOWHERE) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await replay(world, channel)
    assert (caught.value.code().name, reason_of(caught.value)) == ("UNAVAILABLE", "OWNER_UNAVAILABLE")
    assert "trading cannot be reached" in (caught.value.details() or "")


async def test_a_replay_is_kept_as_an_action_and_not_for_users(world: World) -> None:
    await world.record("t1", chain="c")
    await replay(world, streams=[CLOSED, EXECUTED])
    (action,) = (await world.call("ListBusActions", pb.ListBusActionsRequest())).actions
    assert (action.rpc, action.outcome) == ("ReplayEvents", "1 of 1 events: 1 applied")
    requests = {"ReplayEvents": pb.ReplayEventsRequest(group=GROUP), "WatchEvents": pb.WatchEventsRequest()}
    for rpc, request in requests.items():
        call: Any = world.channel.unary_stream(
            f"/astra.bridge.v1.BusService/{rpc}", request_serializer=type(request).SerializeToString
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(aiter(call(request, metadata=as_user("bob"), timeout=10)))
        assert (caught.value.code().name, reason_of(caught.value)) == ("PERMISSION_DENIED", "ROLE_REQUIRED")
    assert len((await world.call("ListBusActions", pb.ListBusActionsRequest())).actions) == 1
