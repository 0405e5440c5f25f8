"""Earning XP: what it adds up to, and the events that tell of it."""

from astra.gamification.v1.events_pb2 import LevelUp, XpGained, XpSource

from services.gamification import store as sql
from services.gamification.model import level_of
from services.runtime.transaction import Tx


def gain_xp(tx: Tx, user_id: str, xp: int, *, source: XpSource) -> None:
    """Adds XP > 0 and records XpGained; a rise over one or several levels is one LevelUp, caused by it."""
    old_total = sql.load_total_xp(tx, user_id)
    total_xp = old_total + xp
    old_level, level = level_of(old_total), level_of(total_xp)
    sql.save_total_xp(tx, user_id, total_xp)
    gained = tx.record(XpGained(user_id=user_id, xp=xp, total_xp=total_xp, source=source, level=level))
    if level > old_level:
        tx.record(LevelUp(user_id=user_id, old_level=old_level, new_level=level, total_xp=total_xp), cause=gained)
