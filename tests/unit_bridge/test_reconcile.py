"""Two histories of one stream: shown, never guessed about, and reconciled without losing or doubling an event."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from astra.event.v1 import outbox_service_pb2 as pb
from astra.event.v1.envelope_pb2 import Envelope
from astra.event.v1.outbox_service_pb2_grpc import OutboxServiceStub
from astra.trading.v1.events_pb2 import TradeExecuted
from redis.asyncio import Redis

from bridge.append import Appended, Entry, append, last_id
from bridge.outbox_client import OutboxClient
from bridge.reconcile import CannotReconcile, read_histories, take_outbox, take_stream
from bridge.tail import Tail
from services.domain import Domain
from services.runtime.door import Door
from services.runtime.store import Store
from tests.conftest import OpenStore
from tests.serving import as_service, reason_of, served

EXECUTED = "astra.trading.trade_executed.v1"
BRIDGE = as_service("bridge")


class Client(OutboxClient):
    """Calls the service itself, as Envoy would hand the call on."""

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return BRIDGE


@dataclass(frozen=True, slots=True)
class Side:
    """The outbox of a real service, and the ways to it."""

    store: Store
    client: Client
    tail: Tail

    async def record(self, *trade_ids: str) -> None:
        for trade_id in trade_ids:
            await self.store.write(lambda tx, trade_id=trade_id: tx.record(TradeExecuted(trade_id=trade_id)))  # type: ignore[misc]

    async def trades(self) -> list[str]:
        rows = await self.store.read(lambda db: db.all("SELECT envelope FROM outbox ORDER BY ordinal"))
        return [trade_of(row["envelope"]) for row in rows]

    async def ids(self) -> list[str]:
        rows = await self.store.read(lambda db: db.all("SELECT ms, ordinal FROM outbox ORDER BY ordinal"))
        return [f"{row['ms']}-{row['ordinal']}" for row in rows]

    async def restore(self, ordinal: int) -> None:
        """Takes the database back to when it had so many entries, as a backup does."""
        await self.store.write(lambda tx: tx.execute("DELETE FROM outbox WHERE ordinal > ?", ordinal) and None)
        await self.store.write(lambda tx: tx.execute("DELETE FROM outbox_stream") and None)
        if ordinal:
            restored = "INSERT INTO outbox_stream SELECT stream, max(ordinal), max(ms) FROM outbox GROUP BY stream"
            await self.store.write(lambda tx: tx.execute(restored) and None)

    async def publish(self, redis: Redis) -> None:
        """Appends what follows the stream's end, as the bridge does; fails if the histories differ."""
        last = await last_id(redis, EXECUTED)
        async for response in self.tail({EXECUTED: last}):
            assert response.HasField("batch"), "diverged"
            entries = [Entry(entry.id, entry.envelope) for entry in response.batch.entries]
            prev = "0-0" if last == "0-0" else response.batch.prev
            assert isinstance(await append(redis, EXECUTED, prev, entries), Appended)
            return


def trade_of(envelope: bytes) -> str:
    return TradeExecuted.FromString(Envelope.FromString(envelope).data).trade_id


@pytest.fixture
async def side(open_store: OpenStore) -> AsyncIterator[Side]:
    now = [1000]

    def clock() -> int:
        now[0] += 1
        return now[0]

    store = open_store(clock=clock)
    async with served(Domain(store=store, apis={})) as address, grpc.aio.insecure_channel(address) as channel:

        async def tail(cursors: Mapping[str, str]) -> AsyncGenerator[pb.TailResponse, None]:
            request = pb.TailRequest(cursors=[pb.Cursor(stream=name, id=id_) for name, id_ in cursors.items()])
            call = OutboxServiceStub(channel).Tail(request, metadata=BRIDGE)
            try:
                async for response in call:
                    yield response
            finally:
                call.cancel()

        client = Client(Door(address), lambda: "")
        yield Side(store, client, tail)
        await client.close()


async def stream_trades(redis: Redis) -> list[str]:
    found: Any = await redis.xrange(EXECUTED)
    return [trade_of(fields[b"e"]) for _, fields in found]


async def test_histories_that_agree_need_nothing(redis: Redis, side: Side) -> None:
    await side.record("a", "b")
    assert await read_histories(redis, side.tail, EXECUTED) is None, "no stream, yet"
    await side.publish(redis)
    assert await read_histories(redis, side.tail, EXECUTED) is None
    await side.record("c")
    assert await read_histories(redis, side.tail, EXECUTED) is None, "behind is not diverged"


async def test_stray_entry_is_put_aside_and_the_stream_filled_anew(redis: Redis, side: Side, tmp_path: Path) -> None:
    await side.record("a", "b", "c")
    await side.publish(redis)
    await redis.xgroup_create(EXECUTED, "g", id="$")
    stray: Any = await redis.xadd(EXECUTED, {"e": b"stray"})
    await side.record("d", "e")
    histories = await read_histories(redis, side.tail, EXECUTED)
    assert histories is not None
    assert (histories.fork, histories.only_in_outbox) == ((await side.ids())[2], 2)
    assert [id_ for id_, _ in histories.only_in_stream] == [stray.decode()]
    assert stray.decode() in histories.describe()
    with pytest.raises(CannotReconcile, match="take the outbox"):
        await take_stream(side.client, histories)
    assert await redis.xlen(EXECUTED) == 4, "nothing was done"
    file = await take_outbox(redis, histories, tmp_path)
    assert stray.decode() in file.read_text()
    await side.publish(redis)
    assert await stream_trades(redis) == ["a", "b", "c", "d", "e"]
    delivered: Any = await redis.xreadgroup("g", "c", {EXECUTED: ">"})
    assert len(delivered[0][1]) == 5, "its inbox knows what it has done"


async def test_stream_that_changed_since_it_was_shown_is_left_alone(redis: Redis, side: Side, tmp_path: Path) -> None:
    await side.record("a")
    await side.publish(redis)
    await redis.xadd(EXECUTED, {"e": b"stray"})
    histories = await read_histories(redis, side.tail, EXECUTED)
    assert histories is not None
    await redis.xadd(EXECUTED, {"e": b"another"})
    with pytest.raises(CannotReconcile, match="meanwhile"):
        await take_outbox(redis, histories, tmp_path)
    assert await redis.xlen(EXECUTED) == 3


@pytest.mark.parametrize("kept", [4, 0], ids=["restored from a backup", "begun anew"])
@pytest.mark.parametrize("own", [3, 0], ids=["and went on", "and did nothing since"])
async def test_outbox_that_lost_events_takes_them_over_from_the_stream(
    redis: Redis, side: Side, tmp_path: Path, kept: int, own: int
) -> None:
    first = [f"t{n}" for n in range(10)]
    await side.record(*first)
    ids = await side.ids()
    await side.publish(redis)
    await side.restore(kept)
    await side.record(*(f"new{n}" for n in range(own)))
    histories = await read_histories(redis, side.tail, EXECUTED)
    assert histories is not None
    assert (histories.fork, histories.only_in_outbox) == (ids[kept - 1] if kept else "0-0", own)
    with pytest.raises(CannotReconcile, match="Take the stream"):
        await take_outbox(redis, histories, tmp_path)
    assert await stream_trades(redis) == first, "nothing was done"
    assert await take_stream(side.client, histories) == 10 - kept
    assert (await side.ids())[:10] == ids
    assert await read_histories(redis, side.tail, EXECUTED) is None
    await side.record("later")
    await side.publish(redis)
    assert await stream_trades(redis) == await side.trades() == [*first, *(f"new{n}" for n in range(own)), "later"]


@pytest.mark.parametrize("left", [4, 0])
async def test_what_was_trimmed_from_the_stream_is_lost_and_the_outbox_begins_after_it(
    redis: Redis, side: Side, left: int
) -> None:
    await side.record(*(f"t{n}" for n in range(10)))
    await side.publish(redis)
    await redis.xtrim(EXECUTED, maxlen=left, approximate=False)
    await side.restore(0)
    await side.record("new")
    histories = await read_histories(redis, side.tail, EXECUTED)
    assert histories is not None
    await take_stream(side.client, histories)
    await side.publish(redis)
    assert (await side.trades())[-1] == "new"
    assert await stream_trades(redis) == await side.trades()
    await redis.delete(EXECUTED)
    await side.publish(redis)
    assert await stream_trades(redis) == await side.trades(), "filled from where the outbox begins"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda r: r.entries.pop(), "INVALID_ARGUMENT"),
        (lambda r: r.entries[0].ClearField("envelope"), "INVALID_ARGUMENT"),
        (lambda r: setattr(r.entries[1], "id", "2000-9"), "INVALID_ARGUMENT"),
        (lambda r: setattr(r, "after", "999-1"), "FAILED_PRECONDITION"),
        (lambda r: setattr(r, "after", "5000-50"), "INVALID_ARGUMENT"),
    ],
)
async def test_adopting_what_does_not_fit_changes_nothing(
    side: Side, change: Callable[[pb.AdoptRequest], object], code: str
) -> None:
    await side.record("a")
    [first] = await side.ids()
    envelope = Envelope(type="astra.trading.v1.TradeExecuted").SerializeToString()
    entries = [pb.Entry(id=id_, envelope=envelope) for id_ in ("2000-2", "2000-3")]
    request = pb.AdoptRequest(stream=EXECUTED, after=first, last="2000-3", entries=entries)
    change(request)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await side.client.adopt(EXECUTED, after=request.after, last=request.last, entries=request.entries)
    assert (caught.value.code().name, bool(reason_of(caught.value))) == (code, True)
    assert await side.ids() == [first]
