"""What shows a user its trading: live changes, results by day, risk before a trade, filters of a list."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
from astra.event.v1.envelope_pb2 import Envelope
from astra.trading.v1 import trading_service_pb2 as pb
from astra.trading.v1.events_pb2 import PositionClosed, RiskLevel, TradeExecuted, TradeFailed
from astra.trading.v1.trade_pb2 import Trade
from astra.trading.v1.trading_service_pb2_grpc import TradingServiceStub
from astra.type.v1.money_pb2 import Money
from google.protobuf.message import Message

from services import contracts, trading
from services.domain import Domain
from services.mesh import Mesh
from services.runtime.delivery import Delivery
from services.trading.model import DAY_MS
from tests.reacting import START_MS, Streams, react, recorded
from tests.serving import as_user, reason_of, serving

ALICE = as_user("alice")
GROUP = "trading_internal"


def usd(amount: str) -> Money:
    return Money(currency_code="USD", amount=amount)


@pytest.fixture
def now() -> list[int]:
    return [START_MS]


@pytest.fixture
async def domain(tmp_path: Path, now: list[int]) -> Domain:
    return trading.build(Mesh.at(tmp_path), clock=lambda: now[0])


@pytest.fixture
async def stub(domain: Domain) -> AsyncIterator[Any]:
    async with serving(domain) as channel:
        yield TradingServiceStub(channel)


async def trade(stub: Any, amount: str = "1000", symbol: str = "STRK", user: str = "alice", **fields: Any) -> Trade:
    request = pb.ExecuteTradeRequest(symbol=symbol, amount=usd(amount), direction="DIRECTION_LONG", **fields)
    made: Trade = (await stub.ExecuteTrade(request, metadata=as_user(user))).trade
    return made


async def close(stub: Any, made: Trade) -> Trade:
    closed: Trade = (await stub.CloseTrade(pb.CloseTradeRequest(trade_id=made.trade_id), metadata=ALICE)).trade
    return closed


async def next_of(stream: Any) -> pb.WatchTradesResponse:
    response: pb.WatchTradesResponse = await asyncio.wait_for(stream.read(), 5)
    return response


async def test_a_stream_shows_each_change_of_ones_own_trades_and_goes_on_where_it_was(stub: Any) -> None:
    await trade(stub)
    stream = stub.WatchTrades(pb.WatchTradesRequest(), metadata=ALICE)
    await stream.initial_metadata()
    reading = asyncio.ensure_future(next_of(stream))
    await asyncio.sleep(0.05)
    assert not reading.done()  # what was there before is listed, not streamed
    began = time.monotonic()
    await trade(stub, user="bob")
    second = await trade(stub, "500")
    first_seen = await reading
    assert time.monotonic() - began < 2  # some milliseconds; the bound only excludes a poll
    assert first_seen.trade == second
    closed = await close(stub, second)
    assert (await next_of(stream)).trade == closed
    stream.cancel()
    third = await trade(stub, "200")
    again = stub.WatchTrades(pb.WatchTradesRequest(resume_token=first_seen.resume_token), metadata=ALICE)
    assert [(await next_of(again)).trade for _ in range(2)] == [closed, third]
    again.cancel()
    bad = stub.WatchTrades(pb.WatchTradesRequest(resume_token="made-up"), metadata=ALICE)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bad.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("amount", "fields", "level", "pct", "refusal"),
    [
        ("500", {}, RiskLevel.RISK_LEVEL_LOW, "5.00", ""),
        ("500.01", {}, RiskLevel.RISK_LEVEL_MEDIUM, "5.00", ""),
        ("1000", {}, RiskLevel.RISK_LEVEL_MEDIUM, "10.00", ""),
        ("1000.01", {}, RiskLevel.RISK_LEVEL_HIGH, "10.00", ""),
        ("10000", {}, RiskLevel.RISK_LEVEL_HIGH, "100.00", "INSUFFICIENT_BALANCE"),
        ("1500", {"max_position_pct": "10"}, RiskLevel.RISK_LEVEL_HIGH, "15.00", "POSITION_LIMIT_EXCEEDED"),
    ],
)
async def test_risk_is_told_before_a_trade_and_nothing_is_done(
    stub: Any, domain: Domain, amount: str, fields: dict[str, str], level: RiskLevel, pct: str, refusal: str
) -> None:
    request = pb.AssessRiskRequest(symbol="STRK", amount=usd(amount), **fields)
    told = await stub.AssessRisk(request, metadata=ALICE)
    assert (told.level, told.position_pct, told.refusal) == (level, pct, refusal)
    assert Decimal(told.max_loss.amount) == Decimal(amount) + Decimal(told.fee.amount)
    assert await recorded(domain) == []


async def test_risk_sees_what_is_open_in_the_market_and_the_limit_of_a_day(stub: Any) -> None:
    for _ in range(20):
        await trade(stub, "100")
    told = await stub.AssessRisk(pb.AssessRiskRequest(symbol="STRK", amount=usd("100")), metadata=ALICE)
    assert told.refusal == "DAILY_TRADE_LIMIT_REACHED"
    assert Decimal(20) < Decimal(told.market_pct) < Decimal(22)  # 21 × 100 of what is left of 10,000


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"symbol": "BTC"}, 1),
        ({"states": ["TRADE_STATE_COMPLETED"]}, 1),
        ({"states": ["TRADE_STATE_ACTIVE"]}, 2),
        ({"states": ["TRADE_STATE_ACTIVE", "TRADE_STATE_COMPLETED"], "mode": "TRADING_MODE_PRACTICE"}, 3),
        ({"mode": "TRADING_MODE_LIVE"}, 0),
    ],
)
async def test_trades_are_listed_by_what_is_asked(stub: Any, filters: dict[str, Any], found: int) -> None:
    await close(stub, await trade(stub))
    await trade(stub)
    await trade(stub, symbol="BTC")
    page = await stub.ListTrades(pb.ListTradesRequest(page_size=1000, **filters), metadata=ALICE)
    assert len(page.trades) == found


def executed(streams: Streams, amount: str, *, ms: int = START_MS, user: str = "alice", mode: int = 1) -> Delivery:
    fee = f"{Decimal(amount) / 1000:.2f}"
    event = TradeExecuted(user_id=user, symbol="STRK", direction=1, mode=mode, amount=usd(amount), fee=usd(fee))  # type: ignore[arg-type]
    return streams.add(event, ms=ms)


def closed(streams: Streams, amount: str, pnl: str, *, ms: int = START_MS) -> Delivery:
    event = PositionClosed(user_id="alice", symbol="STRK", direction=1, mode=1, amount=usd(amount), pnl=usd(pnl))  # type: ignore[arg-type]
    return streams.add(event, ms=ms)


async def performance(stub: Any, **fields: Any) -> Any:
    return (await stub.GetPerformance(pb.GetPerformanceRequest(**fields), metadata=ALICE)).performance


@pytest.mark.parametrize("seed", range(5))
async def test_results_by_day_are_the_same_in_any_order_and_repeated(stub: Any, domain: Domain, seed: int) -> None:
    streams = Streams()
    events: list[Delivery] = [
        executed(streams, "1000", ms=START_MS - DAY_MS),
        executed(streams, "500"),
        executed(streams, "250"),
        executed(streams, "700", user="bob"),
        executed(streams, "900", mode=2),
        closed(streams, "1000", "-40.00"),
        closed(streams, "250", "12.50"),
        streams.add(TradeFailed(user_id="alice", symbol="STRK", amount=usd("1"))),
    ]
    chance = random.Random(seed)
    chance.shuffle(events)
    await react(domain, GROUP, *events, *chance.sample(events, 4))
    results = await performance(stub)
    assert (results.pnl.amount, results.fees.amount) == ("-27.50", "1.75")
    assert [(day.date, day.opened, day.closed, day.won, day.volume.amount, day.pnl.amount) for day in results.days] == [
        ("2027-01-15", 2, 2, 1, "750.00", "-27.50"),
        ("2027-01-14", 1, 0, 0, "1000.00", "0.00"),
    ]
    assert [(exposure.symbol, exposure.amount.amount) for exposure in results.exposures] == [("STRK", "500.00")]
    today = await performance(stub, days=1)
    assert [day.date for day in today.days] == ["2027-01-15"]
    assert (await performance(stub, mode="TRADING_MODE_LIVE")).fees.amount == "0.90"
    assert await recorded(domain) == []


async def test_results_agree_with_the_trades_that_made_the_events(stub: Any, domain: Domain, now: list[int]) -> None:
    pnls = []
    for step, symbol in enumerate(("STRK", "BTC", "STRK", "ETH")):
        made = await trade(stub, "1000", symbol)
        now[0] += 20 * 60_000
        if step % 2:
            pnls.append(Decimal((await close(stub, made)).pnl.amount))
    await react(domain, GROUP, *await deliveries(domain))
    results = await performance(stub)
    shown = (await stub.GetPortfolio(pb.GetPortfolioRequest(), metadata=ALICE)).portfolio
    assert Decimal(results.pnl.amount) == sum(pnls) == Decimal(shown.realized_pnl.amount)
    assert {exposure.symbol: exposure.amount.amount for exposure in results.exposures} == {
        position.symbol: position.amount.amount for position in shown.positions
    }


async def deliveries(domain: Domain) -> list[Delivery]:
    """Returns what the domain recorded, as its own group reads it."""
    rows = await domain.store.read(lambda db: db.all("SELECT * FROM outbox ORDER BY stream, ordinal"))
    found = []
    for row in rows:
        envelope = Envelope.FromString(row["envelope"])
        event: Message = contracts.events()[row["stream"]].message.FromString(envelope.data)
        found.append(Delivery(row["stream"], row["ms"], row["ordinal"], envelope, event))
    return found


@pytest.mark.parametrize("days", [-1, 366])
async def test_days_out_of_range_are_refused(stub: Any, days: int) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await performance(stub, days=days)
    assert reason_of(caught.value) == "INVALID_FIELD"


async def test_a_live_portfolio_needs_an_exchange(stub: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetPortfolio(pb.GetPortfolioRequest(mode="TRADING_MODE_LIVE"), metadata=ALICE)
    assert reason_of(caught.value) == "EXCHANGE_NOT_CONFIGURED"
