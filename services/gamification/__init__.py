"""Gamification owns XP, levels, streaks, achievements and shards, and ranks users by XP on leaderboards."""

from importlib.resources import files

from services.domain import Domain
from services.gamification.api import GamificationApi
from services.gamification.leaderboards import TIMERS
from services.gamification.reactions import GROUPS
from services.mesh import Mesh
from services.runtime.clock import Clock, wall_clock
from services.runtime.store import Store


def build(mesh: Mesh, *, clock: Clock = wall_clock) -> Domain:
    """Makes the domain with its real adapters."""
    schema = files(__name__).joinpath("schema.sql").read_text()
    store = Store(mesh.database("gamification"), domain="gamification", schema=schema, clock=clock)
    return Domain(
        store=store,
        apis={"astra.gamification.v1.GamificationService": GamificationApi(store)},
        groups=GROUPS,
        timers=TIMERS,
    )
