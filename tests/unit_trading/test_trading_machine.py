"""Random practice trading, by rpc: every cent is somewhere, PnL is counted once, read models follow in any order."""

import asyncio
import random
import tempfile
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
from astra.event.v1.envelope_pb2 import Envelope
from astra.trading.v1 import trading_service_pb2 as pb
from astra.trading.v1.trade_pb2 import Trade, TradeState
from astra.trading.v1.trading_service_pb2_grpc import TradingServiceStub
from astra.type.v1.money_pb2 import Money
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services import contracts, trading
from services.mesh import Mesh
from services.runtime.delivery import Delivery
from services.trading.model import OPENING_BALANCE, TRADES_PER_DAY, fee_of
from tests.reacting import START_MS, react
from tests.serving import as_user, reason_of, serving

ALICE, ADMIN = as_user("alice"), as_user("root", "admin")
REFUSALS = {"INSUFFICIENT_BALANCE", "DAILY_TRADE_LIMIT_REACHED"}


class TradingMachine(RuleBasedStateMachine):
    """One user, a market that moves with the clock, and the read models' group that hears of it in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.runner, self.closing = asyncio.Runner(), AsyncExitStack()
        folder = Path(self.closing.enter_context(tempfile.TemporaryDirectory()))
        self.now, self.granted, self.chance = START_MS, Decimal(0), random.Random(7)
        self.open: list[Trade] = []
        self.done: list[Trade] = []
        self.runner.run(self._open(folder))

    async def _open(self, folder: Path) -> None:
        self.domain = trading.build(Mesh.at(folder), clock=lambda: self.now)
        self.stub: Any = TradingServiceStub(await self.closing.enter_async_context(serving(self.domain)))

    def teardown(self) -> None:
        self.runner.run(self.closing.aclose())
        self.runner.close()

    def call(self, rpc: str, request: Any, metadata: Any = ALICE) -> Any:
        """Calls; returns the reply, or the reason of a refusal."""

        async def run() -> Any:
            try:
                return await getattr(self.stub, rpc)(request, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                return reason_of(error)

        return self.runner.run(run())

    @rule(
        cents=st.integers(1, 600_000),
        symbol=st.sampled_from(("STRK", "BTC", "ETH")),
        direction=st.sampled_from((1, 2)),
    )
    def trade(self, cents: int, symbol: str, direction: int) -> None:
        amount = Decimal(cents) / 100
        request = pb.ExecuteTradeRequest(
            symbol=symbol,
            amount=Money(currency_code="USD", amount=f"{amount:.2f}"),
            direction=direction,  # type: ignore[arg-type]
        )
        before = self.balance()
        reply = self.call("ExecuteTrade", request)
        if amount + fee_of(amount) > before or len(self.open) + len(self.done) >= TRADES_PER_DAY:
            assert reply in REFUSALS
            assert self.balance() == before
        else:
            self.open.append(reply.trade)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        trade = data.draw(st.sampled_from(self.open))
        self.open.remove(trade)
        self.done.append(self.call("CloseTrade", pb.CloseTradeRequest(trade_id=trade.trade_id)).trade)
        assert self.done[-1].state == TradeState.TRADE_STATE_COMPLETED

    @precondition(lambda self: self.done)
    @rule(data=st.data())
    def close_again(self, data: st.DataObject) -> None:
        trade = data.draw(st.sampled_from(self.done))
        assert self.call("CloseTrade", pb.CloseTradeRequest(trade_id=trade.trade_id)) == "TRADE_NOT_OPEN"

    @rule(dollars=st.integers(1, 5_000))
    def grant(self, dollars: int) -> None:
        amount = Money(currency_code="USD", amount=str(dollars))
        self.call("GrantPracticeFunds", pb.GrantPracticeFundsRequest(user_id="alice", amount=amount), ADMIN)
        self.granted += dollars

    @rule(minutes=st.integers(1, 60))
    def time_passes(self, minutes: int) -> None:
        self.now = min(self.now + minutes * 60_000, START_MS + 11 * 3600_000)

    def portfolio(self) -> Any:
        return self.call("GetPortfolio", pb.GetPortfolioRequest()).portfolio

    def balance(self) -> Decimal:
        return Decimal(self.portfolio().balance.amount)

    @invariant()
    def every_cent_is_somewhere(self) -> None:
        shown = self.portfolio()
        stakes = sum((Decimal(trade.amount.amount) for trade in self.open), Decimal(0))
        fees = sum((Decimal(trade.fee.amount) for trade in (*self.open, *self.done)), Decimal(0))
        pnl = sum((Decimal(trade.pnl.amount) for trade in self.done), Decimal(0))
        balance = Decimal(shown.balance.amount)
        assert balance >= 0
        assert balance + stakes + fees == OPENING_BALANCE + self.granted + pnl
        assert Decimal(shown.realized_pnl.amount) == pnl
        assert Decimal(shown.total_value.amount) == balance + stakes + Decimal(shown.unrealized_pnl.amount)
        assert sum(Decimal(position.amount.amount) for position in shown.positions) == stakes

    @rule()
    def read_models_follow(self) -> None:
        rows = self.domain.store.read_now(lambda db: db.all("SELECT * FROM outbox"))
        self.chance.shuffle(rows)
        self.runner.run(react(self.domain, "trading_internal", *map(delivery_of, rows)))
        results = self.call("GetPerformance", pb.GetPerformanceRequest()).performance
        shown = self.portfolio()
        assert results.pnl == shown.realized_pnl
        assert {(e.symbol, e.direction): e.amount.amount for e in results.exposures} == {
            (p.symbol, p.direction): p.amount.amount for p in shown.positions
        }
        assert sum(day.closed for day in results.days) == len(self.done)


def delivery_of(row: Any) -> Delivery:
    envelope = Envelope.FromString(row["envelope"])
    event = contracts.events()[row["stream"]].message.FromString(envelope.data)
    return Delivery(row["stream"], row["ms"], row["ordinal"], envelope, event)


TestTradingMachine = TradingMachine.TestCase
TestTradingMachine.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
