"""The rules of payments: what cards and amounts are good, what is asked of withdrawals, and what can be refunded."""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum

from services.runtime.errors import FailedPrecondition, InvalidArgument
from services.runtime.money import round_money

CURRENCIES = ("USD", "EUR", "GBP")
"""What can be paid in and out. Limits hold for the amount in each of them."""
MAX_AMOUNT = Decimal(1_000_000)
"""Of one payment."""
KYC_ABOVE = Decimal(1_000)
"""A withdrawal above it needs a valid KYC."""
AML_ABOVE = Decimal(10_000)
"""A withdrawal above it is rejected; deposits, and a day's withdrawals together, are flagged above it."""
KYC_DAYS = 365
DAY_MS = 24 * 3600 * 1000

PROCESSING_RATE, PROCESSING_FIXED = Decimal("0.029"), Decimal("0.30")
"""What the processor keeps of a card payment: 2.9 % and 0.30."""


class Purpose(IntEnum):
    """As `astra.financial.v1.PaymentPurpose`."""

    DEPOSIT = 1
    WITHDRAWAL = 2
    SUBSCRIPTION = 3
    REFUND = 4


class PaymentState(IntEnum):
    """As `astra.financial.v1.PaymentState`."""

    PENDING = 1
    COMPLETED = 2
    FAILED = 3


class Flag:
    """Reasons of ComplianceFlagRaised."""

    AML_AMOUNT = "AML_AMOUNT"
    """A withdrawal above the limit was tried."""
    AML_LARGE_DEPOSIT = "AML_LARGE_DEPOSIT"
    AML_DAILY_WITHDRAWALS = "AML_DAILY_WITHDRAWALS"
    """Withdrawals of 24 hours are above the limit together."""
    KYC_MISSING = "KYC_MISSING"
    """A large withdrawal was paid out after the KYC had run out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card as its owner states it. Its number and code are shown nowhere, not even by `repr`."""

    number: str = field(repr=False)
    expire_month: int
    expire_year: int
    cvc: str = field(repr=False)

    @property
    def last_four(self) -> str:
        return self.number[-4:]


@dataclass(frozen=True, slots=True)
class CardToken:
    """What is kept of a card: the processor's name for it, and how its owner knows it again."""

    token: str
    last_four: str


def check_card(card: Card) -> Card:
    """Returns a card that may be one. Raises `InvalidArgument`, which never repeats what was typed."""
    if not re.fullmatch(r"[0-9]{12,19}", card.number, re.ASCII) or not luhn_holds(card.number):
        raise InvalidArgument("card.number is no card number; check it for a typing error", field="card.number")
    if not 1 <= card.expire_month <= 12:
        raise InvalidArgument("card.expire_month must be 1–12", field="card.expire_month")
    if not 2000 <= card.expire_year <= 9999:
        raise InvalidArgument("card.expire_year must have four digits", field="card.expire_year")
    if not re.fullmatch(r"[0-9]{3,4}", card.cvc, re.ASCII):
        raise InvalidArgument("card.cvc must be 3 or 4 digits", field="card.cvc")
    return card


def luhn_holds(number: str) -> bool:
    """Returns whether the last digit checks the others (ISO/IEC 7812-1, annex B)."""
    doubled = [int(digit) * (1 + at % 2) for at, digit in enumerate(reversed(number))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def check_amount(amount: Decimal) -> Decimal:
    """Raises `InvalidArgument` for more than one payment may move."""
    if amount > MAX_AMOUNT:
        raise InvalidArgument(f"amount.amount must be at most {MAX_AMOUNT}", field="amount.amount")
    return amount


def processing_fee(amount: Decimal, currency: str) -> Decimal:
    """Returns what the processor keeps of a card payment."""
    return round_money(amount * PROCESSING_RATE + PROCESSING_FIXED, currency)


def check_kyc(amount: Decimal, *, kyc_expire_ms: int | None, now_ms: int) -> None:
    """Raises `FailedPrecondition` for a withdrawal that needs a KYC and has no valid one."""
    if amount > KYC_ABOVE and (kyc_expire_ms is None or kyc_expire_ms <= now_ms):
        raise FailedPrecondition(
            f"withdrawals above {KYC_ABOVE} need a verified identity; ask support to verify yours",
            reason="KYC_REQUIRED",
            limit=str(KYC_ABOVE),
        )


def refundable(asked: Decimal | None, *, paid: Decimal, refunded: Decimal) -> Decimal:
    """Returns how much is given back: what is asked, else all that is left. Raises `FailedPrecondition` for more."""
    left = paid - refunded
    if left <= 0 or (asked is not None and asked > left):
        raise FailedPrecondition(
            f"of the {paid} paid, {left} can still be refunded", reason="REFUND_EXCEEDS_PAYMENT", left=str(left)
        )
    return left if asked is None else asked
