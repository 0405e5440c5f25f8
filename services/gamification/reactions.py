"""What gamification does about events: XP and levels, achievements, and the scores of its leaderboards."""

from decimal import Decimal

from astra.gamification.v1.events_pb2 import LevelUp, XpGained, XpSource
from astra.social.v1.events_pb2 import SocialInteraction
from astra.trading.v1.events_pb2 import TradeExecuted, TradingRewardsCalculated

from bridge.groups import Group
from services.gamification import store as sql
from services.gamification.boards import Board
from services.gamification.deeds import count_deeds
from services.gamification.leaderboards import add_to_boards, mark_changed
from services.gamification.model import social_xp, trade_xp
from services.gamification.progress import gain_xp
from services.runtime.transaction import Tx


def award_trade_xp(tx: Tx, event: TradeExecuted) -> None:
    """Gives a trader the XP of a trade."""
    gain_xp(tx, event.user_id, trade_xp(Decimal(event.amount.amount)), source=XpSource.XP_SOURCE_TRADE)


def award_bonus_xp(tx: Tx, event: TradingRewardsCalculated) -> None:
    """Gives a trader the bonus of a profitable close, if there is any."""
    if event.bonus_xp > 0:
        gain_xp(tx, event.user_id, event.bonus_xp, source=XpSource.XP_SOURCE_TRADING_REWARD)


def award_social_xp(tx: Tx, event: SocialInteraction) -> None:
    """Gives the target of another user's interaction its XP; trade shares have none."""
    xp = social_xp(event.kind, user_id=event.user_id, target_user_id=event.target_user_id)
    if xp > 0:
        gain_xp(tx, event.target_user_id, xp, source=XpSource.XP_SOURCE_SOCIAL)


def score_xp(tx: Tx, event: XpGained) -> None:
    """Adds XP to a user's scores, by the time it was earned."""
    delivery = tx.context.delivery
    if delivery is None:
        raise RuntimeError("scores are added by a reaction alone: the event's time and ordinal count")
    add_to_boards(tx, event.user_id, xp=event.xp, at_ms=delivery.ms, ordinal=delivery.ordinal)
    show_level(tx, event.user_id, event.level)


def raise_shown_level(tx: Tx, event: LevelUp) -> None:
    """Shows a new level on the boards."""
    show_level(tx, event.user_id, event.new_level)


def show_level(tx: Tx, user_id: str, level: int) -> None:
    """Shows a level beside a user's scores, unless a higher one is shown: events may come in any order."""
    if sql.raise_level(tx, user_id, level):
        for board in Board:
            mark_changed(tx, board)


GROUPS = (
    Group(
        name="gamification_xp_processors",
        consumers=2,
        reactions={
            TradeExecuted: award_trade_xp,
            TradingRewardsCalculated: award_bonus_xp,
            SocialInteraction: award_social_xp,
        },
    ),
    Group(
        name="leaderboard_updaters",
        consumers=1,
        reactions={XpGained: score_xp, LevelUp: raise_shown_level},
    ),
    Group(name="achievement_processors", consumers=1, reactions={"*": count_deeds}),
)
