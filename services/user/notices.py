"""What users are told of events: whom each concerns, and in which words. What is not in the table is nobody's news."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from astra.financial.v1 import events_pb2 as financial
from astra.gamification.v1 import events_pb2 as gamification
from astra.nft.v1 import events_pb2 as nft
from astra.social.v1 import events_pb2 as social
from astra.social.v1.interaction_pb2 import InteractionKind
from astra.trading.v1 import events_pb2 as trading
from astra.trading.v1.trade_pb2 import TradingMode
from astra.type.v1.money_pb2 import Money
from astra.user.v1 import events_pb2 as user
from google.protobuf.message import Message

from services.user.model import NotificationKind as Kind

STREAK_DAYS = (3, 7)
"""Days in a row that bring more than the others; on each of them, and on full weeks, a user hears of its streak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One user's news."""

    user_id: str
    kind: Kind
    title: str
    text: str


NameOf = Callable[[str], str]
"""Returns what others see of a user."""


def notices_of(event: Message, name_of: NameOf) -> Iterator[Notice]:
    """Yields what an event is news of, to whom."""
    tell = TELL.get(type(event))
    if tell is not None:
        yield from tell(event, name_of)


def _to_its_user(
    kind: Kind, words: Callable[[Any], tuple[str, str] | None]
) -> Callable[[Any, NameOf], Iterator[Notice]]:
    """Makes what tells an event to the user in its `user_id`; None for words means that it is no news."""

    def tell(event: Any, _: NameOf) -> Iterator[Notice]:
        if found := words(event):
            yield Notice(user_id=event.user_id, kind=kind, title=found[0], text=found[1])

    return tell


def _money(money: Money) -> str:
    return f"{money.amount} {money.currency_code}"


def _live_fill(event: trading.TradeExecuted) -> tuple[str, str] | None:
    if event.mode != TradingMode.TRADING_MODE_LIVE:
        return None
    return "Your order was filled", f"{_money(event.amount)} of {event.symbol} at {event.entry_price}."


def _risk(event: trading.RiskAlertRaised) -> tuple[str, str]:
    level = trading.RiskLevel.Name(event.level).removeprefix("RISK_LEVEL_").lower()
    return f"Risk is {level}", f"One of your trades is {event.position_pct} % of your portfolio."


def _streak(event: gamification.StreakUpdated) -> tuple[str, str] | None:
    if event.days not in STREAK_DAYS and event.days % 7:
        return None
    return f"{event.days} days in a row", "Check in tomorrow to keep your streak."


def _rating(event: social.SocialRatingChanged) -> tuple[str, str]:
    return "Your rating changed", f"It is {event.new_rating} now and was {event.old_rating}."


def _account(event: user.AccountStatusChanged) -> tuple[str, str] | None:
    return {
        user.AccountChange.ACCOUNT_CHANGE_SUSPENDED: ("Your account is suspended", "Ask an admin to reactivate it."),
        user.AccountChange.ACCOUNT_CHANGE_REACTIVATED: ("Your account is active again", "You may sign in."),
        user.AccountChange.ACCOUNT_CHANGE_PASSWORD_CHANGED: (
            "Your password was changed",
            "Every session has ended. If it was not you, ask an admin for help at once.",
        ),
    }.get(event.change)


def _subscription(event: financial.SubscriptionChanged) -> tuple[str, str]:
    return f"Your subscription is {event.state}", f"Tier {event.tier}."


_DEEDS: Mapping[int, str] = {
    InteractionKind.INTERACTION_KIND_LIKE: "likes what you do",
    InteractionKind.INTERACTION_KIND_COMMENT: "left you a comment",
    InteractionKind.INTERACTION_KIND_SHARE: "shared you with others",
    InteractionKind.INTERACTION_KIND_FOLLOW: "follows you",
    InteractionKind.INTERACTION_KIND_ENDORSEMENT: "endorses you",
}
"""Who gave a negative rating is not told; that the rating fell is."""


def _interaction(event: social.SocialInteraction, name_of: NameOf) -> Iterator[Notice]:
    deed = _DEEDS.get(event.kind)
    if deed and event.target_user_id and event.target_user_id != event.user_id:
        who = name_of(event.user_id) or "Somebody"
        yield Notice(user_id=event.target_user_id, kind=Kind.SOCIAL, title=f"{who} {deed}", text="")


def _battle(event: social.ClanBattleCompleted, _: NameOf) -> Iterator[Notice]:
    for share in event.shares:
        text = f"Your part of the pot is {_money(share.amount)}."
        yield Notice(user_id=share.user_id, kind=Kind.SOCIAL, title="A battle of your clan is over", text=text)


def _bought(event: nft.NftSold, _: NameOf) -> Iterator[Notice]:
    text = f"You paid {_money(event.price)}."
    yield Notice(user_id=event.buyer_user_id, kind=Kind.NFT, title="The NFT is yours", text=text)


def _sold(event: nft.MarketplaceSale, _: NameOf) -> Iterator[Notice]:
    text = f"You got {_money(event.proceeds)} after fees."
    yield Notice(user_id=event.seller_user_id, kind=Kind.NFT, title="Your NFT is sold", text=text)


TELL: Mapping[type[Message], Callable[[Any, NameOf], Iterator[Notice]]] = {
    trading.TradeExecuted: _to_its_user(Kind.TRADING, _live_fill),
    trading.TradeFailed: _to_its_user(
        Kind.TRADING,
        lambda event: (
            "Your order was refused",
            f"{_money(event.amount)} for {event.symbol} are back: {event.reason}.",
        ),
    ),
    trading.TradingRewardsCalculated: _to_its_user(
        Kind.TRADING, lambda event: ("A trade paid off", f"Profit {_money(event.pnl)}, bonus {event.bonus_xp} XP.")
    ),
    trading.RiskAlertRaised: _to_its_user(Kind.TRADING, _risk),
    gamification.LevelUp: _to_its_user(
        Kind.PROGRESS, lambda event: (f"You reached level {event.new_level}", f"You have {event.total_xp} XP.")
    ),
    gamification.AchievementUnlocked: _to_its_user(
        Kind.PROGRESS,
        lambda event: (f"Achievement: {event.display_name}", f"{event.xp} XP and {event.shards} SHARDS are yours."),
    ),
    gamification.StreakUpdated: _to_its_user(Kind.PROGRESS, _streak),
    social.SocialInteraction: _interaction,
    social.SocialRatingChanged: _to_its_user(Kind.SOCIAL, _rating),
    social.ClanBattleCompleted: _battle,
    financial.PaymentCompleted: _to_its_user(
        Kind.PAYMENT, lambda event: ("Payment done", f"{_money(event.amount)}, {event.purpose}.")
    ),
    financial.PaymentFailed: _to_its_user(
        Kind.PAYMENT,
        lambda event: (
            "Payment declined",
            f"{_money(event.amount)}, {event.purpose}: {event.reason}. Nothing was taken.",
        ),
    ),
    financial.SubscriptionChanged: _to_its_user(Kind.PAYMENT, _subscription),
    nft.RewardDistributed: _to_its_user(Kind.NFT, lambda event: (f"You were given {event.display_name}", "An NFT.")),
    nft.NftSold: _bought,
    nft.MarketplaceSale: _sold,
    user.AccountStatusChanged: _to_its_user(Kind.ACCOUNT, _account),
}
