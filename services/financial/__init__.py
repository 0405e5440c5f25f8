"""Financial owns the double-entry ledger and what the platform earns."""

from importlib.resources import files

from services.domain import Domain
from services.financial.api import FinancialApi
from services.financial.reactions import GROUPS
from services.mesh import Mesh
from services.runtime.clock import Clock, wall_clock
from services.runtime.store import Store


def build(mesh: Mesh, *, clock: Clock = wall_clock) -> Domain:
    """Makes the domain with its real adapters."""
    schema = files(__name__).joinpath("schema.sql").read_text()
    store = Store(mesh.database("financial"), domain="financial", schema=schema, clock=clock)
    return Domain(
        store=store,
        apis={"astra.financial.v1.FinancialService": FinancialApi(store)},
        groups=GROUPS,
    )
