"""What tests of holes are made of: an outbox with a history, and a stream that was cut behind a group's back."""

from collections.abc import AsyncGenerator

from astra.event.v1.envelope_pb2 import Envelope
from astra.event.v1.outbox_service_pb2 import Entry as OutboxEntry
from astra.trading.v1.events_pb2 import TradeExecuted
from redis.asyncio import Redis

from bridge.append import Appended, Entry, append, last_id
from tests.unit_bridge.consuming import EXECUTED


class Outbox:
    """A stream's outbox: gives out histories, keeps count, and may have its first entries purged."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.purged = 0
        self.asked: list[tuple[int, str]] = []

    def record(self, *trade_ids: str, user_id: str = "u") -> None:
        for trade_id in trade_ids:
            ordinal = len(self.entries) + 1
            data = TradeExecuted(trade_id=trade_id, user_id=user_id).SerializeToString()
            kind = TradeExecuted.DESCRIPTOR.full_name
            envelope = Envelope(id=f"event-{trade_id}", type=kind, correlation_id="c", data=data, subject=user_id)
            self.entries.append(Entry(f"{1000 + ordinal}-{ordinal}", envelope.SerializeToString()))

    async def publish(self, redis: Redis) -> None:
        """Brings the stream to the outbox's end."""
        last = await last_id(redis, EXECUTED)
        at = int(last.partition("-")[2])
        if self.entries[at:]:
            assert isinstance(await append(redis, EXECUTED, last, self.entries[at:]), Appended)

    async def read(self, stream: str, first: int, through: str) -> AsyncGenerator[tuple[int, list[OutboxEntry]], None]:
        self.asked.append((first, through))
        end = int(through.partition("-")[2])
        yield self.purged, []
        for ordinal in range(max(first, self.purged + 1), end + 1, 10):
            page = self.entries[ordinal - 1 : min(end, ordinal + 9)]
            yield self.purged, [OutboxEntry(id=entry.id, envelope=entry.envelope) for entry in page]


async def cut(redis: Redis, keep: int) -> None:
    """Trims the stream as its cap does, whoever is behind."""
    await redis.xtrim(EXECUTED, maxlen=keep, approximate=False)
