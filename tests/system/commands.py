"""Random commands of many users by REST, with a journal of what was acknowledged."""

import random
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.story.rest import Refused, RestClient, Session, money

SYMBOLS = ("ADA", "BTC", "ETH", "LINK", "MATIC", "SOL", "STRK")
REPEATED = 0.1
"""Share of commands that are sent a second time, as after a lost reply."""


@dataclass(slots=True)
class Journal:
    """What the mesh acknowledged."""

    trades: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Last known state of each trade, by id."""
    grants: dict[str, Decimal] = field(default_factory=dict)
    """Practice money granted, by user."""
    awards: dict[str, int] = field(default_factory=dict)
    """XP awarded, by user."""
    interactions: list[dict[str, Any]] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)
    """How often each reason was given."""
    repeats: int = 0


class Crowd:
    """Users who do things at random, and an admin."""

    def __init__(self, rest: RestClient, admin: Session, users: list[Session], chance: random.Random) -> None:
        self._rest = rest
        self._admin = admin
        self._users = users
        self._chance = chance
        self.journal = Journal()
        self._commands: list[tuple[int, Callable[[Session], Coroutine[Any, Any, None]]]] = [
            (50, self._trade),
            (20, self._close),
            (20, self._interact),
            (5, self._award),
            (5, self._grant),
        ]

    async def act(self) -> None:
        """Does one thing as one user."""
        weights = [weight for weight, _ in self._commands]
        ((_, command),) = self._chance.choices(self._commands, weights)
        try:
            await command(self._chance.choice(self._users))
        except Refused as refused:
            reason = refused.body["details"][0]["reason"] if refused.body.get("details") else str(refused.status)
            self.journal.refusals[reason] = self.journal.refusals.get(reason, 0) + 1

    async def _send(self, path: str, body: dict[str, Any], session: Session) -> dict[str, Any]:
        """Sends a write, now and then twice; the second answer must be the first."""
        body = {"requestId": uuid.uuid4().hex, **body}
        answer: dict[str, Any] = await self._rest.post(path, body, session=session)
        if self._chance.random() < REPEATED:
            self.journal.repeats += 1
            again = await self._rest.post(path, body, session=session)
            assert again == answer, f"{path}: a repeat answered {again}, not {answer}"
        return answer

    async def _trade(self, user: Session) -> None:
        body = {
            "symbol": self._chance.choice(SYMBOLS),
            "amount": money(Decimal(self._chance.randrange(100, 150_000)) / 100),
            "direction": self._chance.choice(["DIRECTION_LONG", "DIRECTION_SHORT"]),
        }
        trade = await self._send(f"/v1/users/{user.user_id}/trades", body, user)
        self.journal.trades[trade["tradeId"]] = trade

    async def _close(self, user: Session) -> None:
        mine = [
            trade
            for trade in self.journal.trades.values()
            if trade["userId"] == user.user_id and trade["state"] == "TRADE_STATE_ACTIVE"
        ]
        if not mine:
            return await self._trade(user)
        trade_id = self._chance.choice(mine)["tradeId"]
        closed = await self._send(f"/v1/users/{user.user_id}/trades/{trade_id}:close", {}, user)
        self.journal.trades[trade_id] = closed
        return None

    async def _interact(self, user: Session) -> None:
        kind = self._chance.choice(["LIKE", "COMMENT", "SHARE", "FOLLOW"])
        body = {
            "targetUserId": self._chance.choice([other for other in self._users if other is not user]).user_id,
            "kind": f"INTERACTION_KIND_{kind}",
            **({"text": "well done"} if kind == "COMMENT" else {}),
        }
        self.journal.interactions.append(await self._send(f"/v1/users/{user.user_id}/interactions", body, user))

    async def _award(self, user: Session) -> None:
        xp = self._chance.randrange(1, 2500)
        await self._send(f"/v1/users/{user.user_id}/progression:awardXp", {"xp": str(xp)}, self._admin)
        self.journal.awards[user.user_id] = self.journal.awards.get(user.user_id, 0) + xp

    async def _grant(self, user: Session) -> None:
        amount = Decimal(self._chance.randrange(1, 500_000)) / 100
        path = f"/v1/users/{user.user_id}/portfolio:grantPracticeFunds"
        await self._send(path, {"amount": money(amount)}, self._admin)
        self.journal.grants[user.user_id] = self.journal.grants.get(user.user_id, Decimal(0)) + amount
