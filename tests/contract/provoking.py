"""Brings about, by real calls, the events that a walk through the rpcs does not: bad luck, greed, a war's end."""

import uuid
from contextlib import suppress
from typing import Any

from tests.contract.deployment import Deployment
from tests.flows.clans import found_clan
from tests.flows.test_grpcurl import CARD, registered
from tests.story.rest import Refused

UNREACHABLE = {"TradeFailed": "only an exchange refuses a trade, and no mesh of ours has one connected"}
"""Events that no call brings about, and why. Their streams must exist all the same."""


async def provoke(deployment: Deployment) -> None:
    """Makes a payment fail, a deposit look odd, a trade be too large, and two clans fight to the end."""
    rest = deployment.rest
    user = await rest.login(await registered(deployment))
    mine = f"/v1/users/{user.user_id}"
    declined = {**CARD, "number": "4000000000000002"}
    with suppress(Refused):
        await rest.post(f"{mine}/account:deposit", {"amount": _usd("100"), "card": declined}, session=user)
    await rest.post(f"{mine}/account:deposit", {"amount": _usd("10001"), "card": CARD}, session=user)
    await rest.post(f"{mine}/trades", _trade("5000"), session=user)
    praise = {"targetUserId": deployment.admin.user_id, "kind": "INTERACTION_KIND_ENDORSEMENT"}
    await rest.post(f"{mine}/interactions", praise, session=user)
    run = uuid.uuid4().hex[:8]
    await found_clan(deployment, f"{run} home", user.user_id, f"{run}-h")
    away = await found_clan(deployment, f"{run} away", f"{run}-a", f"{run}-a")
    challenge = {"type": "BATTLE_TYPE_TRADING_DUEL", "duration": "3600s"}
    battle = await rest.post(f"/v1/clans/{away}:challenge", challenge, session=user)
    path = f"/v1/battles/{battle['battleId']}"
    await rest.post(f"{path}:accept", {"userId": f"{run}-a"}, session=deployment.admin)
    await rest.post(f"{mine}/trades", {**_trade("100"), "battleId": battle["battleId"]}, session=user)
    await deployment.let_time_pass(battle["battleId"])


def _usd(amount: str) -> dict[str, str]:
    return {"currencyCode": "USD", "amount": amount}


def _trade(amount: str) -> dict[str, Any]:
    return {"symbol": "BTC", "direction": "DIRECTION_LONG", "amount": _usd(amount)}
