"""TradingService in process: what a call stores and publishes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import grpc
import pytest
from astra.event.v1.envelope_pb2 import Envelope
from astra.trading.v1 import trading_service_pb2 as pb
from astra.trading.v1.events_pb2 import PositionClosed, RiskAlertRaised, RiskLevel, TradeExecuted
from astra.trading.v1.trading_service_pb2_grpc import TradingServiceStub
from astra.type.v1.money_pb2 import Money
from google.protobuf.message import Message

from services import trading
from services.domain import Domain
from services.mesh import Mesh
from services.runtime.delivery import Delivery
from services.trading import market
from services.trading.reactions import raise_risk_alert
from tests.serving import as_user, reason_of, serving

ALICE, ADMIN = as_user("alice"), as_user("root", "admin")
DAY_MS = 24 * 3600 * 1000


class Trader:
    """Trading, served, with a clock to move."""

    def __init__(self, domain: Domain, stub: TradingServiceStub, now: list[int]) -> None:
        self.domain, self.stub, self.now = domain, stub, now

    async def trade(self, amount: str = "1000", **fields: object) -> pb.ExecuteTradeResponse:
        request = pb.ExecuteTradeRequest(
            **{  # type: ignore[arg-type]
                "user_id": "alice",
                "symbol": "STRK",
                "amount": Money(currency_code="USD", amount=amount),
                "direction": "DIRECTION_LONG",
                **fields,
            }
        )
        response = await self.stub.ExecuteTrade(request, metadata=ALICE)
        assert isinstance(response, pb.ExecuteTradeResponse)
        return response

    async def balance(self) -> str:
        response = await self.stub.GetPortfolio(pb.GetPortfolioRequest(), metadata=ALICE)
        return str(response.portfolio.balance.amount)

    async def events(self) -> list[Envelope]:
        rows = await self.domain.store.read(lambda db: db.all("SELECT envelope FROM outbox ORDER BY ms, stream"))
        return sorted((Envelope.FromString(row["envelope"]) for row in rows), key=lambda envelope: envelope.id)


@pytest.fixture
async def trader(tmp_path: Path) -> AsyncIterator[Trader]:
    now = [1_800_000_000_000]
    domain = trading.build(Mesh.at(tmp_path), clock=lambda: now[0])
    async with serving(domain) as channel:
        yield Trader(domain, TradingServiceStub(channel), now)


def names(envelopes: list[Envelope]) -> list[str]:
    return [envelope.type.rpartition(".")[2] for envelope in envelopes]


async def test_a_trade_takes_amount_and_fee_and_publishes_two_events(trader: Trader) -> None:
    trade = (await trader.trade("1500")).trade
    assert (trade.fee.amount, trade.amount.amount) == ("1.50", "1500.00")
    assert await trader.balance() == "8498.50"
    executed, updated = await trader.events()
    assert names([executed, updated]) == ["TradeExecuted", "PositionUpdated"]
    assert updated.causation_id == executed.id
    assert TradeExecuted.FromString(executed.data).portfolio_value.amount == "10000.00"


async def test_a_repeated_request_id_makes_one_trade(trader: Trader) -> None:
    first = await trader.trade(request_id="r1")
    assert await trader.trade(request_id="r1") == first
    assert len(await trader.events()) == 2
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trader.trade("999", request_id="r1")
    assert reason_of(caught.value) == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("amount", "fields", "reason"),
    [
        ("10000", {}, "INSUFFICIENT_BALANCE"),
        ("2000", {"max_position_pct": "19.9"}, "POSITION_LIMIT_EXCEEDED"),
        ("2000", {"max_position_pct": "101"}, "INVALID_FIELD"),
        ("1.001", {}, "INVALID_FIELD"),
        ("-5", {}, "INVALID_FIELD"),
        ("100", {"mode": "TRADING_MODE_LIVE"}, "EXCHANGE_NOT_CONFIGURED"),
    ],
)
async def test_a_refused_trade_stores_nothing(
    trader: Trader, amount: str, fields: dict[str, object], reason: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trader.trade(amount, **fields)
    assert reason_of(caught.value) == reason
    assert await trader.balance() == "10000.00"
    assert await trader.events() == []


async def test_the_21st_trade_of_24_hours_is_refused_even_of_64_at_once(trader: Trader) -> None:
    async def attempt() -> bool:
        with suppress(grpc.aio.AioRpcError):
            await trader.trade("1")
            return True
        return False

    assert sum(await asyncio.gather(*(attempt() for _ in range(64)))) == 20
    trader.now[0] += DAY_MS
    assert await attempt()


async def test_a_close_returns_stake_and_pnl_once(trader: Trader, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = (await trader.trade("1000")).trade
    doubled = dict.fromkeys(market.MARKETS, Decimal(opened.entry_price) * 2)
    monkeypatch.setattr(market.SimulatedMarket, "prices", lambda self, at_ms: doubled)
    close = pb.CloseTradeRequest(trade_id=opened.trade_id)
    closed = (await trader.stub.CloseTrade(close, metadata=ALICE)).trade
    assert closed.pnl.amount == "1000.00"
    assert await trader.balance() == "10999.00"
    assert names(await trader.events())[2:] == ["PositionClosed", "TradingRewardsCalculated"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trader.stub.CloseTrade(close, metadata=ALICE)
    assert reason_of(caught.value) == "TRADE_NOT_OPEN"


async def test_another_users_trade_is_not_found(trader: Trader) -> None:
    opened = (await trader.trade()).trade
    for call in (trader.stub.GetTrade, trader.stub.CloseTrade):
        kind = pb.GetTradeRequest if call == trader.stub.GetTrade else pb.CloseTradeRequest
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(kind(trade_id=opened.trade_id), metadata=as_user("bob"))
        assert reason_of(caught.value) == "TRADE_NOT_FOUND"


async def test_trades_are_listed_newest_first_in_pages(trader: Trader) -> None:
    made = [(await trader.trade(str(amount))).trade for amount in range(1, 6)]
    listed, token = [], ""
    while True:
        page = await trader.stub.ListTrades(pb.ListTradesRequest(page_size=2, page_token=token), metadata=ALICE)
        listed += page.trades
        if not (token := page.next_page_token):
            break
    assert listed == made[::-1]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trader.stub.ListTrades(pb.ListTradesRequest(page_token="made-up"), metadata=ALICE)
    assert reason_of(caught.value) == "INVALID_FIELD"


async def test_a_trade_in_a_battle_moves_its_score(trader: Trader) -> None:
    await trader.trade(battle_id="b1")
    assert names(await trader.events()) == ["TradeExecuted", "PositionUpdated", "ClanBattleScoreUpdated"]


async def test_a_grant_adds_to_the_balance_without_an_event(trader: Trader) -> None:
    grant = pb.GrantPracticeFundsRequest(user_id="alice", amount=Money(currency_code="USD", amount="190000"))
    reply = await trader.stub.GrantPracticeFunds(grant, metadata=ADMIN)
    assert reply.portfolio.balance.amount == "200000.00"
    assert await trader.events() == []


async def test_markets_and_quotes_are_open_to_all(trader: Trader) -> None:
    listed = await trader.stub.ListMarkets(pb.ListMarketsRequest())
    assert [found.symbol for found in listed.markets] == sorted(market.MARKETS)
    quote = (await trader.stub.GetQuote(pb.GetQuoteRequest(symbol="BTC"))).quote
    assert float(quote.price) > 0


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (TradeExecuted, None),
        (TradeExecuted, RiskLevel.RISK_LEVEL_MEDIUM),
        (PositionClosed, RiskLevel.RISK_LEVEL_HIGH),
    ],
)
async def test_a_large_trade_raises_a_risk_alert(trader: Trader, event: type[Message], level: RiskLevel | None) -> None:
    amount = {None: "500", RiskLevel.RISK_LEVEL_MEDIUM: "501", RiskLevel.RISK_LEVEL_HIGH: "1001"}[level]
    usd = {"currency_code": "USD"}
    large = event(
        trade_id="t", user_id="u", amount={**usd, "amount": amount}, portfolio_value={**usd, "amount": "10000"}
    )
    delivery = Delivery("astra.trading.trade_executed.v1", 1, 1, Envelope(id="e", correlation_id="c"), large)
    for _ in range(2):
        await trader.domain.store.react("trading_risk_management", delivery, raise_risk_alert)
    alerts = [RiskAlertRaised.FromString(envelope.data) for envelope in await trader.events()]
    assert [alert.level for alert in alerts] == ([] if level is None else [level])
