"""What a person must look at: sums and identities that the rules do not let pass unseen. Each finding is told once."""

from decimal import Decimal

from astra.financial.v1.events_pb2 import ComplianceFlagRaised, PaymentCompleted, PaymentFailed
from google.protobuf.message import Message

from services.financial import payment_rows as rows
from services.financial.model_payments import AML_ABOVE, DAY_MS, KYC_ABOVE, Flag, PaymentState, Purpose
from services.financial.payment_rows import Payment
from services.financial.store import load_kyc
from services.runtime.transaction import Tx


def check_compliance(tx: Tx, event: Message) -> None:
    """Checks an event of financial; most are of no concern."""
    if isinstance(event, PaymentFailed | PaymentCompleted):
        payment = rows.load(tx, event.payment_id)
        for reason in findings(tx, payment):
            _raise_flag(tx, payment, reason)


def findings(tx: Tx, payment: Payment) -> list[str]:
    """Returns the reasons to flag a payment."""
    if payment.state is PaymentState.FAILED:
        return [Flag.AML_AMOUNT] if payment.row["reason"] == Flag.AML_AMOUNT else []
    paid_ms = payment.row["update_ms"]
    match payment.purpose:
        case Purpose.DEPOSIT if payment.amount > AML_ABOVE:
            return [Flag.AML_LARGE_DEPOSIT]
        case Purpose.WITHDRAWAL:
            day: Decimal = rows.withdrawn(
                tx, payment.user_id, payment.currency, after_ms=paid_ms - DAY_MS, until_ms=paid_ms
            )
            found = [Flag.AML_DAILY_WITHDRAWALS] if day > AML_ABOVE else []
            kyc = load_kyc(tx, payment.user_id)
            if payment.amount > KYC_ABOVE and (kyc is None or kyc["expire_ms"] <= paid_ms):
                found.append(Flag.KYC_MISSING)
            return found
    return []


def _raise_flag(tx: Tx, payment: Payment, reason: str) -> None:
    flag_id = tx.new_id()
    raised = tx.execute(
        "INSERT OR IGNORE INTO compliance_flag VALUES (?, ?, ?, ?, ?)",
        flag_id,
        payment.user_id,
        reason,
        payment.payment_id,
        tx.now_ms,
    )
    if raised.rowcount:
        tx.record(
            ComplianceFlagRaised(flag_id=flag_id, user_id=payment.user_id, reason=reason, payment_id=payment.payment_id)
        )
