"""Achieving: counts what users do, and unlocks what that reaches. Counts only rise, so no order of events matters."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from astra.gamification.v1.achievement_pb2 import Achievement as AchievementMessage
from astra.gamification.v1.events_pb2 import AchievementUnlocked, XpSource
from astra.social.v1.events_pb2 import SocialInteraction
from astra.trading.v1.events_pb2 import PositionClosed, TradeExecuted
from google.protobuf.message import Message

from services.gamification import shards
from services.gamification.achievements import (
    ACHIEVEMENTS,
    Achievement,
    Deed,
    close_deeds,
    interaction_deeds,
    reached_by,
    trade_deeds,
)
from services.gamification.progress import gain_xp
from services.runtime.transaction import Reader, Tx

ISSUER = "issuer:achievements"
"""The account that shards of achievements come from."""

COUNTED: Mapping[type[Message], Callable[[Any], Iterable[Deed]]] = {
    TradeExecuted: lambda event: trade_deeds(Decimal(event.amount.amount)),
    PositionClosed: lambda event: close_deeds(Decimal(event.pnl.amount)),
    SocialInteraction: lambda event: interaction_deeds(event.kind),
}
"""What the events of other domains count as, for their `user_id`; events that are not here count as nothing."""


def count_deeds(tx: Tx, event: Any) -> None:
    """Counts what an event tells of its user, and unlocks what that reaches."""
    deeds_of = COUNTED.get(type(event))
    for deed in deeds_of(event) if deeds_of else ():
        times = tx.value(
            "INSERT INTO deed VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times",
            event.user_id,
            deed,
        )
        for achievement in reached_by(deed, times):
            _unlock(tx, event.user_id, achievement)


def list_achievements(db: Reader, user_id: str) -> list[AchievementMessage]:
    """Returns every achievement with what a user has of it, as callers see it."""
    done = db.all("SELECT deed, times FROM deed WHERE user_id = ?", user_id)
    times = {row["deed"]: row["times"] for row in done}
    rows = db.all("SELECT achievement_id, unlock_ms FROM unlocked WHERE user_id = ?", user_id)
    unlocked = {row["achievement_id"]: row["unlock_ms"] for row in rows}
    return [_message(each, times.get(each.deed, 0), unlocked.get(each.achievement_id)) for each in ACHIEVEMENTS]


def _unlock(tx: Tx, user_id: str, achievement: Achievement) -> None:
    """Unlocks an achievement and gives what it brings, unless the user has it."""
    if not tx.execute(
        "INSERT OR IGNORE INTO unlocked VALUES (?, ?, ?)", user_id, achievement.achievement_id, tx.now_ms
    ).rowcount:
        return
    unlocked = tx.record(
        AchievementUnlocked(
            user_id=user_id,
            achievement_id=achievement.achievement_id,
            display_name=achievement.display_name,
            rarity=achievement.rarity,
            xp=achievement.xp,
            shards=achievement.shards,
        )
    )
    gain_xp(tx, user_id, achievement.xp, source=XpSource.XP_SOURCE_ACHIEVEMENT, cause=unlocked)
    shards.transfer(
        tx,
        transfer_id=f"{ISSUER}/{user_id}/{achievement.achievement_id}",
        source=ISSUER,
        target=user_id,
        amount=achievement.shards,
        purpose=f"achievement {achievement.achievement_id}",
    )


def _message(achievement: Achievement, times: int, unlock_ms: int | None) -> AchievementMessage:
    message = AchievementMessage(
        achievement_id=achievement.achievement_id,
        display_name=achievement.display_name,
        description=achievement.description,
        rarity=achievement.rarity,
        xp=achievement.xp,
        shards=achievement.shards,
        goal=achievement.goal,
        progress=min(times, achievement.goal),
    )
    if unlock_ms is not None:
        message.unlock_time.FromMilliseconds(unlock_ms)
    return message
