"""Brings about, by real calls, the events that a walk through the rpcs does not: bad luck, greed, a war's end."""

import asyncio
import uuid
from contextlib import suppress
from decimal import Decimal
from typing import Any

from tests.contract.deployment import Deployment
from tests.flows.clans import found_clan
from tests.flows.test_grpcurl import CARD, registered
from tests.story.rest import Refused, Session

MOVE_SECONDS = 60.0
"""How long a price may stand still."""
PENNIES_USD = Decimal("0.02")
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
    await _earn(deployment)


async def _earn(deployment: Deployment) -> None:
    """Closes a trade with a profit: of two in opposite directions one has it, as soon as the price has moved."""
    rest = deployment.rest
    user = await rest.login(await registered(deployment))
    trades = f"/v1/users/{user.user_id}/trades"
    opened = [
        (await rest.post(trades, {**_trade("1000"), "symbol": symbol, "direction": direction}, session=user))["tradeId"]
        for symbol in ("BTC", "ETH", "STRK", "SOL")  # one of them moves fast enough
        for direction in ("DIRECTION_LONG", "DIRECTION_SHORT")
    ]
    async with asyncio.timeout(MOVE_SECONDS):
        while True:
            if any(Decimal(pnl) >= PENNIES_USD for pnl in await _unrealised(deployment, user)):
                break
            await asyncio.sleep(0.2)
    for trade_id in opened:
        await rest.post(f"{trades}/{trade_id}:close", {}, session=user)


async def _unrealised(deployment: Deployment, user: Session) -> list[str]:
    portfolio = await deployment.rest.get(f"/v1/users/{user.user_id}/portfolio", session=user)
    return [position["unrealizedPnl"]["amount"] for position in portfolio["positions"]]


def _usd(amount: str) -> dict[str, str]:
    return {"currencyCode": "USD", "amount": amount}


def _trade(amount: str) -> dict[str, Any]:
    return {"symbol": "BTC", "direction": "DIRECTION_LONG", "amount": _usd(amount)}
