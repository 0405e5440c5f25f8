"""Random commands of two users, with time passing and the processor's answers getting lost; then the books agree."""

import asyncio
import shutil
import tempfile
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
from astra.financial.v1 import financial_service_pb2 as pb
from astra.financial.v1.events_pb2 import PaymentCompleted, RevenueRecorded
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.financial.model import Account, Held
from services.financial.model_payments import processing_fee
from services.runtime.sagas import RETRY_CAP_MS
from tests.serving import as_user
from tests.settling import settle
from tests.unit_financial.paying import ADMIN, DAY_MS, Bank, a_card, bank_at

USERS = st.sampled_from(["alice", "bob"])
AMOUNTS = st.integers(1, 2_000_000).map(lambda cents: f"{Decimal(cents) / 100:.2f}")
CARDS = st.sampled_from([a_card(), a_card(), a_card(), a_card("4000000000000002"), a_card(expire_year=2027)])
TIERS = st.sampled_from(["BASIC", "PRO", "PREMIUM", "ENTERPRISE"])


class Finances(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.closing = AsyncExitStack()
        self.bank: Bank = self.runner.run(self.closing.enter_async_context(bank_at(self.folder)))
        self.bank.processor._clock = lambda: self.bank.now[0]

    def teardown(self) -> None:
        self.runner.run(self.closing.aclose())
        self.runner.close()
        shutil.rmtree(self.folder)

    def attempt(self, call: Any) -> None:
        """Makes a call; that it may be refused is part of the game, that it breaks is not."""

        async def made() -> None:
            try:
                await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.PERMISSION_DENIED}:
                    raise

        self.runner.run(made())

    @rule(user=USERS, amount=AMOUNTS, card=CARDS)
    def deposit(self, user: str, amount: str, card: Any) -> None:
        self.attempt(lambda: self.bank.deposit(amount, card=card, caller=as_user(user)))

    @rule(user=USERS, amount=AMOUNTS)
    def withdraw(self, user: str, amount: str) -> None:
        self.attempt(lambda: self.bank.withdraw(amount, as_user(user), card=a_card()))

    @rule(user=USERS, pick=st.integers(0, 50), amount=AMOUNTS | st.just(""))
    def refund(self, user: str, pick: int, amount: str) -> None:
        async def call() -> None:
            made = await self.bank.payments(user)
            if made:
                await self.bank.refund(made[pick % len(made)].payment_id, amount, caller=ADMIN, user_id=user)

        self.attempt(call)

    @rule(user=USERS, tier=TIERS, cycle=st.sampled_from([0, 30, 90, 365]), card=CARDS | st.none())
    def subscribe(self, user: str, tier: str, cycle: int, card: Any) -> None:
        request = pb.SubscribeRequest(tier=f"SUBSCRIPTION_TIER_{tier}", cycle_days=cycle, card=card)
        self.attempt(lambda: self.bank.stub.Subscribe(request, metadata=as_user(user)))

    @rule(user=USERS)
    def cancel(self, user: str) -> None:
        self.attempt(lambda: self.bank.stub.CancelSubscription(pb.CancelSubscriptionRequest(), metadata=as_user(user)))

    @rule(user=USERS)
    def verify(self, user: str) -> None:
        self.attempt(lambda: self.bank.stub.VerifyKyc(pb.VerifyKycRequest(user_id=user), metadata=ADMIN))

    @rule(days=st.integers(0, 40))
    def pass_time(self, days: int) -> None:
        self.bank.now[0] += days * DAY_MS

    @rule(lost=st.booleans())
    def lose_answers(self, lost: bool) -> None:
        self.bank.processor.loses_answers = lost

    @precondition(lambda self: not self.bank.processor.loses_answers)
    @rule()
    def come_to_rest(self) -> None:
        self.bank.now[0] += RETRY_CAP_MS
        self.runner.run(settle(self.bank.domain))
        self.runner.run(self._books_agree())

    @invariant()
    def everything_sums_to_zero(self) -> None:
        assert self.runner.run(self.bank.ledger_sum()) == 0

    @invariant()
    def nothing_is_refunded_that_was_not_paid(self) -> None:
        for user in ("alice", "bob"):
            made = self.runner.run(self.bank.payments(user, page_size=1000))
            given_back: dict[str, Decimal] = {}
            for payment in made:
                if payment.refunded_payment_id and payment.state != 3:
                    amount = Decimal(payment.amount.amount)
                    given_back[payment.refunded_payment_id] = given_back.get(payment.refunded_payment_id, 0) + amount
            for payment in made:
                assert given_back.get(payment.payment_id, 0) <= Decimal(payment.amount.amount)

    async def _books_agree(self) -> None:
        """Once nothing is on its way: the processor, the ledger and the events tell the same."""
        bank = self.bank
        assert await bank.owned(Account.IN_FLIGHT) == 0
        made = [p for user in ("alice", "bob") for p in await bank.payments(user, page_size=1000)]
        assert not [payment for payment in made if payment.state == 1]
        fees = sum(
            processing_fee(Decimal(p.amount.amount), "USD")
            for p in made
            if p.state == 2 and p.HasField("processing_fee")
        )
        assert -await bank.owned(Held.PROCESSOR) == (bank.processor.taken - fees) * 100
        assert -await bank.owned(Account.PROCESSING_COSTS) == fees * 100
        earned = sum(Decimal(e.amount.amount) for e in await bank.events(RevenueRecorded))
        assert await bank.owned("platform:revenue:subscriptions:live") == earned * 100
        assert len(await bank.events(PaymentCompleted)) == sum(p.state == 2 for p in made)
        open_ones = await bank.domain.store.read(
            lambda db: db.all("SELECT user_id, end_ms FROM subscription WHERE state <> 5")
        )
        assert len({row["user_id"] for row in open_ones}) == len(open_ones)
        assert all(row["end_ms"] > bank.now[0] for row in open_ones)


TestFinances = Finances.TestCase
TestFinances.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
