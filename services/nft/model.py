"""The rules of nft: how rare an NFT is and what that scores, and what is rewarded with which."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum

from services.runtime.errors import InvalidArgument

RARE_FROM_LEVEL = 16
MEDAL_ABOVE_PNL = Decimal(500)
"""A close earns a medal with a profit above it, USD."""


class Rarity(IntEnum):
    """As `astra.nft.v1.Rarity`."""

    COMMON = 1
    UNCOMMON = 2
    RARE = 3
    EPIC = 4
    LEGENDARY = 5


class RewardKind(IntEnum):
    """As `astra.nft.v1.RewardKind`."""

    LEVEL = 1
    BADGE = 2
    MEDAL = 3


SCORES: Mapping[Rarity, Decimal] = {
    Rarity.COMMON: Decimal(1),
    Rarity.UNCOMMON: Decimal("2.5"),
    Rarity.RARE: Decimal(5),
    Rarity.EPIC: Decimal(10),
    Rarity.LEGENDARY: Decimal(25),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """What a user is given; once for each kind and key."""

    kind: RewardKind
    key: str
    """What it is for: the level, the achievement or the trade."""
    display_name: str
    rarity: Rarity


def level_reward(level: int) -> Reward:
    """Returns the reward for reaching a level, `Level N Pioneer`: rare from 16, uncommon below."""
    return Reward(
        kind=RewardKind.LEVEL,
        key=str(level),
        display_name=f"Level {level} Pioneer",
        rarity=Rarity.RARE if level >= RARE_FROM_LEVEL else Rarity.UNCOMMON,
    )


def badge(achievement_id: str, display_name: str, rarity: str) -> Reward:
    """Returns the badge of an achievement, as rare as it. Raises `InvalidArgument` for an unknown rarity."""
    if rarity.upper() not in Rarity.__members__:
        known = ", ".join(name.lower() for name in Rarity.__members__)
        raise InvalidArgument(f"rarity must be one of {known}, not {rarity[:20]!r}", field="rarity")
    return Reward(
        kind=RewardKind.BADGE,
        key=achievement_id,
        display_name=f"{display_name} Badge",
        rarity=Rarity[rarity.upper()],
    )


def medal(trade_id: str, pnl: Decimal) -> Reward | None:
    """Returns the medal of a close with a profit of more than 500 USD; None for less."""
    if pnl <= MEDAL_ABOVE_PNL:
        return None
    return Reward(kind=RewardKind.MEDAL, key=trade_id, display_name="Profit Medal", rarity=Rarity.UNCOMMON)
