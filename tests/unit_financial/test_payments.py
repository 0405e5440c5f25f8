"""Deposits, withdrawals and refunds: what each does to balance, ledger and card, and what is refused."""

import asyncio
from decimal import Decimal
from typing import Any

import grpc
import pytest
from astra.financial.v1 import financial_service_pb2 as pb
from astra.financial.v1.events_pb2 import ComplianceFlagRaised, PaymentCompleted, PaymentFailed
from astra.financial.v1.payment_pb2 import PaymentPurpose, PaymentState

from services.financial.model import Account, Held
from services.financial.model_payments import luhn_holds, processing_fee
from services.financial.processor import TEST_CARDS
from tests.serving import as_user, reason_of
from tests.settling import settle
from tests.unit_financial.paying import ADMIN, ALICE, DAY_MS, Bank, a_card, usd

COMPLETED, FAILED = PaymentState.PAYMENT_STATE_COMPLETED, PaymentState.PAYMENT_STATE_FAILED
REFUND = PaymentPurpose.PAYMENT_PURPOSE_REFUND


async def refused(call: Any) -> tuple[str, str]:
    """Returns code and reason of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, reason_of(caught.value)


@pytest.mark.parametrize(
    ("amount", "fee"), [("100", "3.20"), ("0.01", "0.30"), ("1", "0.33"), ("1000000", "29000.30"), ("5.17", "0.45")]
)
def test_the_processor_keeps_2_9_percent_and_30_cents(amount: str, fee: str) -> None:
    assert processing_fee(Decimal(amount), "USD") == Decimal(fee)


@pytest.mark.parametrize(
    ("number", "holds"),
    [
        ("4242424242424242", True),
        ("4242424242424241", False),
        ("378282246310005", True),
        *((n, True) for n in TEST_CARDS),
    ],
)
def test_a_card_number_checks_itself(number: str, holds: bool) -> None:
    assert luhn_holds(number) == holds


async def test_a_deposit_is_charged_booked_and_told(bank: Bank) -> None:
    payment = await bank.deposit("100")
    assert (payment.state, payment.amount.amount, payment.card_last_four) == (COMPLETED, "100.00", "4242")
    assert payment.processing_fee.amount == "3.20"
    assert (await bank.balance(), bank.processor.taken) == ("100.00", Decimal(100))
    assert await bank.owned(Held.PROCESSOR) == -9680
    assert await bank.owned(Account.PROCESSING_COSTS) == -320
    [event] = await bank.events(PaymentCompleted)
    assert (event.payment_id, event.user_id, event.purpose) == (payment.payment_id, "alice", "deposit")
    assert await bank.ledger_sum() == 0


@pytest.mark.parametrize(("number", "reason"), TEST_CARDS.items())
async def test_a_declined_card_pays_nothing_and_shows_as_failed(bank: Bank, number: str, reason: str) -> None:
    assert await refused(bank.deposit("100", card=a_card(number))) == ("FAILED_PRECONDITION", reason)
    [payment] = await bank.payments()
    assert (payment.state, payment.reason) == (FAILED, reason)
    [event] = await bank.events(PaymentFailed)
    assert (event.purpose, event.reason) == ("deposit", reason)
    assert (await bank.balance(), int(bank.processor.taken), await bank.ledger_sum()) == ("0.00", 0, 0)


@pytest.mark.parametrize(
    ("card", "field"),
    [
        (a_card("4242424242424241"), "card.number"),
        (a_card("4242 4242 4242 4242"), "card.number"),
        (a_card("42"), "card.number"),
        (a_card(expire_month=13), "card.expire_month"),
        (a_card(expire_year=30), "card.expire_year"),
        (a_card(cvc="12"), "card.cvc"),
        (a_card(cvc="١٢٣"), "card.cvc"),
    ],
)
async def test_what_is_no_card_is_refused_without_repeating_it(bank: Bank, card: Any, field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await bank.deposit("100", card=card)
    details = caught.value.details() or ""
    assert (caught.value.code().name, field in details) == ("INVALID_ARGUMENT", True)
    assert card.number not in details
    assert await bank.payments() == []


@pytest.mark.parametrize(
    "money", [usd("0"), usd("-1"), usd("1.001"), usd("1000000.01"), usd("5", "SHARDS"), usd("5", "")]
)
async def test_an_amount_that_cannot_be_paid_is_refused(bank: Bank, money: Any) -> None:
    for call in (
        bank.stub.Deposit(pb.DepositRequest(amount=money, card=a_card()), metadata=ALICE),
        bank.stub.Withdraw(pb.WithdrawRequest(amount=money, card=a_card()), metadata=ALICE),
    ):
        assert (await refused(call))[0] == "INVALID_ARGUMENT"
    assert await bank.payments() == []


async def test_a_card_that_has_expired_is_declined(bank: Bank) -> None:
    assert await refused(bank.deposit("1", card=a_card(expire_month=12, expire_year=2026))) == (
        "FAILED_PRECONDITION",
        "CARD_EXPIRED",
    )
    await bank.deposit("1", card=a_card(expire_month=1, expire_year=2027))


async def test_currencies_are_kept_apart(bank: Bank) -> None:
    await bank.deposit("10")
    await bank.stub.Deposit(pb.DepositRequest(amount=usd("7", "EUR"), card=a_card()), metadata=ALICE)
    assert await refused(bank.stub.Withdraw(pb.WithdrawRequest(amount=usd("8", "EUR")), metadata=ALICE)) == (
        "FAILED_PRECONDITION",
        "INSUFFICIENT_FUNDS",
    )
    assert await bank.balance() == "10.00"


async def test_a_withdrawal_goes_to_the_card_last_paid_with(bank: Bank) -> None:
    assert await refused(bank.withdraw("1")) == ("FAILED_PRECONDITION", "CARD_REQUIRED")
    await bank.deposit("100", card=a_card("5555555555554444"))
    payment = await bank.withdraw("60")
    assert (payment.state, payment.card_last_four) == (COMPLETED, "4444")
    assert (await bank.balance(), bank.processor.taken) == ("40.00", Decimal(40))
    assert await refused(bank.withdraw("40.01")) == ("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS")
    assert (await bank.owned(Account.IN_FLIGHT), await bank.ledger_sum()) == (0, 0)


async def test_a_refused_payout_returns_to_the_balance(bank: Bank) -> None:
    await bank.deposit("100")
    assert await refused(bank.withdraw("60", card=a_card("4000000000000002"))) == (
        "FAILED_PRECONDITION",
        "CARD_DECLINED",
    )
    assert (await bank.balance(), await bank.owned(Account.IN_FLIGHT)) == ("100.00", 0)


@pytest.mark.parametrize(
    ("amount", "verified_days_ago", "outcome"),
    [
        ("1000", None, "OK"),
        ("1000.01", None, "KYC_REQUIRED"),
        ("1000.01", 0, "OK"),
        ("10000", 364, "OK"),
        ("10000", 365, "KYC_REQUIRED"),
        ("10000.01", 0, "AML_AMOUNT"),
        ("10000.01", None, "AML_AMOUNT"),
    ],
)
async def test_large_withdrawals_need_a_kyc_and_very_large_ones_are_rejected(
    bank: Bank, amount: str, verified_days_ago: int | None, outcome: str
) -> None:
    await bank.deposit("10000")
    await bank.deposit("10000")
    if verified_days_ago is not None:
        await bank.stub.VerifyKyc(pb.VerifyKycRequest(user_id="alice"), metadata=ADMIN)
        bank.now[0] += verified_days_ago * DAY_MS
    if outcome == "OK":
        assert (await bank.withdraw(amount)).state == COMPLETED
    else:
        assert await refused(bank.withdraw(amount)) == ("FAILED_PRECONDITION", outcome)
        assert await bank.balance() == "20000.00"
    await settle(bank.domain)
    flags = [flag.reason for flag in await bank.events(ComplianceFlagRaised)]
    assert flags == (["AML_AMOUNT"] if outcome == "AML_AMOUNT" else [])


async def test_a_rejected_withdrawal_is_flagged_once_however_often_it_is_repeated(bank: Bank) -> None:
    for _ in range(3):
        assert await refused(bank.withdraw("10001", request_id="one")) == ("FAILED_PRECONDITION", "AML_AMOUNT")
    await settle(bank.domain)
    [flag] = await bank.events(ComplianceFlagRaised)
    [payment] = await bank.payments()
    assert (flag.user_id, flag.payment_id, payment.state) == ("alice", payment.payment_id, FAILED)


async def test_large_deposits_and_a_days_withdrawals_above_10000_are_flagged(bank: Bank) -> None:
    await bank.deposit("10000.01")
    await bank.deposit("10000")
    await bank.stub.VerifyKyc(pb.VerifyKycRequest(user_id="alice"), metadata=ADMIN)
    await bank.withdraw("6000")
    bank.now[0] += DAY_MS
    await bank.withdraw("6000")
    await settle(bank.domain)
    assert [flag.reason for flag in await bank.events(ComplianceFlagRaised)] == ["AML_LARGE_DEPOSIT"]
    bank.now[0] += DAY_MS - 1
    await bank.withdraw("4000.01")
    await settle(bank.domain)
    assert [flag.reason for flag in await bank.events(ComplianceFlagRaised)][1:] == ["AML_DAILY_WITHDRAWALS"]


async def test_refunds_are_at_most_what_was_paid(bank: Bank) -> None:
    paid = await bank.deposit("100")
    refund = await bank.refund(paid.payment_id, "30")
    assert (refund.purpose, refund.amount.amount, refund.refunded_payment_id) == (REFUND, "30.00", paid.payment_id)
    assert await refused(bank.refund(paid.payment_id, "70.01")) == ("FAILED_PRECONDITION", "REFUND_EXCEEDS_PAYMENT")
    assert (await bank.refund(paid.payment_id)).amount.amount == "70.00"
    assert await refused(bank.refund(paid.payment_id)) == ("FAILED_PRECONDITION", "REFUND_EXCEEDS_PAYMENT")
    assert (await bank.balance(), int(bank.processor.taken), await bank.ledger_sum()) == ("0.00", 0, 0)
    assert (await bank.payments())[-1].refunded_amount.amount == "100.00"


async def test_what_cannot_be_refunded_is_told_apart(bank: Bank) -> None:
    paid = await bank.deposit("100")
    withdrawn = await bank.withdraw("80")
    assert await refused(bank.refund(paid.payment_id)) == ("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS")
    assert await refused(bank.refund(withdrawn.payment_id)) == ("FAILED_PRECONDITION", "PAYMENT_NOT_REFUNDABLE")
    assert await refused(bank.refund("nothing")) == ("NOT_FOUND", "PAYMENT_NOT_FOUND")
    assert await refused(bank.refund(paid.payment_id, "1", caller=as_user("bob"))) == ("NOT_FOUND", "PAYMENT_NOT_FOUND")
    assert await bank.balance() == "20.00"


async def test_transactions_are_listed_newest_first_in_pages_and_by_purpose(bank: Bank) -> None:
    made = [(await bank.deposit(str(amount))).payment_id for amount in range(1, 6)]
    made.append((await bank.withdraw("3")).payment_id)
    seen, token = [], ""
    while True:
        request = pb.ListTransactionsRequest(page_size=4, page_token=token)
        page = await bank.stub.ListTransactions(request, metadata=ALICE)
        seen += [payment.payment_id for payment in page.transactions]
        token = page.next_page_token
        if not token:
            break
    assert seen == made[::-1]
    assert [p.payment_id for p in await bank.payments(purpose="PAYMENT_PURPOSE_WITHDRAWAL")] == made[-1:]
    assert await bank.payments(state="PAYMENT_STATE_FAILED") == []


async def test_64_withdrawals_at_once_take_no_more_than_there_is(bank: Bank) -> None:
    await bank.deposit("100")
    outcomes = await asyncio.gather(*(bank.withdraw("9.99") for _ in range(64)), return_exceptions=True)
    assert sum(not isinstance(outcome, Exception) for outcome in outcomes) == 10
    assert {reason_of(o) for o in outcomes if isinstance(o, grpc.aio.AioRpcError)} == {"INSUFFICIENT_FUNDS"}
    assert (await bank.balance(), bank.processor.taken, await bank.ledger_sum()) == ("0.10", Decimal("0.10"), 0)


async def test_64_refunds_at_once_give_back_no_more_than_was_paid(bank: Bank) -> None:
    paid = await bank.deposit("100")
    await bank.deposit("900")
    outcomes = await asyncio.gather(*(bank.refund(paid.payment_id, "9") for _ in range(64)), return_exceptions=True)
    assert sum(not isinstance(outcome, Exception) for outcome in outcomes) == 11
    assert (await bank.balance(), bank.processor.taken) == ("901.00", Decimal(901))


async def test_64_repeats_of_one_deposit_charge_once(bank: Bank) -> None:
    made = await asyncio.gather(*(bank.deposit("10", request_id="r") for _ in range(64)))
    assert {payment.payment_id for payment in made} == {made[0].payment_id}
    assert {payment.state for payment in made} == {COMPLETED}
    assert (await bank.balance(), bank.processor.taken) == ("10.00", Decimal(10))
