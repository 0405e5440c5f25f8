"""The rules of progression: what a deed is worth in XP, and what a level takes."""

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal
from enum import IntEnum

from services.runtime.errors import InvalidArgument

XP_PER_LEVEL = 1000
MIN_TRADE_XP = 10
USD_PER_TRADE_XP = 100
MAX_AWARD_XP = 1_000_000
"""Most XP of one award."""


class InteractionKind(IntEnum):
    """As `astra.social.v1.InteractionKind`."""

    LIKE = 1
    COMMENT = 2
    SHARE = 3
    FOLLOW = 4
    TRADE_SHARE = 5
    ENDORSEMENT = 6
    NEGATIVE = 7


SOCIAL_XP: Mapping[int, int] = {
    InteractionKind.LIKE: 2,
    InteractionKind.COMMENT: 5,
    InteractionKind.SHARE: 10,
    InteractionKind.FOLLOW: 3,
}


def level_of(total_xp: int) -> int:
    """Returns the level that so much XP has reached, ⌊xp/1000⌋+1."""
    return total_xp // XP_PER_LEVEL + 1


def xp_to_next_level(total_xp: int) -> int:
    """Returns the XP still missing to the next level, 1–1000."""
    return XP_PER_LEVEL - total_xp % XP_PER_LEVEL


def trade_xp(amount: Decimal) -> int:
    """Returns the XP of a trade of so many USD, max(10, ⌊amount/100⌋)."""
    return max(MIN_TRADE_XP, int((amount / USD_PER_TRADE_XP).to_integral_value(ROUND_DOWN)))


def social_xp(kind: int, *, user_id: str, target_user_id: str) -> int:
    """Returns the XP of an interaction to its target; 0 for one without a target, to oneself, or of an unknown kind."""
    if not target_user_id or target_user_id == user_id:
        return 0
    return SOCIAL_XP.get(kind, 0)


def check_award(xp: int) -> None:
    """Raises `InvalidArgument` for an award that is not within 1–1,000,000 XP."""
    if not 1 <= xp <= MAX_AWARD_XP:
        raise InvalidArgument(f"xp must be from 1 to {MAX_AWARD_XP}, not {xp}", field="xp")
