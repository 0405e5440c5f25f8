"""The audit trail in SQL: appended to, listed, and read in pages to be checked."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from sqlite3 import Row
from typing import Any

from astra.analytics.v1.audit_pb2 import AuditEntry

from services.analytics.chain import FIELDS, START, Link, Walk, next_hash, walk
from services.runtime.delivery import Delivery
from services.runtime.transaction import Reader, Tx

_INSERT = f"INSERT INTO audit_entry ({', '.join(FIELDS)}, hash) VALUES ({', '.join('?' * (len(FIELDS) + 1))})"  # noqa: S608
# As bytes: a tampered row may hold what its column's type does not.
_AS_BYTES = ", ".join(f"CAST({field} AS BLOB)" for field in FIELDS)
_PAGE = f"SELECT number, CAST(hash AS BLOB), {_AS_BYTES} FROM audit_entry WHERE number > ? ORDER BY number LIMIT ?"  # noqa: S608


def append(tx: Tx, delivery: Delivery) -> None:
    """Appends an event as the next entry; nothing if it is there."""
    envelope = delivery.envelope
    if tx.one("SELECT 1 FROM audit_entry WHERE event_id = ?", envelope.id) is not None:
        return
    last = head(tx)
    fields = (
        last.number + 1,
        envelope.id,
        envelope.type,
        delivery.stream,
        delivery.id,
        envelope.user_id,
        envelope.subject,
        envelope.correlation_id,
        envelope.causation_id,
        envelope.time.ToMilliseconds(),
        hashlib.sha256(envelope.data).digest(),
    )
    tx.execute(_INSERT, *fields, next_hash(last.hash, fields))


def head(db: Reader) -> Link:
    """Returns the last entry as it was appended."""
    row = db.one("SELECT number, hash FROM audit_head")
    return Link(row["number"], row["hash"]) if row else START


def last_number(db: Reader) -> int:
    """Returns the number of the last entry that is there; 0 if there is none."""
    return int(db.value("SELECT coalesce(max(number), 0) FROM audit_entry"))


def walk_page(db: Reader, *, after: Link, limit: int) -> Walk:
    """Checks the entries that stand after a link, at most `limit`. None being there is a break, too."""
    page = walk(after, ((row[0], tuple(row)[2:], row[1]) for row in db.all(_PAGE, after.number, limit)))
    return page if page.walked else Walk(after, 0, after.number + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which entries are asked for; what is empty lets all through."""

    user_id: str = ""
    streams: Sequence[str] = ()
    subject: str = ""
    correlation_id: str = ""
    start_ms: int | None = None
    end_ms: int | None = None

    def conditions(self) -> list[tuple[str, Sequence[Any]]]:
        """Returns each condition in SQL with its parameters."""
        every: list[tuple[str, Sequence[Any], bool]] = [
            ("user_id = ?", (self.user_id,), bool(self.user_id)),
            (f"stream IN ({', '.join('?' * len(self.streams))})", self.streams, bool(self.streams)),
            ("subject = ?", (self.subject,), bool(self.subject)),
            ("correlation_id = ?", (self.correlation_id,), bool(self.correlation_id)),
            ("ms >= ?", (self.start_ms,), self.start_ms is not None),
            ("ms < ?", (self.end_ms,), self.end_ms is not None),
        ]
        return [(condition, parameters) for condition, parameters, asked in every if asked]


def list_entries(db: Reader, chosen: Filter, *, after: int, limit: int) -> list[Row]:
    """Returns entries oldest first, after the one with the number `after`."""
    asked = [("number > ?", (after,)), *chosen.conditions()]
    where = " AND ".join(condition for condition, _ in asked)
    parameters = [parameter for _, given in asked for parameter in given]
    return db.all(f"SELECT * FROM audit_entry WHERE {where} ORDER BY number LIMIT ?", *parameters, limit)  # noqa: S608


def entry_message(row: Row) -> AuditEntry:
    """Returns an entry as callers see it."""
    entry = AuditEntry(
        number=row["number"],
        event_id=row["event_id"],
        stream=row["stream"],
        user_id=row["user_id"],
        subject=row["subject"],
        correlation_id=row["correlation_id"],
        hash=row["hash"].hex(),
        stream_id=row["stream_id"],
        type=row["type"],
        causation_id=row["causation_id"],
        data_hash=row["data_hash"].hex(),
    )
    entry.time.FromMilliseconds(row["ms"])
    return entry
