"""Progressions and leaderboards in SQL."""

from collections.abc import Sequence
from sqlite3 import Row

from astra.gamification.v1.leaderboard_pb2 import Rank
from astra.gamification.v1.progression_pb2 import Progression

from services.gamification.boards import Board, shared_ranks
from services.gamification.model import level_of, xp_to_next_level
from services.gamification.streaks import day_of, shown_streak
from services.runtime.errors import NotFound
from services.runtime.transaction import Reader, Tx

BEFORE_ALL = (2**63 - 1, -1)
"""The (xp, reached) that every score comes after."""


def load_total_xp(db: Reader, user_id: str) -> int:
    """Returns all XP of a user; 0 for one who has earned nothing yet."""
    return db.value("SELECT total_xp FROM progression WHERE user_id = ?", user_id) or 0


def save_total_xp(tx: Tx, user_id: str, total_xp: int) -> None:
    tx.execute("INSERT OR REPLACE INTO progression VALUES (?, ?)", user_id, total_xp)


NEVER = -2
"""The last day of a user who has never checked in: no day follows it."""


def load_streak(db: Reader, user_id: str) -> tuple[int, int]:
    """Returns a user's streak in days and the day of the last check-in."""
    row = db.one("SELECT days, last_day FROM streak WHERE user_id = ?", user_id)
    return (row["days"], row["last_day"]) if row else (0, NEVER)


def save_streak(tx: Tx, user_id: str, days: int, day: int) -> None:
    tx.execute("INSERT OR REPLACE INTO streak VALUES (?, ?, ?)", user_id, days, day)


def progression_message(db: Reader, user_id: str, *, at_ms: int) -> Progression:
    """Returns a progression as callers see it at a moment."""
    total_xp = load_total_xp(db, user_id)
    return Progression(
        user_id=user_id,
        total_xp=total_xp,
        level=level_of(total_xp),
        xp_to_next_level=xp_to_next_level(total_xp),
        streak_days=shown_streak(*load_streak(db, user_id), day_of(at_ms)),
    )


def add_score(tx: Tx, board: Board, period_ms: int, user_id: str, *, xp: int, ordinal: int) -> None:
    """Adds the XP of one event to a score. The order of events does not matter."""
    tx.execute(
        "INSERT INTO board_score VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET xp = xp + excluded.xp, reached = max(reached, excluded.reached)",
        board,
        period_ms,
        user_id,
        xp,
        ordinal,
    )


def raise_level(tx: Tx, user_id: str, level: int) -> bool:
    """Keeps the highest level seen of a user. Returns whether it rose."""
    return (
        tx.execute(
            "INSERT INTO board_level VALUES (?, ?) ON CONFLICT DO UPDATE SET level = excluded.level"
            " WHERE excluded.level > level",
            user_id,
            level,
        ).rowcount
        == 1
    )


def list_scores(
    db: Reader, board: Board, period_ms: int, *, after: tuple[int, int] = BEFORE_ALL, limit: int
) -> list[Row]:
    """Returns scores best first, of equal ones the first reached first; those after the one of (xp, reached)."""
    xp, reached = after
    return db.all(
        "SELECT board_score.*, coalesce(level, 1) AS level FROM board_score LEFT JOIN board_level USING (user_id)"
        " WHERE board = ? AND period_ms = ? AND xp <= ? AND (xp < ? OR reached > ?)"
        " ORDER BY xp DESC, reached LIMIT ?",
        board,
        period_ms,
        xp,
        xp,
        reached,
        limit,
    )


def rank_messages(db: Reader, scores: Sequence[Row]) -> list[Rank]:
    """Returns scores that follow each other on a board, with their ranks as callers see them."""
    if not scores:
        return []
    better = _count_better(db, scores[0])
    tied_before = db.value(
        "SELECT count(*) FROM board_score WHERE board = ? AND period_ms = ? AND xp = ? AND reached < ?",
        *(scores[0][name] for name in ("board", "period_ms", "xp", "reached")),
    )
    ranks = shared_ranks([row["xp"] for row in scores], before=better + tied_before, better=better)
    return [
        Rank(user_id=row["user_id"], rank=rank, xp=row["xp"], level=row["level"])
        for row, rank in zip(scores, ranks, strict=True)
    ]


def rank_of(db: Reader, board: Board, period_ms: int, user_id: str) -> Rank:
    """Returns a user's rank. Raises `NotFound` `NOT_RANKED` if the user is not on the board."""
    row = db.one(
        "SELECT board_score.*, coalesce(level, 1) AS level FROM board_score LEFT JOIN board_level USING (user_id)"
        " WHERE board = ? AND period_ms = ? AND user_id = ?",
        board,
        period_ms,
        user_id,
    )
    if row is None:
        raise NotFound(
            f"user {user_id} has earned no XP in the period of this board yet",
            reason="NOT_RANKED",
            user_id=user_id,
            board=board.name,
        )
    return Rank(user_id=user_id, rank=_count_better(db, row) + 1, xp=row["xp"], level=row["level"])


def delete_scores(tx: Tx, board: Board, *, before_ms: int, limit: int) -> int:
    """Deletes scores of periods that began before a moment, at most `limit`. Returns how many."""
    return tx.execute(
        "DELETE FROM board_score WHERE (board, period_ms, user_id) IN (SELECT board, period_ms, user_id"
        " FROM board_score WHERE board = ? AND period_ms < ? LIMIT ?)",
        board,
        before_ms,
        limit,
    ).rowcount


def has_scores(db: Reader, board: Board) -> bool:
    return db.one("SELECT 1 FROM board_score WHERE board = ? LIMIT 1", board) is not None


def bump_version(tx: Tx, board: Board) -> None:
    """Tells watchers to look at a board again."""
    tx.execute("INSERT INTO board_change VALUES (?, 1) ON CONFLICT DO UPDATE SET version = version + 1", board)


def load_version(db: Reader, board: Board) -> int:
    """Returns how often a board may have changed so far."""
    return db.value("SELECT version FROM board_change WHERE board = ?", board) or 0


def _count_better(db: Reader, score: Row) -> int:
    """Counts the users with more XP on the same board."""
    return int(
        db.value(
            "SELECT count(*) FROM board_score WHERE board = ? AND period_ms = ? AND xp > ?",
            *(score[name] for name in ("board", "period_ms", "xp")),
        )
    )
