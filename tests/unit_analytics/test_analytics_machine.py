"""Random events, repeated and in any order: the trail is complete and verifies, the KPIs are the events added up."""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

from astra.analytics.v1 import analytics_service_pb2 as pb
from astra.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from astra.analytics.v1.kpi_pb2 import KpiKind
from astra.financial.v1.events_pb2 import RevenueRecorded
from astra.nft.v1.events_pb2 import NftListed
from astra.trading.v1.events_pb2 import TradeExecuted
from astra.type.v1.money_pb2 import Money
from astra.user.v1.events_pb2 import UserRegistered
from google.protobuf.message import Message
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services import analytics
from services.mesh import Mesh
from services.runtime.delivery import Delivery
from tests.reacting import START_MS, Streams, react
from tests.serving import as_user, serving

ADMIN = as_user("root", "admin")
USERS = st.sampled_from(("ann", "bob", "cleo"))
CENTS = st.integers(1, 1_000_000)


class AnalyticsMachine(RuleBasedStateMachine):
    """What happens is kept; both groups are handed some of it, again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.runner, self.closing, self.streams = asyncio.Runner(), AsyncExitStack(), Streams()
        folder = Path(self.closing.enter_context(tempfile.TemporaryDirectory()))
        self.happened: list[Delivery] = []
        self.collected: dict[str, Delivery] = {}
        self.audited: dict[str, Delivery] = {}
        self.runner.run(self._open(folder))

    async def _open(self, folder: Path) -> None:
        self.domain = analytics.build(Mesh.at(folder), clock=lambda: START_MS)
        self.stub: Any = AnalyticsServiceStub(await self.closing.enter_async_context(serving(self.domain)))

    def teardown(self) -> None:
        self.runner.run(self.closing.aclose())
        self.runner.close()

    def call(self, rpc: str, request: Message) -> Any:
        async def run() -> Any:
            return await getattr(self.stub, rpc)(request, metadata=ADMIN)

        return self.runner.run(run())

    @rule(user=USERS, cents=CENTS, kind=st.sampled_from(("trade", "revenue", "user", "listing")))
    def something_happens(self, user: str, cents: int, kind: str) -> None:
        money = Money(currency_code="USD", amount=f"{Decimal(cents) / 100:.2f}")
        event: Message = {
            "trade": TradeExecuted(trade_id="t", user_id=user, amount=money),
            "revenue": RevenueRecorded(revenue_id="r", user_id=user, mode="REVENUE_MODE_LIVE", amount=money),
            "user": UserRegistered(user_id=user),
            "listing": NftListed(listing_id="l", seller_user_id=user),
        }[kind]
        self.happened.append(self.streams.add(event))

    @rule(data=st.data())
    def groups_hear(self, data: st.DataObject) -> None:
        if not self.happened:
            return
        heard = data.draw(st.lists(st.sampled_from(self.happened), max_size=5))
        self.runner.run(react(self.domain, "metrics_collectors", *heard))
        self.collected |= {delivery.envelope.id: delivery for delivery in heard}
        audited = [delivery for delivery in heard if delivery.envelope.source != "user"]
        self.runner.run(react(self.domain, "audit_trail_recorders", *audited))
        self.audited |= {delivery.envelope.id: delivery for delivery in audited}

    @invariant()
    def the_trail_is_complete_and_verifies(self) -> None:
        verified = self.call("VerifyAuditTrail", pb.VerifyAuditTrailRequest())
        assert (verified.intact, verified.entry_count) == (True, len(self.audited))
        listed = self.call("ListAuditEntries", pb.ListAuditEntriesRequest(page_size=1000)).audit_entries
        assert {entry.event_id for entry in listed} == set(self.audited)
        assert [entry.number for entry in listed] == list(range(1, len(listed) + 1))

    @invariant()
    def the_kpis_are_the_events_added_up(self) -> None:
        kpis = {kpi.kind: Decimal(kpi.value) for kpi in self.call("GetKpis", pb.GetKpisRequest()).kpis}
        events: list[Any] = [delivery.event for delivery in self.collected.values()]
        trades: list[Any] = [event for event in events if isinstance(event, TradeExecuted)]
        revenue = [event for event in events if isinstance(event, RevenueRecorded)]
        registered: list[Any] = [event for event in events if isinstance(event, UserRegistered)]
        listings: list[Any] = [event for event in events if isinstance(event, NftListed)]
        active = {event.user_id for event in (*trades, *registered)} | {event.seller_user_id for event in listings}
        assert kpis[KpiKind.KPI_KIND_DAILY_VOLUME] == sum(Decimal(event.amount.amount) for event in trades)
        assert kpis[KpiKind.KPI_KIND_DAILY_REVENUE] == sum(Decimal(event.amount.amount) for event in revenue)
        assert kpis[KpiKind.KPI_KIND_REGISTRATIONS] == len(registered)
        assert kpis[KpiKind.KPI_KIND_DAILY_ACTIVE_USERS] == len(active)


TestAnalyticsMachine = AnalyticsMachine.TestCase
TestAnalyticsMachine.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
