"""What a command sees of its database: SQL, the time, and `record` for events."""

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from astra.event.v1.envelope_pb2 import Envelope
from google.protobuf.message import Message

from services import contracts
from services.runtime.clock import Clock, Ids
from services.runtime.context import Context
from services.telemetry import spans, tracing

T = TypeVar("T")


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


class Appended(NamedTuple):
    """Where an event is in the outbox."""

    event_id: str
    ordinal: int


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

    def __init__(
        self,
        connection: sqlite3.Connection,
        recorder: Recorder,
        context: Context,
        now_ms: int,
        on_commit: list[Callable[[], None]] | None = None,
    ) -> None:
        super().__init__(connection)
        self._recorder = recorder
        self.context = context
        self.now_ms = now_ms
        self.on_commit: list[Callable[[], None]] = [] if on_commit is None else on_commit
        """Called on the event loop after the commit, before the command's result is delivered."""

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms / 1000, UTC)

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Runs one statement with `?` parameters."""
        return self._connection.execute(sql, parameters)

    def execute_many(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Runs one statement for each row of `?` parameters."""
        self._connection.executemany(sql, rows)

    def part(self, work: Callable[["Tx"], T], context: Context) -> T:
        """Runs a part of the command, in a context of its own. If it raises, what it did is undone, and nothing else.

        The caller may go on after that only while the transaction `is_open`.
        """
        self._connection.execute("SAVEPOINT part")
        part = Tx(self._connection, self._recorder, context, self.now_ms)
        try:
            result = work(part)
        except Exception:
            if self.is_open:
                self._connection.execute("ROLLBACK TO part")
                self._connection.execute("RELEASE part")
            raise
        self._connection.execute("RELEASE part")
        self.on_commit += part.on_commit
        return result

    def within(self, context: Context) -> "Tx":
        """Returns the same transaction in another context."""
        return Tx(self._connection, self._recorder, context, self.now_ms, self.on_commit)

    @property
    def is_open(self) -> bool:
        """Whether the transaction still stands: SQLite gives up the whole of it on some errors, as of a full disk."""
        return self._connection.in_transaction

    def new_id(self) -> str:
        """Makes a time-ordered id."""
        return self._recorder.ids()

    def record(
        self,
        event: Message,
        *,
        cause: str | None = None,
        context: Context | None = None,
        older: Message | None = None,
    ) -> str:
        """Puts an event into the outbox and returns its id.

        Its cause is the event being reacted to, unless the id of another event is given. A `context` of its own starts
        another chain. `older` is the same event in the version before, for groups that do not read the new one yet.
        """
        context = context or self.context
        cause = context.causation_id if cause is None else cause
        stream = contracts.stream_of(type(event))
        older_version = ""
        if older is not None:
            if contracts.family_of(older_stream := contracts.stream_of(type(older))) != contracts.family_of(stream):
                raise ValueError(f"{older_stream} is no older version of {stream}")
            older_version = f"{older_stream}/{self._append(older, older_stream, context, cause).ordinal}"
        return self._append(event, stream, context, cause, older_version=older_version).event_id

    def _append(
        self, event: Message, stream: str, context: Context, cause: str, *, older_version: str = ""
    ) -> Appended:
        # The ordinal and the last ms are read here, inside the writer's turn: another process may have moved them.
        ordinal, ms = self._connection.execute(
            "INSERT INTO outbox_stream VALUES (?, 1, ?)"
            " ON CONFLICT DO UPDATE SET ordinal = ordinal + 1, ms = max(ms, excluded.ms) RETURNING ordinal, ms",
            (stream, self.now_ms),
        ).fetchone()
        span = spans.created(stream, context.traceparent)
        envelope = self._recorder.envelope(
            event, context=context, causation_id=cause, ms=ms, traceparent=span.traceparent
        )
        if tracing.on():
            spans.message(span, envelope.id, envelope.correlation_id)
            self.on_commit.append(span.end)  # what is rolled back has created nothing
        if older_version:
            envelope.older_version = older_version
        self._connection.execute(
            "INSERT INTO outbox VALUES (?, ?, ?, ?)", (stream, ordinal, ms, envelope.SerializeToString())
        )
        return Appended(envelope.id, ordinal)


def _field_text(event: Message, name: str) -> str:
    """Returns a field as text, enums by name; empty for no field."""
    if not name:
        return ""
    field = event.DESCRIPTOR.fields_by_name[name]
    value = getattr(event, name)
    if field.enum_type is not None:
        return str(field.enum_type.values_by_number[value].name)
    return str(value)
