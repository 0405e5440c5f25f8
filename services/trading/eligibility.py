"""Who may trade with real money: an active user with its identity verified, whose tier has real trading."""

from typing import Protocol

from astra.financial.v1.financial_service_pb2 import GetSubscriptionRequest, GetSubscriptionResponse
from astra.financial.v1.subscription_pb2 import SubscriptionState, SubscriptionTier
from astra.user.v1.user_pb2 import UserState, VerificationTier
from astra.user.v1.user_service_pb2 import GetUserRequest, GetUserResponse

from services.runtime.errors import FailedPrecondition
from services.runtime.peers import PeerError, Peers

GET_USER = "/astra.user.v1.UserService/GetUser"
GET_SUBSCRIPTION = "/astra.financial.v1.FinancialService/GetSubscription"


class Eligibility(Protocol):
    """Decides who may trade with real money."""

    async def check(self, user_id: str) -> None:
        """Raises `FailedPrecondition` with what the user lacks, `Unavailable` when that cannot be found out now."""


class PeerEligibility:
    """Asks the user service and financial."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    async def check(self, user_id: str) -> None:
        try:
            user = (await self._peers.call(GET_USER, GetUserRequest(user_id=user_id), GetUserResponse)).user
        except PeerError as error:
            raise FailedPrecondition(f"live trading needs a user: {error.message}", reason="USER_NOT_ACTIVE") from error
        if user.state != UserState.USER_STATE_ACTIVE:
            raise FailedPrecondition("live trading needs an active user", reason="USER_NOT_ACTIVE")
        if user.verification_tier < VerificationTier.VERIFICATION_TIER_IDENTITY:
            raise FailedPrecondition(
                "live trading needs your identity verified; ask for it first", reason="IDENTITY_NOT_VERIFIED"
            )
        request = GetSubscriptionRequest(user_id=user_id)
        subscription = (await self._peers.call(GET_SUBSCRIPTION, request, GetSubscriptionResponse)).subscription
        # Which tiers have it, and in which states, is financial's to say.
        if not subscription.real_trading:
            tier = SubscriptionTier.Name(subscription.tier).removeprefix("SUBSCRIPTION_TIER_").lower()
            state = SubscriptionState.Name(subscription.state).removeprefix("SUBSCRIPTION_STATE_").lower()
            raise FailedPrecondition(
                f"live trading needs a subscription from pro on; yours is {tier}, {state}",
                reason="TIER_WITHOUT_LIVE_TRADING",
                tier=tier,
                state=state,
            )
