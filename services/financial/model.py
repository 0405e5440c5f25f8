"""The rules of financial: what a transfer is, who has accounts, and what the platform earns."""

from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum, StrEnum

from services.runtime.errors import FailedPrecondition
from services.runtime.money import PLACES, round_money

PLATFORM = "platform:"
"""Begins the owner of every account of the platform. No user id has a colon, so none can name one."""


class RevenueStream(IntEnum):
    """As `astra.financial.v1.RevenueStream`."""

    TRADING_FEES = 1
    NFT_MARKETPLACE = 2
    SUBSCRIPTIONS = 3


class RevenueMode(IntEnum):
    """As `astra.financial.v1.RevenueMode`."""

    PRACTICE = 1
    LIVE = 2


class Held(StrEnum):
    """Accounts that stand for money kept outside this ledger; below zero by what came from there."""

    PRACTICE = "platform:held:practice-portfolios"
    """Practice money, in trading's portfolios."""
    EXCHANGE = "platform:held:exchange"
    """Real money at the exchange that trades are filled at."""
    GAME = "platform:held:game-wallets"
    """Game currencies, in gamification's wallets."""
    PROCESSOR = "platform:held:processor"
    """Real money at the payment processor, and what it has paid out."""


class Account(StrEnum):
    """Other accounts of the platform."""

    IN_FLIGHT = "platform:in-flight"
    """What has left its owner and was not confirmed by the processor yet; 0 when nothing is on its way."""
    PROCESSING_COSTS = "platform:costs:processing"
    """What the processor keeps of card payments."""
    REFUND_COSTS = "platform:costs:refunds"
    """Subscription payments given back; so revenue stays what was recorded as such."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Money that goes from one account to another: a pair of entries that sums to zero."""

    source: str
    """Owner of the account it leaves."""
    target: str
    amount: Decimal
    currency: str
    mode: RevenueMode
    purpose: str

    def __post_init__(self) -> None:
        if self.currency not in PLACES:
            raise ValueError(f"{self.currency!r} is no currency; there are {', '.join(PLACES)}")
        if self.amount <= 0 or self.amount != round_money(self.amount, self.currency):
            raise ValueError(f"a transfer of {self.amount} {self.currency}: must be > 0, in the currency's places")
        if self.source == self.target:
            raise ValueError(f"a transfer from {self.source!r} to itself changes nothing")

    @property
    def entries(self) -> tuple[tuple[str, Decimal], tuple[str, Decimal]]:
        """The change of each account, by its owner."""
        return (self.source, -self.amount), (self.target, self.amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class Earning:
    """Something that the platform earns."""

    stream: RevenueStream
    mode: RevenueMode
    amount: Decimal
    currency: str
    user_id: str
    """From whom."""
    source_id: str
    """The trade, listing or payment it is earned with; each earns once in its stream."""
    held: str
    """Owner of the account it is taken from: a user, or where the money is."""

    @property
    def transfer(self) -> Transfer:
        """The booking: practice fees go to an account of their own, so no balance mixes them with real money."""
        return Transfer(
            source=self.held,
            target=revenue_owner(self.stream, self.mode),
            amount=self.amount,
            currency=self.currency,
            mode=self.mode,
            purpose=self.stream.name.lower(),
        )


def revenue_owner(stream: RevenueStream, mode: RevenueMode) -> str:
    """Returns the owner of the account that a stream's revenue is booked on."""
    return f"{PLATFORM}revenue:{stream.name.lower()}:{mode.name.lower()}"


def is_platform(owner: str) -> bool:
    return owner.startswith(PLATFORM)


def changed_balance(owner: str, balance: Decimal, change: Decimal, currency: str) -> Decimal:
    """Returns a balance after a change. Raises `FailedPrecondition` if a user would be below zero."""
    after = balance + change
    if after < 0 and change < 0 and not is_platform(owner):
        raise FailedPrecondition(
            f"the balance of {balance} {currency} does not cover {-change}; deposit first",
            reason="INSUFFICIENT_FUNDS",
            balance=f"{balance}",
            needed=f"{-change}",
        )
    return after
