"""OutboxService.Read and Purge: a part of the history, rows that go when they are old, and another history refused."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from astra.event.v1 import outbox_service_pb2 as pb
from astra.event.v1.outbox_service_pb2_grpc import OutboxServiceStub
from astra.trading.v1.events_pb2 import TradeExecuted

from services.domain import Domain
from services.runtime.outbox import BATCH_BYTES, BATCH_ENTRIES, OUTBOX_RETENTION_MS, PURGE_ROWS
from services.runtime.store import Store
from tests.conftest import OpenStore
from tests.serving import as_service, reason_of, serving

EXECUTED = "astra.trading.trade_executed.v1"
BRIDGE = as_service("bridge")
NOW = [1000]


@pytest.fixture
async def served(open_store: OpenStore) -> AsyncIterator[tuple[Store, OutboxServiceStub]]:
    NOW[0] = 1000
    store = open_store(clock=lambda: NOW[0])
    async with serving(Domain(store=store, apis={})) as channel:
        yield store, OutboxServiceStub(channel)


async def record(store: Store, count: int, user_id: str = "u") -> None:
    await store.write(lambda tx: [tx.record(TradeExecuted(trade_id=str(n), user_id=user_id)) for n in range(count)])


async def read(stub: OutboxServiceStub, first: int, through: str) -> tuple[str, list[str]]:
    """Returns up to where entries are purged, and the ids of the entries."""
    purged, ids = "", []
    request = pb.ReadRequest(stream=EXECUTED, from_ordinal=first, through=through)
    async for response in stub.Read(request, metadata=BRIDGE, timeout=20):
        purged = response.purged_through
        ids += [entry.id for entry in response.entries]
    return purged, ids


async def purge(stub: OutboxServiceStub, anchor: str, below: int, request_id: str = "") -> pb.PurgeResponse:
    request = pb.PurgeRequest(stream=EXECUTED, anchor=anchor, finished_below=below, request_id=request_id)
    response = await stub.Purge(request, metadata=BRIDGE, timeout=20)
    assert isinstance(response, pb.PurgeResponse)
    return response


async def test_a_range_is_read_whole_and_in_order(served: tuple[Store, OutboxServiceStub]) -> None:
    store, stub = served
    total = 2 * BATCH_ENTRIES + 50
    await record(store, total)
    assert await read(stub, 1, f"1000-{total}") == ("0-0", [f"1000-{n}" for n in range(1, total + 1)])
    assert await read(stub, 5, "1000-7") == ("0-0", ["1000-5", "1000-6", "1000-7"])
    assert await read(stub, 9, "1000-7") == ("0-0", [])


async def test_another_history_is_refused(served: tuple[Store, OutboxServiceStub]) -> None:
    store, stub = served
    await record(store, 5)
    for call in (read(stub, 1, "999-5"), read(stub, 1, "1000-6"), purge(stub, "999-5", 6)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert (caught.value.code().name, reason_of(caught.value)) == ("FAILED_PRECONDITION", "HISTORY_DIVERGED")


async def test_rows_go_when_they_are_finished_and_old(served: tuple[Store, OutboxServiceStub]) -> None:
    store, stub = served
    await record(store, 10)
    assert (await purge(stub, "1000-10", 11)).purged == 0, "finished, but not old"
    NOW[0] += OUTBOX_RETENTION_MS + 1
    await record(store, 5)
    assert (await purge(stub, "1000-10", 5)).purged_through == "1000-4", "old, but only these are finished"
    assert await read(stub, 1, "1000-7") == ("1000-4", ["1000-5", "1000-6", "1000-7"])
    last = f"{NOW[0]}-15"
    assert (await purge(stub, last, 1_000)).purged_through == "1000-10", "not beyond the anchor"
    assert await read(stub, 1, "1000-7") == ("1000-10", [])
    assert (await read(stub, 1, last))[1] == [f"{NOW[0]}-{n}" for n in range(11, 16)]


async def test_a_purge_goes_on_where_the_last_one_ended(served: tuple[Store, OutboxServiceStub]) -> None:
    store, stub = served
    total = 2 * PURGE_ROWS + 10
    await record(store, total)
    NOW[0] += OUTBOX_RETENTION_MS + 1
    purged = [(await purge(stub, f"1000-{total}", total + 1)).purged for _ in range(4)]
    assert purged == [PURGE_ROWS, PURGE_ROWS, 10, 0]
    await record(store, 1)
    assert await read(stub, 1, f"{NOW[0]}-{total + 1}") == (f"1000-{total}", [f"{NOW[0]}-{total + 1}"])


async def test_a_tail_from_nothing_begins_after_what_is_purged(served: tuple[Store, OutboxServiceStub]) -> None:
    store, stub = served
    await record(store, 10)
    NOW[0] += OUTBOX_RETENTION_MS + 1
    await purge(stub, "1000-6", 7)
    for cursor, prev in (("0-0", "1000-6"), ("1000-6", "1000-6"), ("1000-8", "1000-8")):
        tail = stub.Tail(pb.TailRequest(cursors=[pb.Cursor(stream=EXECUTED, id=cursor)]), metadata=BRIDGE)
        response = await asyncio.wait_for(tail.read(), 5)
        assert response.batch.prev == prev
    diverged = stub.Tail(pb.TailRequest(cursors=[pb.Cursor(stream=EXECUTED, id="1000-5")]), metadata=BRIDGE)
    assert (await asyncio.wait_for(diverged.read(), 5)).HasField("divergence"), "what lay between is lost"


async def test_a_batch_is_bounded_in_bytes(served: tuple[Store, OutboxServiceStub]) -> None:
    store, stub = served
    await record(store, 20, user_id="x" * (BATCH_BYTES // 4))
    tail = stub.Tail(pb.TailRequest(cursors=[pb.Cursor(stream=EXECUTED, id="0-0")]), metadata=BRIDGE)
    seen = 0
    while seen < 20:
        batch = (await asyncio.wait_for(tail.read(), 5)).batch
        assert batch.ByteSize() < 2 * BATCH_BYTES
        seen += len(batch.entries)
