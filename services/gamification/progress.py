"""Earning XP: what it adds up to, and the events that tell of it."""

from astra.gamification.v1.events_pb2 import LevelUp, StreakUpdated, XpGained, XpSource

from services.gamification import store as sql
from services.gamification.model import level_of
from services.gamification.streaks import check_in_xp, day_of, next_streak
from services.runtime.transaction import Tx


def gain_xp(tx: Tx, user_id: str, xp: int, *, source: XpSource, cause: str | None = None) -> None:
    """Adds XP > 0 and records XpGained; a rise over one or several levels is one LevelUp, caused by it.

    The cause is the event being reacted to, unless the id of another event is given.
    """
    old_total = sql.load_total_xp(tx, user_id)
    total_xp = old_total + xp
    old_level, level = level_of(old_total), level_of(total_xp)
    sql.save_total_xp(tx, user_id, total_xp)
    gained = tx.record(XpGained(user_id=user_id, xp=xp, total_xp=total_xp, source=source, level=level), cause=cause)
    if level > old_level:
        tx.record(LevelUp(user_id=user_id, old_level=old_level, new_level=level, total_xp=total_xp), cause=gained)


def check_in(tx: Tx, user_id: str) -> tuple[int, int]:
    """Notes that a user was there today. Returns the streak in days and the XP of it, 0 for a second time."""
    today = day_of(tx.now_ms)
    days, last_day = sql.load_streak(tx, user_id)
    streak = next_streak(days, last_day, today)
    if streak is None:
        return days, 0
    sql.save_streak(tx, user_id, streak, today)
    updated = tx.record(StreakUpdated(user_id=user_id, days=streak))
    xp = check_in_xp(streak)
    gain_xp(tx, user_id, xp, source=XpSource.XP_SOURCE_CHECK_IN, cause=updated)
    return streak, xp
