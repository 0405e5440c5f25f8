"""Payments in SQL."""

from dataclasses import dataclass
from decimal import Decimal
from sqlite3 import Row

from astra.financial.v1 import payment_pb2 as pb

from services.financial.model_payments import CardToken, PaymentState, Purpose, processing_fee
from services.financial.model_subscriptions import Change, Order
from services.runtime.errors import NotFound
from services.runtime.money import from_minor, to_minor, to_money
from services.runtime.transaction import Reader, Tx

NO_CARD = CardToken("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """One payment as it stands."""

    payment_id: str
    user_id: str
    purpose: Purpose
    state: PaymentState
    amount: Decimal
    currency: str
    card: CardToken
    row: Row

    @property
    def refunded(self) -> Decimal:
        return from_minor(self.row["refunded_minor"], self.currency)

    @property
    def processing_fee(self) -> Decimal:
        """What the processor keeps of it: of what it was paid with a card."""
        paid = self.purpose in (Purpose.DEPOSIT, Purpose.SUBSCRIPTION) and self.card.token
        return processing_fee(self.amount, self.currency) if paid else Decimal(0)

    @property
    def change(self) -> Change:
        """What a subscription's payment brings about."""
        return Change(self.row["subscription_change"])


def insert(
    tx: Tx,
    *,
    user_id: str,
    purpose: Purpose,
    amount: Decimal,
    currency: str,
    card: CardToken = NO_CARD,
    refunded_payment_id: str = "",
) -> str:
    """Adds a pending payment and returns its id."""
    payment_id = tx.new_id()
    tx.execute(
        "INSERT INTO payment (payment_id, user_id, purpose, state, currency, amount_minor, card_token, card_last_four,"
        " refunded_payment_id, create_ms, update_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        payment_id,
        user_id,
        int(purpose),
        int(PaymentState.PENDING),
        currency,
        to_minor(amount, currency),
        card.token,
        card.last_four,
        refunded_payment_id,
        tx.now_ms,
        tx.now_ms,
    )
    return payment_id


def order_with(tx: Tx, payment_id: str, subscription_id: str, order: Order) -> None:
    """Notes what a payment changes in which subscription."""
    tx.execute(
        "UPDATE payment SET subscription_id = ?, tier = ?, cycle_days = ?, subscription_change = ?, in_effect = 0"
        " WHERE payment_id = ?",
        subscription_id,
        int(order.tier),
        int(order.cycle),
        int(order.change),
        payment_id,
    )


def take_effect(tx: Tx, payment_id: str) -> bool:
    """Notes that a payment has changed its subscription, or never will. Returns False if that was noted before."""
    taken = tx.execute("UPDATE payment SET in_effect = 1 WHERE payment_id = ? AND in_effect = 0", payment_id)
    return taken.rowcount == 1


def ordered(db: Reader, user_id: str) -> Row | None:
    """Returns the subscription payment of a user that is on its way or has not taken effect yet."""
    return db.one("SELECT * FROM payment WHERE user_id = ? AND in_effect = 0", user_id)


def set_state(tx: Tx, payment_id: str, state: PaymentState, *, charge_id: str = "", reason: str = "") -> None:
    tx.execute(
        "UPDATE payment SET state = ?, charge_id = ?, reason = ?, update_ms = ? WHERE payment_id = ?",
        int(state),
        charge_id,
        reason,
        tx.now_ms,
        payment_id,
    )


def add_refunded(tx: Tx, payment_id: str, amount: Decimal, currency: str) -> None:
    """Adds what is given back of a payment; a negative amount takes it off again."""
    minor = to_minor(amount, currency)
    tx.execute("UPDATE payment SET refunded_minor = refunded_minor + ? WHERE payment_id = ?", minor, payment_id)


def load(db: Reader, payment_id: str, *, user_id: str | None = None) -> Payment:
    """Returns a payment. Raises `NotFound` if there is none, or not of this user."""
    row = db.one("SELECT * FROM payment WHERE payment_id = ?", payment_id)
    if row is None or user_id not in (None, row["user_id"]):
        raise NotFound(
            f"there is no payment {payment_id} of this user", reason="PAYMENT_NOT_FOUND", payment_id=payment_id
        )
    return Payment(
        payment_id=row["payment_id"],
        user_id=row["user_id"],
        purpose=Purpose(row["purpose"]),
        state=PaymentState(row["state"]),
        amount=from_minor(row["amount_minor"], row["currency"]),
        currency=row["currency"],
        card=CardToken(row["card_token"], row["card_last_four"]),
        row=row,
    )


def last_card(db: Reader, user_id: str) -> CardToken | None:
    """Returns the card a user last paid with."""
    row = db.one(
        "SELECT card_token, card_last_four FROM payment WHERE user_id = ? AND state = ? AND purpose IN (?, ?)"
        " AND card_token <> '' ORDER BY payment_id DESC LIMIT 1",
        user_id,
        int(PaymentState.COMPLETED),
        int(Purpose.DEPOSIT),
        int(Purpose.SUBSCRIPTION),
    )
    return CardToken(row["card_token"], row["card_last_four"]) if row else None


def withdrawn(db: Reader, user_id: str, currency: str, *, after_ms: int, until_ms: int) -> Decimal:
    """Returns what a user has withdrawn in (after, until]."""
    minor = db.value(
        "SELECT sum(amount_minor) FROM payment WHERE user_id = ? AND purpose = ? AND state = ? AND currency = ?"
        " AND update_ms > ? AND update_ms <= ?",
        user_id,
        int(Purpose.WITHDRAWAL),
        int(PaymentState.COMPLETED),
        currency,
        after_ms,
        until_ms,
    )
    return from_minor(minor or 0, currency)


def list_ids(db: Reader, user_id: str, *, purpose: int, state: int, before: str | None, limit: int) -> list[str]:
    """Returns ids of payments newest first (ids are time-ordered), after `before`; 0 for any purpose or state."""
    rows = db.all(
        "SELECT payment_id FROM payment WHERE user_id = ? AND (? IS NULL OR payment_id < ?) AND ? IN (0, purpose)"
        " AND ? IN (0, state) ORDER BY payment_id DESC LIMIT ?",
        user_id,
        before,
        before,
        purpose,
        state,
        limit,
    )
    return [row["payment_id"] for row in rows]


def message(payment: Payment) -> pb.Payment:
    """Returns a payment as callers see it."""
    row, currency = payment.row, payment.currency
    shown = pb.Payment(
        payment_id=payment.payment_id,
        user_id=payment.user_id,
        purpose=pb.PaymentPurpose.Name(payment.purpose),
        state=pb.PaymentState.Name(payment.state),
        amount=to_money(payment.amount, currency),
        card_last_four=payment.card.last_four,
        reason=row["reason"],
        subscription_id=row["subscription_id"],
        refunded_payment_id=row["refunded_payment_id"],
    )
    if payment.processing_fee:
        shown.processing_fee.CopyFrom(to_money(payment.processing_fee, currency))
    if payment.refunded:
        shown.refunded_amount.CopyFrom(to_money(payment.refunded, currency))
    shown.create_time.FromMilliseconds(row["create_ms"])
    shown.update_time.FromMilliseconds(row["update_ms"])
    return shown
