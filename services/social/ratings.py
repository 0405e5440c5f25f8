"""The rules of ratings: how praise and its opposite move one, and when that is told."""

from decimal import Decimal

from services.runtime.money import round_money
from services.social.model import InteractionKind

LOWEST, HIGHEST = Decimal(0), Decimal(100)
TOLD_FROM = Decimal(1)
"""A move of so many points is told by an event."""
MAX_RISE = Decimal(2)
RISE_OVER_COUNT = Decimal(10)
MAX_FALL = Decimal(5)
FALL_SHARE = Decimal("0.10")


def moved_rating(rating: Decimal, kind: InteractionKind, *, endorsements: int) -> Decimal:
    """Returns a rating after an interaction, 0–100 with 2 places.

    An endorsement adds min(2, 10/max(1, endorsements before it)): the more there are, the less one weighs. A negative
    interaction takes min(5, 10 % of the rating). Other kinds leave it.
    """
    match kind:
        case InteractionKind.ENDORSEMENT:
            moved = rating + min(MAX_RISE, RISE_OVER_COUNT / max(1, endorsements))
        case InteractionKind.NEGATIVE:
            moved = rating - min(MAX_FALL, rating * FALL_SHARE)
        case _:
            moved = rating
    return round_money(max(LOWEST, min(HIGHEST, moved)))


def is_told(*, told: Decimal, before: Decimal, after: Decimal) -> bool:
    """Returns whether a move is told: one of a point or more, or one that with those untold before it makes a point."""
    return abs(after - before) >= TOLD_FROM or abs(after - told) >= TOLD_FROM
