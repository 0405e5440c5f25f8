"""Analytics on a database of its own, with a clock to move."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from astra.analytics.v1 import analytics_service_pb2 as pb
from astra.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from astra.analytics.v1.kpi_pb2 import Kpi, KpiKind
from google.protobuf.message import Message

from services import analytics
from services.domain import Domain
from services.mesh import Mesh
from services.runtime.delivery import Delivery
from tests.reacting import START_MS, Streams, react
from tests.serving import as_user, serving

ADMIN = as_user("root", "admin")


@dataclass
class Watch:
    """The domain, a stub of it, the streams it watches, and the time it reads."""

    domain: Domain
    stub: AnalyticsServiceStub
    now: list[int]
    streams: Streams = field(default_factory=Streams)

    async def collect(self, *deliveries: Delivery) -> list[bool]:
        return await react(self.domain, "metrics_collectors", *deliveries)

    async def audit(self, *events: Message) -> None:
        await react(self.domain, "audit_trail_recorders", *map(self.streams.add, events))

    async def kpis(self) -> dict[int, Kpi]:
        response = await self.stub.GetKpis(pb.GetKpisRequest(), metadata=ADMIN)
        return {kpi.kind: kpi for kpi in response.kpis}

    async def value(self, kind: str) -> str:
        return (await self.kpis())[KpiKind.Value(f"KPI_KIND_{kind}")].value

    async def count(self, table: str) -> int:
        return int(await self.domain.store.read(lambda db: db.value(f"SELECT count(*) FROM {table}")))


@pytest.fixture
async def watch(tmp_path: Path) -> AsyncIterator[Watch]:
    now = [START_MS]
    domain = analytics.build(Mesh.at(tmp_path), clock=lambda: now[0])
    async with serving(domain) as channel:
        yield Watch(domain, AnalyticsServiceStub(channel), now)
