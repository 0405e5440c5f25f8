"""OutboxService.Tail: in order, pushed at once wherever the commit was, and honest about another history."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator

import grpc
import pytest
from astra.event.v1 import outbox_service_pb2 as pb
from astra.event.v1.outbox_service_pb2_grpc import OutboxServiceStub
from astra.trading.v1.events_pb2 import PositionUpdated, TradeExecuted

from services.domain import Domain
from services.mesh import ROOT
from services.runtime.outbox import BATCH_ENTRIES
from services.runtime.store import Store
from tests.conftest import OpenStore
from tests.serving import as_service, as_user, reason_of, serving

EXECUTED = "astra.trading.trade_executed.v1"
UPDATED = "astra.trading.position_updated.v1"
BRIDGE = as_service("bridge")


def cursors(**ids: str) -> pb.TailRequest:
    names = {"executed": EXECUTED, "updated": UPDATED}
    return pb.TailRequest(cursors=[pb.Cursor(stream=names[name], id=cursor) for name, cursor in ids.items()])


async def record(store: Store, *trade_ids: str) -> None:
    for trade_id in trade_ids:
        await store.write(lambda tx, trade_id=trade_id: tx.record(TradeExecuted(trade_id=trade_id)))  # type: ignore[misc]


@pytest.fixture
async def served(open_store: OpenStore) -> AsyncIterator[tuple[Store, OutboxServiceStub]]:
    store = open_store(clock=lambda: 1000)
    async with serving(Domain(store=store, apis={})) as channel:
        yield store, OutboxServiceStub(channel)


async def take(tail: "grpc.aio.UnaryStreamCall[pb.TailRequest, pb.TailResponse]") -> pb.TailResponse:
    response = await asyncio.wait_for(tail.read(), 5)
    assert isinstance(response, pb.TailResponse)
    return response


async def test_what_was_recorded_comes_first_then_what_is_recorded(served: tuple[Store, OutboxServiceStub]) -> None:
    store, stub = served
    await record(store, "1", "2")
    tail = stub.Tail(cursors(executed="0-0"), metadata=BRIDGE)
    first = await take(tail)
    assert (first.batch.prev, [entry.id for entry in first.batch.entries]) == ("0-0", ["1000-1", "1000-2"])
    await record(store, "3")
    second = await take(tail)
    assert (second.batch.prev, [entry.id for entry in second.batch.entries]) == ("1000-2", ["1000-3"])


async def test_a_cursor_in_the_middle_goes_on_from_there(served: tuple[Store, OutboxServiceStub]) -> None:
    store, stub = served
    await record(store, "1", "2", "3")
    response = await take(stub.Tail(cursors(executed="1000-2"), metadata=BRIDGE))
    assert (response.batch.prev, [entry.id for entry in response.batch.entries]) == ("1000-2", ["1000-3"])


async def test_a_long_outbox_comes_in_batches_without_a_gap(served: tuple[Store, OutboxServiceStub]) -> None:
    store, stub = served
    total = 2 * BATCH_ENTRIES + 3

    await store.write(lambda tx: [tx.record(TradeExecuted(trade_id=str(n))) for n in range(total)])
    tail, last, seen = stub.Tail(cursors(executed="0-0"), metadata=BRIDGE), "0-0", 0
    while seen < total:
        batch = (await take(tail)).batch
        assert batch.prev == last
        last, seen = batch.entries[-1].id, seen + len(batch.entries)
    assert (last, seen) == (f"1000-{total}", total)


@pytest.mark.parametrize("cursor", ["1000-4", "999-2", "5-1"])
async def test_an_unknown_cursor_is_a_divergence_and_the_other_streams_go_on(
    served: tuple[Store, OutboxServiceStub], cursor: str
) -> None:
    store, stub = served
    await record(store, "1", "2")
    await store.write(lambda tx: tx.record(PositionUpdated(trade_id="1")))
    tail = stub.Tail(cursors(executed=cursor, updated="0-0"), metadata=BRIDGE)
    first, second = await take(tail), await take(tail)
    assert (first.stream, first.divergence.id, first.divergence.last) == (EXECUTED, cursor, "1000-2")
    assert (second.stream, len(second.batch.entries)) == (UPDATED, 1)


@pytest.mark.parametrize(
    ("request_", "metadata", "code", "reason"),
    [
        (cursors(executed="nonsense"), BRIDGE, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        (
            pb.TailRequest(cursors=[pb.Cursor(stream="astra.user.user_registered.v1", id="0-0")]),
            BRIDGE,
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_FIELD",
        ),
        (cursors(executed="0-0"), as_user("u", "admin"), grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED"),
        (cursors(executed="0-0"), (), grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    ],
)
async def test_a_wrong_request_is_refused(
    served: tuple[Store, OutboxServiceStub],
    request_: pb.TailRequest,
    metadata: tuple[tuple[str, str], ...],
    code: grpc.StatusCode,
    reason: str,
) -> None:
    _, stub = served
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Tail(request_, metadata=metadata, timeout=5).read()
    assert (caught.value.code(), reason_of(caught.value)) == (code, reason)


async def test_a_drain_ends_the_tail_at_once(open_store: OpenStore) -> None:
    store = open_store()
    async with serving(Domain(store=store, apis={})) as channel:
        tail = OutboxServiceStub(channel).Tail(cursors(executed="0-0"), metadata=BRIDGE)
        await record(store, "1")
        await take(tail)
        store.wakeups.stop()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(tail.read(), 2)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from astra.trading.v1.events_pb2 import TradeExecuted
from services.runtime.store import Store

async def main():
    store = Store(Path(sys.argv[1]), domain="trading")
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        await store.write(lambda tx: tx.record(TradeExecuted(trade_id="t")))
        print(flush=True)
    await store.close()

asyncio.run(main())
"""


async def test_a_commit_in_one_process_is_seen_by_tail_in_another_within_100_ms_200_times_in_a_row(
    served: tuple[Store, OutboxServiceStub],
) -> None:
    store, stub = served
    pipe = asyncio.subprocess.PIPE
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OTHER_PROCESS, str(store.path), cwd=ROOT, stdin=pipe, stdout=pipe
    )
    assert other.stdin is not None
    assert other.stdout is not None
    tail = stub.Tail(cursors(executed="0-0"), metadata=BRIDGE)
    delays = []
    for number in range(1, 201):
        other.stdin.write(b"\n")
        await asyncio.wait_for(other.stdout.readline(), 20)
        committed = time.monotonic()
        assert (await take(tail)).batch.entries[-1].id.endswith(f"-{number}")
        delays.append(time.monotonic() - committed)
    other.stdin.close()
    assert await asyncio.wait_for(other.wait(), 10) == 0
    assert max(delays) < 0.1, f"slowest of 200: {max(delays) * 1000:.1f} ms"


async def test_a_lost_hint_is_caught_within_about_a_second(
    served: tuple[Store, OutboxServiceStub], open_store: OpenStore
) -> None:
    store, stub = served
    tail = stub.Tail(cursors(executed="0-0"), metadata=BRIDGE)
    await asyncio.sleep(0.05)
    store.wakeups.path.unlink()  # hints from others no longer arrive
    await record(open_store(), "1")
    assert len((await take(tail)).batch.entries) == 1
