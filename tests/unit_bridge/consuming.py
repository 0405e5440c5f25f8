"""What consumer tests are made of: entries as the bridge writes them, a store that counts effects, a running group."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from astra.event.v1.envelope_pb2 import Envelope
from astra.trading.v1.events_pb2 import PositionClosed, TradeExecuted
from google.protobuf.message import Message
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from bridge.append import Appended, Entry, append, last_id
from bridge.applying import Reactor
from bridge.group_runner import Past, run_group
from bridge.groups import Group
from bridge.settings import Settings
from services.runtime.store import Store
from services.runtime.transaction import Tx

SCHEMA = "CREATE TABLE IF NOT EXISTS effect (grp TEXT, trade_id TEXT);"
EXECUTED = "astra.trading.trade_executed.v1"
CLOSED = "astra.trading.position_closed.v1"
STREAMS: Mapping[type[Message], str] = {TradeExecuted: EXECUTED, PositionClosed: CLOSED}

QUICK = Settings(
    block_ms=50,
    idle_ms=200,
    claim_every_seconds=0.1,
    retry_first_seconds=0.01,
    retry_cap_seconds=0.05,
    hole_lease_ms=1_000,
)
PATIENT = Settings(block_ms=50, idle_ms=60_000, retry_first_seconds=0.01, retry_cap_seconds=0.05)
"""Takes nothing from others within a test."""


async def publish(redis: Redis, *trade_ids: str, kind: type[TradeExecuted | PositionClosed] = TradeExecuted) -> None:
    """Appends one event a trade."""
    for trade_id in trade_ids:
        data = kind(trade_id=trade_id, user_id="u").SerializeToString()
        envelope = Envelope(id=f"event-{trade_id}", type=kind.DESCRIPTOR.full_name, correlation_id="c", data=data)
        await publish_bytes(redis, envelope.SerializeToString(), STREAMS[kind])


def envelopes(trade_ids: Sequence[str]) -> list[bytes]:
    """Returns what the outbox holds of trades, one event each."""
    kind = TradeExecuted.DESCRIPTOR.full_name
    events = [(trade_id, TradeExecuted(trade_id=trade_id, user_id="u")) for trade_id in trade_ids]
    return [
        Envelope(id=f"event-{id_}", type=kind, correlation_id="c", data=event.SerializeToString()).SerializeToString()
        for id_, event in events
    ]


async def publish_bytes(redis: Redis, envelope: bytes, stream: str = EXECUTED) -> None:
    prev = await last_id(redis, stream)
    entry = Entry(f"1000-{int(prev.partition('-')[2]) + 1}", envelope)
    assert isinstance(await append(redis, stream, prev, [entry]), Appended)


def note(group: str) -> Any:
    """Returns a reaction whose effect is a row."""

    def react(tx: Tx, event: TradeExecuted | PositionClosed) -> None:
        tx.execute("INSERT INTO effect VALUES (?, ?)", group, event.trade_id)

    return react


def effects(store: Store, group: str = "g") -> list[str]:
    """Returns the trades whose effect is committed, in order of the effects."""
    rows = store.read_now(lambda read: read.all("SELECT trade_id FROM effect WHERE grp = ? ORDER BY rowid", group))
    return [row["trade_id"] for row in rows]


@asynccontextmanager
async def consuming(
    group: Group,
    store: Reactor,
    redis: Redis,
    settings: Settings = QUICK,
    first_slot: int = 0,
    past: Past | None = None,
) -> AsyncIterator[None]:
    """Runs a group, and stops it as a process does."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(
            run_group(
                group,
                store=store,
                redis=redis,
                stop=stop,
                past=past,
                settings=settings,
                slots=range(first_slot, first_slot + group.consumers),
                forget_every_seconds=0.1,
            )
        )
        try:
            yield
        finally:
            stop.set()


async def pending(redis: Redis, stream: str = EXECUTED, group: str = "g") -> list[dict[str, Any]]:
    """Returns what a group was given and has not given back; nothing while there is no group."""
    try:
        found: Any = await redis.xpending_range(stream, group, "-", "+", 1000)
    except ResponseError:
        return []
    return list(found)


async def dead_letters(redis: Redis, stream: str = EXECUTED, group: str = "g") -> list[dict[bytes, bytes]]:
    found: Any = await redis.xrange(f"{{{stream}}}.dlq.{group}")
    return [fields for _, fields in found]
