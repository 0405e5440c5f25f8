"""The rules of trading: what a trade costs, when it is refused, what it brings, how large it is for its portfolio."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from enum import IntEnum

from services.runtime.errors import FailedPrecondition, InvalidArgument
from services.runtime.money import round_money

OPENING_BALANCE = Decimal(10_000)
"""Practice money a portfolio opens with, USD."""
FEE_RATE = Decimal("0.001")
TRADES_PER_DAY = 20
"""Trades a user may make in any 24 hours."""
DAY_MS = 24 * 3600 * 1000
SLIPPAGE_BASIS_POINTS = 20
"""Practice fills at the quote ± 0.2 %."""
MAX_GRANT = Decimal(10_000_000)
MEDIUM_RISK_PCT = Decimal(5)
HIGH_RISK_PCT = Decimal(10)
PRICE_STEP = Decimal("0.00000001")


class Direction(IntEnum):
    """As `astra.trading.v1.Direction`."""

    LONG = 1
    SHORT = 2


class Mode(IntEnum):
    """As `astra.trading.v1.TradingMode`."""

    PRACTICE = 1
    LIVE = 2


class Side(IntEnum):
    """What an order does to its trade."""

    OPEN = 1
    CLOSE = 2


class Step(IntEnum):
    """How far an order has come with us."""

    NEW = 1
    SENT = 2
    """It may be at the exchange: ask before sending it again."""
    DONE = 3


class OrderState(IntEnum):
    """How an order stands at the exchange."""

    OPEN = 1
    FILLED = 2
    REJECTED = 3
    CANCELLED = 4
    """Called off; what was filled before stays filled."""


class Risk(IntEnum):
    """As `astra.trading.v1.RiskLevel`."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Stake:
    """An open trade, as far as its worth goes."""

    symbol: str
    direction: Direction
    amount: Decimal
    entry_price: Decimal

    def pnl_at(self, price: Decimal) -> Decimal:
        """Returns the PnL at a price: amount × (price − entry) / entry, sign flipped for SHORT; USD."""
        change = (price - self.entry_price) / self.entry_price
        return round_money(self.amount * (change if self.direction is Direction.LONG else -change))


@dataclass(slots=True, kw_only=True)
class Portfolio:
    """One user's practice or real money. The stakes are the user's open trades with it."""

    balance: Decimal = OPENING_BALANCE
    realized_pnl: Decimal = Decimal(0)

    def open(self, amount: Decimal, *, max_position_pct: Decimal | None, trades_today: int) -> Decimal:
        """Pays for a trade and returns its fee. Raises `FailedPrecondition` where a rule forbids it."""
        if trades_today >= TRADES_PER_DAY:
            raise FailedPrecondition(
                f"{TRADES_PER_DAY} trades in 24 hours are the limit; try again later",
                reason="DAILY_TRADE_LIMIT_REACHED",
                limit=str(TRADES_PER_DAY),
            )
        if max_position_pct is not None and amount > self.balance * max_position_pct / 100:
            raise FailedPrecondition(
                f"{amount} is more than {max_position_pct} % of the balance of {self.balance:.2f} USD",
                reason="POSITION_LIMIT_EXCEEDED",
                balance=f"{self.balance:.2f}",
            )
        fee = fee_of(amount)
        if amount + fee > self.balance:
            raise FailedPrecondition(
                f"the balance of {self.balance:.2f} USD does not cover {amount} and its fee of {fee}",
                reason="INSUFFICIENT_BALANCE",
                balance=f"{self.balance:.2f}",
                needed=f"{amount + fee:.2f}",
            )
        self.balance -= amount + fee
        return fee

    def close(self, stake: Stake, price: Decimal) -> Decimal:
        """Returns the stake and its PnL to the balance, and the PnL to the caller.

        A SHORT can lose more than its stake; the loss then stops at the stake, since money is never owed.
        """
        pnl = max(stake.pnl_at(price), -stake.amount)
        self.balance += stake.amount + pnl
        self.realized_pnl += pnl
        return pnl

    def give_back(self, held: Decimal, spent: Decimal) -> Decimal:
        """Returns to the balance what a stake of `held` and its fee took, but for what was spent of it; and the fee."""
        fee = fee_of(spent)
        self.balance += held + fee_of(held) - spent - fee
        return fee

    def grant(self, amount: Decimal) -> None:
        """Adds practice money. Raises `InvalidArgument` above MAX_GRANT."""
        if amount > MAX_GRANT:
            raise InvalidArgument(f"at most {MAX_GRANT} USD are granted at once", field="amount")
        self.balance += amount

    def value(self, stakes: Sequence[Stake], prices: Mapping[str, Decimal]) -> Decimal:
        """Returns what it is worth: balance, stakes and unrealised PnL, USD."""
        return self.balance + sum((stake.amount + stake.pnl_at(prices[stake.symbol]) for stake in stakes), Decimal(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The stakes of one market and direction taken together."""

    stakes: Sequence[Stake]

    @property
    def amount(self) -> Decimal:
        return sum((stake.amount for stake in self.stakes), Decimal(0))

    @property
    def entry_price(self) -> Decimal:
        """Entry price weighted by units: all the money over all the units it bought."""
        units = sum((stake.amount / stake.entry_price for stake in self.stakes), Decimal(0))
        return (self.amount / units).quantize(PRICE_STEP, ROUND_HALF_UP) if units else Decimal(0)

    def pnl_at(self, price: Decimal) -> Decimal:
        return sum((stake.pnl_at(price) for stake in self.stakes), Decimal(0))


def fee_of(amount: Decimal) -> Decimal:
    """Returns the fee of a trade, 0.1 % of its amount, USD."""
    return round_money(amount * FEE_RATE)


def fill_price(quote: Decimal, luck: int) -> Decimal:
    """Returns the price a practice trade is filled at: the quote ± 0.2 %, chosen by `luck` ≥ 0."""
    steps = 100 * SLIPPAGE_BASIS_POINTS
    shift = luck % (2 * steps + 1) - steps
    return (quote * (1 + Decimal(shift) / 1_000_000)).quantize(PRICE_STEP, ROUND_HALF_UP)


def bonus_xp(pnl: Decimal) -> int:
    """Returns the XP of a profitable close, ⌊pnl/10⌋."""
    return int((pnl / 10).to_integral_value(ROUND_DOWN))


def position_pct(amount: Decimal, portfolio_value: Decimal) -> Decimal:
    """Returns an amount over the portfolio's value, percent with 2 places; 100 for an empty portfolio."""
    if portfolio_value <= 0:
        return Decimal(100)
    return (amount * 100 / portfolio_value).quantize(Decimal("0.01"), ROUND_HALF_UP)


def risk_of(amount: Decimal, portfolio_value: Decimal) -> Risk:
    """Returns how large an amount is for its portfolio: > 5 % medium, > 10 % high."""
    if amount * 100 > portfolio_value * HIGH_RISK_PCT:
        return Risk.HIGH
    return Risk.MEDIUM if amount * 100 > portfolio_value * MEDIUM_RISK_PCT else Risk.LOW


def battle_score(pnls: Sequence[Decimal | None]) -> Decimal:
    """Returns a battle score: max(0, pnl + win_rate×100 + min(10×trades, 200)); one PnL a trade, None while open."""
    closed = [pnl for pnl in pnls if pnl is not None]
    win_rate = Decimal(sum(pnl > 0 for pnl in closed)) / len(closed) if closed else Decimal(0)
    return round_money(max(Decimal(0), sum(closed, Decimal(0)) + win_rate * 100 + min(10 * len(pnls), 200)))
