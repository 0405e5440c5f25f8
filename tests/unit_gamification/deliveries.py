"""Deliveries as a consumer hands them to a store, and what the store recorded about them."""

from collections import Counter

from astra.event.v1.envelope_pb2 import Envelope
from google.protobuf.message import Message

from services import contracts
from services.domain import Domain
from services.runtime.delivery import Delivery
from services.runtime.store import Store


class Stream:
    """Numbers events as an outbox does, and gives each an envelope."""

    def __init__(self) -> None:
        self._ordinals: Counter[str] = Counter()

    def delivery(self, event: Message, *, ms: int = 1_000, correlation_id: str = "chain") -> Delivery:
        stream = contracts.stream_of(type(event))
        self._ordinals[stream] += 1
        ordinal = self._ordinals[stream]
        envelope = Envelope(
            id=f"{event.DESCRIPTOR.name}-{ordinal}",
            type=event.DESCRIPTOR.full_name,
            correlation_id=correlation_id,
            data=event.SerializeToString(),
        )
        envelope.time.FromMilliseconds(ms)
        return Delivery(stream, ms, ordinal, envelope, event)


async def react(domain: Domain, group_name: str, *deliveries: Delivery) -> list[bool]:
    """Hands deliveries to a group, in the order given. Returns which were new to it."""
    [group] = [group for group in domain.groups if group.name == group_name]
    return [
        await domain.store.react(group.name, delivery, group.reactions[type(delivery.event)]) for delivery in deliveries
    ]


async def recorded(store: Store) -> list[Envelope]:
    """Returns every event recorded so far, oldest first."""
    rows = await store.read(lambda db: db.all("SELECT envelope FROM outbox"))
    return sorted((Envelope.FromString(row["envelope"]) for row in rows), key=lambda envelope: envelope.id)


def names(envelopes: list[Envelope]) -> list[str]:
    return [envelope.type.rpartition(".")[2] for envelope in envelopes]
