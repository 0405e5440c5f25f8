"""Ordered groups: per subject in the order of the stream, whatever fails, and whoever is active."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from astra.event.v1.envelope_pb2 import Envelope
from astra.trading.v1.events_pb2 import TradeExecuted
from redis.asyncio import Redis

from bridge.group_runner import Past, run_group
from bridge.groups import Group, Reaction
from bridge.ordered import Fenced
from services.runtime import leases
from services.runtime.delivery import Delivery
from services.runtime.errors import Unavailable
from services.runtime.store import Store
from services.runtime.transaction import Tx
from tests.unit_bridge.consuming import EXECUTED, PATIENT, QUICK, SCHEMA, consuming, dead_letters, effects, note
from tests.unit_bridge.pasts import Outbox, cut
from tests.unit_bridge.polling import until


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path / "gamification.db", domain="gamification", schema=SCHEMA)
    yield opened
    await opened.close()


FIRST = Delivery(EXECUTED, 1, 1, Envelope(id="e1"), TradeExecuted(trade_id="t"))


def flaky(tx: Tx, event: TradeExecuted, chance: random.Random = random.Random(3)) -> None:  # noqa: B008
    """Fails one time in three, for a moment."""
    if chance.random() < 0.33:
        raise Unavailable("not now", reason="TEST")
    note("g")(tx, event)


def group(ordered: bool, react: Reaction = flaky) -> Group:
    return Group(name="g", consumers=1, reactions={TradeExecuted: react}, ordered=ordered)


def recorded(users: int = 5, each: int = 40) -> Outbox:
    outbox = Outbox()
    for n in range(each):
        for user in range(users):
            outbox.record(f"{user}-{n:03}", user_id=f"user-{user}")
    return outbox


def out_of_order(store: Store) -> list[list[str]]:
    """Returns the effects of each user that are not in the order of the events."""
    by_user = defaultdict(list)
    for trade_id in effects(store):
        by_user[trade_id.partition("-")[0]].append(trade_id)
    return [trades for trades in by_user.values() if trades != sorted(trades)]


async def test_subject_keeps_its_order_while_its_events_fail(redis: Redis, store: Store) -> None:
    outbox = recorded()
    await outbox.publish(redis)
    async with consuming(group(ordered=True), store, redis, past=Past(store, outbox)):
        await until(lambda: len(effects(store)) == 200)
    assert out_of_order(store) == []


async def test_control_a_group_that_is_not_ordered_mixes_them_up(redis: Redis, store: Store) -> None:
    outbox = recorded()
    await outbox.publish(redis)
    async with consuming(group(ordered=False), store, redis, past=Past(store, outbox)):
        await until(lambda: len(effects(store)) == 200)
    assert out_of_order(store) != []


async def test_subject_that_fails_holds_up_itself_alone(redis: Redis, store: Store) -> None:
    def stuck(tx: Tx, event: TradeExecuted) -> None:
        if event.trade_id == "0-000" and len(effects(store)) < 160:
            raise Unavailable("not now", reason="TEST")
        note("g")(tx, event)

    outbox = recorded()
    await outbox.publish(redis)
    async with consuming(group(True, stuck), store, redis, past=Past(store, outbox)):
        await until(lambda: len(effects(store)) == 200)
    assert not any(trade.startswith("0-") for trade in effects(store)[:160])
    assert out_of_order(store) == []


async def test_order_holds_over_stops_takeovers_and_cuts(redis: Redis, store: Store) -> None:
    outbox, past = recorded(each=60), Past(store, Outbox())
    past.history.entries = outbox.entries  # type: ignore[attr-defined]
    settings = replace(PATIENT, drain_seconds=0.01)
    entries, outbox.entries = outbox.entries, []
    for step in range(0, 300, 50):
        outbox.entries = entries[: step + 50]
        await outbox.publish(redis)
        if step == 150:
            await cut(redis, keep=10)
        # Another slot each time: it takes over what the one before left in hand.
        async with consuming(group(True), store, redis, settings, first_slot=step, past=past):
            done = len(effects(store))
            await until(lambda done=done, step=step: len(effects(store)) > min(done + 10, step + 30))  # type: ignore[misc]
    async with consuming(group(True), store, redis, past=past):
        await until(lambda: len(effects(store)) == 300)
    assert out_of_order(store) == []


async def test_of_two_processes_one_is_active(redis: Redis, store: Store) -> None:
    outbox = recorded()
    past = Past(store, outbox)
    async with (
        consuming(group(True), store, redis, past=past),
        consuming(group(True), store, redis, first_slot=1, past=past),
    ):
        await outbox.publish(redis)
        await until(lambda: len(effects(store)) == 200)
        consumers = await redis.xinfo_consumers(EXECUTED, "g")
    assert len(consumers) == 1
    assert out_of_order(store) == []


async def test_consumer_that_comes_back_late_applies_nothing(store: Store) -> None:
    await store.write(lambda tx: leases.take(tx, "ordered g", "zombie", ms=0))
    await store.write(lambda tx: leases.take(tx, "ordered g", "active", ms=10_000))
    assert not await store.write(lambda tx: leases.take(tx, "ordered g", "zombie", ms=10_000))
    (refusal,) = await Fenced(store, "ordered g", "zombie").react_all("g", [(FIRST, note("g"))])
    assert isinstance(refusal, Unavailable)
    assert effects(store) == []
    assert await Fenced(store, "ordered g", "active").react_all("g", [(FIRST, note("g"))]) == [True]


async def test_poison_ends_as_a_dead_letter_and_its_subject_goes_on(redis: Redis, store: Store) -> None:
    def react(tx: Tx, event: TradeExecuted) -> None:
        if event.trade_id == "0-001":
            raise KeyError("fault")
        note("g")(tx, event)

    outbox = recorded(users=2, each=5)
    await outbox.publish(redis)
    async with consuming(group(True, react), store, redis, QUICK, past=Past(store, outbox)):
        await until(lambda: len(effects(store)) == 9)
    assert len(await dead_letters(redis)) == 1
    assert out_of_order(store) == []


async def test_ordered_group_without_its_database_is_refused(redis: Redis, store: Store) -> None:
    with pytest.raises(ValueError, match="holds its lease"):
        await run_group(group(True), store=store, redis=redis, stop=asyncio.Event())
