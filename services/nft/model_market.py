"""The rules of the marketplace: how long an offer lasts, and how a price is split."""

from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum

from services.runtime.errors import InvalidArgument
from services.runtime.money import round_money

SHARDS = "SHARDS"
PLATFORM_RATE, PLATFORM_FIXED = Decimal("0.025"), 5
"""What the platform keeps of a sale: 2.5 % and 5 shards."""
CREATOR_RATE = Decimal("0.05")
LISTING_DAYS = 30
LISTING_MS = LISTING_DAYS * 24 * 3600 * 1000
MAX_PRICE = 1_000_000_000


class ListingState(IntEnum):
    """As `astra.nft.v1.ListingState`."""

    ACTIVE = 1
    RESERVED = 2
    SOLD = 3
    UNLISTED = 4
    EXPIRED = 5


class PurchaseState(IntEnum):
    """As `astra.nft.v1.PurchaseState`."""

    PENDING = 1
    COMPLETED = 2
    FAILED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Who gets what of a price, in shards; none below 0, and together the price."""

    proceeds: int
    """The seller's."""
    platform_fee: int
    creator_fee: int


def split(price: int, *, has_creator: bool) -> Split:
    """Splits a price. Of a very low one the platform's part comes first, then the creator's."""
    platform_fee = min(price, _share(price, PLATFORM_RATE) + PLATFORM_FIXED)
    creator_fee = min(price - platform_fee, _share(price, CREATOR_RATE)) if has_creator else 0
    return Split(proceeds=price - platform_fee - creator_fee, platform_fee=platform_fee, creator_fee=creator_fee)


def check_price(price: Decimal) -> int:
    """Returns a price in whole shards. Raises `InvalidArgument` for more than a price may be."""
    if price > MAX_PRICE:
        raise InvalidArgument(f"price.amount must be at most {MAX_PRICE}", field="price.amount")
    return int(price)


def _share(price: int, rate: Decimal) -> int:
    return int(round_money(price * rate, SHARDS))
