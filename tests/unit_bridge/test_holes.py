"""A group that is behind a stream's cap misses nothing: what was cut comes from the outbox, once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from astra.trading.v1.events_pb2 import TradeExecuted
from redis.asyncio import Redis
from structlog.testing import capture_logs

from bridge.group_runner import Past
from bridge.groups import Group
from services.runtime import inbox
from services.runtime.errors import Unavailable
from services.runtime.store import Store
from services.runtime.transaction import Tx
from tests.unit_bridge.consuming import EXECUTED, SCHEMA, consuming, dead_letters, effects, note, pending
from tests.unit_bridge.pasts import Outbox, cut
from tests.unit_bridge.polling import until

GROUP = Group(name="g", consumers=2, reactions={TradeExecuted: note("g")})


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path / "gamification.db", domain="gamification", schema=SCHEMA)
    yield opened
    await opened.close()


def done_below(store: Store) -> int:
    return store.read_now(lambda db: inbox.done_below(db, "g", EXECUTED))


async def test_what_was_cut_before_the_group_came_to_it_comes_from_the_outbox(redis: Redis, store: Store) -> None:
    outbox = Outbox()
    trades = [f"t{n}" for n in range(100)]
    outbox.record(*trades)
    await outbox.publish(redis)
    await cut(redis, keep=20)
    async with consuming(GROUP, store, redis, past=Past(store, outbox)):
        await until(lambda: done_below(store) == 101)
    assert sorted(effects(store)) == sorted(trades)
    assert outbox.asked == [(1, outbox.entries[80].id)]


async def test_control_without_the_outbox_a_cut_loses_events(redis: Redis, store: Store) -> None:
    outbox = Outbox()
    outbox.record(*(f"t{n}" for n in range(100)))
    await outbox.publish(redis)
    await cut(redis, keep=20)
    async with consuming(GROUP, store, redis):
        await until(lambda: len(effects(store)) == 20)
    assert done_below(store) == 1


async def test_pending_entries_that_were_cut_come_from_the_outbox(redis: Redis, store: Store) -> None:
    outbox = Outbox()
    trades = [f"t{n}" for n in range(50)]
    outbox.record(*trades)
    await outbox.publish(redis)
    await redis.xgroup_create(EXECUTED, "g", id="0")
    await redis.xreadgroup("g", "dead", {EXECUTED: ">"}, count=30)
    await cut(redis, keep=10)
    async with consuming(GROUP, store, redis, past=Past(store, outbox)):
        await until(lambda: done_below(store) == 51)
        await until(lambda: _nothing_pending(redis), "the end of ids that no entry has")
    assert sorted(effects(store)) == sorted(trades)


async def test_stream_cut_to_nothing_is_filled_to_its_end(redis: Redis, store: Store) -> None:
    outbox = Outbox()
    outbox.record("a", "b", "c")
    await outbox.publish(redis)
    await cut(redis, keep=0)
    async with consuming(GROUP, store, redis, past=Past(store, outbox)):
        await until(lambda: sorted(effects(store)) == ["a", "b", "c"])
        outbox.record("d")
        await outbox.publish(redis)
        await until(lambda: done_below(store) == 5)


async def test_what_is_purged_from_the_outbox_too_is_counted_as_lost(redis: Redis, store: Store) -> None:
    outbox = Outbox()
    outbox.record(*(f"t{n}" for n in range(30)))
    await outbox.publish(redis)
    await cut(redis, keep=5)
    outbox.purged = 12
    with capture_logs() as logs:
        async with consuming(GROUP, store, redis, past=Past(store, outbox)):
            await until(lambda: done_below(store) == 31)
    assert sorted(effects(store)) == sorted(f"t{n}" for n in range(12, 30))
    assert [line["events"] for line in logs if line["event"] == "group.history_lost"] == [12]


async def test_two_processes_fill_a_hole_once_and_a_dead_filler_is_followed(redis: Redis, store: Store) -> None:
    outbox = Outbox()
    outbox.record(*(f"t{n}" for n in range(200)))
    await outbox.publish(redis)
    await cut(redis, keep=5)
    past = Past(store, outbox)
    async with consuming(GROUP, store, redis, past=past), consuming(GROUP, store, redis, first_slot=2, past=past):
        await until(lambda: done_below(store) == 201)
    assert len(effects(store)) == len(set(effects(store))) == 200
    assert len(outbox.asked) == 1


async def test_poison_in_a_hole_becomes_a_dead_letter_and_trouble_is_waited_out(redis: Redis, store: Store) -> None:
    outbox, trouble = Outbox(), 8

    def react(tx: Tx, event: TradeExecuted) -> None:
        nonlocal trouble
        if event.trade_id == "poison":
            raise KeyError("fault")
        if event.trade_id == "patient" and trouble > 0:
            trouble -= 1
            raise Unavailable("not now", reason="TEST")
        note("g")(tx, event)

    outbox.record("a", "poison", "patient", "b")
    await outbox.publish(redis)
    await cut(redis, keep=0)
    group = Group(name="g", consumers=1, reactions={TradeExecuted: react})
    async with consuming(group, store, redis, past=Past(store, outbox)):
        await until(lambda: done_below(store) == 5)
    assert sorted(effects(store)) == ["a", "b", "patient"]
    assert [letter[b"id"] for letter in await dead_letters(redis)] == [b"1002-2"]


async def test_dead_letter_is_applied_when_it_comes_again(redis: Redis, store: Store) -> None:
    faulty = True

    def react(tx: Tx, event: TradeExecuted) -> None:
        if faulty:
            raise KeyError("fault")
        note("g")(tx, event)

    outbox = Outbox()
    outbox.record("a", "b")
    await outbox.publish(redis)
    group = Group(name="g", consumers=1, reactions={TradeExecuted: react})
    async with consuming(group, store, redis):
        await until(lambda: done_below(store) == 3, "the watermark passes dead letters")
    assert effects(store) == []
    faulty = False
    for _ in range(2):
        await redis.xgroup_setid(EXECUTED, "g", "0")
        async with consuming(group, store, redis):
            await until(lambda: sorted(effects(store)) == ["a", "b"])
            await asyncio.sleep(0.1)
    assert len(effects(store)) == 2


async def _nothing_pending(redis: Redis) -> bool:
    return not await pending(redis)
