"""Analytics watches the six domains: KPIs, chains of events and the audit trail. It publishes nothing."""

from importlib.resources import files

from services.analytics.api import AnalyticsApi
from services.analytics.reactions import GROUPS
from services.analytics.readings import KpiReadings
from services.domain import Domain
from services.mesh import Mesh
from services.runtime.clock import Clock, wall_clock
from services.runtime.store import Store


def build(mesh: Mesh, *, clock: Clock = wall_clock) -> Domain:
    """Makes the domain with its real adapters."""
    schema = files(__name__).joinpath("schema.sql").read_text()
    store = Store(mesh.database("analytics"), domain="analytics", schema=schema, clock=clock)
    return Domain(
        store=store,
        apis={"astra.analytics.v1.AnalyticsService": AnalyticsApi(store)},
        groups=GROUPS,
        readings=(KpiReadings(store),),
    )
