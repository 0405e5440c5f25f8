"""Consumer groups against a real server and a real store."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from astra.event.v1.envelope_pb2 import Envelope
from astra.trading.v1.events_pb2 import PositionClosed, TradeExecuted
from redis.asyncio import Redis

from bridge.groups import Group, Reaction
from services import contracts
from services.runtime.delivery import Delivery
from services.runtime.errors import Unavailable
from services.runtime.inbox import Effect
from services.runtime.store import Store
from services.runtime.transaction import Tx
from tests.unit_bridge.consuming import (
    CLOSED,
    EXECUTED,
    PATIENT,
    QUICK,
    SCHEMA,
    consuming,
    dead_letters,
    effects,
    note,
    pending,
    publish,
    publish_bytes,
)
from tests.unit_bridge.polling import until
from tests.unit_bridge.valkey import Valkey


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path / "gamification.db", domain="gamification", schema=SCHEMA)
    yield opened
    await opened.close()


def group(name: str = "g", consumers: int = 1, react: Any = None) -> Group:
    reaction = react or note(name)
    return Group(name=name, consumers=consumers, reactions={TradeExecuted: reaction, PositionClosed: reaction})


async def nothing_pending(redis: Redis, stream: str = EXECUTED, name: str = "g") -> bool:
    return not await pending(redis, stream, name)


async def test_group_reads_from_the_first_event_wherever_it_comes_in(redis: Redis, store: Store) -> None:
    await publish(redis, "before")
    async with consuming(group(), store, redis):
        await until(lambda: effects(store) == ["before"])
        await publish(redis, "first of its stream", kind=PositionClosed)
        await publish(redis, "after")
        await until(lambda: effects(store) == ["before", "first of its stream", "after"])
        await until(lambda: nothing_pending(redis))


async def test_each_group_has_every_event_once_with_several_consumers(redis: Redis, store: Store) -> None:
    trades = [f"t{n}" for n in range(300)]
    async with consuming(group(consumers=3), store, redis), consuming(group("h"), store, redis):
        await publish(redis, *trades)
        await until(lambda: len(effects(store)) >= 300 and len(effects(store, "h")) >= 300)
    assert sorted(effects(store)) == sorted(trades)
    assert effects(store, "h") == trades, "one consumer keeps the order of its stream"


async def test_entry_of_a_killed_consumer_is_claimed(redis: Redis, store: Store) -> None:
    await redis.xgroup_create(EXECUTED, "g", id="0", mkstream=True)
    await publish(redis, "held", "held too")
    await redis.xreadgroup("g", "dead", {EXECUTED: ">"})
    async with consuming(group(), store, redis):
        await until(lambda: effects(store) == ["held", "held too"])
        await until(lambda: nothing_pending(redis))


async def test_entry_of_a_live_consumer_is_not_claimed(redis: Redis, store: Store) -> None:
    # It fails for as long as the test likes, and is renewed meanwhile: no other consumer may take it.
    attempts = 0

    def fail(tx: Tx, event: TradeExecuted) -> None:
        nonlocal attempts
        attempts += 1
        raise Unavailable("not now", reason="TEST")

    await publish(redis, "slow")
    async with consuming(group(react=fail), store, redis):
        await until(lambda: attempts > 0)
        async with consuming(group(), store, redis, first_slot=1):
            for _ in range(60):
                held = await pending(redis)
                assert [entry["consumer"] for entry in held] == [b"g-0"]
                await asyncio.sleep(QUICK.idle_ms / 1000 / 20)
        assert effects(store) == []


async def test_consumer_finishes_its_own_pending_list_at_start(redis: Redis, store: Store) -> None:
    await redis.xgroup_create(EXECUTED, "g", id="0", mkstream=True)
    await publish(redis, *(f"t{n}" for n in range(300)))
    await redis.xreadgroup("g", "g-0", {EXECUTED: ">"}, count=290)
    async with consuming(group(), store, redis, PATIENT):
        await until(lambda: len(effects(store)) == 300)
        await until(lambda: nothing_pending(redis))


async def test_entry_applied_before_but_not_given_back_has_one_effect(redis: Redis, store: Store) -> None:
    await publish(redis, "once")
    async with consuming(group(), store, redis):
        await until(lambda: effects(store) == ["once"])
    # The group starts over, as after a lost Redis: everything is delivered again.
    await redis.xgroup_setid(EXECUTED, "g", "0")
    await publish(redis, "next")
    async with consuming(group(), store, redis):
        await until(lambda: "next" in effects(store))
        await until(lambda: nothing_pending(redis))
    assert effects(store) == ["once", "next"]


def failing(times: int, error: Exception) -> Any:
    """Returns a reaction that fails so many times before it has its effect."""
    left = times

    def react(tx: Tx, event: TradeExecuted) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise error
        note("g")(tx, event)

    return react


def fail_on_poison(tx: Tx, event: TradeExecuted) -> None:
    if event.trade_id == "poison":
        raise KeyError("the reaction has a fault")
    note("g")(tx, event)


OTHER_TYPE = Envelope(type="astra.trading.v1.TradeFailed").SerializeToString()


@pytest.mark.parametrize(
    ("envelope", "error"),
    [
        pytest.param(None, b"KeyError", id="reaction raises"),
        pytest.param(b"\xff\xff", b"BadEntry", id="no envelope"),
        pytest.param(OTHER_TYPE, b"BadEntry", id="event of another type"),
        pytest.param(
            Envelope(type="astra.trading.v1.TradeExecuted", data=b"\xff").SerializeToString(),
            b"BadEntry",
            id="no event in the envelope",
        ),
    ],
)
async def test_poison_entry_becomes_a_dead_letter_and_its_neighbours_go_on(
    redis: Redis, store: Store, envelope: bytes | None, error: bytes
) -> None:
    await publish(redis, "left")
    if envelope is None:
        await publish(redis, "poison")
    else:
        await publish_bytes(redis, envelope)
    await publish(redis, "right")
    async with consuming(group(react=fail_on_poison), store, redis):
        await until(lambda: effects(store) == ["left", "right"])
        await until(lambda: nothing_pending(redis))
    (letter,) = await dead_letters(redis)
    assert letter[b"id"] == b"1000-2"
    assert letter[b"deliveries"] == b"5"
    assert letter[b"error"].startswith(error)
    if envelope is not None:
        assert letter[b"e"] == envelope


async def test_foreign_entry_without_an_envelope_becomes_a_dead_letter(redis: Redis, store: Store) -> None:
    await redis.xadd(EXECUTED, {"something": "else"})
    async with consuming(group(), store, redis):
        await until(lambda: _has_dead_letters(redis, 1))


async def test_passing_trouble_is_waited_out_and_buries_nothing(redis: Redis, store: Store) -> None:
    reaction = failing(3 * QUICK.max_deliveries, Unavailable("not now", reason="TEST"))
    await publish(redis, "patient")
    async with consuming(group(react=reaction), store, redis):
        await until(lambda: effects(store) == ["patient"])
    assert await dead_letters(redis) == []
    assert await pending(redis) == []


async def test_refused_dead_letter_stays_pending_and_blocks_nobody(redis: Redis, store: Store) -> None:
    await publish(redis, "poison", "a", "b")
    await redis.xgroup_create(EXECUTED, "g", id="0")
    await redis.xgroup_create(CLOSED, "g", id="0", mkstream=True)
    await redis.config_set("maxmemory", 1)
    async with consuming(group(react=fail_on_poison), store, redis):
        await until(lambda: effects(store) == ["a", "b"])
        await until(lambda: _refused(redis), "the refusal")
        assert await dead_letters(redis) == []
        await redis.config_set("maxmemory", 0)
        await until(lambda: _has_dead_letters(redis, 1))
        await until(lambda: nothing_pending(redis))


async def test_entry_that_outlived_many_processes_is_applied_even_if_trouble_passes_first(
    redis: Redis, store: Store
) -> None:
    await _held_by_dead_consumer(redis, deliveries=QUICK.max_deliveries + 3)
    async with consuming(group(react=failing(3, Unavailable("not now", reason="TEST"))), store, redis):
        await until(lambda: effects(store) == ["held"])
    assert await dead_letters(redis) == []


async def test_entry_that_ends_every_process_is_buried_unheard(redis: Redis, store: Store) -> None:
    await _held_by_dead_consumer(redis, deliveries=2 * QUICK.max_deliveries)
    async with consuming(group(), store, redis):
        await until(lambda: _has_dead_letters(redis, 1))
    assert effects(store) == []
    assert (await dead_letters(redis))[0][b"error"].startswith(b"EndsProcess")


async def test_deliveries_are_counted_in_redis_so_that_they_outlive_the_process(redis: Redis, store: Store) -> None:
    await publish(redis, "poison")
    slow = replace(PATIENT, retry_first_seconds=0.2, retry_cap_seconds=0.2)
    async with consuming(group(react=fail_on_poison), store, redis, slow):
        await until(lambda: _delivered(redis, 2), "the second delivery")
    assert await dead_letters(redis) == []
    async with consuming(group(react=fail_on_poison), store, redis, PATIENT):
        await until(lambda: _has_dead_letters(redis, 1))
    assert (await dead_letters(redis))[0][b"deliveries"] == b"5"


async def test_flushed_redis_gets_its_groups_again_and_no_effect_twice(redis: Redis, store: Store) -> None:
    async with consuming(group(), store, redis):
        await publish(redis, "a", "b")
        await until(lambda: effects(store) == ["a", "b"])
        await redis.flushall()
        await publish(redis, "a", "b", "c")
        await until(lambda: effects(store) == ["a", "b", "c"])
        await until(lambda: nothing_pending(redis))


async def test_redis_that_goes_away_is_waited_for(start_server: Callable[..., Valkey], store: Store) -> None:
    server = start_server()
    async with server.client() as redis, consuming(group(consumers=2), store, redis):
        async with server.client() as writing:
            await publish(writing, "a")
        await until(lambda: effects(store) == ["a"])
        server.kill()
        server.start()
        async with server.client() as writing:
            await publish(writing, "a", "b")
        await until(lambda: effects(store) == ["a", "b"])


async def test_stream_that_is_no_stream_does_not_stop_the_others(redis: Redis, store: Store) -> None:
    await redis.set(CLOSED, "mine")
    await publish(redis, "a")
    async with consuming(group(), store, redis):
        await until(lambda: effects(store) == ["a"])
        await redis.delete(CLOSED)
        await publish(redis, "closed", kind=PositionClosed)
        await until(lambda: effects(store) == ["a", "closed"])


async def test_stop_gives_back_all_that_was_taken(redis: Redis, store: Store) -> None:
    await publish(redis, *(f"t{n}" for n in range(400)))
    async with consuming(group(), store, redis, PATIENT):
        await until(lambda: len(effects(store)) > 20)
    assert await pending(redis) == []
    info: Any = await redis.xinfo_groups(EXECUTED)
    assert info[0]["entries-read"] == len(effects(store))


async def test_consumer_takes_no_more_than_it_can_start(redis: Redis) -> None:
    held = Held()
    await publish(redis, *(f"t{n}" for n in range(30)))
    await publish(redis, *(f"c{n}" for n in range(30)), kind=PositionClosed)
    async with consuming(group(), held, redis, replace(PATIENT, workers=10)):
        await until(lambda: _holds(redis, 10))
        for _ in range(10):
            await asyncio.sleep(0.01)  # in which it would read on
            assert await _holds(redis, 10)
        held.release.set()
        await until(lambda: len(held.trades) == 60)


async def test_wildcard_group_is_on_every_real_stream_of_others_and_on_no_literal_star(
    redis: Redis, store: Store
) -> None:
    wanted = set(contracts.events()) - set(contracts.streams_of("gamification"))
    async with consuming(Group(name="g", consumers=2, reactions={"*": note("g")}), store, redis):
        await publish(redis, "a")
        await until(lambda: effects(store) == ["a"])
    keys: Any = await redis.keys("*")
    assert {key.decode() for key in keys} == wanted
    for stream in wanted:
        assert [found["name"] for found in await redis.xinfo_groups(stream)] == [b"g"]


class Held:
    """A store that finishes nothing until it is let."""

    domain = "gamification"

    def __init__(self) -> None:
        self.trades: list[str] = []
        self.release = asyncio.Event()

    async def react_all(self, group: str, given: Sequence[tuple[Delivery, Reaction]]) -> list[Effect]:
        for delivery, _ in given:
            event: Any = delivery.event
            self.trades.append(event.trade_id)
        await self.release.wait()
        return [True] * len(given)

    async def park(self, group: str, stream: str, ordinal: int) -> None:
        raise AssertionError("nothing here is given up")


async def _held_by_dead_consumer(redis: Redis, deliveries: int) -> None:
    await redis.xgroup_create(EXECUTED, "g", id="0", mkstream=True)
    await publish(redis, "held")
    await redis.xreadgroup("g", "dead", {EXECUTED: ">"})
    await redis.xclaim(EXECUTED, "g", "dead", 0, ["1000-1"], retrycount=deliveries)


async def _has_dead_letters(redis: Redis, count: int) -> bool:
    return len(await dead_letters(redis)) == count


async def _holds(redis: Redis, count: int) -> bool:
    return len(await pending(redis)) + len(await pending(redis, CLOSED)) == count


async def _refused(redis: Redis) -> bool:
    """Whether the poison entry has been through its deliveries, again after it was refused."""
    return any(entry["times_delivered"] > QUICK.max_deliveries for entry in await pending(redis))


async def _delivered(redis: Redis, times: int) -> bool:
    return any(entry["times_delivered"] >= times for entry in await pending(redis))
