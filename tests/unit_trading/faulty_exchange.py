"""An exchange for tests: it can be slow, refuse, fill in parts, lose replies, take orders late and go away.

It keeps the one promise of the port: a client order id is taken once.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from services.runtime.money import round_money
from services.trading.exchange import ExchangeAway, Order, Report
from services.trading.model import OrderState

PRICE = Decimal(100)


@dataclass(slots=True)
class Taken:
    """One order at the exchange."""

    order: Order
    parts: list[Decimal]
    """What will be filled, one part a look."""
    filled: Decimal = Decimal(0)
    state: OrderState = OrderState.OPEN
    reason: str = ""

    def report(self, price: Decimal) -> Report:
        return Report(state=self.state, filled=self.filled, price=price, reason=self.reason)


@dataclass(slots=True)
class Plan:
    """What happens to the next orders."""

    parts: Sequence[int] = (100,)
    """Percent of the amount that each look fills; less than 100 in all leaves the order open."""
    refuse: str = ""
    """Reason of a refusal."""
    lose_reply: bool = False
    """The order arrives, and nobody is told."""
    late: bool = False
    """The order arrives only after the next question for it."""
    delay_seconds: float = 0.0


@dataclass(slots=True)
class FaultyExchange:
    """Implements `services.trading.exchange.Exchange`."""

    deposit: Decimal = Decimal(10_000)
    price: Decimal = PRICE
    plans: list[Plan] = field(default_factory=list)
    away: bool = False
    orders: dict[str, Taken] = field(default_factory=dict)
    on_the_way: dict[str, tuple[Order, Plan]] = field(default_factory=dict)
    arrivals: int = 0
    """Orders that came to be, each once."""

    async def funds(self, user_id: str) -> Decimal:
        self._check()
        return self.deposit

    async def place(self, order: Order) -> Report:
        self._check()
        plan = self.plans.pop(0) if self.plans else Plan()
        await asyncio.sleep(plan.delay_seconds)
        if plan.late and order.client_order_id not in self.orders:
            self.on_the_way[order.client_order_id] = (order, plan)
            raise ExchangeAway("no answer in time")
        taken = self._take(order, plan)
        if plan.lose_reply:
            raise ExchangeAway("the connection broke")
        return taken.report(self.price)

    async def find(self, client_order_id: str) -> Report | None:
        self._check()
        if client_order_id in self.on_the_way:
            order, plan = self.on_the_way.pop(client_order_id)
            self._take(order, plan)
            return None  # it was not there yet when this question was answered
        taken = self.orders.get(client_order_id)
        return self._look(taken).report(self.price) if taken else None

    async def cancel(self, client_order_id: str) -> Report:
        self._check()
        taken = self.orders[client_order_id]
        if taken.state is OrderState.OPEN:
            taken.state = OrderState.CANCELLED
        return taken.report(self.price)

    def _check(self) -> None:
        if self.away:
            raise ExchangeAway("away")

    def _take(self, order: Order, plan: Plan) -> Taken:
        if order.client_order_id in self.orders:
            return self.orders[order.client_order_id]
        self.arrivals += 1
        parts = [round_money(order.amount * percent / 100) for percent in plan.parts]
        taken = self.orders[order.client_order_id] = Taken(order, parts)
        if plan.refuse:
            taken.state, taken.reason = OrderState.REJECTED, plan.refuse
        return self._look(taken)

    def _look(self, taken: Taken) -> Taken:
        if taken.state is OrderState.OPEN and taken.parts:
            taken.filled = min(taken.filled + taken.parts.pop(0), taken.order.amount)
            if taken.filled >= taken.order.amount:
                taken.state = OrderState.FILLED
        return taken


def random_plan(chance: random.Random) -> Plan:
    """Returns some trouble."""
    parts = chance.choice([(100,), (50, 50), (10, 20, 70), (30,), (), (0, 100)])
    return Plan(
        parts=parts,
        refuse=chance.choice(["", "", "", "MARKET_CLOSED"]),
        lose_reply=chance.random() < 0.3,
        late=chance.random() < 0.3,
        delay_seconds=chance.choice([0, 0, 0.005]),
    )
