"""Social owns what users do to each other, the feed they see, how they are rated, and the clans they fight in."""

from functools import partial
from importlib.resources import files

from services.domain import Domain
from services.mesh import Mesh
from services.runtime.clock import Clock, wall_clock
from services.runtime.store import Store
from services.social.api import SocialApi
from services.social.payouts import run_payouts
from services.social.reactions import GROUPS
from services.social.settlement import TIMERS


def build(mesh: Mesh, *, clock: Clock = wall_clock) -> Domain:
    """Makes the domain with its real adapters."""
    schema = files(__name__).joinpath("schema.sql").read_text()
    store = Store(mesh.database("social"), domain="social", schema=schema, clock=clock)
    return Domain(
        store=store,
        apis={"astra.social.v1.SocialService": SocialApi(store)},
        groups=GROUPS,
        timers=TIMERS,
        workers=(partial(run_payouts, store, mesh),),
    )
