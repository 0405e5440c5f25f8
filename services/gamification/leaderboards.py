"""Live leaderboards: scores by event, and LeaderboardUpdated by timer, at most once a second a board."""

import hashlib
from collections.abc import Mapping

from astra.gamification.v1.events_pb2 import LeaderboardUpdated
from astra.gamification.v1.leaderboard_pb2 import Board as BoardProto

from services.gamification import store as sql
from services.gamification.boards import Board, period_end_ms, period_start_ms
from services.runtime.context import Context
from services.runtime.timers import Timer, set_timer
from services.runtime.transaction import Tx

TOP = 100
"""How many ranks LeaderboardUpdated tells of."""
PUBLISH_EVERY_MS = 1000
DELETED_AT_ONCE = 1000
"""Scores of past periods deleted in one transaction, so that nobody waits long for the writer."""

_PUBLISH = "publish_leaderboard"
_END_PERIOD = "end_leaderboard_period"


def add_to_boards(tx: Tx, user_id: str, *, xp: int, at_ms: int, ordinal: int) -> None:
    """Adds XP to a user's score on every board, in the periods of the moment it was earned.

    `ordinal` is the place among all gains; of equal scores the one with the lowest was reached first.
    """
    for board in Board:
        sql.add_score(tx, board, period_start_ms(board, at_ms), user_id, xp=xp, ordinal=ordinal)
        _await_period_end(tx, board)
        mark_changed(tx, board)


def mark_changed(tx: Tx, board: Board) -> None:
    """Has the board compared with what was published last: now, or a second after that. Watchers look at once."""
    sql.bump_version(tx, board)
    last = tx.value("SELECT publish_ms FROM board_published WHERE board = ?", board)
    due_ms = tx.now_ms if last is None else last + PUBLISH_EVERY_MS
    # The upper bound is for a clock that was set back: nobody waits longer than the interval.
    set_timer(tx, _PUBLISH, board.name, min(max(due_ms, tx.now_ms), tx.now_ms + PUBLISH_EVERY_MS))


def publish_leaderboard(tx: Tx, key: str) -> None:
    """Records LeaderboardUpdated, the first of a chain of its own, if the top 100 is not the one published last."""
    board = Board[key]
    scores = sql.list_scores(tx, board, period_start_ms(board, tx.now_ms), limit=TOP)
    event = LeaderboardUpdated(board=BoardProto.Name(board), ranks=sql.rank_messages(tx, scores))
    digest = hashlib.sha256(event.SerializeToString(deterministic=True)).digest()
    published = tx.value("SELECT digest FROM board_published WHERE board = ?", board)
    if digest == published or (published is None and not scores):
        return
    tx.execute("INSERT OR REPLACE INTO board_published VALUES (?, ?, ?)", board, digest, tx.now_ms)
    tx.record(event, context=Context(correlation_id=tx.new_id()))


def end_period(tx: Tx, key: str) -> None:
    """Empties a board whose period is over. The last period stays for readers who are paging through it."""
    board = Board[key]
    kept_from_ms = period_start_ms(board, period_start_ms(board, tx.now_ms) - 1)
    deleted = sql.delete_scores(tx, board, before_ms=kept_from_ms, limit=DELETED_AT_ONCE)
    mark_changed(tx, board)
    if deleted == DELETED_AT_ONCE:
        set_timer(tx, _END_PERIOD, key, tx.now_ms)
    elif sql.has_scores(tx, board):
        _await_period_end(tx, board)


TIMERS: Mapping[str, Timer] = {_PUBLISH: publish_leaderboard, _END_PERIOD: end_period}


def _await_period_end(tx: Tx, board: Board) -> None:
    end_ms = period_end_ms(board, tx.now_ms)
    if end_ms is not None:
        set_timer(tx, _END_PERIOD, board.name, end_ms)
