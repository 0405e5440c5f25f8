"""The rules of subscriptions: what tiers cost and give, and what may follow on what."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum

from services.financial.model_payments import DAY_MS
from services.runtime.errors import FailedPrecondition, InvalidArgument
from services.runtime.money import round_money


class Tier(IntEnum):
    """As `astra.financial.v1.SubscriptionTier`; a higher one includes the lower ones."""

    FREE = 1
    BASIC = 2
    PRO = 3
    PREMIUM = 4
    ENTERPRISE = 5


class Cycle(IntEnum):
    """Length of a period, days."""

    MONTH = 30
    QUARTER = 90
    YEAR = 365


class State(IntEnum):
    """As `astra.financial.v1.SubscriptionState`."""

    PENDING = 1
    ACTIVE = 2
    CANCELLED = 3
    SUSPENDED = 4
    EXPIRED = 5


class Change(IntEnum):
    """What a subscription's payment brings about."""

    START = 1
    UPGRADE = 2
    RENEWAL = 3


PRICES: Mapping[Tier, tuple[Decimal, Decimal]] = {
    Tier.FREE: (Decimal(0), Decimal(0)),
    Tier.BASIC: (Decimal("9.95"), Decimal("99.50")),
    Tier.PRO: (Decimal("29.99"), Decimal("299.99")),
    Tier.PREMIUM: (Decimal("39.95"), Decimal("399.50")),
    Tier.ENTERPRISE: (Decimal("99.95"), Decimal("999.50")),
}
"""USD for 30 days and for 365."""
REAL_TRADING_FROM = Tier.PRO
RECHECK_MS = 60_000
"""How long after its end a period is looked at again, while a payment for it is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """What a user has paid for and until when."""

    tier: Tier
    cycle: Cycle
    state: State
    end_ms: int

    def days_left(self, now_ms: int) -> int:
        """Returns the days left; a day that has begun counts."""
        return max(0, min(int(self.cycle), -((now_ms - self.end_ms) // DAY_MS)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be paid for a subscription."""

    change: Change
    tier: Tier
    cycle: Cycle
    amount: Decimal


def price(tier: Tier, cycle: Cycle) -> Decimal:
    """Returns the price of a period, USD."""
    month, year = PRICES[tier]
    return {Cycle.MONTH: month, Cycle.QUARTER: 3 * month, Cycle.YEAR: year}[cycle]


def upgrade_price(old: Tier, new: Tier, cycle: Cycle, days_left: int) -> Decimal:
    """Returns what an upgrade costs: the difference of the prices, for the days left of the period."""
    return round_money((price(new, cycle) - price(old, cycle)) * days_left / int(cycle))


def requested_tier(value: int) -> Tier:
    """Returns a tier that can be subscribed to. Raises `InvalidArgument` for others."""
    if value not in list(Tier) or value == Tier.FREE:
        raise InvalidArgument(
            "tier must be BASIC, PRO, PREMIUM or ENTERPRISE; FREE is what remains after CancelSubscription",
            field="tier",
        )
    return Tier(value)


def requested_cycle(value: int) -> Cycle | None:
    """Returns a cycle; None if none is asked for. Raises `InvalidArgument` for one there is not."""
    if value == 0:
        return None
    if value not in list(Cycle):
        raise InvalidArgument("cycle_days must be 30, 90 or 365", field="cycle_days")
    return Cycle(value)


def order(current: Period | None, tier: Tier, cycle: Cycle | None, *, now_ms: int) -> Order | None:
    """Returns what is to be paid to have a tier; None for a cancelled subscription that goes on as it is.

    Raises `FailedPrecondition` when what there is now does not allow it.
    """
    if current is None:
        cycle = cycle or Cycle.MONTH
        return Order(change=Change.START, tier=tier, cycle=cycle, amount=price(tier, cycle))
    if current.state is State.SUSPENDED:
        raise FailedPrecondition("the account is suspended; ask support", reason="SUBSCRIPTION_SUSPENDED")
    if current.end_ms <= now_ms:
        raise FailedPrecondition(
            "the period is just being renewed; try again in a minute", reason="SUBSCRIPTION_PAYMENT_PENDING"
        )
    if cycle not in (None, current.cycle):
        raise FailedPrecondition(
            f"a period of {int(current.cycle)} days is paid; cancel and choose another cycle when it has ended",
            reason="CYCLE_CHANGE_NOT_POSSIBLE",
            cycle_days=str(int(current.cycle)),
        )
    if tier < current.tier:
        raise FailedPrecondition(
            f"{current.tier.name} is paid until the period ends; cancel, and subscribe to {tier.name} then",
            reason="DOWNGRADE_NOT_POSSIBLE",
            tier=current.tier.name.lower(),
        )
    if tier == current.tier:
        if current.state is State.CANCELLED:
            return None
        raise FailedPrecondition(
            f"{tier.name} is active already; it renews itself", reason="ALREADY_SUBSCRIBED", tier=tier.name.lower()
        )
    amount = upgrade_price(current.tier, tier, current.cycle, current.days_left(now_ms))
    return Order(change=Change.UPGRADE, tier=tier, cycle=current.cycle, amount=amount)
