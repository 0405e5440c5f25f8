"""Following the bus: each event once, those that were asked for, from where it was asked."""

import asyncio
from typing import Any

import grpc
import pytest
from astra.bridge.v1 import bus_service_pb2 as pb
from astra.trading.v1.events_pb2 import PositionClosed
from google.protobuf.timestamp_pb2 import Timestamp

from tests.serving import reason_of
from tests.unit_bus_ops.world import CLOSED, EXECUTED, START_MS, World


class Watching:
    """A watcher who takes what comes."""

    def __init__(self, world: World, **fields: Any) -> None:
        self._call = world.stream("WatchEvents", pb.WatchEventsRequest(**fields))
        self._events = aiter(self._call)
        self.token = ""

    async def take(self, count: int) -> list[str]:
        """Returns the subjects of the next events."""
        found = []
        for _ in range(count):
            response = await asyncio.wait_for(anext(self._events), 10)
            self.token = response.resume_token
            found.append(response.event.subject or response.event.problem)
        return found

    async def is_silent(self) -> bool:
        """Tells whether nothing more comes; ends the call."""
        try:
            await asyncio.wait_for(anext(self._events), 0.4)
        except TimeoutError:
            return True
        return False


def start(second: int) -> Timestamp:
    time = Timestamp()
    time.FromMilliseconds(START_MS + second * 1000)
    return time


async def test_it_shows_what_comes_from_now_on(world: World) -> None:
    await world.record("old")
    watching = Watching(world)

    async def trade() -> None:
        for n in range(1, 1000):
            await world.record(f"t{n}")
            await asyncio.sleep(0.05)  # when the bus begins to look, nothing tells

    trading = asyncio.create_task(trade())
    shown = await watching.take(5)
    trading.cancel()
    first = int(shown[0].removeprefix("t"))
    assert shown == [f"t{n}" for n in range(first, first + 5)]


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["t1", "c1", "t2", "c2"]),
    ({"streams": [EXECUTED]}, ["t1", "t2"]),
    ({"streams": [EXECUTED, CLOSED], "user_id": "user-of-c2"}, ["c2"]),
    ({"correlation_id": "second"}, ["t2", "c2"]),
    ({"correlation_id": "second", "streams": [CLOSED]}, ["c2"]),
    ({"start_time": start(2)}, ["t2", "c2"]),
]


@pytest.mark.parametrize(("fields", "expected"), FILTERS)
async def test_it_shows_what_was_asked_for_alone(world: World, fields: dict[str, Any], expected: list[str]) -> None:
    await world.record("t1", chain="first")
    await world.record("c1", kind=PositionClosed, chain="first")
    await world.record("t2", chain="second")
    await world.record("c2", kind=PositionClosed, chain="second")
    watching = Watching(world, **{"start_time": start(0), **fields})
    assert await watching.take(len(expected)) == expected
    assert await watching.is_silent()


async def test_it_goes_on_after_the_last_event_seen(world: World) -> None:
    await world.record("t1", "t2", "t3")
    await world.record("c1", kind=PositionClosed)
    first = Watching(world, start_time=start(0))
    assert await first.take(2) == ["t1", "t2"]
    second = Watching(world, resume_token=first.token)
    assert await second.take(2) == ["t3", "c1"]
    assert await second.is_silent()


async def test_an_entry_that_is_no_event_is_shown_as_such_and_ends_nothing(world: World) -> None:
    await world.redis.xadd(EXECUTED, {"e": b"\xff\xff"}, id="1-1")
    await world.redis.xadd(EXECUTED, {"x": b"stray"}, id="2-2")
    await world.redis.xadd(EXECUTED, {"e": b""}, id="3-3")
    watching = Watching(world, streams=[EXECUTED], start_time=Timestamp(seconds=0))
    shown = await watching.take(3)
    assert all(EXECUTED in problem for problem in shown)


async def test_more_than_a_page_comes_whole_and_in_order(world: World) -> None:
    async with world.redis.pipeline() as pipe:
        for n in range(1, 501):
            pipe.xadd(EXECUTED, {"e": b""}, id=f"1-{n}")
        await pipe.execute()
    watching = Watching(world, streams=[EXECUTED], start_time=Timestamp(seconds=0))
    shown = await watching.take(500)
    assert [int(problem.split()[1].partition("-")[2]) for problem in shown] == list(range(1, 501))


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"streams": ["astra.trading.nothing.v1"]}, ("NOT_FOUND", "STREAM_NOT_FOUND")),
        ({"resume_token": "made-up"}, ("INVALID_ARGUMENT", "INVALID_FIELD")),
        ({"resume_token": "eJyrVkrLz1eyUkpKLFKqBQAdegQ0"}, ("INVALID_ARGUMENT", "INVALID_FIELD")),
    ],
)
async def test_what_cannot_be_followed_is_refused(
    world: World, fields: dict[str, Any], refusal: tuple[str, str]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await Watching(world, **fields).take(1)
    assert (caught.value.code().name, reason_of(caught.value)) == refusal
