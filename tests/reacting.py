"""Events as consumers hand them to a domain, and what the domain recorded about them."""

from collections import Counter

from astra.event.v1.envelope_pb2 import Envelope
from google.protobuf.message import Message

from bridge.groups import routes
from services import contracts
from services.domain import Domain
from services.runtime.clock import uuid7
from services.runtime.context import Context
from services.runtime.delivery import Delivery
from services.runtime.transaction import Recorder

START_MS = 1_800_014_400_000
"""2027-01-15 12:00 UTC."""


class Streams:
    """The streams of all domains: wraps events as their outboxes do, and numbers them."""

    def __init__(self) -> None:
        self._ordinals: Counter[str] = Counter()

    def add(
        self, event: Message, *, cause: Delivery | None = None, correlation_id: str = "chain", ms: int = START_MS
    ) -> Delivery:
        """Adds an event; one with a cause belongs to the chain of its cause."""
        stream = contracts.stream_of(type(event))
        self._ordinals[stream] += 1
        domain = contracts.events()[stream].domain
        envelope = Recorder(domain=domain, producer=f"{domain}@test:1", clock=lambda: ms, ids=uuid7).envelope(
            event,
            context=Context(correlation_id=cause.envelope.correlation_id if cause else correlation_id),
            causation_id=cause.envelope.id if cause else "",
            ms=ms,
        )
        return Delivery(stream, ms, self._ordinals[stream], envelope, event)


async def react(domain: Domain, group_name: str, *deliveries: Delivery) -> list[bool]:
    """Hands deliveries to a group of the domain, in the order given. Returns which were new to it."""
    [group] = [group for group in domain.groups if group.name == group_name]
    reads = routes(group, domain.store.domain)
    return [await domain.store.react(group.name, delivery, reads[delivery.stream].reaction) for delivery in deliveries]


async def recorded(domain: Domain) -> list[Envelope]:
    """Returns every event that the domain recorded, oldest first."""
    rows = await domain.store.read(lambda db: db.all("SELECT envelope FROM outbox"))
    return sorted((Envelope.FromString(row["envelope"]) for row in rows), key=lambda envelope: envelope.id)
