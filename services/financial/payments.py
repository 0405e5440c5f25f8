"""What becomes of a payment: noted, asked of the processor, booked. One that was noted is carried on, whatever dies.

The processor is asked with the payment's id as the key, so asking again charges nobody twice.
"""

from decimal import Decimal

from astra.financial.v1.events_pb2 import PaymentCompleted, PaymentFailed

from services.financial import payment_rows as rows
from services.financial import subscriptions
from services.financial.earnings import record_earning
from services.financial.model import Account, Earning, Held, RevenueMode, RevenueStream, Transfer
from services.financial.model_payments import CardToken, PaymentState, Purpose
from services.financial.model_subscriptions import Order
from services.financial.payment_rows import Payment
from services.financial.processor import Declined, Processor
from services.financial.store import book
from services.runtime import sagas
from services.runtime.money import USD, to_money
from services.runtime.store import Store
from services.runtime.transaction import Tx

SAGA = "payment"


class PaymentSaga:
    """Carries payments on."""

    def __init__(self, store: Store, processor: Processor) -> None:
        self._store = store
        self._processor = processor

    async def carry_on(self, payment_id: str) -> None:
        """Asks the processor and books its answer. Raises `Unavailable` while that is not known."""
        payment = await self._store.read(lambda db: rows.load(db, payment_id))
        try:
            charge_id = await self._ask(payment)
        except Declined as declined:
            reason = declined.reason
            await self._store.write(lambda tx: _refuse(tx, payment_id, reason))
        else:
            await self._store.write(lambda tx: _complete(tx, payment_id, charge_id))

    async def _ask(self, payment: Payment) -> str:
        amount, currency, key = payment.amount, payment.currency, payment.payment_id
        match payment.purpose:
            case Purpose.DEPOSIT | Purpose.SUBSCRIPTION:
                return await self._processor.charge(token=payment.card.token, amount=amount, currency=currency, key=key)
            case Purpose.WITHDRAWAL:
                await self._processor.pay_out(token=payment.card.token, amount=amount, currency=currency, key=key)
            case Purpose.REFUND:
                charge_id = payment.row["charge_id"]
                await self._processor.refund(charge_id=charge_id, amount=amount, currency=currency, key=key)
        return str(payment.row["charge_id"])


def begin_deposit(tx: Tx, user_id: str, amount: Decimal, currency: str, card: CardToken) -> str:
    """Notes a deposit and returns its id; who calls carries the saga on."""
    payment_id = rows.insert(tx, user_id=user_id, purpose=Purpose.DEPOSIT, amount=amount, currency=currency, card=card)
    sagas.begin(tx, SAGA, payment_id, leased=True)
    return payment_id


def begin_withdrawal(tx: Tx, user_id: str, amount: Decimal, currency: str, card: CardToken) -> str:
    """Takes a withdrawal from the balance and notes it. Raises `FailedPrecondition` if that does not cover it."""
    payment_id = rows.insert(
        tx, user_id=user_id, purpose=Purpose.WITHDRAWAL, amount=amount, currency=currency, card=card
    )
    _move(tx, user_id, Account.IN_FLIGHT, amount, currency, "withdrawal")
    sagas.begin(tx, SAGA, payment_id, leased=True)
    return payment_id


def reject_withdrawal(tx: Tx, user_id: str, amount: Decimal, currency: str, reason: str) -> str:
    """Notes a withdrawal that is not to be, and tells of it; compliance reads that."""
    payment_id = rows.insert(tx, user_id=user_id, purpose=Purpose.WITHDRAWAL, amount=amount, currency=currency)
    rows.set_state(tx, payment_id, PaymentState.FAILED, reason=reason)
    _record_failed(tx, rows.load(tx, payment_id), reason)
    return payment_id


def begin_refund(tx: Tx, paid: Payment, amount: Decimal) -> tuple[str, bool]:
    """Notes a refund and takes it from where the payment went; one to the balance is done at once.

    Returns its id, and whether there is a saga to carry on.
    """
    refund_id = rows.insert(
        tx,
        user_id=paid.user_id,
        purpose=Purpose.REFUND,
        amount=amount,
        currency=paid.currency,
        card=paid.card,
        refunded_payment_id=paid.payment_id,
    )
    rows.add_refunded(tx, paid.payment_id, amount, paid.currency)
    if not paid.card.token:
        _move(tx, Account.REFUND_COSTS, paid.user_id, amount, paid.currency, "refund")
        rows.set_state(tx, refund_id, PaymentState.COMPLETED)
        _record_completed(tx, rows.load(tx, refund_id))
        return refund_id, False
    rows.set_state(tx, refund_id, PaymentState.PENDING, charge_id=paid.row["charge_id"])
    _move(tx, _bearer(paid), Account.IN_FLIGHT, amount, paid.currency, "refund")
    sagas.begin(tx, SAGA, refund_id, leased=True)
    return refund_id, True


def begin_subscription_payment(
    tx: Tx, user_id: str, subscription_id: str, order: Order, card: CardToken, *, leased: bool
) -> tuple[str, bool]:
    """Notes a subscription's payment; what the balance pays is booked at once.

    Returns its id, and whether there is a saga to carry on. Raises `FailedPrecondition` if the balance is
    too small.
    """
    payment_id = rows.insert(
        tx, user_id=user_id, purpose=Purpose.SUBSCRIPTION, amount=order.amount, currency=USD, card=card
    )
    rows.order_with(tx, payment_id, subscription_id, order)
    if card.token:
        sagas.begin(tx, SAGA, payment_id, leased=leased)
        return payment_id, True
    _earn(tx, rows.load(tx, payment_id), source=user_id)
    return payment_id, False


def _complete(tx: Tx, payment_id: str, charge_id: str) -> None:
    """Books what the processor has done; once, whoever else has asked it too."""
    if not sagas.end(tx, SAGA, payment_id):
        return
    payment = rows.load(tx, payment_id)
    amount, currency = payment.amount, payment.currency
    if payment.purpose is Purpose.SUBSCRIPTION:
        _earn(tx, payment, source=Held.PROCESSOR, charge_id=charge_id)
    else:
        rows.set_state(tx, payment_id, PaymentState.COMPLETED, charge_id=charge_id)
        if payment.purpose is Purpose.DEPOSIT:
            _move(tx, Held.PROCESSOR, payment.user_id, amount, currency, "deposit")
        else:
            _move(tx, Account.IN_FLIGHT, Held.PROCESSOR, amount, currency, payment.purpose.name.lower())
        _record_completed(tx, payment)
    if payment.processing_fee:
        _move(tx, Account.PROCESSING_COSTS, Held.PROCESSOR, payment.processing_fee, currency, "processing")


def _refuse(tx: Tx, payment_id: str, reason: str) -> None:
    """Notes the processor's refusal; once, whoever else has asked it too."""
    if sagas.end(tx, SAGA, payment_id):
        fail(tx, rows.load(tx, payment_id), reason)


def fail(tx: Tx, payment: Payment, reason: str) -> None:
    """Undoes what was taken for a payment that is not to be."""
    charge_id = payment.row["charge_id"]
    rows.set_state(tx, payment.payment_id, PaymentState.FAILED, charge_id=charge_id, reason=reason)
    if payment.purpose is Purpose.WITHDRAWAL:
        _move(tx, Account.IN_FLIGHT, payment.user_id, payment.amount, payment.currency, "withdrawal refused")
    elif payment.purpose is Purpose.REFUND:
        paid = rows.load(tx, payment.row["refunded_payment_id"])
        rows.add_refunded(tx, paid.payment_id, -payment.amount, payment.currency)
        _move(tx, Account.IN_FLIGHT, _bearer(paid), payment.amount, payment.currency, "refund refused")
    failed = _record_failed(tx, payment, reason)
    if payment.purpose is Purpose.SUBSCRIPTION:
        subscriptions.give_up(tx, payment, cause=failed)


def _earn(tx: Tx, payment: Payment, *, source: str, charge_id: str = "") -> None:
    """Books a subscription's payment as revenue and tells of both."""
    rows.set_state(tx, payment.payment_id, PaymentState.COMPLETED, charge_id=charge_id)
    completed = _record_completed(tx, payment)
    earning = Earning(
        stream=RevenueStream.SUBSCRIPTIONS,
        mode=RevenueMode.LIVE,
        amount=payment.amount,
        currency=payment.currency,
        user_id=payment.user_id,
        source_id=payment.payment_id,
        held=source,
    )
    record_earning(tx, earning, cause=completed)


def _bearer(paid: Payment) -> str:
    """Returns whose account a refund leaves: the user's that a deposit went to, else the platform's."""
    return paid.user_id if paid.purpose is Purpose.DEPOSIT else Account.REFUND_COSTS


def _move(tx: Tx, source: str, target: str, amount: Decimal, currency: str, purpose: str) -> None:
    book(
        tx,
        Transfer(
            source=source, target=target, amount=amount, currency=currency, mode=RevenueMode.LIVE, purpose=purpose
        ),
    )


def _record_completed(tx: Tx, payment: Payment) -> str:
    return tx.record(
        PaymentCompleted(
            payment_id=payment.payment_id,
            user_id=payment.user_id,
            amount=to_money(payment.amount, payment.currency),
            purpose=payment.purpose.name.lower(),
        )
    )


def _record_failed(tx: Tx, payment: Payment, reason: str) -> str:
    return tx.record(
        PaymentFailed(
            payment_id=payment.payment_id,
            user_id=payment.user_id,
            amount=to_money(payment.amount, payment.currency),
            purpose=payment.purpose.name.lower(),
            reason=reason,
        )
    )
