"""An entry of a stream as a consumer gets it, what is in it, and which failures pass by themselves."""

import sqlite3
from dataclasses import dataclass

import grpc
from astra.event.v1.envelope_pb2 import Envelope
from google.protobuf.message import DecodeError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.contracts import EventType
from services.runtime.delivery import Delivery
from services.runtime.errors import DeadlineExceeded, Unavailable


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry in hand."""

    stream: str
    id: str
    envelope: bytes
    deliveries: int
    """How often it has been handed to a consumer, this time included."""


class BadEntry(Exception):
    """An entry that is no event of its stream: somebody else wrote it, or its schema is newer than this process."""


def decode(entry: Entry, kind: EventType) -> Delivery:
    """Returns what the entry holds. Raises `BadEntry`."""
    try:
        envelope = Envelope.FromString(entry.envelope)
        event = kind.message.FromString(envelope.data)
    except DecodeError as error:
        raise BadEntry(f"{entry.stream} {entry.id} is no {kind.full_name}: {error}") from error
    if envelope.type != kind.full_name:
        raise BadEntry(f"{entry.stream} {entry.id} is of type {envelope.type!r}, not {kind.full_name}")
    ms, _, ordinal = entry.id.partition("-")
    return Delivery(entry.stream, int(ms), int(ordinal), envelope, event)


def dead_letters_of(stream: str, group: str) -> str:
    """Returns the stream of a group's dead letters; the braces keep it in the slot of the stream itself."""
    return f"{{{stream}}}.dlq.{group}"


_PASSING_CODES = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
_PASSING_SQLITE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
}


def is_transient(error: Exception) -> bool:
    """Tells whether an error lies in the surroundings: the same entry may succeed later, and no entry is to blame."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING_SQLITE
    if isinstance(error, grpc.RpcError):
        return error.code() in _PASSING_CODES
    return isinstance(error, Unavailable | DeadlineExceeded | OSError | RedisConnectionError | RedisTimeoutError)
