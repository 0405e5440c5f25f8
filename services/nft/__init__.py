"""Nft owns the collectibles and who owns them, and grants the reward ones."""

from importlib.resources import files

from services.domain import Domain
from services.mesh import Mesh
from services.nft.api import NftApi
from services.nft.reactions import GROUPS
from services.runtime.clock import Clock, wall_clock
from services.runtime.store import Store


def build(mesh: Mesh, *, clock: Clock = wall_clock) -> Domain:
    """Makes the domain with its real adapters."""
    schema = files(__name__).joinpath("schema.sql").read_text()
    store = Store(mesh.database("nft"), domain="nft", schema=schema, clock=clock)
    return Domain(
        store=store,
        apis={"astra.nft.v1.NftService": NftApi(store)},
        groups=GROUPS,
    )
