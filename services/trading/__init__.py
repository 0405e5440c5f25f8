"""Trading owns trades and portfolios, and asks the market for prices."""

from importlib.resources import files

from services.domain import Domain
from services.mesh import Mesh
from services.runtime.clock import Clock, wall_clock
from services.runtime.store import Store
from services.trading.api import TradingApi
from services.trading.market import SimulatedMarket
from services.trading.reactions import GROUPS


def build(mesh: Mesh, *, clock: Clock = wall_clock) -> Domain:
    """Makes the domain with its real adapters."""
    schema = files(__name__).joinpath("schema.sql").read_text()
    store = Store(mesh.database("trading"), domain="trading", schema=schema, clock=clock)
    return Domain(
        store=store,
        apis={"astra.trading.v1.TradingService": TradingApi(store, SimulatedMarket())},
        groups=GROUPS,
    )
