"""Subscriptions in SQL, and every change of one with its event."""

from sqlite3 import Row

from astra.financial.v1 import subscription_pb2 as pb
from astra.financial.v1.events_pb2 import SubscriptionChanged

from services.financial import payment_rows
from services.financial.model_payments import DAY_MS, PaymentState
from services.financial.model_subscriptions import REAL_TRADING_FROM, Change, Cycle, Period, State, Tier
from services.financial.payment_rows import Payment
from services.runtime.timers import set_timer
from services.runtime.transaction import Reader, Tx

PERIOD_TIMER = "subscription_period"
PAID = (State.ACTIVE, State.CANCELLED)


def load(db: Reader, subscription_id: str) -> Row | None:
    return db.one("SELECT * FROM subscription WHERE subscription_id = ?", subscription_id)


def current(db: Reader, user_id: str) -> Row | None:
    """Returns the subscription of a user that has not expired."""
    return db.one("SELECT * FROM subscription WHERE user_id = ? AND state <> ?", user_id, int(State.EXPIRED))


def period_of(row: Row) -> Period:
    return Period(
        tier=Tier(row["tier"]), cycle=Cycle(row["cycle_days"]), state=State(row["state"]), end_ms=row["end_ms"]
    )


def is_suspended(db: Reader, user_id: str) -> bool:
    """Returns whether the user's account is suspended."""
    return bool(db.value("SELECT suspended FROM account_status WHERE user_id = ?", user_id))


def apply_payment(tx: Tx, payment: Payment) -> None:
    """Activates, raises or renews what a completed payment is for; once."""
    if payment.state is not PaymentState.COMPLETED or not payment_rows.take_effect(tx, payment.payment_id):
        return
    paid, subscription_id = payment.row, payment.row["subscription_id"]
    cycle_ms = paid["cycle_days"] * DAY_MS
    row = load(tx, subscription_id)
    if payment.change is Change.START or row is None or row["state"] == State.EXPIRED:
        state = State.SUSPENDED if is_suspended(tx, payment.user_id) else State.ACTIVE
        start_ms = paid["update_ms"]
        tx.execute(
            "INSERT OR REPLACE INTO subscription VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?)",
            subscription_id,
            payment.user_id,
            paid["tier"],
            int(state),
            paid["cycle_days"],
            payment.card.token,
            payment.card.last_four,
            start_ms,
            start_ms + cycle_ms,
        )
        set_timer(tx, PERIOD_TIMER, subscription_id, start_ms + cycle_ms)
    else:
        longer_ms = cycle_ms if payment.change is Change.RENEWAL else 0
        tx.execute(
            "UPDATE subscription SET tier = ?, end_ms = end_ms + ?, card_token = ?, card_last_four = ?"
            " WHERE subscription_id = ?",
            paid["tier"],
            longer_ms,
            payment.card.token,
            payment.card.last_four,
            subscription_id,
        )
    _record_change(tx, subscription_id)


def give_up(tx: Tx, payment: Payment, *, cause: str | None = None) -> None:
    """Notes that a payment failed; a subscription whose period is over and not renewed expires."""
    payment_rows.take_effect(tx, payment.payment_id)
    row = load(tx, payment.row["subscription_id"])
    if row is not None and payment.change is Change.RENEWAL and row["end_ms"] <= tx.now_ms:
        expire(tx, row, cause=cause)


def expire(tx: Tx, row: Row, *, cause: str | None = None) -> None:
    """Ends a subscription."""
    if row["state"] != State.EXPIRED:
        _set_state(tx, row["subscription_id"], State.EXPIRED, renews=False, cause=cause)


def cancel(tx: Tx, row: Row) -> None:
    """Lets a subscription run out at the end of its period. Nothing for one that does already."""
    if row["renews"]:
        state = State.SUSPENDED if row["state"] == State.SUSPENDED else State.CANCELLED
        _set_state(tx, row["subscription_id"], state, renews=False)


def resume(tx: Tx, row: Row) -> None:
    """Lets a cancelled subscription go on."""
    _set_state(tx, row["subscription_id"], State.ACTIVE, renews=True)


def set_account_status(tx: Tx, user_id: str, *, suspended: bool, ordinal: int) -> None:
    """Suspends a user's subscription, or takes it up again; of several events the newest counts."""
    kept = tx.execute(
        "INSERT INTO account_status VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET suspended = ?2, ordinal = ?3"
        " WHERE ordinal < ?3",
        user_id,
        suspended,
        ordinal,
    )
    row = current(tx, user_id)
    if not kept.rowcount or row is None or suspended == (row["state"] == State.SUSPENDED):
        return
    lasting = State.ACTIVE if row["renews"] else State.CANCELLED
    _set_state(tx, row["subscription_id"], State.SUSPENDED if suspended else lasting, renews=bool(row["renews"]))


def message(db: Reader, user_id: str, now_ms: int) -> pb.Subscription:
    """Returns what a user is subscribed to, as callers see it."""
    row, paying = current(db, user_id), payment_rows.ordered(db, user_id)
    if row is None:
        return _unpaid_message(user_id, paying)
    # Past its end it lasts only while it is being renewed, even if its timer is late.
    lasts = row["end_ms"] > now_ms or paying is not None
    shown = pb.Subscription(
        subscription_id=row["subscription_id"],
        user_id=user_id,
        tier=pb.SubscriptionTier.Name(row["tier"] if lasts else Tier.FREE),
        state=pb.SubscriptionState.Name(row["state"] if lasts else State.EXPIRED),
        cycle_days=row["cycle_days"],
        real_trading=lasts and row["tier"] >= REAL_TRADING_FROM and row["state"] in PAID,
    )
    shown.start_time.FromMilliseconds(row["start_ms"])
    shown.end_time.FromMilliseconds(row["end_ms"])
    return shown


def _unpaid_message(user_id: str, paying: Row | None) -> pb.Subscription:
    """Returns the free tier, or the subscription whose first payment is on its way."""
    if paying is None:
        return pb.Subscription(user_id=user_id, tier="SUBSCRIPTION_TIER_FREE", state="SUBSCRIPTION_STATE_ACTIVE")
    return pb.Subscription(
        subscription_id=paying["subscription_id"],
        user_id=user_id,
        tier=pb.SubscriptionTier.Name(paying["tier"]),
        state="SUBSCRIPTION_STATE_PENDING",
        cycle_days=paying["cycle_days"],
    )


def _set_state(tx: Tx, subscription_id: str, state: State, *, renews: bool, cause: str | None = None) -> None:
    tx.execute(
        "UPDATE subscription SET state = ?, renews = ? WHERE subscription_id = ?", int(state), renews, subscription_id
    )
    _record_change(tx, subscription_id, cause=cause)


def _record_change(tx: Tx, subscription_id: str, *, cause: str | None = None) -> None:
    """Records SubscriptionChanged with the subscription as it is now."""
    row = load(tx, subscription_id)
    assert row is not None  # noqa: S101 - it has just been written
    state = State(row["state"])
    event = SubscriptionChanged(
        subscription_id=subscription_id,
        user_id=row["user_id"],
        tier=(Tier.FREE if state is State.EXPIRED else Tier(row["tier"])).name.lower(),
        state=state.name.lower(),
    )
    event.end_time.FromMilliseconds(row["end_ms"])
    tx.record(event, cause=cause)
