"""What the stories expect: every event of a trade's chain, its cause and its values, by the table of the domain."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from astra.financial.v1 import events_pb2 as financial
from astra.financial.v1.revenue_pb2 import RevenueMode, RevenueStream
from astra.gamification.v1 import events_pb2 as gamification
from astra.nft.v1 import events_pb2 as nft
from astra.nft.v1.nft_pb2 import Rarity, RewardKind
from astra.social.v1 import events_pb2 as social
from astra.social.v1.feed_pb2 import FeedEntryKind
from astra.social.v1.interaction_pb2 import InteractionKind
from astra.trading.v1 import events_pb2 as trading
from astra.trading.v1.trade_pb2 import Direction, TradingMode
from astra.type.v1.money_pb2 import Money
from astra.user.v1 import events_pb2 as user
from google.protobuf.message import Message

FUNDS_USD = Decimal(200_000)
"""Practice money of each user before its trade: no trade of the stories is then large enough for a risk alert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """One event of a chain. Its name is the event's, with what tells two of a kind apart: `ProfileUpdated title`."""

    name: str
    event: type[Message]
    cause: str = ""
    """Name of the event it must name as its cause; empty at the root of a chain."""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One user and its one trade."""

    player: str
    symbol: str
    amount_usd: Decimal
    xp_before: int

    @property
    def xp(self) -> int:
        return max(10, int(self.amount_usd // 100))

    @property
    def fee_usd(self) -> Decimal:
        return self.amount_usd / 1000


def level(xp: int) -> int:
    """Returns the level at this many XP."""
    return xp // 1000 + 1


STORY_1 = (Act(player="starter", symbol="STRK", amount_usd=Decimal(1500), xp_before=0),)
STORY_2 = (Act(player="climber", symbol="ETH", amount_usd=Decimal(5000), xp_before=14_950),)
STORY_3 = (
    Act(player="ada", symbol="STRK", amount_usd=Decimal(1000), xp_before=0),
    Act(player="bob", symbol="ETH", amount_usd=Decimal(5000), xp_before=14_950),
    Act(player="cleo", symbol="BTC", amount_usd=Decimal(2500), xp_before=1_990),
    Act(player="dan", symbol="ADA", amount_usd=Decimal(3500), xp_before=9_970),
)


def expected_of_trade(act: Act) -> list[Expected]:
    """Returns the chain that this trade must set off: nothing less, nothing more."""
    user_id = {"user_id": ...}
    trade = {"trade_id": ..., **user_id, "symbol": act.symbol, "direction": Direction.DIRECTION_LONG}
    after = act.xp_before + act.xp
    chain = [
        Expected(
            name="TradeExecuted",
            event=trading.TradeExecuted,
            values={
                **trade,
                "mode": TradingMode.TRADING_MODE_PRACTICE,
                "amount": usd(act.amount_usd),
                "fee": usd(act.fee_usd),
                "entry_price": ...,
                "portfolio_value": usd(FUNDS_USD),
                "battle_id": "",
            },
        ),
        Expected(
            name="PositionUpdated",
            event=trading.PositionUpdated,
            cause="TradeExecuted",
            values={**trade, "amount": usd(act.amount_usd), "entry_price": ...},
        ),
        Expected(
            name="XpGained",
            event=gamification.XpGained,
            cause="TradeExecuted",
            values={
                **user_id,
                "xp": act.xp,
                "total_xp": after,
                "source": gamification.XpSource.XP_SOURCE_TRADE,
                "level": level(after),
            },
        ),
        Expected(
            name="SocialInteraction",
            event=social.SocialInteraction,
            cause="TradeExecuted",
            values={
                "interaction_id": ...,
                **user_id,
                "target_user_id": "",
                "kind": InteractionKind.INTERACTION_KIND_TRADE_SHARE,
                "influence": 5,
            },
        ),
        Expected(
            name="RevenueRecorded",
            event=financial.RevenueRecorded,
            cause="TradeExecuted",
            values={
                "revenue_id": ...,
                **user_id,
                "stream": RevenueStream.REVENUE_STREAM_TRADING_FEES,
                "mode": RevenueMode.REVENUE_MODE_PRACTICE,
                "amount": usd(act.fee_usd),
            },
        ),
        Expected(
            name="ProfileUpdated influence",
            event=user.ProfileUpdated,
            cause="SocialInteraction",
            values={**user_id, "changed_fields": ["influence"], "influence": 5},
        ),
    ]
    return chain + list(_level_up(act.xp_before, after))


def expected_of_award(act: Act) -> list[Expected]:
    """Returns the chain of the XP that an admin awards before the trade; empty when none is awarded."""
    if not act.xp_before:
        return []
    values = {
        "user_id": ...,
        "xp": act.xp_before,
        "total_xp": act.xp_before,
        "source": gamification.XpSource.XP_SOURCE_AWARD,
        "level": level(act.xp_before),
    }
    gained = Expected(name="XpGained", event=gamification.XpGained, values=values)
    return [gained, *_level_up(0, act.xp_before)]


def _level_up(before: int, after: int) -> Iterator[Expected]:
    """Yields what a rise in level sets off: one of each, over however many levels it goes."""
    old, new = level(before), level(after)
    if old == new:
        return
    yield Expected(
        name="LevelUp",
        event=gamification.LevelUp,
        cause="XpGained",
        values={"user_id": ..., "old_level": old, "new_level": new, "total_xp": after},
    )
    yield Expected(
        name="FeedEntryCreated",
        event=social.FeedEntryCreated,
        cause="LevelUp",
        values={"feed_entry_id": ..., "user_id": ..., "kind": FeedEntryKind.FEED_ENTRY_KIND_LEVEL_UP},
    )
    yield Expected(
        name="RewardDistributed",
        event=nft.RewardDistributed,
        cause="LevelUp",
        values={
            "nft_id": ...,
            "user_id": ...,
            "display_name": f"Level {new} Pioneer",
            "rarity": Rarity.RARITY_RARE if new >= 16 else Rarity.RARITY_UNCOMMON,
            "kind": RewardKind.REWARD_KIND_LEVEL,
        },
    )
    yield Expected(
        name="ProfileUpdated title",
        event=user.ProfileUpdated,
        cause="LevelUp",
        values={"user_id": ..., "changed_fields": ["title"], "title": f"Level {new}"},
    )


def usd(amount: Decimal) -> Money:
    """Returns dollars as servers print them."""
    return Money(currency_code="USD", amount=f"{amount:.2f}")
