"""Who may come in: suspension, reactivation, changed passwords, and the moment before which tokens are refused."""

from astra.user.v1.events_pb2 import AccountChange as AccountChangeProto
from astra.user.v1.events_pb2 import AccountStatusChanged
from astra.user.v1.user_pb2 import UserState as UserStateProto

from services.runtime.errors import FailedPrecondition
from services.runtime.transaction import Tx
from services.user import sessions
from services.user import store as sql
from services.user.model import AccountChange, UserState, VerificationTier, next_not_before_ms


def suspend(tx: Tx, user_id: str) -> None:
    """Suspends a user and ends its access. Raises `NotFound`, or `FailedPrecondition` if it is suspended already."""
    if sql.state_of(tx, user_id) is UserState.SUSPENDED:
        raise FailedPrecondition("the user is suspended already", reason="USER_SUSPENDED", user_id=user_id)
    sql.set_state(tx, user_id, UserState.SUSPENDED)
    end_access(tx, user_id, UserState.SUSPENDED, AccountChange.SUSPENDED)


def reactivate(tx: Tx, user_id: str) -> None:
    """Lets a suspended user sign in again. Raises `NotFound`, or `FailedPrecondition` if it is not suspended."""
    if sql.state_of(tx, user_id) is UserState.ACTIVE:
        raise FailedPrecondition("the user is not suspended", reason="USER_NOT_SUSPENDED", user_id=user_id)
    sql.set_state(tx, user_id, UserState.ACTIVE)
    _record(tx, user_id, UserState.ACTIVE, AccountChange.REACTIVATED)


def end_access(tx: Tx, user_id: str, state: UserState, change: AccountChange) -> int:
    """Ends every session and refuses every token issued so far; returns the moment from which they are good."""
    sessions.end_sessions(tx, user_id)
    moment_ms = next_not_before_ms(tx.now_ms, sql.not_before_ms(tx, user_id))
    sql.set_not_before(tx, user_id, moment_ms)
    _record(tx, user_id, state, change)
    return moment_ms


def raise_tier(tx: Tx, user_id: str, tier: VerificationTier) -> None:
    """Raises a verification tier. Raises `NotFound`, or `FailedPrecondition` unless it is above the one so far."""
    now = sql.tier_of(tx, user_id)
    if tier <= now:
        raise FailedPrecondition(
            f"the user is {now.name} already; tiers only rise", reason="TIER_NOT_HIGHER", tier=now.name
        )
    sql.set_tier(tx, user_id, tier)


def _record(tx: Tx, user_id: str, state: UserState, change: AccountChange) -> None:
    event = AccountStatusChanged(
        user_id=user_id, state=UserStateProto.Name(state), change=AccountChangeProto.Name(change)
    )
    event.not_before.FromMilliseconds(sql.not_before_ms(tx, user_id))
    tx.record(event)
