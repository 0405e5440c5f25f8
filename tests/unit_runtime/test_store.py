"""The store: group commit, savepoints, outbox rows, turns between processes."""

import asyncio
import sys
from pathlib import Path

import pytest
from astra.event.v1.envelope_pb2 import Envelope
from astra.gamification.v1.events_pb2 import XpGained
from astra.trading.v1.events_pb2 import PositionUpdated, TradeExecuted

from services.mesh import ROOT
from services.runtime.context import Context
from services.runtime.errors import FailedPrecondition, Unavailable
from services.runtime.store import Store
from services.runtime.transaction import Reader, Tx
from tests.conftest import OpenStore

COUNTER = "CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL);"
STREAM = "astra.trading.trade_executed.v1"


def increment(tx: Tx, name: str = "a") -> int:
    tx.execute("INSERT INTO counter VALUES (?, 1) ON CONFLICT DO UPDATE SET value = value + 1", name)
    return int(tx.value("SELECT value FROM counter WHERE name = ?", name))


def value(db: Reader) -> int:
    return db.value("SELECT value FROM counter WHERE name = 'a'") or 0


async def test_a_refused_command_leaves_nothing_and_does_not_hurt_its_neighbours(open_store: OpenStore) -> None:
    store = open_store(schema=COUNTER)

    def refused(tx: Tx) -> None:
        increment(tx)
        tx.record(TradeExecuted(trade_id="t"))
        raise FailedPrecondition("no", reason="NO")

    results = await asyncio.gather(
        *(store.write(refused if number % 2 else increment) for number in range(20)), return_exceptions=True
    )
    assert [type(result) for result in results] == [int, FailedPrecondition] * 10
    assert await store.read(value) == 10
    assert await store.read(lambda db: db.value("SELECT count(*) FROM outbox")) == 0


async def test_many_callers_share_a_commit(open_store: OpenStore) -> None:
    store = open_store(schema=COUNTER)
    commits = store.wakeups.version
    await asyncio.gather(*(store.write(increment) for _ in range(200)))
    assert await store.read(value) == 200
    assert store.wakeups.version - commits < 100


async def test_ordinals_are_dense_and_ms_never_falls(open_store: OpenStore) -> None:
    times = iter([5_000, 4_000, 6_000])
    store = open_store(clock=lambda: next(times))
    for number in range(3):
        await store.write(lambda tx, number=number: tx.record(TradeExecuted(trade_id=str(number))))  # type: ignore[misc]
    rows = await store.read(lambda db: [tuple(row) for row in db.all("SELECT stream, ordinal, ms FROM outbox")])
    assert rows == [(STREAM, 1, 5_000), (STREAM, 2, 5_000), (STREAM, 3, 6_000)]


async def test_the_envelope_is_filled_by_the_outbox(open_store: OpenStore) -> None:
    store = open_store(clock=lambda: 1_700_000_000_123, ids=iter(["e1", "e2"]).__next__)

    def work(tx: Tx) -> None:
        cause = tx.record(TradeExecuted(trade_id="t1", user_id="u1"))
        tx.record(PositionUpdated(trade_id="t1", user_id="u1"), cause=cause)

    await store.write(work, context=Context(correlation_id="c1", traceparent="00-a-b-01"))
    envelopes = [
        Envelope.FromString(row["envelope"])
        for row in await store.read(lambda db: db.all("SELECT envelope FROM outbox ORDER BY stream DESC"))
    ]
    first, second = envelopes
    assert (first.id, first.source, first.type) == ("e1", "trading", "astra.trading.v1.TradeExecuted")
    assert (first.subject, first.user_id, first.correlation_id) == ("t1", "u1", "c1")
    assert (first.causation_id, second.causation_id) == ("", "e1")
    assert first.time.ToMilliseconds() == 1_700_000_000_123
    assert first.dataschema == "astra/trading/v1/events.proto"
    assert first.traceparent == "00-a-b-01"
    assert TradeExecuted.FromString(first.data).trade_id == "t1"


async def test_an_event_of_another_domain_cannot_be_recorded(open_store: OpenStore) -> None:
    store = open_store()
    with pytest.raises(ValueError, match="not an event of trading"):
        await store.write(lambda tx: tx.record(XpGained(user_id="u")))


async def test_a_caller_that_gave_up_before_its_turn_leaves_nothing(open_store: OpenStore) -> None:
    store = open_store(schema=COUNTER)
    tasks = [asyncio.ensure_future(store.write(increment)) for _ in range(3)]
    await asyncio.sleep(0)
    for task in tasks[1:]:
        task.cancel()
    await asyncio.wait(tasks)
    done = sum(not task.cancelled() for task in tasks)
    written = await store.read(value)
    assert done == 1
    assert 1 <= written <= 3  # a turn that had begun stands


async def test_a_closed_store_refuses(open_store: OpenStore, tmp_path: Path) -> None:
    store = Store(tmp_path / "x" / "x.db", domain="trading", schema=COUNTER)
    pending = asyncio.ensure_future(store.write(increment))
    await asyncio.sleep(0)
    await store.close()
    assert await pending == 1
    with pytest.raises(Unavailable):
        await store.write(increment)


WRITER = """
import asyncio, sys
from pathlib import Path
from astra.trading.v1.events_pb2 import TradeExecuted
from services.runtime.store import Store
from tests.unit_runtime.test_store import COUNTER, increment

def work(tx):
    increment(tx)
    tx.record(TradeExecuted(trade_id="t"))

async def main():
    store = Store(Path(sys.argv[1]), domain="trading", schema=COUNTER)
    await asyncio.gather(*(writes(store) for _ in range(8)))
    await store.close()

async def writes(store):
    for _ in range(50):
        await store.write(work)

asyncio.run(main())
"""


async def test_three_processes_on_one_file_lose_no_write_and_share_dense_ordinals(
    open_store: OpenStore, tmp_path: Path
) -> None:
    store = open_store(schema=COUNTER)
    writers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, str(store.path), cwd=ROOT) for _ in range(3)
    ]
    codes = await asyncio.wait_for(asyncio.gather(*(writer.wait() for writer in writers)), 60)
    assert codes == [0, 0, 0]
    assert await store.read(value) == 1200
    ordinals = await store.read(lambda db: [row[0] for row in db.all("SELECT ordinal FROM outbox ORDER BY ordinal")])
    assert ordinals == list(range(1, 1201))
