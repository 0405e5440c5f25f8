"""Shows what is in an entry, whatever is in it."""

from astra.bridge.v1.bus_pb2 import BusEvent
from google.protobuf import json_format

from bridge.entries import BadEntry, Entry, decode
from services import contracts


def decoded(stream: str, id_: str, envelope: bytes, *, with_data: bool = True) -> BusEvent:
    """Returns an entry decoded; of one that cannot be, its place and why."""
    try:
        delivery = decode(Entry(stream, id_, envelope, 1), contracts.events()[stream])
    except BadEntry as error:
        return BusEvent(stream=stream, id=id_, problem=str(error))
    found = delivery.envelope
    event = BusEvent(
        stream=stream,
        id=id_,
        event_id=found.id,
        type=found.type,
        subject=found.subject,
        time=found.time,
        correlation_id=found.correlation_id,
        causation_id=found.causation_id,
        user_id=found.user_id,
        producer=found.producer,
    )
    if with_data:
        event.data.update(json_format.MessageToDict(delivery.event))
    return event
