"""Notifications in SQL: kept for a while and in a bounded number, so that no user's inbox grows for ever."""

from collections.abc import Sequence
from sqlite3 import Row

from astra.user.v1.notification_pb2 import Notification
from astra.user.v1.notification_pb2 import NotificationKind as KindProto

from services.runtime.transaction import Reader, Tx
from services.user.model import NotificationKind
from services.user.notices import Notice

KEPT = 200
"""Notifications of one user."""
RETENTION_MS = 30 * 24 * 3600 * 1000
PAGE = 100
"""Notifications a stream reads at once."""


def add(tx: Tx, notice: Notice, *, event_type: str, subject: str) -> None:
    """Adds a notification; the oldest of the user, and what is past its time, go."""
    tx.execute(
        "INSERT INTO notification (notification_id, user_id, kind, title, text, event_type, subject, correlation_id,"
        " create_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        tx.new_id(),
        notice.user_id,
        notice.kind,
        notice.title,
        notice.text,
        event_type,
        subject,
        tx.context.correlation_id,
        tx.now_ms,
    )
    tx.execute(
        "DELETE FROM notification WHERE user_id = ?1 AND number <="
        " (SELECT number FROM notification WHERE user_id = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        notice.user_id,
        KEPT,
    )
    # Two out for each one in: what is past its time goes without a sweep of its own.
    tx.execute(
        "DELETE FROM notification WHERE create_ms < ? AND number IN"
        " (SELECT number FROM notification ORDER BY number LIMIT 2)",
        tx.now_ms - RETENTION_MS,
    )


def newest(db: Reader, user_id: str, kinds: Sequence[NotificationKind], *, before: int | None, limit: int) -> list[Row]:
    """Returns a user's notifications of these kinds, or of all, newest first, before the one with a number."""
    chosen = f"AND kind IN ({', '.join('?' * len(kinds))})" if kinds else ""
    return db.all(
        f"SELECT * FROM notification WHERE user_id = ?1 AND (?2 IS NULL OR number < ?2) {chosen}"  # noqa: S608
        f" ORDER BY number DESC LIMIT {limit}",
        user_id,
        before,
        *kinds,
    )


def after(db: Reader, user_id: str, number: int) -> list[tuple[int, Notification]]:
    """Returns the next notifications of a user after a number, oldest first."""
    rows = db.all(
        "SELECT * FROM notification WHERE user_id = ? AND number > ? ORDER BY number LIMIT ?", user_id, number, PAGE
    )
    return [(row["number"], message(row)) for row in rows]


def last_number(db: Reader) -> int:
    """Returns the number of the last notification of anyone; 0 before the first."""
    return int(db.value("SELECT seq FROM sqlite_sequence WHERE name = 'notification'") or 0)


def message(row: Row) -> Notification:
    """Returns a notification as its user sees it."""
    notification = Notification(
        notification_id=row["notification_id"],
        user_id=row["user_id"],
        kind=KindProto.Name(row["kind"]),
        title=row["title"],
        text=row["text"],
        event_type=row["event_type"],
        subject=row["subject"],
        correlation_id=row["correlation_id"],
    )
    notification.create_time.FromMilliseconds(row["create_ms"])
    return notification
