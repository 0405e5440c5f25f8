"""The rpcs that move money: proto in, noted, carried on, proto out."""

from collections.abc import Callable
from decimal import Decimal
from sqlite3 import Row
from typing import Any

from astra.financial.v1 import financial_service_pb2 as pb
from astra.financial.v1 import payment_pb2
from astra.type.v1.money_pb2 import Money

from services.financial import payment_rows as rows
from services.financial import payments, renewals, subscriptions
from services.financial.model_payments import (
    AML_ABOVE,
    CURRENCIES,
    Card,
    CardToken,
    Flag,
    PaymentState,
    Purpose,
    check_amount,
    check_card,
    check_kyc,
    refundable,
)
from services.financial.model_subscriptions import Cycle, Tier
from services.financial.processor import Processor
from services.financial.store import load_kyc
from services.runtime.call import Call
from services.runtime.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from services.runtime.money import USD, parse_money
from services.runtime.sagas import Sagas
from services.runtime.store import Store
from services.runtime.transaction import Tx

REFUSALS = {
    "CARD_DECLINED": "the card was declined; use another one",
    "CARD_EXPIRED": "the card has expired; use another one",
    "CARD_INSUFFICIENT_FUNDS": "the card's account does not cover it; use another one or pay less",
    Flag.AML_AMOUNT: f"withdrawals above {AML_ABOVE} are not possible; withdraw less",
}


class PaymentCalls:
    """Serves Deposit, Withdraw, CreatePayment and RefundPayment."""

    def __init__(self, store: Store, processor: Processor, sagas: Sagas) -> None:
        self._store = store
        self._processor = processor
        self._sagas = sagas

    async def deposit(self, request: pb.DepositRequest, call: Call) -> pb.DepositResponse:
        amount = parse_amount(request.amount)
        card = await self.token_of(request.card)

        def note(tx: Tx) -> tuple[str, bool]:
            return payments.begin_deposit(tx, request.user_id, amount, request.amount.currency_code, card), True

        return pb.DepositResponse(payment=await self._made(call, note, pb.DepositResponse))

    async def withdraw(self, request: pb.WithdrawRequest, call: Call) -> pb.WithdrawResponse:
        amount, currency = parse_amount(request.amount), request.amount.currency_code
        named = await self.token_of(request.card) if request.HasField("card") else None

        def note(tx: Tx) -> tuple[str, bool]:
            if amount > AML_ABOVE:
                return payments.reject_withdrawal(tx, request.user_id, amount, currency, Flag.AML_AMOUNT), False
            kyc = load_kyc(tx, request.user_id)
            check_kyc(amount, kyc_expire_ms=kyc["expire_ms"] if kyc else None, now_ms=tx.now_ms)
            card = named or rows.last_card(tx, request.user_id)
            if card is None:
                raise FailedPrecondition("no card was paid with so far; name one to pay to", reason="CARD_REQUIRED")
            return payments.begin_withdrawal(tx, request.user_id, amount, currency, card), True

        return pb.WithdrawResponse(payment=await self._made(call, note, pb.WithdrawResponse))

    async def create_payment(self, request: pb.CreatePaymentRequest, call: Call) -> pb.CreatePaymentResponse:
        purpose = int(request.purpose)
        if purpose not in (Purpose.DEPOSIT, Purpose.SUBSCRIPTION):
            raise InvalidArgument("purpose must be DEPOSIT or SUBSCRIPTION", field="purpose")
        if purpose == Purpose.DEPOSIT and not request.HasField("amount"):
            raise InvalidArgument("amount is required for a DEPOSIT", field="amount", reason="FIELD_REQUIRED")
        amount = parse_amount(request.amount) if request.HasField("amount") else None
        currency = request.amount.currency_code
        card = await self.token_of(request.card)

        def note(tx: Tx) -> tuple[str, bool]:
            if purpose == Purpose.DEPOSIT:
                assert amount is not None  # noqa: S101 - checked above
                return payments.begin_deposit(tx, request.user_id, amount, currency, card), True
            row = current_subscription(tx, request.user_id)
            check_no_payment_on_its_way(tx, request.user_id)
            order = renewals.renewal(Tier(row["tier"]), Cycle(row["cycle_days"]))
            if amount is not None and (amount, currency) != (order.amount, USD):
                raise InvalidArgument(f"the next period costs {order.amount} USD; leave amount unset", field="amount")
            return payments.begin_subscription_payment(
                tx, request.user_id, row["subscription_id"], order, card, leased=True
            )

        return pb.CreatePaymentResponse(payment=await self._made(call, note, pb.CreatePaymentResponse))

    async def refund_payment(self, request: pb.RefundPaymentRequest, call: Call) -> pb.RefundPaymentResponse:
        def note(tx: Tx) -> tuple[str, bool]:
            paid = rows.load(tx, request.payment_id, user_id=request.user_id)
            if paid.state is not PaymentState.COMPLETED or paid.purpose not in (Purpose.DEPOSIT, Purpose.SUBSCRIPTION):
                raise FailedPrecondition(
                    "only a completed deposit or subscription payment can be refunded",
                    reason="PAYMENT_NOT_REFUNDABLE",
                    payment_id=request.payment_id,
                )
            if paid.purpose is Purpose.SUBSCRIPTION and not call.caller.is_admin:
                raise PermissionDenied("a subscription's payment is refunded by an admin", reason="ROLE_REQUIRED")
            asked = (
                parse_money(request.amount, field="amount", currency=paid.currency)
                if request.HasField("amount")
                else None
            )
            return payments.begin_refund(tx, paid, refundable(asked, paid=paid.amount, refunded=paid.refunded))

        return pb.RefundPaymentResponse(payment=await self._made(call, note, pb.RefundPaymentResponse))

    async def _made(
        self,
        call: Call,
        note: Callable[[Tx], tuple[str, bool]],
        response: Callable[..., Any],
    ) -> payment_pb2.Payment:
        """Notes a payment, once per request id, and carries it on."""
        begun: list[str] = []

        def work(tx: Tx) -> Any:
            payment_id, to_carry_on = note(tx)
            if to_carry_on:
                begun.append(payment_id)
            return response(payment=rows.message(rows.load(tx, payment_id)))

        noted = await call.write(self._store, work)
        return await self.outcome(noted.payment.payment_id, begun=bool(begun))

    async def outcome(self, payment_id: str, *, begun: bool) -> payment_pb2.Payment:
        """Carries on a payment that this call has begun, or waits for whoever did, and returns it.

        Raises `FailedPrecondition` for one that failed; it can be seen in ListTransactions.
        """
        if begun:
            await self._sagas.carry_on(payments.SAGA, payment_id)
        else:
            await self._sagas.outcome(payments.SAGA, payment_id)
        payment = await self._store.read(lambda db: rows.load(db, payment_id))
        if payment.state is PaymentState.FAILED:
            reason = payment.row["reason"]
            raise FailedPrecondition(
                REFUSALS.get(reason, "the payment was refused"), reason=reason, payment_id=payment_id
            )
        return rows.message(payment)

    async def token_of(self, card: payment_pb2.Card) -> CardToken:
        """Returns the processor's token for a card. Raises `InvalidArgument` for what is no card."""
        checked = check_card(
            Card(number=card.number, expire_month=card.expire_month, expire_year=card.expire_year, cvc=card.cvc)
        )
        return await self._processor.tokenize(checked)


def parse_amount(money: Money) -> Decimal:
    """Reads an amount to pay in or out."""
    if money.currency_code not in CURRENCIES:
        raise InvalidArgument(
            f"amount.currency_code must be one of {', '.join(CURRENCIES)}", field="amount.currency_code"
        )
    return check_amount(parse_money(money, field="amount", currency=money.currency_code))


def current_subscription(tx: Tx, user_id: str) -> Row:
    """Returns a user's subscription. Raises `FailedPrecondition` without one."""
    row = subscriptions.current(tx, user_id)
    if row is None:
        raise FailedPrecondition("there is no subscription; subscribe first", reason="NOT_SUBSCRIBED")
    return row


def check_no_payment_on_its_way(tx: Tx, user_id: str) -> None:
    """Raises `FailedPrecondition` while a payment for the user's subscription has not taken effect."""
    paying = rows.ordered(tx, user_id)
    if paying is not None:
        raise FailedPrecondition(
            "a payment for the subscription is on its way; wait until it has taken effect",
            reason="SUBSCRIPTION_PAYMENT_PENDING",
            payment_id=paying["payment_id"],
        )
