"""Amounts: the strict parser, the one rounding, minor units."""

from decimal import Decimal

import pytest
from astra.type.v1.money_pb2 import Money

from services.runtime.errors import InvalidArgument
from services.runtime.money import decimal_text, from_minor, parse_decimal, parse_money, round_money, to_minor, to_money


@pytest.mark.parametrize(
    "text", ["1_000", "NaN", "1e5", "１２", "Infinity", "", " 1", "+1", "01", ".5", "5.", "--1", "1,5"]
)
def test_what_is_not_a_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_decimal(text, field="amount")
    assert caught.value.field == "amount"


@pytest.mark.parametrize("text", ["0", "-12.50", "0.00000001", "123456789012345678"])
def test_a_plain_decimal_is_read_as_it_is(text: str) -> None:
    assert decimal_text(parse_decimal(text, field="amount")) == text


@pytest.mark.parametrize(
    ("currency", "amount", "blamed"),
    [
        ("EUR", "1.00", "amount.currency_code"),
        ("USD", "1.001", "amount.amount"),
        ("USD", "0", "amount.amount"),
        ("USD", "-1", "amount.amount"),
    ],
)
def test_money_of_another_currency_or_too_fine_or_not_positive_is_refused(
    currency: str, amount: str, blamed: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_money(Money(currency_code=currency, amount=amount), field="amount", currency="USD")
    assert caught.value.field == blamed


@pytest.mark.parametrize(
    ("amount", "currency", "rounded"),
    [
        ("1.005", "USD", "1.01"),
        ("-1.005", "USD", "-1.01"),
        ("2.5", "SHARDS", "3"),
        ("1.000000005", "BTC", "1.00000001"),
    ],
)
def test_halves_are_rounded_up_and_all_places_are_printed(amount: str, currency: str, rounded: str) -> None:
    assert to_money(Decimal(amount), currency) == Money(currency_code=currency, amount=rounded)
    assert from_minor(to_minor(Decimal(amount), currency), currency) == round_money(Decimal(amount), currency)
