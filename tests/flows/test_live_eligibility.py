"""Who may trade with real money, as the real user and financial services answer through Envoy."""

import uuid

import pytest

from services.runtime.errors import FailedPrecondition
from services.runtime.peers import Peers
from services.trading.eligibility import PeerEligibility
from tests.flows.test_grpcurl import CARD
from tests.flows.test_money_and_market import until
from tests.story.play import Stage

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def refusal(eligibility: PeerEligibility, user_id: str) -> str:
    """Returns why a user may not trade live; empty if it may."""
    try:
        await eligibility.check(user_id)
    except FailedPrecondition as error:
        return error.reason
    return ""


async def test_live_trading_takes_a_verified_active_user_with_a_paid_tier(stage: Stage) -> None:
    peers = Peers(stage.running.mesh, "trading")
    eligibility = PeerEligibility(peers)
    name = f"v{uuid.uuid4().hex[:12]}"
    await stage.rest.register(name)
    user = await stage.rest.login(name)
    path = f"/v1/users/{user.user_id}"

    async def subscribe(tier: str) -> None:
        body = {"tier": f"SUBSCRIPTION_TIER_{tier}", "card": CARD}
        await stage.rest.post(f"{path}/subscription:subscribe", body, session=user)

        async def in_force() -> bool:
            found = await stage.rest.get(f"{path}/subscription", session=user)
            return bool(found["tier"] == f"SUBSCRIPTION_TIER_{tier}" and found["state"] == "SUBSCRIPTION_STATE_ACTIVE")

        await until(in_force)

    try:
        assert await refusal(eligibility, f"nobody-{name}") == "USER_NOT_ACTIVE"
        await stage.rest.post(f"{path}:verify", {"tier": "VERIFICATION_TIER_PHONE"}, session=stage.admin)
        assert await refusal(eligibility, user.user_id) == "IDENTITY_NOT_VERIFIED"
        await stage.rest.post(f"{path}:verify", {"tier": "VERIFICATION_TIER_IDENTITY"}, session=stage.admin)
        assert await refusal(eligibility, user.user_id) == "TIER_WITHOUT_LIVE_TRADING"
        await subscribe("BASIC")
        assert await refusal(eligibility, user.user_id) == "TIER_WITHOUT_LIVE_TRADING"
        await subscribe("PRO")
        assert await refusal(eligibility, user.user_id) == ""
        await stage.rest.post(f"{path}/subscription:cancel", {}, session=user)
        assert await refusal(eligibility, user.user_id) == ""
        await stage.rest.post(f"{path}:suspend", {}, session=stage.admin)
        assert await refusal(eligibility, user.user_id) == "USER_NOT_ACTIVE"
    finally:
        await peers.close()
