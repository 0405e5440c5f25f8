"""One event as a consumer group receives it."""

from dataclasses import dataclass

from astra.event.v1.envelope_pb2 import Envelope
from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Delivery:
    """An entry of a stream, decoded."""

    stream: str
    ms: int
    """Milliseconds of its stream id: when it was recorded."""
    ordinal: int
    """Dense number in its stream, from 1."""
    envelope: Envelope
    event: Message
    """What `envelope.data` holds, of the type `envelope.type`."""

    @property
    def id(self) -> str:
        return f"{self.ms}-{self.ordinal}"

    @property
    def older(self) -> tuple[str, int] | None:
        """Stream and ordinal of the same event in its older version; None for an event in one version."""
        if not (place := self.envelope.older_version):
            return None
        stream, _, ordinal = place.partition("/")
        return stream, int(ordinal)
