"""What was done already: writes by request id, events by group. In the same transaction as their effect."""

import hashlib
import hmac
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message

from services.runtime.delivery import Delivery
from services.runtime.errors import AlreadyExists
from services.runtime.transaction import Reader, Tx

Reply = TypeVar("Reply", bound=Message)

REQUEST_RETENTION_MS = 24 * 3600 * 1000
"""How long a request id is remembered (AIP-155)."""


def once_per_request(
    tx: Tx,
    request: Message,
    *,
    rpc: str,
    subject: str,
    key: bytes,
    reply: type[Reply],
    work: Callable[[Tx], Reply],
) -> Reply:
    """Runs a write, unless its request id was used: then it returns the first reply and changes nothing.

    Only successes are kept. Raises `AlreadyExists` `REQUEST_ID_REUSED` for the same id with another body.
    """
    request_id: str = getattr(request, "request_id", "")
    if not request_id:
        return work(tx)
    digest = fingerprint(request, key)
    row = tx.one(
        "SELECT hash, reply FROM inbox_request WHERE rpc = ? AND subject = ? AND request_id = ? AND expire_ms > ?",
        rpc,
        subject,
        request_id,
        tx.now_ms,
    )
    if row is not None:
        if not hmac.compare_digest(row["hash"], digest):
            raise AlreadyExists(
                f"request_id {request_id!r} was used for another request; choose a new one",
                reason="REQUEST_ID_REUSED",
                request_id=request_id,
            )
        return reply.FromString(row["reply"])
    result = work(tx)
    tx.execute(
        "INSERT OR REPLACE INTO inbox_request VALUES (?, ?, ?, ?, ?, ?)",
        rpc,
        subject,
        request_id,
        digest,
        result.SerializeToString(),
        tx.now_ms + REQUEST_RETENTION_MS,
    )
    # Two out for each one in: the table stays as large as a day's writes without a sweep of its own.
    tx.execute(
        "DELETE FROM inbox_request WHERE (rpc, subject, request_id) IN"
        " (SELECT rpc, subject, request_id FROM inbox_request WHERE expire_ms <= ? LIMIT 2)",
        tx.now_ms,
    )
    return result


def fingerprint(request: Message, key: bytes) -> bytes:
    """Returns a keyed hash of a request without its request id; keyed because requests may hold passwords."""
    body = type(request)()
    body.CopyFrom(request)
    body.ClearField("request_id")
    return hmac.new(key, body.SerializeToString(deterministic=True), hashlib.sha256).digest()


def mark_applied(tx: Tx, group: str, delivery: Delivery) -> bool:
    """Notes that a group applies an event. Returns False, and notes nothing, if it has before.

    An event that the group gave up is applied when it comes again: an operator has its dead letter tried again.
    """
    stream, ordinal = delivery.stream, delivery.ordinal
    if _note(tx, group, stream, ordinal):
        return True
    again = tx.execute(
        "DELETE FROM inbox_dead WHERE consumer_group = ? AND stream = ? AND ordinal = ?", group, stream, ordinal
    )
    return again.rowcount == 1


def mark_dead(tx: Tx, group: str, stream: str, ordinal: int) -> None:
    """Notes that a group gives an event up, so that the watermark passes it."""
    if _note(tx, group, stream, ordinal):
        tx.execute("INSERT OR IGNORE INTO inbox_dead VALUES (?, ?, ?)", group, stream, ordinal)


def skip_below(tx: Tx, group: str, stream: str, ordinal: int) -> int:
    """Moves the watermark up over events that exist nowhere any more. Returns how many are lost to the group."""
    below = done_below(tx, group, stream)
    if ordinal <= below:
        return 0
    known = tx.value(
        "SELECT count(*) FROM inbox_event WHERE consumer_group = ? AND stream = ? AND ordinal < ?",
        group,
        stream,
        ordinal,
    )
    _move(tx, group, stream, ordinal - 1)
    return int(ordinal - below - known)


def done_below(db: Reader, group: str, stream: str) -> int:
    """Returns the watermark: every ordinal below it is applied or given up."""
    row = db.one("SELECT done_below FROM inbox_watermark WHERE consumer_group = ? AND stream = ?", group, stream)
    return int(row["done_below"]) if row else 1


def is_applied(db: Reader, group: str, stream: str, ordinal: int) -> bool:
    """Tells whether a group has applied an event; not so if it gave it up."""
    place = (group, stream, ordinal)
    if db.one("SELECT 1 FROM inbox_dead WHERE consumer_group = ? AND stream = ? AND ordinal = ?", *place):
        return False
    if ordinal < done_below(db, group, stream):
        return True
    return bool(db.one("SELECT 1 FROM inbox_event WHERE consumer_group = ? AND stream = ? AND ordinal = ?", *place))


def _note(tx: Tx, group: str, stream: str, ordinal: int) -> bool:
    """Notes an ordinal as done. Returns False if it is already."""
    # The next one in order, with nothing done above it, is the most frequent case by far: one statement.
    moved = tx.execute(
        "UPDATE inbox_watermark SET done_below = ?3 + 1 WHERE consumer_group = ?1 AND stream = ?2 AND done_below = ?3"
        " AND NOT EXISTS (SELECT 1 FROM inbox_event WHERE consumer_group = ?1 AND stream = ?2 AND ordinal > ?3)",
        group,
        stream,
        ordinal,
    )
    if moved.rowcount:
        return True
    below = done_below(tx, group, stream)
    if ordinal < below:
        return False
    if ordinal > below:
        added = tx.execute("INSERT OR IGNORE INTO inbox_event VALUES (?, ?, ?)", group, stream, ordinal)
        return added.rowcount == 1
    _move(tx, group, stream, ordinal)
    return True


def _move(tx: Tx, group: str, stream: str, ordinal: int) -> None:
    """Moves the watermark over an ordinal and over the run of single ones right above it."""
    end = tx.one(
        "WITH RECURSIVE run(n) AS (SELECT ?3 + 1 UNION ALL SELECT n + 1 FROM run WHERE EXISTS (SELECT 1"
        " FROM inbox_event WHERE consumer_group = ?1 AND stream = ?2 AND ordinal = n)) SELECT max(n) FROM run",
        group,
        stream,
        ordinal,
    )
    assert end is not None  # noqa: S101 - an aggregate always has a row
    tx.execute("INSERT OR REPLACE INTO inbox_watermark VALUES (?, ?, ?)", group, stream, end[0])
    tx.execute("DELETE FROM inbox_event WHERE consumer_group = ? AND stream = ? AND ordinal < ?", group, stream, end[0])
