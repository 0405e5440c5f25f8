"""The audit trail in SQL: appended to, listed, and read in pages to be checked."""

import hashlib
from sqlite3 import Row

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


def list_entries(db: Reader, *, after: int, limit: int) -> list[Row]:
    """Returns entries oldest first, after the one with the number `after`."""
    return db.all("SELECT * FROM audit_entry WHERE number > ? ORDER BY number LIMIT ?", after, limit)


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
    )
    entry.time.FromMilliseconds(row["ms"])
    return entry
