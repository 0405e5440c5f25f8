"""Sessions: 24 hours from a sign-in, gone on with by refresh tokens that are good once each.

A refresh token is `<session id>.<rotation>.<MAC>`: that a token is an old one shows without keeping any of them.
"""

import base64
import hmac
import secrets
from dataclasses import dataclass, field
from sqlite3 import Row

from services.runtime.errors import Unauthenticated
from services.runtime.transaction import Reader, Tx

SESSION_MS = 24 * 3600 * 1000
"""How long a session lasts, from the sign-in on, however often it is refreshed."""
_LONGEST_TOKEN = 200
"""Characters; ours have about 85."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """An open session, as far as its owner is told."""

    user_id: str
    refresh_token: str = field(repr=False)
    expire_ms: int


def open_session(tx: Tx, user_id: str) -> Session:
    """Begins a session; those that have expired go in small steps, two out for each one in."""
    session_id, key, expire_ms = tx.new_id(), secrets.token_bytes(32), tx.now_ms + SESSION_MS
    tx.execute("INSERT INTO session VALUES (?, ?, ?, 1, ?, NULL)", session_id, user_id, key, expire_ms)
    tx.execute(
        "DELETE FROM session WHERE session_id IN (SELECT session_id FROM session WHERE expire_ms <= ? LIMIT 2)",
        tx.now_ms,
    )
    return Session(user_id=user_id, refresh_token=_token(session_id, 1, key), expire_ms=expire_ms)


def rotate(tx: Tx, refresh_token: str) -> Session | None:
    """Goes on with the session. None, and the session ends, if the token was used before: two have it then.

    Raises `Unauthenticated` for a token that is none, or of a session that has ended.
    """
    row, rotation = _find(tx, refresh_token)
    if row["end_ms"] is not None or row["expire_ms"] <= tx.now_ms:
        raise _ended()
    if rotation != row["rotation"]:
        _end(tx, row["session_id"])
        return None
    tx.execute("UPDATE session SET rotation = rotation + 1 WHERE session_id = ?", row["session_id"])
    token = _token(row["session_id"], rotation + 1, row["key"])
    return Session(user_id=row["user_id"], refresh_token=token, expire_ms=row["expire_ms"])


def end_session(tx: Tx, refresh_token: str) -> None:
    """Ends the session of a refresh token, old or new. Raises `Unauthenticated` for a token that is none."""
    row, _ = _find(tx, refresh_token)
    _end(tx, row["session_id"])


def end_sessions(tx: Tx, user_id: str) -> None:
    """Ends every session of a user."""
    tx.execute("UPDATE session SET end_ms = ? WHERE user_id = ? AND end_ms IS NULL", tx.now_ms, user_id)


def _end(tx: Tx, session_id: str) -> None:
    tx.execute("UPDATE session SET end_ms = ? WHERE session_id = ? AND end_ms IS NULL", tx.now_ms, session_id)


def _find(db: Reader, refresh_token: str) -> tuple[Row, int]:
    """Returns the session of a token and the token's rotation."""
    session_id, rotation, _ = [*refresh_token[:_LONGEST_TOKEN].split("."), "", ""][:3]
    row = db.one("SELECT * FROM session WHERE session_id = ?", session_id)
    # Ten digits are more rotations than a day has time for, and no more than SQL integers hold.
    if row is None or not (rotation.isascii() and rotation.isdigit() and len(rotation) <= 10):
        raise _ended()
    if not hmac.compare_digest(_token(session_id, int(rotation), row["key"]).encode(), refresh_token.encode()):
        raise _ended()
    return row, int(rotation)


def _token(session_id: str, rotation: int, key: bytes) -> str:
    mac = hmac.digest(key, f"{session_id}.{rotation}".encode(), "sha256")
    return f"{session_id}.{rotation}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def _ended() -> Unauthenticated:
    return Unauthenticated("there is no such session, or it has ended; sign in again", reason="SESSION_ENDED")
