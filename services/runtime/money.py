"""Amounts of money: one strict parser, one rounding (HALF_UP), no floats."""

import re
from decimal import ROUND_HALF_UP, Decimal

from astra.type.v1.money_pb2 import Money

from services.runtime.errors import InvalidArgument

USD = "USD"
PLACES = {
    **dict.fromkeys(("USD", "EUR", "GBP"), 2),
    **dict.fromkeys(("BTC", "ETH", "SOL", "STRK", "ADA", "LINK", "MATIC"), 8),
    **dict.fromkeys(("SHARDS", "LUMINA", "STARDUST"), 0),
}
"""Decimal places by currency code."""

# Decimal() itself takes `1_000`, `NaN`, `1e5` and full-width digits.
_PLAIN_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?", re.ASCII)


def parse_decimal(text: str, *, field: str) -> Decimal:
    """Reads a plain decimal such as `-12.50`. Raises `InvalidArgument` naming the field."""
    if not _PLAIN_DECIMAL.fullmatch(text):
        raise InvalidArgument(f'{field} must be a plain decimal such as "12.50", not {text[:40]!r}', field=field)
    return Decimal(text)


def parse_money(money: Money, *, field: str, currency: str) -> Decimal:
    """Reads an amount > 0 of one currency. Raises `InvalidArgument` for another currency or too many places."""
    if money.currency_code != currency:
        raise InvalidArgument(
            f"{field}.currency_code must be {currency}, not {money.currency_code[:12]!r}",
            field=f"{field}.currency_code",
        )
    amount = parse_decimal(money.amount, field=f"{field}.amount")
    if amount != round_money(amount, currency):
        raise InvalidArgument(f"{field}.amount has more than {PLACES[currency]} places", field=f"{field}.amount")
    if amount <= 0:
        raise InvalidArgument(f"{field}.amount must be greater than 0", field=f"{field}.amount")
    return amount


def decimal_text(number: Decimal) -> str:
    """Returns a plain decimal; `str` would write small ones as `1E-8`."""
    return f"{number:f}"


def round_money(amount: Decimal, currency: str = USD) -> Decimal:
    """Rounds to the places of a currency, half up."""
    return amount.quantize(Decimal(1).scaleb(-PLACES[currency]), rounding=ROUND_HALF_UP)


def to_money(amount: Decimal, currency: str = USD) -> Money:
    """Returns the amount, rounded, with all its places."""
    return Money(currency_code=currency, amount=decimal_text(round_money(amount, currency)))


def to_minor(amount: Decimal, currency: str = USD) -> int:
    """Returns the amount in the smallest unit of its currency (cents for USD), as stores keep it."""
    return int(round_money(amount, currency).scaleb(PLACES[currency]))


def from_minor(minor: int, currency: str = USD) -> Decimal:
    """Returns what `to_minor` was given."""
    return Decimal(minor).scaleb(-PLACES[currency])
