"""The rules of leaderboards: which period a moment belongs to, and which rank a score has."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum

DAY_MS = 24 * 3600 * 1000
_EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""


class Board(IntEnum):
    """As `astra.gamification.v1.Board`."""

    ALL_TIME = 1
    MONTHLY = 2
    WEEKLY = 3
    DAILY = 4


def period_start_ms(board: Board, at_ms: int) -> int:
    """Returns when the period of a moment began, UTC; weeks begin on Monday, the all-time one at 0."""
    day = at_ms // DAY_MS
    match board:
        case Board.ALL_TIME:
            return 0
        case Board.MONTHLY:
            return (day - datetime.fromtimestamp(day * DAY_MS / 1000, UTC).day + 1) * DAY_MS
        case Board.WEEKLY:
            return (day - (day + _EPOCH_WEEKDAY) % 7) * DAY_MS
        case Board.DAILY:
            return day * DAY_MS


def period_end_ms(board: Board, at_ms: int) -> int | None:
    """Returns when the period of a moment ends, the first ms of the next one; None if it never does."""
    start = period_start_ms(board, at_ms)
    match board:
        case Board.ALL_TIME:
            return None
        case Board.MONTHLY:
            return period_start_ms(board, start + 31 * DAY_MS)
        case Board.WEEKLY:
            return start + 7 * DAY_MS
        case Board.DAILY:
            return start + DAY_MS


def shared_ranks(scores: Sequence[int], *, before: int, better: int) -> list[int]:
    """Returns the ranks of scores that follow each other: equal ones share a rank, the next counts them all (1, 1, 3).

    `before` users stand before the first of them, `better` of these with a higher score.
    """
    ranks: list[int] = []
    for at, score in enumerate(scores):
        if at == 0:
            ranks.append(better + 1)
        elif score == scores[at - 1]:
            ranks.append(ranks[-1])
        else:
            ranks.append(before + at + 1)
    return ranks
