"""A small trading service with one group, its outbox and its streams, and the bus's face over them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from astra.event.v1.envelope_pb2 import Envelope
from astra.trading.v1.events_pb2 import PositionClosed, TradeExecuted
from google.protobuf.message import Message
from redis.asyncio import Redis

from bridge.append import Appended, Entry, append, last_id
from bridge.bus.group_api import GroupApi
from bridge.groups import Group
from services.contracts import rpcs
from services.mesh import HOST
from services.runtime.call import caller_from
from services.runtime.context import Caller, Context
from services.runtime.outbox_service import OutboxApi
from services.runtime.server import Server
from services.runtime.store import Store
from services.runtime.transaction import Tx
from tests.serving import as_user
from tests.serving_bus import serving_bus
from tests.unit_bridge.consuming import consuming
from tests.unit_bridge.polling import until

BUS = "/astra.bridge.v1.BusService"
EXECUTED = "astra.trading.trade_executed.v1"
CLOSED = "astra.trading.position_closed.v1"
GROUP = "takers"
START_MS = 1_800_014_400_000
SCHEMA = "CREATE TABLE IF NOT EXISTS effect (trade_id TEXT); CREATE TABLE IF NOT EXISTS broken (trade_id TEXT);"


def take(tx: Tx, event: TradeExecuted | PositionClosed) -> None:
    """Has one effect an event, and fails for the trades that are broken."""
    if tx.one("SELECT 1 FROM broken WHERE trade_id = ?", event.trade_id):
        raise ValueError(f"{event.trade_id} is broken")
    tx.execute("INSERT INTO effect VALUES (?)", event.trade_id)


def as_envoy_would(metadata: Mapping[str, str]) -> Caller:
    """Makes the bridge's token its identity, as Envoy does between bus and service."""
    if metadata.get("authorization") == "Bearer token":
        return Caller(service="service:bridge")
    return caller_from(metadata)


@dataclass(slots=True)
class World:
    """What a test has at hand."""

    redis: Any
    store: Store
    group: Group
    folder: Path
    service: str
    channel: grpc.aio.Channel
    now_ms: list[int] = field(default_factory=lambda: [START_MS])

    async def record(self, *trade_ids: str, kind: type[Message] = TradeExecuted, chain: str = "chain") -> None:
        """Records one event a trade, a second apart, and appends them to their stream as the bridge does."""
        for trade_id in trade_ids:
            event: Any = kind(trade_id=trade_id, user_id=f"user-of-{trade_id}")
            await self.store.write(partial(Tx.record, event=event), context=Context(correlation_id=chain))
            self.now_ms[0] += 1000
        await self.publish()

    async def publish(self) -> None:
        rows = await self.store.read(lambda db: db.all("SELECT * FROM outbox ORDER BY stream, ordinal"))
        for row in rows:
            prev = await last_id(self.redis, row["stream"])
            if row["ordinal"] > int(prev.partition("-")[2]):
                entry = Entry(f"{row['ms']}-{row['ordinal']}", row["envelope"])
                assert isinstance(await append(self.redis, row["stream"], prev, [entry]), Appended)

    async def consume(self) -> None:
        """Lets the group's consumers run until nothing is left to them."""
        async with consuming(self.group, self.store, self.redis):
            await until(self._consumed, "consuming")

    async def _consumed(self) -> bool:
        for stream in (EXECUTED, CLOSED):
            if await self.redis.exists(stream):
                group = next(iter(await self.redis.xinfo_groups(stream)), None)
                last = (await last_id(self.redis, stream)).encode()
                if group is None or group["pending"] or group["last-delivered-id"] != last:
                    return False
        return True

    def effects(self) -> list[str]:
        """Returns the trades that had their effect, sorted, as often as they had it."""
        rows = self.store.read_now(lambda db: db.all("SELECT trade_id FROM effect ORDER BY trade_id"))
        return [row["trade_id"] for row in rows]

    async def break_(self, *trade_ids: str) -> None:
        for trade_id in trade_ids:
            await self.store.write(partial(_insert_broken, trade_id=trade_id))

    async def mend(self) -> None:
        await self.store.write(lambda tx: tx.execute("DELETE FROM broken"))

    async def call(self, name: str, request: Message, channel: grpc.aio.Channel | None = None) -> Any:
        """Calls a rpc of the bus as the admin `root`."""
        rpc = rpcs()[f"{BUS}/{name}"]
        send: Any = (channel or self.channel).unary_unary(
            rpc.path, request_serializer=rpc.request.SerializeToString, response_deserializer=rpc.response.FromString
        )
        return await send(request, metadata=as_user("root", "admin"), timeout=15)

    def stream(self, name: str, request: Message, channel: grpc.aio.Channel | None = None) -> Any:
        """Opens a streaming rpc of the bus as the admin `root`."""
        rpc = rpcs()[f"{BUS}/{name}"]
        send: Any = (channel or self.channel).unary_stream(
            rpc.path, request_serializer=rpc.request.SerializeToString, response_deserializer=rpc.response.FromString
        )
        return send(request, metadata=as_user("root", "admin"), timeout=30)


def _insert_broken(tx: Tx, trade_id: str) -> None:
    tx.execute("INSERT INTO broken VALUES (?)", trade_id)


@asynccontextmanager
async def open_world(redis: Redis, folder: Path) -> AsyncIterator[World]:
    """Starts the service and the bus over it."""
    now_ms = [START_MS]
    store = Store(folder / "trading" / "trading.db", domain="trading", schema=SCHEMA, clock=lambda: now_ms[0])
    group = Group(name=GROUP, consumers=1, reactions={TradeExecuted: take, PositionClosed: take})
    apis = {
        "astra.event.v1.OutboxService": OutboxApi(store),
        "astra.event.v1.GroupService": GroupApi(store, [group]),
    }
    server = Server(f"{HOST}:0", apis)
    await server.start()
    try:
        async with serving_bus(folder, redis, trading=server.address, clock=lambda: now_ms[0]) as channel:
            yield World(redis, store, group, folder, server.address, channel, now_ms)
    finally:
        store.wakeups.stop()
        await server.stop()
        await store.close()


def envelope(trade_id: str) -> bytes:
    """Returns an event as a stream holds it."""
    event = TradeExecuted(trade_id=trade_id, user_id=f"user-of-{trade_id}")
    found = Envelope(id=f"event-{trade_id}", type="astra.trading.v1.TradeExecuted", data=event.SerializeToString())
    return bytes(found.SerializeToString())
