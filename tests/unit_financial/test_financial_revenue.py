"""What the platform earns with trades and sales, and how GetRevenue and GetAccount tell of it."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from astra.financial.v1 import financial_service_pb2 as pb
from astra.financial.v1.events_pb2 import RevenueRecorded
from astra.financial.v1.financial_service_pb2_grpc import FinancialServiceStub
from astra.financial.v1.revenue_pb2 import RevenueMode, RevenueStream
from astra.nft.v1.events_pb2 import MarketplaceSale
from astra.trading.v1.events_pb2 import TradeExecuted
from astra.type.v1.money_pb2 import Money
from google.protobuf.timestamp_pb2 import Timestamp

from services import financial
from services.domain import Domain
from services.financial.model import Held
from services.financial.store import book
from services.mesh import Mesh
from services.runtime.errors import InvalidArgument
from tests.reacting import START_MS, Streams, react, recorded
from tests.serving import as_user, reason_of, serving
from tests.unit_financial.test_financial_ledger import transfer

ALICE, ADMIN = as_user("alice"), as_user("root", "admin")
GROUP = "revenue_trackers"


@dataclass
class Finance:
    domain: Domain
    stub: FinancialServiceStub
    streams: Streams

    async def revenue(self, **period: Timestamp) -> list[tuple[str, str, str, str, int]]:
        response = await self.stub.GetRevenue(pb.GetRevenueRequest(**period), metadata=ADMIN)
        return [
            (
                RevenueStream.Name(row.stream).removeprefix("REVENUE_STREAM_"),
                RevenueMode.Name(row.mode).removeprefix("REVENUE_MODE_"),
                row.amount.currency_code,
                row.amount.amount,
                row.count,
            )
            for row in response.revenues
        ]


@pytest.fixture
async def finance(tmp_path: Path) -> AsyncIterator[Finance]:
    domain = financial.build(Mesh.at(tmp_path), clock=lambda: START_MS)
    async with serving(domain) as channel:
        yield Finance(domain, FinancialServiceStub(channel), Streams())


def trade(trade_id: str, fee: str, mode: str = "TRADING_MODE_PRACTICE") -> TradeExecuted:
    return TradeExecuted(
        trade_id=trade_id,
        user_id="alice",
        mode=mode,
        amount=Money(currency_code="USD", amount="1500.00"),
        fee=Money(currency_code="USD", amount=fee),
    )


def sale(listing_id: str, fee: str, currency: str = "SHARDS") -> MarketplaceSale:
    return MarketplaceSale(
        listing_id=listing_id, seller_user_id="bob", platform_fee=Money(currency_code=currency, amount=fee)
    )


def at(ms: int) -> Timestamp:
    time = Timestamp()
    time.FromMilliseconds(ms)
    return time


async def test_the_fee_of_a_trade_is_recorded_with_its_cause_and_chain(finance: Finance) -> None:
    executed = finance.streams.add(trade("t1", "1.50"))
    assert await react(finance.domain, GROUP, executed) == [True]
    [envelope] = await recorded(finance.domain)
    event = RevenueRecorded.FromString(envelope.data)
    assert (event.user_id, event.amount.amount, event.amount.currency_code) == ("alice", "1.50", "USD")
    assert (event.stream, event.mode) == (
        RevenueStream.REVENUE_STREAM_TRADING_FEES,
        RevenueMode.REVENUE_MODE_PRACTICE,
    )
    assert (envelope.causation_id, envelope.correlation_id) == (executed.envelope.id, "chain")
    assert envelope.subject == event.revenue_id


async def test_revenue_is_told_apart_by_stream_mode_and_currency(finance: Finance) -> None:
    events = (
        trade("t1", "1.50"),
        trade("t2", "5.00", "TRADING_MODE_UNSPECIFIED"),
        trade("t3", "2.50", "TRADING_MODE_LIVE"),
        sale("l1", "25"),
        sale("l2", "3"),
    )
    await react(finance.domain, GROUP, *map(finance.streams.add, events))
    assert await finance.revenue() == [
        ("TRADING_FEES", "PRACTICE", "USD", "6.50", 2),
        ("TRADING_FEES", "LIVE", "USD", "2.50", 1),
        ("NFT_MARKETPLACE", "LIVE", "SHARDS", "28", 2),
    ]


@pytest.mark.parametrize("event", [trade("t1", "0.00"), sale("l1", "0"), TradeExecuted(trade_id="t1")])
async def test_a_fee_of_nothing_records_nothing(finance: Finance, event: TradeExecuted | MarketplaceSale) -> None:
    assert await react(finance.domain, GROUP, finance.streams.add(event)) == [True]
    assert await recorded(finance.domain) == []
    assert await finance.revenue() == []


@pytest.mark.parametrize("event", [trade("t1", "-1.00"), trade("t1", "1e5"), sale("l1", "5.00", "USD")])
async def test_a_fee_that_is_no_amount_of_its_currency_is_refused(
    finance: Finance, event: TradeExecuted | MarketplaceSale
) -> None:
    with pytest.raises(InvalidArgument):
        await react(finance.domain, GROUP, finance.streams.add(event))
    assert await finance.revenue() == []


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_repeated_deliveries_in_any_order_have_one_effect(finance: Finance, order: tuple[int, ...]) -> None:
    deliveries = [finance.streams.add(event) for event in (trade("t1", "1.50"), trade("t2", "5.00"), sale("l1", "2"))]
    await react(finance.domain, GROUP, *(deliveries[n] for n in (*order, *order)))
    assert len(await recorded(finance.domain)) == 3
    assert [row[3:] for row in await finance.revenue()] == [("6.50", 2), ("2", 1)]


async def test_the_same_trade_told_twice_earns_once(finance: Finance) -> None:
    await react(finance.domain, GROUP, *(finance.streams.add(trade("t1", "1.50")) for _ in range(2)))
    assert [row[3:] for row in await finance.revenue()] == [("1.50", 1)]


@pytest.mark.parametrize(
    ("start", "end", "count"),
    [(0, 1, 1), (0, 0, 0), (-5, 0, 0), (1, 2, 1), (0, 2, 2), (None, 1, 1), (1, None, 1), (None, None, 2), (2, None, 0)],
)
async def test_a_period_has_its_start_and_not_its_end(
    finance: Finance, start: int | None, end: int | None, count: int
) -> None:
    for n in range(2):
        await react(finance.domain, GROUP, finance.streams.add(trade(f"t{n}", "1.00"), ms=START_MS + n))
    period = {"start_time": start, "end_time": end}
    rows = await finance.revenue(**{key: at(START_MS + ms) for key, ms in period.items() if ms is not None})
    assert sum(row[4] for row in rows) == count


@pytest.mark.parametrize(
    "period",
    [
        {"start_time": at(1), "end_time": at(0)},
        {"start_time": Timestamp(seconds=2**62)},
        {"end_time": Timestamp(nanos=-1)},
    ],
)
async def test_a_period_that_is_none_is_refused(finance: Finance, period: dict[str, Timestamp]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await finance.revenue(**period)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_only_an_admin_sees_revenue(finance: Finance) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await finance.stub.GetRevenue(pb.GetRevenueRequest(), metadata=ALICE)
    assert reason_of(caught.value) == "ROLE_REQUIRED"


async def test_practice_fees_are_no_balance_of_the_user(finance: Finance) -> None:
    await react(finance.domain, GROUP, finance.streams.add(trade("t1", "1.50")))
    account = (await finance.stub.GetAccount(pb.GetAccountRequest(), metadata=ALICE)).account
    assert (account.user_id, list(account.balances)) == ("alice", [])


async def test_an_account_shows_the_balances_of_its_user_alone(finance: Finance) -> None:
    await finance.domain.store.write(lambda tx: book(tx, transfer(Held.EXCHANGE, "alice", "12.50")))
    account = (await finance.stub.GetAccount(pb.GetAccountRequest(user_id="alice"), metadata=ADMIN)).account
    assert [(money.currency_code, money.amount) for money in account.balances] == [("USD", "12.50")]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await finance.stub.GetAccount(pb.GetAccountRequest(user_id="alice"), metadata=as_user("bob"))
    assert reason_of(caught.value) == "NOT_YOURSELF"


async def test_booked_revenue_sums_to_zero_with_where_it_came_from(finance: Finance) -> None:
    events = (trade("t1", "1.50"), trade("t2", "2.50", "TRADING_MODE_LIVE"), sale("l1", "25"))
    await react(finance.domain, GROUP, *map(finance.streams.add, events))
    rows = await finance.domain.store.read(lambda db: db.all("SELECT * FROM account ORDER BY owner"))
    assert [tuple(row) for row in rows] == [
        ("platform:held:exchange", "USD", -250),
        ("platform:held:game-wallets", "SHARDS", -25),
        ("platform:held:practice-portfolios", "USD", -150),
        ("platform:revenue:nft_marketplace:live", "SHARDS", 25),
        ("platform:revenue:trading_fees:live", "USD", 250),
        ("platform:revenue:trading_fees:practice", "USD", 150),
    ]
