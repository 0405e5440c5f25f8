"""What deeds are worth by the domain's page, worked out apart from the services so that the two can be compared."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

CENT, WHOLE = Decimal("0.01"), Decimal(1)
CHECK_IN_XP = 25
SOCIAL_XP = {"LIKE": 2, "COMMENT": 5, "SHARE": 10, "FOLLOW": 3, "ENDORSEMENT": 0, "NEGATIVE": 0}
"""To the target, by the kind of an interaction."""
SHARDS_PER_XP = 2
"""Of achievements."""


@dataclass(frozen=True, slots=True)
class Achievement:
    """One that a day's deeds can reach."""

    deed: str
    goal: int
    xp: int


ACHIEVEMENTS = (
    Achievement("trade", 10, 50),
    Achievement("trade", 100, 200),
    Achievement("large trade", 1, 50),
    Achievement("profit", 1, 25),
    Achievement("big win", 1, 100),
    Achievement("interaction", 10, 30),
)


def amount_of(money: Mapping[str, Any] | None) -> Decimal:
    """Returns the amount of money as JSON; 0 where there is none."""
    return Decimal(money.get("amount", "0")) if money else Decimal(0)


def fee_of(amount: Decimal) -> Decimal:
    """Returns the fee of a trade, 0.1 %."""
    return (amount / 1000).quantize(CENT, ROUND_HALF_UP)


def trade_xp(trade: Mapping[str, Any]) -> int:
    """Returns the XP of a trade, and of its close if that brought a profit."""
    return max(10, int(amount_of(trade["amount"]) // 100)) + max(0, int(amount_of(trade.get("pnl")) / 10))


def kind_of(interaction: Mapping[str, Any]) -> str:
    return str(interaction["kind"]).removeprefix("INTERACTION_KIND_")


def achievement_xp(trades: Iterable[Mapping[str, Any]], interactions: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Returns the XP of the achievements that these deeds unlock, by user; each once."""
    deeds: Counter[tuple[str, str]] = Counter()
    for trade in trades:
        pnl = amount_of(trade.get("pnl"))
        deeds[trade["userId"], "trade"] += 1
        deeds[trade["userId"], "large trade"] += amount_of(trade["amount"]) > 5000
        deeds[trade["userId"], "profit"] += pnl > 0
        deeds[trade["userId"], "big win"] += pnl > 500
    for interaction in interactions:
        deeds[interaction["userId"], "interaction"] += 1
    xp: Counter[str] = Counter()
    for (user_id, deed), times in deeds.items():
        xp[user_id] += sum(each.xp for each in ACHIEVEMENTS if each.deed == deed and times >= each.goal)
    return xp


def platform_fee(price: int) -> int:
    """Returns what the platform keeps of a sale, SHARDS: 2.5 % and 5."""
    return min(price, int((price * Decimal("0.025")).quantize(WHOLE, ROUND_HALF_UP)) + 5)


def creator_fee(price: int, *, genesis: bool) -> int:
    """Returns what the creator gets of a sale, SHARDS: 5 %, nothing for a Genesis NFT."""
    rest = price - platform_fee(price)
    return 0 if genesis else min(rest, int((price * Decimal("0.05")).quantize(WHOLE, ROUND_HALF_UP)))
