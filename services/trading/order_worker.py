"""Works off the orders for the exchange: sends each once, asks after it, books what became of it.

Every order is a row under a lease. A process that dies leaves its orders to whoever finds them due; what was sent, or
may have been, is asked for before it is sent again, and the exchange takes a client order id once.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from decimal import Decimal

import structlog

from services.runtime.errors import Unavailable
from services.runtime.store import Store
from services.trading import orders
from services.trading.exchange import Exchange, ExchangeAway, Report
from services.trading.market import Market
from services.trading.model import OrderState, Side, Step
from services.trading.orders import Held

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How the worker goes about it, milliseconds."""

    poll_ms: int = 250
    """How long an order that is open at the exchange is left alone."""
    retry_ms: int = 1_000
    """How long the exchange is left alone when it is away."""
    call_ms: int = 5_000
    """How long a call may take before its outcome counts as unknown."""
    lease_ms: int = 20_000
    """How long an order is one worker's; longer than its calls together may take."""
    patience_ms: int = 60_000
    """How long an order to open may wait for the market; what is not filled then is called off."""


class OrderWorker:
    """Looks after live orders until it is told to stop."""

    BATCH = 32
    IDLE_SECONDS = 1.0

    def __init__(self, store: Store, market: Market, exchange: Exchange, pace: Pace | None = None) -> None:
        self._store = store
        self._market = market
        self._exchange = exchange
        self._pace = pace or Pace()

    async def run(self, stop: asyncio.Event) -> None:
        """Works until the event is set; what is in hand is finished by whoever finds it due."""
        while not stop.is_set():
            seen = self._store.wakeups.version
            try:
                if await self.work_off() == 0:
                    await self._rest(seen)
            except Unavailable as error:
                if stop.is_set():
                    return
                log.warning("orders.wait", error=str(error))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.IDLE_SECONDS):
                        await stop.wait()

    async def work_off(self) -> int:
        """Looks after the orders that are due now; returns how many there were."""
        due_ms = self._store.read_now(orders.next_due_ms)
        if due_ms is None or due_ms > self._store.clock():
            return 0
        # Whether an order was sent before is in what is returned; that it is sent now is committed first.
        taken = await self._store.write(lambda tx: orders.take_due(tx, lease_ms=self._pace.lease_ms, limit=self.BATCH))
        await asyncio.gather(*(self._look_after(held) for held in taken))
        return len(taken)

    async def _look_after(self, held: Held) -> None:
        client_order_id = held.order.client_order_id
        try:
            async with asyncio.timeout(self._pace.call_ms * 3 / 1000):
                report = await self._report(held)
                funds = await self._funds(held, report)
        except (ExchangeAway, TimeoutError) as error:
            log.warning("order.outcome_unknown", client_order_id=client_order_id, error=str(error))
            await self._store.write(lambda tx: orders.postpone(tx, client_order_id, self._pace.retry_ms))
            return
        prices = self._market.prices(self._store.clock())
        await self._store.write(
            lambda tx: orders.apply_report(
                tx, client_order_id, report, prices=prices, funds=funds, again_ms=self._pace.poll_ms
            ),
            context=held.context,
        )

    async def _report(self, held: Held) -> Report:
        """Sends the order, or asks after it; calls off what has waited too long."""
        order = held.order
        if held.step is Step.NEW:
            return await self._exchange.place(order)
        report = await self._exchange.find(order.client_order_id)
        if report is None:
            return await self._exchange.place(order)
        waited_ms = self._store.clock() - held.create_ms
        if report.state is OrderState.OPEN and order.side is Side.OPEN and waited_ms > self._pace.patience_ms:
            return await self._exchange.cancel(order.client_order_id)
        return report

    async def _funds(self, held: Held, report: Report) -> Decimal:
        """Returns the funds that a close is told with; nothing else needs them."""
        if held.order.side is Side.OPEN or report.state is OrderState.OPEN:
            return Decimal(0)
        return await self._exchange.funds(held.order.user_id)

    async def _rest(self, seen: int) -> None:
        """Waits for a commit, or until the next order is due."""
        due_ms = self._store.read_now(orders.next_due_ms)
        wait_ms = self.IDLE_SECONDS * 1000 if due_ms is None else due_ms - self._store.clock()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(wait_ms, 1) / 1000, self.IDLE_SECONDS)):
                await self._store.wakeups.after(seen)
