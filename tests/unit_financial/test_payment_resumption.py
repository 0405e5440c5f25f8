"""A payment that was noted is carried on, whatever dies or is away, and nobody is charged twice."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import grpc
import pytest
from astra.financial.v1 import financial_service_pb2 as pb
from astra.financial.v1.events_pb2 import PaymentCompleted
from astra.financial.v1.payment_pb2 import Payment, PaymentState

from services.financial.model import Account
from services.runtime.sagas import LEASE_MS, RETRY_CAP_MS
from tests.reacting import START_MS, recorded
from tests.serving import reason_of
from tests.settling import carry_on, settle
from tests.unit_financial.paying import ALICE, Bank, TestProcessor, a_card, bank_at, usd

PENDING = PaymentState.PAYMENT_STATE_PENDING
CARD_NUMBER = b"4242424242424242"

Make = Callable[[Bank], Awaitable[Payment]]


async def refund_first(bank: Bank) -> Payment:
    return await bank.refund((await bank.payments())[-1].payment_id, "40")


MAKES: dict[str, tuple[Make, Decimal]] = {
    "deposit": (lambda bank: bank.deposit("40"), Decimal(140)),
    "withdrawal": (lambda bank: bank.withdraw("40"), Decimal(60)),
    "refund": (refund_first, Decimal(60)),
}


class Hangs(TestProcessor):
    """A processor whose caller ends while it waits: before anything is done, or after, with the answer on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = ""

    async def _do(self, key: str, amount: Decimal) -> None:
        if self.hangs == "before":
            await asyncio.Event().wait()
        await super()._do(key, amount)
        if self.hangs == "after":
            await asyncio.Event().wait()


async def cut_off(call: Awaitable[object]) -> None:
    """Ends the caller, and with it the handler, in the middle of a call."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await call


@pytest.mark.parametrize("kind", MAKES)
@pytest.mark.parametrize("hangs", ["before", "after"])
async def test_a_payment_whose_process_died_is_finished_by_the_next_one(tmp_path: Path, kind: str, hangs: str) -> None:
    make, taken = MAKES[kind]
    processor = Hangs()
    async with bank_at(tmp_path, processor=processor) as bank:
        await bank.deposit("100")
        processor.hangs = hangs
        await cut_off(make(bank))
        assert len(await bank.payments(state="PAYMENT_STATE_PENDING")) == 1
        assert await bank.ledger_sum() == 0
    processor.hangs = ""
    async with bank_at(tmp_path, processor=processor, at_ms=START_MS + LEASE_MS - 1) as bank:
        assert not await carry_on(bank.domain), "the lease of the dead still holds"
    async with bank_at(tmp_path, processor=processor, at_ms=START_MS + LEASE_MS) as bank:
        await settle(bank.domain)
        assert await bank.payments(state="PAYMENT_STATE_PENDING") == []
        assert (processor.taken, Decimal(await bank.balance())) == (taken, taken)
        assert (await bank.owned(Account.IN_FLIGHT), await bank.ledger_sum()) == (0, 0)
        assert len(await bank.events(PaymentCompleted)) == 2


async def test_without_the_key_the_next_process_would_charge_twice(tmp_path: Path) -> None:
    """The control: a processor that tells charges apart by the call takes the money again."""

    class Forgets(Hangs):
        async def _do(self, key: str, amount: Decimal) -> None:
            await super()._do(f"{key}-{self.asked}", amount)

    processor = Forgets()
    async with bank_at(tmp_path, processor=processor) as bank:
        processor.hangs = "after"
        await cut_off(bank.deposit("40"))
    processor.hangs = ""
    async with bank_at(tmp_path, processor=processor, at_ms=START_MS + LEASE_MS) as bank:
        await settle(bank.domain)
        assert (await bank.balance(), processor.taken) == ("40.00", Decimal(80))


async def test_a_lost_answer_leaves_it_pending_until_the_processor_tells_again(bank: Bank) -> None:
    bank.processor.loses_answers = True
    payment = await bank.deposit("40", request_id="r")
    assert (payment.state, await bank.balance()) == (PENDING, "0.00")
    bank.processor.loses_answers = False
    bank.now[0] += RETRY_CAP_MS
    await settle(bank.domain)
    assert (await bank.balance(), bank.processor.taken) == ("40.00", Decimal(40))
    repeated = await bank.deposit("40", request_id="r")
    assert (repeated.payment_id, repeated.state) == (payment.payment_id, PaymentState.PAYMENT_STATE_COMPLETED)


async def test_a_processor_that_is_away_is_told_before_anything_is_noted(bank: Bank) -> None:
    bank.processor.away = True
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bank.deposit("40")
    assert (caught.value.code().name, reason_of(caught.value)) == ("UNAVAILABLE", "PROCESSOR_UNAVAILABLE")
    assert await bank.payments() == []


async def test_the_event_of_a_payment_carried_on_belongs_to_the_chain_of_its_call(bank: Bank) -> None:
    bank.processor.loses_answers = True
    request = pb.DepositRequest(amount=usd("40"), card=a_card())
    await bank.stub.Deposit(request, metadata=(*ALICE, ("x-correlation-id", "my-deposit")))
    bank.processor.loses_answers = False
    bank.now[0] += RETRY_CAP_MS
    await settle(bank.domain)
    assert [envelope.correlation_id for envelope in await recorded(bank.domain)] == ["my-deposit"]


async def test_nothing_of_a_card_but_its_last_four_is_on_disk_or_in_an_event(tmp_path: Path) -> None:
    async with bank_at(tmp_path) as bank:
        await bank.deposit("40", request_id="r")
        await bank.withdraw("4")
        assert not any(b"4242" in envelope.data for envelope in await recorded(bank.domain))
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]  # noqa: ASYNC240
    assert any(b"4242" in content for content in files), "the last four are kept"
    assert not any(CARD_NUMBER in content for content in files)
