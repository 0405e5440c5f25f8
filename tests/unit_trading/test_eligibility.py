"""Who may trade live, as user and financial answer; `tests/flows/test_live_eligibility.py` asks the real ones."""

from dataclasses import dataclass
from typing import Any

import pytest
from astra.financial.v1.financial_service_pb2 import GetSubscriptionResponse
from astra.financial.v1.subscription_pb2 import Subscription
from astra.user.v1.user_pb2 import User, UserState, VerificationTier
from astra.user.v1.user_service_pb2 import GetUserResponse

from services.runtime.errors import FailedPrecondition, MeshError, Unavailable
from services.runtime.peers import PeerError
from services.trading.eligibility import GET_USER, PeerEligibility

VERIFIED = VerificationTier.VERIFICATION_TIER_IDENTITY
ACTIVE = UserState.USER_STATE_ACTIVE
AWAY = Unavailable("away", reason="PEER_UNAVAILABLE")


@dataclass
class Answers:
    """Stands in for `Peers`."""

    user: User | MeshError
    subscription: Subscription | MeshError

    async def call(self, path: str, request: Any, reply: Any) -> Any:
        assert request.user_id == "ann"
        answer = self.user if path == GET_USER else self.subscription
        if isinstance(answer, MeshError):
            raise answer
        return (
            GetUserResponse(user=answer) if isinstance(answer, User) else GetSubscriptionResponse(subscription=answer)
        )


def user(tier: Any = VERIFIED, state: Any = ACTIVE) -> User:
    return User(user_id="ann", verification_tier=tier, state=state)


def subscribed(tier: str, state: str, *, real_trading: bool) -> Subscription:
    return Subscription(
        tier=f"SUBSCRIPTION_TIER_{tier}", state=f"SUBSCRIPTION_STATE_{state}", real_trading=real_trading
    )


PRO = subscribed("PRO", "ACTIVE", real_trading=True)


@pytest.mark.parametrize(
    ("who", "subscription", "reason"),
    [
        (user(), PRO, ""),
        (user(VerificationTier.VERIFICATION_TIER_PREMIUM), PRO, ""),
        (user(VerificationTier.VERIFICATION_TIER_PHONE), PRO, "IDENTITY_NOT_VERIFIED"),
        (user(state=UserState.USER_STATE_SUSPENDED), PRO, "USER_NOT_ACTIVE"),
        (PeerError("NOT_FOUND", "nobody", reason="USER_NOT_FOUND"), PRO, "USER_NOT_ACTIVE"),
        (user(), subscribed("BASIC", "ACTIVE", real_trading=False), "TIER_WITHOUT_LIVE_TRADING"),
        (user(), subscribed("PRO", "SUSPENDED", real_trading=False), "TIER_WITHOUT_LIVE_TRADING"),
        (AWAY, PRO, "PEER_UNAVAILABLE"),
        (user(), AWAY, "PEER_UNAVAILABLE"),
    ],
)
async def test_who_may_trade_live(who: User | MeshError, subscription: Any, reason: str) -> None:
    found = ""
    try:
        await PeerEligibility(Answers(who, subscription)).check("ann")  # type: ignore[arg-type]
    except MeshError as error:
        found = error.reason
    assert found == reason


async def test_a_refusal_names_the_tier_and_its_state() -> None:
    suspended = subscribed("PRO", "SUSPENDED", real_trading=False)
    with pytest.raises(FailedPrecondition, match="yours is pro, suspended") as refused:
        await PeerEligibility(Answers(user(), suspended)).check("ann")  # type: ignore[arg-type]
    assert refused.value.metadata == {"tier": "pro", "state": "suspended"}
