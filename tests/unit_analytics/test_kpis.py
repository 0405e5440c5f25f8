"""KPIs: what counts for which, how each stands against its targets, and the metrics of streams."""

import random
from decimal import Decimal

import grpc
import pytest
from astra.analytics.v1 import analytics_service_pb2 as pb
from astra.analytics.v1.kpi_pb2 import KpiKind as KpiKindProto
from astra.analytics.v1.kpi_pb2 import KpiStatus as KpiStatusProto
from astra.financial.v1.events_pb2 import PaymentCompleted, RevenueRecorded
from astra.gamification.v1.events_pb2 import LeaderboardUpdated, StreakUpdated, XpGained
from astra.nft.v1.events_pb2 import NftListed, NftSold, RewardDistributed
from astra.social.v1.events_pb2 import SocialInteraction, SocialRatingChanged
from astra.trading.v1.events_pb2 import PositionUpdated, TradeExecuted
from astra.type.v1.money_pb2 import Money
from astra.user.v1.events_pb2 import AccountStatusChanged, ProfileUpdated, UserRegistered
from google.protobuf.message import Message

from services.analytics.model import DAY_MS, TARGETS, Counter, KpiKind, KpiStatus, kpi_values, status_of
from services.analytics.store import RETENTION_MS, SECONDS_KEPT
from tests.reacting import START_MS
from tests.serving import as_user, reason_of
from tests.unit_analytics.conftest import ADMIN, Watch

ON_TARGET, BELOW, WARNING, CRITICAL = KpiStatus


def trade(user_id: str = "alice", amount: str = "1000.00") -> TradeExecuted:
    return TradeExecuted(trade_id="t", user_id=user_id, amount=Money(currency_code="USD", amount=amount))


def revenue(mode: str, amount: str, currency: str = "USD") -> RevenueRecorded:
    money = Money(currency_code=currency, amount=amount)
    return RevenueRecorded(revenue_id="r", user_id="alice", mode=f"REVENUE_MODE_{mode}", amount=money)


def interaction(kind: str, user_id: str = "alice") -> SocialInteraction:
    return SocialInteraction(interaction_id="i", user_id=user_id, kind=f"INTERACTION_KIND_{kind}")


@pytest.mark.parametrize(
    ("kind", "value", "status"),
    [
        (KpiKind.TRADES_PER_SECOND, "10.00", ON_TARGET),
        (KpiKind.TRADES_PER_SECOND, "9.99", BELOW),
        (KpiKind.TRADES_PER_SECOND, "5.00", BELOW),
        (KpiKind.TRADES_PER_SECOND, "4.99", WARNING),
        (KpiKind.TRADES_PER_SECOND, "2.00", WARNING),
        (KpiKind.TRADES_PER_SECOND, "1.99", CRITICAL),
        (KpiKind.DAILY_VOLUME, "1000000.00", ON_TARGET),
        (KpiKind.DAILY_VOLUME, "999999.99", BELOW),
        (KpiKind.DAILY_VOLUME, "499999.99", WARNING),
        (KpiKind.DAILY_VOLUME, "99999.99", CRITICAL),
        (KpiKind.DAILY_ACTIVE_USERS, "1000", ON_TARGET),
        (KpiKind.DAILY_ACTIVE_USERS, "500", BELOW),
        (KpiKind.DAILY_ACTIVE_USERS, "100", WARNING),
        (KpiKind.DAILY_ACTIVE_USERS, "99", CRITICAL),
        (KpiKind.REGISTRATIONS, "50", ON_TARGET),
        (KpiKind.REGISTRATIONS, "25", BELOW),
        (KpiKind.REGISTRATIONS, "10", WARNING),
        (KpiKind.REGISTRATIONS, "9", CRITICAL),
        (KpiKind.DAILY_REVENUE, "10000.00", ON_TARGET),
        (KpiKind.DAILY_REVENUE, "5000.00", BELOW),
        (KpiKind.DAILY_REVENUE, "1000.00", WARNING),
        (KpiKind.DAILY_REVENUE, "999.99", CRITICAL),
        (KpiKind.REVENUE_PER_USER, "100.00", ON_TARGET),
        (KpiKind.REVENUE_PER_USER, "50.00", BELOW),
        (KpiKind.REVENUE_PER_USER, "10.00", WARNING),
        (KpiKind.REVENUE_PER_USER, "9.99", CRITICAL),
        (KpiKind.ENGAGEMENT, "8.00", ON_TARGET),
        (KpiKind.ENGAGEMENT, "6.00", BELOW),
        (KpiKind.ENGAGEMENT, "4.00", WARNING),
        (KpiKind.ENGAGEMENT, "3.99", CRITICAL),
    ],
)
def test_a_value_stands_at_its_edges_as_the_table_says(kind: KpiKind, value: str, status: KpiStatus) -> None:
    assert status_of(kind, Decimal(value)) is status


def test_every_kpi_has_targets_and_the_numbers_of_the_contract() -> None:
    assert set(TARGETS) == set(KpiKind)
    assert {f"KPI_KIND_{kind.name}": kind.value for kind in KpiKind}.items() <= dict(KpiKindProto.items()).items()
    assert {f"KPI_STATUS_{kind.name}": kind.value for kind in KpiStatus}.items() <= dict(KpiStatusProto.items()).items()


def test_values_are_worked_out_of_the_counts() -> None:
    counts = {
        Counter.VOLUME_CENTS: 150_050,
        Counter.ACTIVE_USERS: 3,
        Counter.REGISTRATIONS: 2,
        Counter.REVENUE_CENTS: 1_000,
        Counter.INTERACTIONS: 20,
    }
    values = [str(value) for value in kpi_values(counts, recent_trades=90).values()]
    assert values == ["1.50", "1500.50", "3", "2", "10.00", "3.33", "6.67"]


def test_a_day_without_users_divides_by_nothing() -> None:
    assert set(kpi_values({}, recent_trades=0).values()) == {Decimal(0)}


async def test_each_event_counts_for_its_kpis_in_any_order_and_once(watch: Watch) -> None:
    events = [
        trade("alice", "1000.50"),
        trade("bob", "500.00"),
        UserRegistered(user_id="carol"),
        revenue("LIVE", "7.50"),
        revenue("PRACTICE", "99.00"),
        revenue("LIVE", "25", "SHARDS"),
        interaction("LIKE"),
        interaction("COMMENT"),
        interaction("TRADE_SHARE"),
        LeaderboardUpdated(),
    ]
    deliveries = [watch.streams.add(event) for event in events]
    for seed in range(3):
        random.Random(seed).shuffle(deliveries)
        assert await watch.collect(*deliveries) == [seed == 0] * len(events)
    assert {KpiKindProto.Name(kind): kpi.value for kind, kpi in (await watch.kpis()).items()} == {
        "KPI_KIND_TRADES_PER_SECOND": "0.03",
        "KPI_KIND_DAILY_VOLUME": "1500.50",
        "KPI_KIND_DAILY_ACTIVE_USERS": "3",
        "KPI_KIND_REGISTRATIONS": "1",
        "KPI_KIND_DAILY_REVENUE": "7.50",
        "KPI_KIND_REVENUE_PER_USER": "2.50",
        "KPI_KIND_ENGAGEMENT": "0.67",
    }


async def test_a_kpi_is_told_with_its_unit_targets_and_status(watch: Watch) -> None:
    kpi = (await watch.kpis())[KpiKindProto.KPI_KIND_DAILY_VOLUME]
    assert (kpi.value, kpi.unit, kpi.target, kpi.warning, kpi.critical) == (
        "0.00",
        "USD",
        "1000000",
        "500000",
        "100000",
    )
    assert kpi.status == KpiStatusProto.KPI_STATUS_CRITICAL


async def test_trades_per_second_cover_the_last_minute_alone(watch: Watch) -> None:
    for age_seconds in (0, 30, 59, 60, 3600):
        for _ in range(6):
            await watch.collect(watch.streams.add(trade(), ms=START_MS - age_seconds * 1000))
    assert await watch.value("TRADES_PER_SECOND") == "0.30"
    watch.now[0] += 30_000
    assert await watch.value("TRADES_PER_SECOND") == "0.10"


async def test_an_event_counts_for_the_day_it_was_recorded_in(watch: Watch) -> None:
    midnight = START_MS - START_MS % DAY_MS
    await watch.collect(
        watch.streams.add(trade(amount="1.00"), ms=midnight - 1), watch.streams.add(trade(amount="2.00"), ms=midnight)
    )
    assert await watch.value("DAILY_VOLUME") == "2.00"
    watch.now[0] = midnight - 1
    assert await watch.value("DAILY_VOLUME") == "1.00"
    watch.now[0] = midnight + DAY_MS
    assert await watch.value("DAILY_VOLUME") == "0.00"


async def test_streams_are_told_with_counts_and_latencies(watch: Watch) -> None:
    update = PositionUpdated(trade_id="t", user_id="alice")
    for latency_ms in (10, 21, -5):
        await watch.collect(watch.streams.add(update, ms=START_MS - latency_ms))
    await watch.collect(watch.streams.add(trade()))
    response = await watch.stub.GetKpis(pb.GetKpisRequest(), metadata=ADMIN)
    assert [
        (row.stream, row.count, row.mean_latency.ToMicroseconds(), row.max_latency.ToMilliseconds())
        for row in response.streams
    ] == [("astra.trading.position_updated.v1", 3, 10_333, 21), ("astra.trading.trade_executed.v1", 1, 0, 0)]


async def test_old_counts_go_two_out_for_one_in(watch: Watch) -> None:
    for n in range(6):
        await watch.collect(watch.streams.add(trade(f"user{n}"), ms=START_MS + 1000 * n))
    assert await watch.count("active_user") == await watch.count("trade_second") == 6
    watch.now[0] += max(RETENTION_MS + 2 * DAY_MS, SECONDS_KEPT * 1000)
    for n in range(3):
        await watch.collect(watch.streams.add(trade(f"late{n}"), ms=watch.now[0] + 1000 * n))
    assert await watch.count("active_user") == await watch.count("trade_second") == 3


async def test_only_an_admin_sees_kpis(watch: Watch) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await watch.stub.GetKpis(pb.GetKpisRequest(), metadata=as_user("alice"))
    assert reason_of(caught.value) == "ROLE_REQUIRED"


@pytest.mark.parametrize(
    ("event", "who"),
    [
        (trade("alice"), "alice"),
        (UserRegistered(user_id="carol"), "carol"),
        (interaction("LIKE", "bob"), "bob"),
        (StreakUpdated(user_id="alice", days=1), "alice"),
        (NftListed(seller_user_id="alice"), "alice"),
        (NftSold(seller_user_id="alice", buyer_user_id="bob"), "bob"),
        (PaymentCompleted(user_id="alice", purpose="deposit"), "alice"),
        (PaymentCompleted(user_id="alice", purpose="subscription"), ""),
        (ProfileUpdated(user_id="alice", changed_fields=["bio"]), "alice"),
        (ProfileUpdated(user_id="alice", changed_fields=["title"]), ""),
        (RewardDistributed(user_id="alice"), ""),
        (XpGained(user_id="alice", xp=3), ""),
        (SocialRatingChanged(user_id="alice"), ""),
        (AccountStatusChanged(user_id="alice"), ""),
        (revenue("LIVE", "1.00"), ""),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
async def test_active_is_who_does_something_and_not_to_whom_something_is_done(
    watch: Watch, event: Message, who: str
) -> None:
    await watch.collect(watch.streams.add(event))
    rows = watch.domain.store.read_now(lambda db: db.all("SELECT user_id FROM active_user"))
    assert [row["user_id"] for row in rows] == ([who] if who else [])
