"""Trading owns trades and portfolios, asks the market for prices, and the exchange, if there is one, for live fills."""

from importlib.resources import files

from services.domain import Domain
from services.mesh import Mesh
from services.runtime.clock import Clock, wall_clock
from services.runtime.peers import Peers
from services.runtime.store import Store
from services.trading.api import TradingApi
from services.trading.eligibility import Eligibility, PeerEligibility
from services.trading.exchange import Exchange
from services.trading.live import LiveTrading
from services.trading.market import SimulatedMarket
from services.trading.order_worker import OrderWorker, Pace
from services.trading.reactions import GROUPS


def build(
    mesh: Mesh,
    *,
    clock: Clock = wall_clock,
    exchange: Exchange | None = None,
    eligibility: Eligibility | None = None,
    pace: Pace | None = None,
) -> Domain:
    """Makes the domain with its real adapters. There is none of an exchange: without one, live trading is refused."""
    schema = files(__name__).joinpath("schema.sql").read_text()
    store = Store(mesh.database("trading"), domain="trading", schema=schema, clock=clock)
    market = SimulatedMarket()
    workers = []
    if exchange is not None:
        eligibility = eligibility or PeerEligibility(Peers(mesh, "trading"))
        workers.append(OrderWorker(store, market, exchange, pace).run)
    live = LiveTrading(store, market, exchange, eligibility)
    return Domain(
        store=store,
        apis={"astra.trading.v1.TradingService": TradingApi(store, market, live)},
        groups=GROUPS,
        workers=workers,
    )
