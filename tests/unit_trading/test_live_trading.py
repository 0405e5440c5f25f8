"""Live trading on an exchange that misbehaves: no order is placed twice, no money is lost, everyone is told."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from astra.trading.v1 import trading_service_pb2 as pb
from astra.trading.v1.events_pb2 import PositionClosed, TradeExecuted, TradeFailed
from astra.trading.v1.trade_pb2 import Trade, TradeState
from astra.trading.v1.trading_service_pb2_grpc import TradingServiceStub
from astra.type.v1.money_pb2 import Money

from services import trading
from services.domain import Domain
from services.mesh import Mesh
from services.runtime.errors import FailedPrecondition
from services.trading.exchange import Exchange, Order, Report
from services.trading.model import fee_of
from services.trading.order_worker import Pace
from tests.reacting import recorded
from tests.serving import as_user, reason_of, serving
from tests.unit_bridge.polling import until
from tests.unit_trading.faulty_exchange import FaultyExchange, Plan, random_plan

ALICE = as_user("alice")
QUICK = Pace(poll_ms=10, retry_ms=10, call_ms=1_000, lease_ms=300, patience_ms=400)
FINAL = {
    TradeState.TRADE_STATE_ACTIVE,
    TradeState.TRADE_STATE_COMPLETED,
    TradeState.TRADE_STATE_FAILED,
    TradeState.TRADE_STATE_CANCELLED,
}


class Anyone:
    """Lets everyone trade, but for whom it was told not to."""

    def __init__(self, lacks: str = "") -> None:
        self.lacks = lacks

    async def check(self, user_id: str) -> None:
        if self.lacks:
            raise FailedPrecondition("not you", reason=self.lacks)


class Desk:
    """Trading with an exchange, served, its workers running."""

    def __init__(self, domain: Domain, stub: Any) -> None:
        self.domain, self.stub = domain, stub

    async def open(self, amount: str = "1000", **fields: Any) -> Trade:
        usd = Money(currency_code="USD", amount=amount)
        request = pb.ExecuteTradeRequest(**{"symbol": "BTC", "amount": usd, "direction": 1, "mode": 2, **fields})
        trade: Trade = (await self.stub.ExecuteTrade(request, metadata=ALICE)).trade
        return trade

    async def close(self, trade: Trade) -> Trade:
        request = pb.CloseTradeRequest(trade_id=trade.trade_id)
        closed: Trade = (await self.stub.CloseTrade(request, metadata=ALICE)).trade
        return closed

    async def get(self, trade: Trade) -> Trade:
        request = pb.GetTradeRequest(trade_id=trade.trade_id)
        now: Trade = (await self.stub.GetTrade(request, metadata=ALICE)).trade
        return now

    async def settled(self, trade: Trade, *states: TradeState) -> Trade:
        async def is_there() -> bool:
            return (await self.get(trade)).state in (states or FINAL)

        await until(is_there, "the order")
        return await self.get(trade)

    async def balance(self) -> Decimal:
        request = pb.GetPortfolioRequest(mode="TRADING_MODE_LIVE")
        return Decimal((await self.stub.GetPortfolio(request, metadata=ALICE)).portfolio.balance.amount)

    async def told(self) -> list[str]:
        return [envelope.type.rpartition(".")[2] for envelope in await recorded(self.domain)]


@asynccontextmanager
async def at_desk(folder: Path, exchange: Exchange, *, lacks: str = "", pace: Pace = QUICK) -> AsyncIterator[Desk]:
    domain = trading.build(Mesh.at(folder), exchange=exchange, eligibility=Anyone(lacks), pace=pace)
    stop = asyncio.Event()
    async with serving(domain) as channel:
        working = [asyncio.create_task(worker(stop)) for worker in domain.workers]
        try:
            yield Desk(domain, TradingServiceStub(channel))
        finally:
            stop.set()
            domain.store.wakeups.stop()
            await asyncio.wait_for(asyncio.gather(*working), 10)


async def refusal(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason_of(caught.value)


async def test_an_order_is_pending_then_filled_and_everyone_is_told(tmp_path: Path) -> None:
    exchange = FaultyExchange()
    async with at_desk(tmp_path, exchange) as desk:
        trade = await desk.open(battle_id="b1")
        assert (trade.state, trade.entry_price) == (TradeState.TRADE_STATE_PENDING, "")
        filled = await desk.settled(trade)
        assert (filled.state, Decimal(filled.entry_price)) == (TradeState.TRADE_STATE_ACTIVE, exchange.price)
        assert await desk.balance() == Decimal("8999.00")
        assert await desk.told() == ["TradeExecuted", "PositionUpdated", "ClanBattleScoreUpdated"]
        assert list(exchange.orders) == [trade.trade_id]
        exchange.price *= 2
        assert (await desk.close(filled)).state == TradeState.TRADE_STATE_ACTIVE
        closed = await desk.settled(trade, TradeState.TRADE_STATE_COMPLETED)
        assert closed.pnl.amount == "1000.00"
        assert await desk.balance() == Decimal("10999.00")
        practice = await desk.stub.GetPortfolio(pb.GetPortfolioRequest(), metadata=ALICE)
        assert practice.portfolio.balance.amount == "10000.00"
        assert (await desk.told())[3:] == ["PositionClosed", "TradingRewardsCalculated", "ClanBattleScoreUpdated"]


async def test_a_refused_order_returns_all_its_money(tmp_path: Path) -> None:
    async with at_desk(tmp_path, FaultyExchange(plans=[Plan(refuse="MARKET_CLOSED")])) as desk:
        failed = await desk.settled(await desk.open())
        assert (failed.state, failed.failure_reason) == (TradeState.TRADE_STATE_FAILED, "MARKET_CLOSED")
        assert await desk.balance() == Decimal("10000.00")
        [envelope] = await recorded(desk.domain)
        event = TradeFailed.FromString(envelope.data)
        assert (event.amount.amount, event.reason) == ("1000.00", "MARKET_CLOSED")


async def test_what_is_filled_in_parts_shows_and_what_is_not_filled_in_time_comes_back(tmp_path: Path) -> None:
    async with at_desk(tmp_path, FaultyExchange(plans=[Plan(parts=(30,)), Plan(parts=())])) as desk:
        part, none = await desk.open(), await desk.open()
        waiting = await desk.settled(part, TradeState.TRADE_STATE_PARTIALLY_FILLED)
        assert waiting.filled_amount.amount == "300.00"
        part, none = await desk.settled(part), await desk.settled(none)
        assert (part.state, part.amount.amount, part.fee.amount) == (TradeState.TRADE_STATE_ACTIVE, "300.00", "0.30")
        assert none.state == TradeState.TRADE_STATE_CANCELLED
        assert await desk.balance() == Decimal(10000) - Decimal("300.30")
        events = [envelope for envelope in await recorded(desk.domain) if "Trade" in envelope.type]
        kinds = {envelope.subject: envelope.type.rpartition(".")[2] for envelope in events}
        assert kinds == {part.trade_id: "TradeExecuted", none.trade_id: "TradeFailed"}


@pytest.mark.parametrize(
    "plan",
    [Plan(lose_reply=True), Plan(late=True), Plan(delay_seconds=0.4), Plan(lose_reply=True, parts=(40, 60))],
    ids=["lost reply", "late", "slower than the lease", "lost reply, in parts"],
)
async def test_an_order_of_unknown_outcome_is_placed_once(tmp_path: Path, plan: Plan) -> None:
    exchange = FaultyExchange(plans=[plan])
    async with at_desk(tmp_path, exchange) as desk:
        trade = await desk.settled(await desk.open())
        assert trade.state == TradeState.TRADE_STATE_ACTIVE
        assert (exchange.arrivals, await desk.balance()) == (1, Decimal("8999.00"))


async def test_an_exchange_that_goes_away_in_mid_order_is_waited_for_through_a_restart(tmp_path: Path) -> None:
    exchange = FaultyExchange(plans=[Plan(parts=(50, 50), lose_reply=True)])
    async with at_desk(tmp_path, exchange) as desk:
        trade = await desk.open()
        await until(lambda: exchange.arrivals == 1)
        exchange.away = True
        assert await refusal(desk.open()) == "EXCHANGE_UNAVAILABLE"
        await asyncio.sleep(0.2)
        assert (await desk.get(trade)).state == TradeState.TRADE_STATE_PENDING
    async with at_desk(tmp_path, exchange) as desk:
        await asyncio.sleep(0.1)
        exchange.away = False
        assert (await desk.settled(trade)).state == TradeState.TRADE_STATE_ACTIVE
        assert (exchange.arrivals, await desk.balance()) == (1, Decimal("8999.00"))


async def test_a_close_cut_short_goes_on_until_all_is_closed_at_its_mean_price(tmp_path: Path) -> None:
    exchange = FaultyExchange()
    async with at_desk(tmp_path, exchange) as desk:
        trade = await desk.settled(await desk.open())
        exchange.plans = [Plan(parts=(25,))]
        exchange.price = Decimal(110)
        await desk.close(trade)
        assert await refusal(desk.close(trade)) == "CLOSE_PENDING"
        await until(lambda: f"{trade.trade_id}-c1" in exchange.orders)
        await exchange.cancel(f"{trade.trade_id}-c1")
        await until(lambda: f"{trade.trade_id}-c2" in exchange.orders)
        closed = await desk.settled(trade, TradeState.TRADE_STATE_COMPLETED)
        assert (closed.pnl.amount, await desk.balance()) == ("100.00", Decimal("10099.00"))
        assert (await desk.told()).count("PositionClosed") == 1


async def test_a_refused_close_leaves_the_trade_open_and_it_may_be_closed_again(tmp_path: Path) -> None:
    exchange = FaultyExchange()
    async with at_desk(tmp_path, exchange) as desk:
        trade = await desk.settled(await desk.open())
        exchange.plans = [Plan(refuse="MARKET_CLOSED")]
        await desk.close(trade)
        await until(lambda: f"{trade.trade_id}-c1" in exchange.orders)
        await asyncio.sleep(0.1)
        assert (await desk.get(trade)).state == TradeState.TRADE_STATE_ACTIVE
        await desk.close(trade)
        assert (await desk.settled(trade, TradeState.TRADE_STATE_COMPLETED)).pnl.amount == "0.00"
        assert await desk.balance() == Decimal("9999.00")


@pytest.mark.parametrize("lacks", ["USER_NOT_ACTIVE", "IDENTITY_NOT_VERIFIED", "TIER_WITHOUT_LIVE_TRADING"])
async def test_who_may_not_trade_live_is_told_why_and_nothing_is_stored(tmp_path: Path, lacks: str) -> None:
    exchange = FaultyExchange()
    async with at_desk(tmp_path, exchange, lacks=lacks) as desk:
        assert await refusal(desk.open()) == lacks
        assert (await desk.told(), exchange.orders, await desk.balance()) == ([], {}, Decimal("10000.00"))


async def test_a_repeat_returns_the_first_order_even_when_the_exchange_is_away(tmp_path: Path) -> None:
    exchange = FaultyExchange(plans=[Plan(parts=())])
    async with at_desk(tmp_path, exchange) as desk:
        first = await desk.open(request_id="r1")
        exchange.away = True
        assert await desk.open(request_id="r1") == first
        assert await refusal(desk.open("11000", request_id="r2")) == "EXCHANGE_UNAVAILABLE"
        exchange.away = False
        assert await refusal(desk.open("9500", request_id="r2")) == "INSUFFICIENT_BALANCE"


async def test_64_live_orders_at_once_never_spend_more_than_there_is(tmp_path: Path) -> None:
    exchange = FaultyExchange(deposit=Decimal(5_000))
    async with at_desk(tmp_path, exchange) as desk:
        answers = await asyncio.gather(*(desk.open("500") for _ in range(64)), return_exceptions=True)
        made = [answer for answer in answers if isinstance(answer, Trade)]
        assert len(made) == 9  # the fees make the tenth too much
        for trade in made:
            await desk.settled(trade)
        assert await desk.balance() == Decimal(5000) - 9 * Decimal("500.50")
        assert exchange.arrivals == 9


def assert_books_are_right(exchange: FaultyExchange, trades: list[Trade], balance: Decimal) -> None:
    """What is at the exchange is what is in the books, and every dollar is somewhere."""
    expected = exchange.deposit
    for trade in trades:
        amount, fee = Decimal(trade.amount.amount), Decimal(trade.fee.amount)
        opened = [taken for taken in exchange.orders.values() if taken.order.client_order_id == trade.trade_id]
        at_exchange = sum(
            taken.filled
            for id_, taken in exchange.orders.items()
            if id_.startswith(trade.trade_id) and not id_.startswith(f"{trade.trade_id}-c")
        )
        assert len(opened) <= 1
        if trade.state == TradeState.TRADE_STATE_ACTIVE:
            assert (at_exchange, fee) == (amount, fee_of(amount))
            expected -= amount + fee
        elif trade.state == TradeState.TRADE_STATE_COMPLETED:
            assert (at_exchange, fee) == (amount, fee_of(amount))
            expected += Decimal(trade.pnl.amount) - fee
        else:
            assert at_exchange == 0
    assert balance == expected


@pytest.mark.parametrize("seed", range(6))
async def test_any_trouble_leaves_the_books_right(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    exchange = FaultyExchange(plans=[random_plan(chance) for _ in range(60)])
    trades: list[Trade] = []
    for _ in range(3):  # each time a process that is stopped in the middle of it
        async with at_desk(tmp_path, exchange) as desk:
            trades += await asyncio.gather(*(desk.open(f"{chance.randrange(1, 900)}.37") for _ in range(4)))
            exchange.away = chance.random() < 0.5
            await asyncio.sleep(chance.uniform(0, 0.1))
            exchange.away = False
    async with at_desk(tmp_path, exchange) as desk:
        trades = [await desk.settled(trade) for trade in trades]
        for trade in trades:
            if trade.state == TradeState.TRADE_STATE_ACTIVE and chance.random() < 0.5:
                exchange.plans = []
                exchange.price = Decimal(chance.randrange(80, 120))
                await desk.close(trade)
                await desk.settled(trade, TradeState.TRADE_STATE_COMPLETED)
        trades = [await desk.get(trade) for trade in trades]
        assert_books_are_right(exchange, trades, await desk.balance())
        executed = {e.subject for e in await recorded(desk.domain) if e.type == TradeExecuted.DESCRIPTOR.full_name}
        closed = [e.subject for e in await recorded(desk.domain) if e.type == PositionClosed.DESCRIPTOR.full_name]
        filled = {TradeState.TRADE_STATE_ACTIVE, TradeState.TRADE_STATE_COMPLETED}
        assert executed == {trade.trade_id for trade in trades if trade.state in filled}
        assert len(closed) == len(set(closed))


async def test_the_check_sees_an_adapter_that_makes_an_order_twice(tmp_path: Path) -> None:
    """The control: without the exchange's promise, or asking first, a lost reply is a second order."""

    class Forgetful(FaultyExchange):
        attempts = 0

        async def place(self, order: Order) -> Report:
            Forgetful.attempts += 1
            again = Order(
                client_order_id=f"{order.client_order_id}-again{Forgetful.attempts}",
                user_id=order.user_id,
                symbol=order.symbol,
                direction=order.direction,
                side=order.side,
                amount=order.amount,
            )
            return await FaultyExchange.place(self, again)

        async def find(self, client_order_id: str) -> Report | None:
            return None

    exchange = Forgetful(plans=[Plan(lose_reply=True)])
    async with at_desk(tmp_path, exchange) as desk:
        trade = await desk.settled(await desk.open())
        assert exchange.arrivals == 2
        with pytest.raises(AssertionError):
            assert_books_are_right(exchange, [trade], await desk.balance())
