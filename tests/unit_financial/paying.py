"""A bank to test with: the domain, a clock that can be moved, and a processor that can be away or lose its answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from astra.financial.v1 import financial_service_pb2 as pb
from astra.financial.v1.financial_service_pb2_grpc import FinancialServiceStub
from astra.financial.v1.payment_pb2 import Card, Payment
from astra.type.v1.money_pb2 import Money
from google.protobuf.message import Message

from services import contracts, financial
from services.domain import Domain
from services.financial.model_payments import Card as CardModel
from services.financial.model_payments import CardToken
from services.financial.processor import APPROVED, SimulatedProcessor
from services.mesh import Mesh
from services.runtime.errors import Unavailable
from tests.reacting import START_MS, recorded
from tests.serving import Metadata, as_user, serving

DAY_MS = 24 * 3600 * 1000
ALICE, ADMIN = as_user("alice"), as_user("root", "admin")


class TestProcessor(SimulatedProcessor):
    """Keeps what it did by key, as a real one does, beyond the death of the service that asked."""

    __test__ = False

    def __init__(self) -> None:
        super().__init__(lambda: START_MS)
        self.done: dict[str, Decimal] = {}
        self.asked = 0
        self.away = False
        self.loses_answers = False

    async def tokenize(self, card: CardModel) -> CardToken:
        self._reach()
        return await super().tokenize(card)

    async def charge(self, *, token: str, amount: Decimal, currency: str, key: str) -> str:
        self._reach()
        charge_id = await super().charge(token=token, amount=amount, currency=currency, key=key)
        await self._do(key, amount)
        return charge_id

    async def refund(self, *, charge_id: str, amount: Decimal, currency: str, key: str) -> None:
        self._reach()
        await super().refund(charge_id=charge_id, amount=amount, currency=currency, key=key)
        await self._do(key, -amount)

    async def pay_out(self, *, token: str, amount: Decimal, currency: str, key: str) -> None:
        self._reach()
        await super().pay_out(token=token, amount=amount, currency=currency, key=key)
        await self._do(key, -amount)

    @property
    def taken(self) -> Decimal:
        """What it took from cards less what it gave back."""
        return sum(self.done.values(), Decimal(0))

    def _reach(self) -> None:
        self.asked += 1
        if self.away:
            raise Unavailable("the processor is away", reason="PROCESSOR_UNAVAILABLE")

    async def _do(self, key: str, amount: Decimal) -> None:
        self.done.setdefault(key, amount)
        if self.loses_answers:
            raise Unavailable("the answer is lost", reason="PROCESSOR_UNAVAILABLE")


@dataclass
class Bank:
    domain: Domain
    stub: FinancialServiceStub
    processor: TestProcessor
    now: list[int] = field(default_factory=lambda: [START_MS])

    async def deposit(self, amount: str, *, card: Card | None = None, caller: Metadata = ALICE, **more: Any) -> Payment:
        request = pb.DepositRequest(amount=usd(amount), card=card or a_card(), **more)
        payment: Payment = (await self.stub.Deposit(request, metadata=caller)).payment
        return payment

    async def withdraw(self, amount: str, caller: Metadata = ALICE, **more: Any) -> Payment:
        request = pb.WithdrawRequest(amount=usd(amount), **more)
        payment: Payment = (await self.stub.Withdraw(request, metadata=caller)).payment
        return payment

    async def refund(self, payment_id: str, amount: str = "", caller: Metadata = ALICE, **more: Any) -> Payment:
        request = pb.RefundPaymentRequest(payment_id=payment_id, **more)
        if amount:
            request.amount.CopyFrom(usd(amount))
        payment: Payment = (await self.stub.RefundPayment(request, metadata=caller)).payment
        return payment

    async def balance(self, user_id: str = "alice") -> str:
        response = await self.stub.GetAccount(pb.GetAccountRequest(user_id=user_id), metadata=ADMIN)
        return next((m.amount for m in response.account.balances if m.currency_code == "USD"), "0.00")

    async def payments(self, user_id: str = "alice", **filters: Any) -> list[Payment]:
        request = pb.ListTransactionsRequest(user_id=user_id, **filters)
        return list((await self.stub.ListTransactions(request, metadata=ADMIN)).transactions)

    async def owned(self, owner: str) -> int:
        """Returns the balance of any owner in cents."""
        return await self.domain.store.read(
            lambda db: db.value("SELECT balance_minor FROM account WHERE owner = ? AND currency = 'USD'", owner) or 0
        )

    async def ledger_sum(self) -> int:
        """Returns what all accounts sum to, after checking them against their entries."""
        rows = await self.domain.store.read(
            lambda db: db.all(
                "SELECT a.owner, a.balance_minor, (SELECT sum(change_minor) FROM entry e"
                " WHERE e.owner = a.owner AND e.currency = a.currency) AS entries FROM account a"
            )
        )
        assert all(row["balance_minor"] == row["entries"] for row in rows)
        return sum(row["balance_minor"] for row in rows)

    async def events(self, *kinds: type[Message]) -> list[Any]:
        """Returns what was recorded of some kinds, oldest first."""
        streams = {contracts.events()[contracts.stream_of(kind)].full_name: kind for kind in kinds}
        return [streams[e.type].FromString(e.data) for e in await recorded(self.domain) if e.type in streams]


@asynccontextmanager
async def bank_at(path: Path, *, processor: TestProcessor | None = None, at_ms: int = START_MS) -> AsyncIterator[Bank]:
    """Opens a bank; again at the same path it is the same one after a restart."""
    now, processor = [at_ms], processor or TestProcessor()
    domain = financial.build(Mesh.at(path), clock=lambda: now[0], processor=processor)
    async with serving(domain) as channel:
        yield Bank(domain, FinancialServiceStub(channel), processor, now)


def a_card(number: str = APPROVED, **changes: Any) -> Card:
    return Card(**{"number": number, "expire_month": 12, "expire_year": 2030, "cvc": "123", **changes})


def usd(amount: str, currency: str = "USD") -> Money:
    return Money(currency_code=currency, amount=amount)
