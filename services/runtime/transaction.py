"""What a command sees of its database: SQL, the time, and `record` for events."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from astra.event.v1.envelope_pb2 import Envelope
from google.protobuf.message import Message

from services import contracts
from services.runtime.clock import Clock, Ids
from services.runtime.context import Context
from services.telemetry import spans, tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Turns events into outbox rows of one domain."""

    domain: str
    producer: str
    clock: Clock
    ids: Ids

    def envelope(
        self, event: Message, *, context: Context, causation_id: str, ms: int, traceparent: str = ""
    ) -> Envelope:
        """Wraps an event. `traceparent` is the context of its creation, else that of the call or reaction.

        Raises `ValueError` for a message that is no event of this domain.
        """
        kind = contracts.events().get(stream := contracts.stream_of(type(event)))
        if kind is None or kind.domain != self.domain:
            raise ValueError(f"{event.DESCRIPTOR.full_name} is not an event of {self.domain}: {stream}")
        envelope = Envelope(
            id=self.ids(),
            source=self.domain,
            type=kind.full_name,
            subject=_field_text(event, kind.subject_field),
            dataschema=event.DESCRIPTOR.file.name,
            correlation_id=context.correlation_id,
            causation_id=causation_id,
            traceparent=traceparent or context.traceparent,
            producer=self.producer,
            user_id=_field_text(event, kind.user_field),
            data=event.SerializeToString(deterministic=True),
        )
        envelope.time.FromMilliseconds(ms)
        return envelope


class Reader:
    """Reads a database, in one snapshot."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def one(self, sql: str, *parameters: Any) -> sqlite3.Row | None:
        """Returns the first row, or None."""
        row: sqlite3.Row | None = self._connection.execute(sql, parameters).fetchone()
        return row

    def all(self, sql: str, *parameters: Any) -> list[sqlite3.Row]:
        """Returns all rows."""
        return self._connection.execute(sql, parameters).fetchall()

    def value(self, sql: str, *parameters: Any) -> Any:
        """Returns the first column of the first row, or None."""
        row = self._connection.execute(sql, parameters).fetchone()
        return None if row is None else row[0]


class Tx(Reader):
    """One command's part of a transaction. Commands do no I/O beside it and may be run again."""

    __slots__ = ("_recorder", "context", "now_ms", "on_commit")

    def __init__(self, connection: sqlite3.Connection, recorder: Recorder, context: Context, now_ms: int) -> None:
        super().__init__(connection)
        self._recorder = recorder
        self.context = context
        self.now_ms = now_ms
        self.on_commit: list[Callable[[], None]] = []
        """Called on the event loop after the commit, before the command's result is delivered."""

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms / 1000, UTC)

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Runs one statement with `?` parameters."""
        return self._connection.execute(sql, parameters)

    def new_id(self) -> str:
        """Makes a time-ordered id."""
        return self._recorder.ids()

    def record(self, event: Message, *, cause: str | None = None, context: Context | None = None) -> str:
        """Puts an event into the outbox and returns its id.

        Its cause is the event being reacted to, unless the id of another event is given. A `context` of its own starts
        another chain.
        """
        context = context or self.context
        stream = contracts.stream_of(type(event))
        # The ordinal and the last ms are read here, inside the writer's turn: another process may have moved them.
        ordinal, ms = self._connection.execute(
            "INSERT INTO outbox_stream VALUES (?, 1, ?)"
            " ON CONFLICT DO UPDATE SET ordinal = ordinal + 1, ms = max(ms, excluded.ms) RETURNING ordinal, ms",
            (stream, self.now_ms),
        ).fetchone()
        span = spans.created(stream, context.traceparent)
        envelope = self._recorder.envelope(
            event,
            context=context,
            causation_id=context.causation_id if cause is None else cause,
            ms=ms,
            traceparent=span.traceparent,
        )
        if tracing.on():
            spans.message(span, envelope.id, envelope.correlation_id)
            self.on_commit.append(span.end)  # what is rolled back has created nothing
        self._connection.execute(
            "INSERT INTO outbox VALUES (?, ?, ?, ?)", (stream, ordinal, ms, envelope.SerializeToString())
        )
        return envelope.id


def _field_text(event: Message, name: str) -> str:
    """Returns a field as text, enums by name; empty for no field."""
    if not name:
        return ""
    field = event.DESCRIPTOR.fields_by_name[name]
    value = getattr(event, name)
    if field.enum_type is not None:
        return str(field.enum_type.values_by_number[value].name)
    return str(value)
