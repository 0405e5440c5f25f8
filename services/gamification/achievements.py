"""The rules of achievements: which deeds count, and what there is to achieve with how many of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum

from services.gamification.model import InteractionKind

LARGE_TRADE_ABOVE = Decimal(5000)
"""A trade of more than this is a large one, USD."""
BIG_WIN_ABOVE = Decimal(500)
"""A close with a profit of more than this is a big win, USD."""
SHARDS_PER_XP = 2


class Deed(IntEnum):
    """What is counted. The numbers are kept in the database."""

    TRADE = 1
    LARGE_TRADE = 2
    PROFITABLE_CLOSE = 3
    BIG_WIN = 4
    INTERACTION = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Achievement:
    """Something to achieve, once a user."""

    achievement_id: str
    display_name: str
    description: str
    rarity: str
    """common, uncommon, rare, epic or legendary."""
    xp: int
    deed: Deed
    goal: int = 1
    """How many of the deeds it takes."""

    @property
    def shards(self) -> int:
        return self.xp * SHARDS_PER_XP


def _trades(goal: int, achievement_id: str, display_name: str, *, xp: int, rarity: str) -> Achievement:
    return Achievement(
        achievement_id=achievement_id,
        display_name=display_name,
        description=f"Make {goal} trades",
        rarity=rarity,
        xp=xp,
        deed=Deed.TRADE,
        goal=goal,
    )


ACHIEVEMENTS: Sequence[Achievement] = (
    _trades(10, "first_steps", "First Steps", xp=50, rarity="common"),
    _trades(100, "seasoned_trader", "Seasoned Trader", xp=200, rarity="rare"),
    _trades(1000, "trading_master", "Trading Master", xp=500, rarity="epic"),
    _trades(10_000, "market_legend", "Market Legend", xp=2000, rarity="legendary"),
    Achievement(
        achievement_id="in_profit",
        display_name="In Profit",
        description="Close a trade with a profit",
        rarity="common",
        xp=25,
        deed=Deed.PROFITABLE_CLOSE,
    ),
    Achievement(
        achievement_id="high_roller",
        display_name="High Roller",
        description=f"Make a trade of more than {LARGE_TRADE_ABOVE} USD",
        rarity="uncommon",
        xp=50,
        deed=Deed.LARGE_TRADE,
    ),
    Achievement(
        achievement_id="big_win",
        display_name="Big Win",
        description=f"Close a trade with a profit of more than {BIG_WIN_ABOVE} USD",
        rarity="uncommon",
        xp=100,
        deed=Deed.BIG_WIN,
    ),
    Achievement(
        achievement_id="good_company",
        display_name="Good Company",
        description="Interact with others 10 times",
        rarity="common",
        xp=30,
        deed=Deed.INTERACTION,
        goal=10,
    ),
)
"""In the order they are listed."""


def trade_deeds(amount: Decimal) -> list[Deed]:
    """Returns what a trade of so many USD counts as."""
    return [Deed.TRADE, Deed.LARGE_TRADE] if amount > LARGE_TRADE_ABOVE else [Deed.TRADE]


def close_deeds(pnl: Decimal) -> list[Deed]:
    """Returns what a close with this PnL, USD, counts as: nothing without a profit."""
    if pnl <= 0:
        return []
    return [Deed.PROFITABLE_CLOSE, Deed.BIG_WIN] if pnl > BIG_WIN_ABOVE else [Deed.PROFITABLE_CLOSE]


def interaction_deeds(kind: int) -> list[Deed]:
    """Returns what an interaction counts as; trade shares, which the mesh makes, as nothing."""
    return [Deed.INTERACTION] if kind != InteractionKind.TRADE_SHARE else []


def reached_by(deed: Deed, times: int) -> list[Achievement]:
    """Returns what has been achieved once a deed was done so many times."""
    return [each for each in ACHIEVEMENTS if each.deed is deed and times >= each.goal]
