"""The end of a paid period, on time: it is renewed, or runs out."""

from services.financial import payment_rows, payments, subscriptions
from services.financial.model_payments import CardToken, Purpose
from services.financial.model_subscriptions import RECHECK_MS, Change, Cycle, Order, State, Tier, price
from services.financial.store import load_balance
from services.runtime.money import USD
from services.runtime.timers import set_timer
from services.runtime.transaction import Tx


def end_period(tx: Tx, subscription_id: str) -> None:
    """Renews an active subscription whose period is over; any other expires.

    While a payment is on its way the subscription lasts, and is looked at again.
    """
    row = subscriptions.load(tx, subscription_id)
    if row is None or row["state"] == State.EXPIRED:
        return
    if row["end_ms"] > tx.now_ms:
        set_timer(tx, subscriptions.PERIOD_TIMER, subscription_id, row["end_ms"])
        return
    if payment_rows.ordered(tx, row["user_id"]) is None:
        if row["state"] != State.ACTIVE:
            subscriptions.expire(tx, row)
            return
        _pay_next_period(tx, row["user_id"], subscription_id, renewal(Tier(row["tier"]), Cycle(row["cycle_days"])))
    set_timer(tx, subscriptions.PERIOD_TIMER, subscription_id, tx.now_ms + RECHECK_MS)


def renewal(tier: Tier, cycle: Cycle) -> Order:
    """Returns what the next period of a subscription costs."""
    return Order(change=Change.RENEWAL, tier=tier, cycle=cycle, amount=price(tier, cycle))


def _pay_next_period(tx: Tx, user_id: str, subscription_id: str, order: Order) -> None:
    row = subscriptions.load(tx, subscription_id)
    assert row is not None  # noqa: S101 - the caller has it
    card = CardToken(row["card_token"], row["card_last_four"])
    if card.token or load_balance(tx, user_id, USD) >= order.amount:
        payments.begin_subscription_payment(tx, user_id, subscription_id, order, card, leased=False)
        return
    payment_id = payment_rows.insert(
        tx, user_id=user_id, purpose=Purpose.SUBSCRIPTION, amount=order.amount, currency=USD
    )
    payment_rows.order_with(tx, payment_id, subscription_id, order)
    payments.fail(tx, payment_rows.load(tx, payment_id), "INSUFFICIENT_FUNDS")
