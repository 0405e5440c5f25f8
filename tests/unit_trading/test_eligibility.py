"""Who may trade live, as user and financial answer."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from astra.user.v1.user_pb2 import User, UserState, VerificationTier
from astra.user.v1.user_service_pb2 import GetUserResponse
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from services.contracts import rpcs
from services.runtime.errors import MeshError, Unavailable
from services.runtime.peers import PeerError
from services.trading import eligibility
from services.trading.eligibility import GET_SUBSCRIPTION, GET_USER, PeerEligibility, plain_name

VERIFIED = VerificationTier.VERIFICATION_TIER_IDENTITY
ACTIVE = UserState.USER_STATE_ACTIVE


@dataclass
class Answers:
    """Stands in for `Peers`."""

    user: User | MeshError
    subscription: Any = None
    asked: list[str] = field(default_factory=list)

    async def call(self, path: str, request: Any, reply: Any) -> Any:
        self.asked.append(path)
        assert request.user_id == "ann"
        answer = self.user if path == GET_USER else self.subscription
        if isinstance(answer, MeshError):
            raise answer
        return GetUserResponse(user=answer) if path == GET_USER else answer


def subscription_of(tier: str, state: str) -> Any:
    """Returns a reply of GetSubscription with these texts, whatever financial's contract has by now."""
    file = descriptor_pb2.FileDescriptorProto(name="test_subscription.proto", package="test.eligibility")
    inner = file.message_type.add(name="Subscription")
    for number, name in enumerate(("tier", "state"), 1):
        inner.field.add(name=name, number=number, type=9, label=1)
    reply = file.message_type.add(name="Reply")
    reply.field.add(name="subscription", number=1, type=11, label=1, type_name=".test.eligibility.Subscription")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName("test.eligibility.Reply"))()
    made.subscription.tier, made.subscription.state = tier, state
    return made


@dataclass
class AnyRpc:
    """An rpc that takes a user's id, where financial's is not there yet."""

    response: Any = None

    @staticmethod
    def request(user_id: str) -> User:
        return User(user_id=user_id)


@pytest.fixture(autouse=True)
def contract(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {GET_SUBSCRIPTION: AnyRpc(), **rpcs()}
    monkeypatch.setattr(eligibility, "rpcs", lambda: known)


def user(tier: Any = VERIFIED, state: Any = ACTIVE) -> User:
    return User(user_id="ann", verification_tier=tier, state=state)


@pytest.mark.parametrize(
    ("who", "subscription", "reason"),
    [
        (user(), ("pro", "active"), ""),
        (user(VerificationTier.VERIFICATION_TIER_PREMIUM), ("enterprise", "cancelled"), ""),
        (user(), ("premium", "ACTIVE"), ""),
        (user(VerificationTier.VERIFICATION_TIER_PHONE), ("pro", "active"), "IDENTITY_NOT_VERIFIED"),
        (user(state=UserState.USER_STATE_SUSPENDED), ("pro", "active"), "USER_NOT_ACTIVE"),
        (PeerError("NOT_FOUND", "nobody", reason="USER_NOT_FOUND"), ("pro", "active"), "USER_NOT_ACTIVE"),
        (user(), ("basic", "active"), "TIER_WITHOUT_LIVE_TRADING"),
        (user(), ("pro", "suspended"), "TIER_WITHOUT_LIVE_TRADING"),
        (user(), ("pro", "expired"), "TIER_WITHOUT_LIVE_TRADING"),
        (user(), PeerError("NOT_FOUND", "none", reason="SUBSCRIPTION_NOT_FOUND"), "TIER_WITHOUT_LIVE_TRADING"),
        (Unavailable("away", reason="PEER_UNAVAILABLE"), ("pro", "active"), "PEER_UNAVAILABLE"),
        (user(), Unavailable("away", reason="PEER_UNAVAILABLE"), "PEER_UNAVAILABLE"),
    ],
)
async def test_who_may_trade_live(who: User | MeshError, subscription: Any, reason: str) -> None:
    answer = subscription if isinstance(subscription, MeshError) else subscription_of(*subscription)
    found = ""
    try:
        await PeerEligibility(Answers(who, answer)).check("ann")  # type: ignore[arg-type]
    except MeshError as error:
        found = error.reason
    assert found == reason


def test_a_value_has_one_name_as_text_and_as_enum() -> None:
    assert plain_name(user(), "verification_tier") == "identity"
    assert plain_name(subscription_of("PRO", "active").subscription, "tier") == "pro"
