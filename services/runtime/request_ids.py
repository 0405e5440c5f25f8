"""Writes that were done already, by request id (AIP-155): noted in the same transaction as their effect."""

import hashlib
import hmac
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message

from services.runtime.errors import AlreadyExists
from services.runtime.transaction import Tx

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
