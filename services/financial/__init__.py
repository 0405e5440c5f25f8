"""Financial owns the double-entry ledger, payments and subscriptions, and what the platform earns."""

from importlib.resources import files

from services.domain import Domain
from services.financial.api import FinancialApi
from services.financial.payments import SAGA, PaymentSaga
from services.financial.processor import Processor, SimulatedProcessor
from services.financial.reactions import GROUPS
from services.financial.renewals import end_period
from services.financial.subscriptions import PERIOD_TIMER
from services.mesh import Mesh
from services.runtime.clock import Clock, wall_clock
from services.runtime.sagas import Sagas
from services.runtime.store import Store


def build(mesh: Mesh, *, clock: Clock = wall_clock, processor: Processor | None = None) -> Domain:
    """Makes the domain with its real adapters; the payment processor is the embedded one unless another is given."""
    schema = files(__name__).joinpath("schema.sql").read_text()
    store = Store(mesh.database("financial"), domain="financial", schema=schema, clock=clock)
    processor = processor or SimulatedProcessor(clock)
    sagas = Sagas(store, {SAGA: PaymentSaga(store, processor).carry_on})
    return Domain(
        store=store,
        apis={"astra.financial.v1.FinancialService": FinancialApi(store, processor, sagas)},
        groups=GROUPS,
        timers={PERIOD_TIMER: end_period},
        workers=[sagas.run],
    )
