"""Nft owns the collectibles and who owns them, grants the reward ones, and runs the marketplace."""

from functools import partial
from importlib.resources import files

from services.domain import Domain
from services.mesh import Mesh
from services.nft.api import NftApi
from services.nft.reactions import GROUPS
from services.nft.sales import EXPIRY_TIMER, PURCHASE, SETTLEMENT, Sales, expire
from services.nft.wallets import PeerWallets, Wallets
from services.runtime.clock import Clock, wall_clock
from services.runtime.peers import Peers
from services.runtime.sagas import Sagas
from services.runtime.store import Store


def build(mesh: Mesh, *, clock: Clock = wall_clock, wallets: Wallets | None = None) -> Domain:
    """Makes the domain with its real adapters; shards are moved by gamification unless other wallets are given."""
    schema = files(__name__).joinpath("schema.sql").read_text()
    store = Store(mesh.database("nft"), domain="nft", schema=schema, clock=clock)
    sales = Sales(store, wallets or PeerWallets(partial(Peers, mesh, "nft")))
    sagas = Sagas(store, {PURCHASE: sales.buy, SETTLEMENT: sales.settle})
    return Domain(
        store=store,
        apis={"astra.nft.v1.NftService": NftApi(store, sagas)},
        groups=GROUPS,
        timers={EXPIRY_TIMER: expire},
        workers=[sagas.run],
    )
