"""The exchange port: where real trades are filled. None is built in; without one, live trading is refused.

An adapter's duties stand here. The one that matters most: an exchange takes a client order id once.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from services.trading.model import Direction, OrderState, Side


class ExchangeAway(Exception):
    """The exchange cannot be reached, or does not answer in time; what it was asked to do may still happen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the exchange is asked to do, at the market's price."""

    client_order_id: str
    user_id: str
    symbol: str
    direction: Direction
    side: Side
    amount: Decimal
    """Stake in USD to open, or to close of what was opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How an order stands."""

    state: OrderState
    filled: Decimal = Decimal(0)
    """How much of the amount is filled, USD with 2 places."""
    price: Decimal = Decimal(0)
    """Mean price of what is filled, USD."""
    reason: str = ""
    """Why it was refused or called off, as an AIP-193 reason."""


class Exchange(Protocol):
    """Every method raises `ExchangeAway` when the outcome is not known."""

    async def funds(self, user_id: str) -> Decimal:
        """Returns what the user has paid in, less what it has paid out, USD. Trades do not change it."""

    async def place(self, order: Order) -> Report:
        """Places an order. One whose client order id is known already is not placed again: it is reported."""

    async def find(self, client_order_id: str) -> Report | None:
        """Returns how an order stands; None for one that has not arrived."""

    async def cancel(self, client_order_id: str) -> Report:
        """Calls off what is not filled yet and returns how the order stands then."""
