"""Who may trade with real money: an active user with its identity verified, whose tier has real trading."""

from typing import Any, Protocol

from astra.user.v1.user_pb2 import UserState, VerificationTier
from astra.user.v1.user_service_pb2 import GetUserRequest, GetUserResponse
from google.protobuf.message import Message

from services.contracts import rpcs
from services.runtime.errors import FailedPrecondition, Unavailable
from services.runtime.peers import PeerError, Peers

GET_USER = "/astra.user.v1.UserService/GetUser"
GET_SUBSCRIPTION = "/astra.financial.v1.FinancialService/GetSubscription"
TIERS = frozenset({"pro", "premium", "enterprise"})
"""Tiers with real trading."""
STATES = frozenset({"active", "cancelled"})
"""States in which a tier is in force; a cancelled one lasts to its period's end."""


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
        tier, state = await self._subscription(user_id)
        if tier not in TIERS or state not in STATES:
            raise FailedPrecondition(
                f"live trading needs a subscription from pro on; yours is {tier or 'free'}, {state or 'none'}",
                reason="TIER_WITHOUT_LIVE_TRADING",
                tier=tier,
                state=state,
            )

    async def _subscription(self, user_id: str) -> tuple[str, str]:
        rpc = rpcs().get(GET_SUBSCRIPTION)
        if rpc is None:
            raise Unavailable("subscriptions cannot be asked for", reason="PEER_UNAVAILABLE")
        try:
            reply: Any = await self._peers.call(GET_SUBSCRIPTION, rpc.request(user_id=user_id), rpc.response)
        except PeerError as error:
            if error.code == "NOT_FOUND":
                return "", ""
            raise
        return plain_name(reply.subscription, "tier"), plain_name(reply.subscription, "state")


def plain_name(message: Message, field: str) -> str:
    """Returns a value such as `pro`, whether it is sent as text or as an enum such as `SUBSCRIPTION_TIER_PRO`."""
    value, kind = getattr(message, field), message.DESCRIPTOR.fields_by_name[field].enum_type
    name = kind.values_by_number[value].name if kind is not None else str(value)
    return name.rpartition("_")[2].lower()
