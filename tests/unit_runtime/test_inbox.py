"""The inbox: request ids and what groups have applied."""

import asyncio
import random
import sqlite3
import time

import pytest
from astra.event.v1.envelope_pb2 import Envelope
from astra.trading.v1.events_pb2 import TradeExecuted
from astra.trading.v1.trading_service_pb2 import GrantPracticeFundsRequest, GrantPracticeFundsResponse

from services.runtime.delivery import Delivery
from services.runtime.errors import AlreadyExists, FailedPrecondition, Unavailable
from services.runtime.inbox import LEAST_WORKS, Apply, done_below, skip_below
from services.runtime.request_ids import REQUEST_RETENTION_MS
from services.runtime.store import Store
from services.runtime.transaction import Tx
from services.runtime.writer import TURN_SECONDS
from tests.conftest import OpenStore

COUNTER = "CREATE TABLE IF NOT EXISTS counter (n INTEGER NOT NULL);"


def add(tx: Tx) -> GrantPracticeFundsResponse:
    tx.execute("INSERT INTO counter VALUES (1)")
    reply = GrantPracticeFundsResponse()
    reply.portfolio.user_id = str(tx.value("SELECT count(*) FROM counter"))
    return reply


async def grant(store: Store, request_id: str, *, user_id: str = "u", subject: str = "s", work: object = add) -> str:
    reply = await store.command(
        GrantPracticeFundsRequest(user_id=user_id, request_id=request_id),
        rpc="/r",
        subject=subject,
        reply=GrantPracticeFundsResponse,
        work=work,  # type: ignore[arg-type]
    )
    return reply.portfolio.user_id


async def test_a_repeated_request_returns_the_first_result_and_changes_nothing(open_store: OpenStore) -> None:
    store = open_store(schema=COUNTER)
    assert await grant(store, "r1") == "1"
    assert await grant(store, "r1") == "1"
    assert await grant(store, "r2") == "2"


async def test_a_request_without_an_id_is_done_each_time(open_store: OpenStore) -> None:
    store = open_store(schema=COUNTER)
    assert [await grant(store, ""), await grant(store, "")] == ["1", "2"]


async def test_the_same_id_with_another_body_is_refused(open_store: OpenStore) -> None:
    store = open_store(schema=COUNTER)
    await grant(store, "r1")
    with pytest.raises(AlreadyExists) as caught:
        await grant(store, "r1", user_id="v")
    assert caught.value.reason == "REQUEST_ID_REUSED"


async def test_another_subject_never_sees_a_request_id(open_store: OpenStore) -> None:
    store = open_store(schema=COUNTER)
    assert await grant(store, "r1", subject="alice") == "1"
    assert await grant(store, "r1", subject="bob") == "2"


async def test_a_failure_is_not_kept(open_store: OpenStore) -> None:
    store = open_store(schema=COUNTER)

    def refuse(tx: Tx) -> GrantPracticeFundsResponse:
        raise FailedPrecondition("not now", reason="NOT_NOW")

    with pytest.raises(FailedPrecondition):
        await grant(store, "r1", work=refuse)
    assert await grant(store, "r1") == "1"


async def test_a_request_id_is_forgotten_after_a_day_and_its_row_goes(open_store: OpenStore) -> None:
    now = [0]
    store = open_store(schema=COUNTER, clock=lambda: now[0])
    await grant(store, "r1")
    now[0] = REQUEST_RETENTION_MS - 1
    assert await grant(store, "r1") == "1"
    now[0] = REQUEST_RETENTION_MS
    assert await grant(store, "r1") == "2"
    now[0] *= 3
    await grant(store, "r2")
    assert await store.read(lambda db: [row[0] for row in db.all("SELECT request_id FROM inbox_request")]) == ["r2"]


async def test_a_request_is_kept_as_a_keyed_hash_only(open_store: OpenStore) -> None:
    store = open_store(schema=COUNTER)
    await grant(store, "r1", user_id="a-telling-name")
    assert b"a-telling-name" not in store.path.read_bytes() + store.path.with_name("trading.db-wal").read_bytes()


def delivery(ordinal: int) -> Delivery:
    return Delivery("astra.trading.trade_executed.v1", 1, ordinal, Envelope(id=f"e{ordinal}"), TradeExecuted())


async def test_each_event_has_one_effect_a_group_in_any_order_and_the_watermark_follows(open_store: OpenStore) -> None:
    store = open_store(schema=COUNTER)
    ordinals = [*range(1, 31)] * 2
    random.Random(7).shuffle(ordinals)
    applied = [await store.react("g", delivery(ordinal), lambda tx, event: add(tx)) for ordinal in ordinals]
    assert sum(applied) == 30
    assert await store.react("other", delivery(3), lambda tx, event: None)
    counts = await store.read(
        lambda db: (
            db.value("SELECT count(*) FROM counter"),
            db.value("SELECT done_below FROM inbox_watermark WHERE consumer_group = 'g'"),
            db.value("SELECT count(*) FROM inbox_event WHERE consumer_group = 'g'"),
        )
    )
    assert counts == (30, 31, 0)


async def test_a_hole_keeps_the_watermark_below_it(open_store: OpenStore) -> None:
    store = open_store(schema=COUNTER)
    for ordinal in (1, 2, 4, 5):
        await store.react("g", delivery(ordinal), lambda tx, event: None)
    assert await store.read(lambda db: db.value("SELECT done_below FROM inbox_watermark")) == 3


async def test_a_failed_reaction_marks_nothing(open_store: OpenStore) -> None:
    store = open_store(schema=COUNTER)

    def fail(tx: Tx, event: TradeExecuted) -> None:
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError):
        await store.react("g", delivery(1), fail)
    assert await store.react("g", delivery(1), lambda tx, event: None)


async def test_what_a_reaction_records_is_caused_by_its_event(open_store: OpenStore) -> None:
    store = open_store()
    caused = Delivery(
        "astra.trading.trade_executed.v1", 1, 1, Envelope(id="e1", correlation_id="chain"), TradeExecuted()
    )
    await store.react("g", caused, lambda tx, event: tx.record(TradeExecuted(trade_id="2")))
    stored = Envelope.FromString(await store.read(lambda db: db.value("SELECT envelope FROM outbox")))
    assert (stored.causation_id, stored.correlation_id) == ("e1", "chain")


async def test_an_event_given_up_lets_the_watermark_pass_and_is_applied_when_it_comes_again(
    open_store: OpenStore,
) -> None:
    store = open_store(schema=COUNTER)
    stream = delivery(1).stream
    await store.react("g", delivery(1), lambda tx, event: add(tx))
    await store.park("g", stream, 2)
    await store.park("g", stream, 2)
    await store.park("g", stream, 1)
    assert await store.react("g", delivery(3), lambda tx, event: add(tx))
    assert store.read_now(lambda db: done_below(db, "g", stream)) == 4
    assert not await store.react("g", delivery(1), lambda tx, event: add(tx)), "applied before it was given up"
    assert await store.react("g", delivery(2), lambda tx, event: add(tx))
    assert not await store.react("g", delivery(2), lambda tx, event: add(tx))
    assert await store.read(lambda db: db.value("SELECT count(*) FROM counter")) == 3


async def test_lost_history_is_passed_over_and_counted(open_store: OpenStore) -> None:
    store = open_store(schema=COUNTER)
    stream = delivery(1).stream
    for ordinal in (1, 4, 6, 9):
        await store.react("g", delivery(ordinal), lambda tx, event: None)
    assert await store.write(lambda tx: skip_below(tx, "g", stream, 2)) == 0
    assert await store.write(lambda tx: skip_below(tx, "g", stream, 6)) == 3, "2, 3 and 5"
    assert store.read_now(lambda db: done_below(db, "g", stream)) == 7
    assert await store.write(lambda tx: skip_below(tx, "g", stream, 9)) == 2
    assert store.read_now(lambda db: done_below(db, "g", stream)) == 10
    assert await store.read(lambda db: db.value("SELECT count(*) FROM inbox_event")) == 0


def recording(notes: list[str]) -> Apply:
    """Returns a reaction with an effect, an event and a callback; it fails for the trade `poison`."""

    def react(tx: Tx, event: TradeExecuted) -> None:
        add(tx)
        tx.record(TradeExecuted(trade_id=f"of {event.trade_id}"))
        tx.on_commit.append(lambda: notes.append(event.trade_id))
        if event.trade_id == "poison":
            raise RuntimeError("boom")

    return react


def deliveries(*trade_ids: str) -> list[Delivery]:
    return [
        Delivery(
            delivery(1).stream,
            1,
            ordinal,
            Envelope(id=f"e{ordinal}", correlation_id=trade),
            TradeExecuted(trade_id=trade),
        )
        for ordinal, trade in enumerate(trade_ids, 1)
    ]


async def test_one_that_fails_among_many_changes_nothing_and_holds_up_no_other(open_store: OpenStore) -> None:
    store, notes = open_store(schema=COUNTER), list[str]()
    given = [(one, recording(notes)) for one in deliveries("a", "poison", "b", "poison")]
    effects = await store.react_all("g", given)
    assert [str(effect) for effect in effects] == ["True", "boom", "True", "boom"]
    assert notes == ["a", "b"], "nothing is told of what was undone"
    stored = [Envelope.FromString(row[0]) for row in store.read_now(lambda db: db.all("SELECT envelope FROM outbox"))]
    assert [(one.causation_id, one.correlation_id) for one in stored] == [("e1", "a"), ("e3", "b")]
    assert store.read_now(lambda db: db.value("SELECT count(*) FROM counter")) == 2
    assert store.read_now(lambda db: done_below(db, "g", given[0][0].stream)) == 2
    assert [str(effect) for effect in await store.react_all("g", given)] == ["False", "boom", "False", "boom"]
    assert store.read_now(lambda db: db.value("SELECT count(*) FROM counter")) == 2


async def test_many_share_a_commit_and_one_that_comes_twice_among_them_has_one_effect(open_store: OpenStore) -> None:
    store = open_store(schema=COUNTER)
    before = store.wakeups.version
    ordinals = [*range(1, LEAST_WORKS), 1]
    effects = await store.react_all("g", [(delivery(ordinal), lambda tx, event: add(tx)) for ordinal in ordinals])
    assert effects == [True] * (LEAST_WORKS - 1) + [False]
    assert store.wakeups.version == before + 1


async def test_a_batch_lets_a_command_in_between(open_store: OpenStore) -> None:
    store, order = open_store(schema=COUNTER), list[str]()

    def slow(tx: Tx, event: TradeExecuted) -> None:
        time.sleep(TURN_SECONDS / LEAST_WORKS)

    async def batch() -> None:
        await store.react_all("g", [(delivery(ordinal), slow) for ordinal in range(1, 20 * LEAST_WORKS)])
        order.append("batch")

    async def command() -> None:
        await store.write(add)
        order.append("command")

    await asyncio.gather(batch(), command())
    assert order == ["command", "batch"]


async def test_a_disk_that_is_full_leaves_no_part_of_a_batch(open_store: OpenStore) -> None:
    store = open_store(schema=COUNTER)

    def fill(tx: Tx, event: TradeExecuted) -> None:
        add(tx)
        tx.execute("ROLLBACK")  # what SQLite does by itself on some errors
        raise sqlite3.OperationalError("database or disk is full")

    given: list[tuple[Delivery, Apply]] = [(delivery(1), lambda tx, event: add(tx)), (delivery(2), fill)]
    effects = await store.react_all("g", given)
    assert [type(effect) for effect in effects] == [Unavailable, Unavailable]
    assert store.read_now(lambda db: db.value("SELECT count(*) FROM counter")) == 0
    assert await store.react_all("g", given[:1]) == [True]
