"""A scripted day of ten users by REST: they register, are verified, trade, fight, subscribe, and an NFT is sold twice.

The script keeps what it was answered; what the ledger, the leaderboard and the feed make of it is `day_views.py`.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from services.local import LocalMesh
from tests.story.play import UNRELATED, Stage
from tests.story.rest import Refused, Session, money

HOME, AWAY = ("ada", "bob", "cleo", "dan", "eve"), ("fay", "gus", "hal", "ivy", "jon")
"""The two clans, their founders first."""
TRADES = (
    *(("ada", "STRK", 1500), ("ada", "ETH", 900), ("bob", "BTC", 6000), ("cleo", "ADA", 2500), ("dan", "SOL", 3000)),
    *(("eve", "LINK", 800), ("fay", "ETH", 5200), ("gus", "MATIC", 1200), ("hal", "BTC", 2200), ("ivy", "STRK", 450)),
    *(("jon", "SOL", 700), ("jon", "ADA", 300)),
)
"""Who buys what for how many USD; two of them more than 5,000, which unlocks shards."""
CLOSERS = ("ada", "fay", "jon")
"""Who closes the first of its trades."""
PRIZES = {"hal": 1950, "cleo": 990, "ivy": 3200}
"""XP that an admin awards, so that levels are reached."""
PRAISE = (("ada", "bob", "LIKE"), ("bob", "fay", "COMMENT"), ("gus", "ada", "SHARE"), ("jon", "eve", "FOLLOW"))
PRICES = (60, 90)
"""SHARDS: of the first sale, by who minted, and of the second, by who bought."""
DEPOSIT_USD = Decimal(100)
CARD = {"number": "4242424242424242", "expireMonth": 12, "expireYear": 2090, "cvc": "123"}
DECLINED = {**CARD, "number": "4000000000000002"}
PATIENCE_SECONDS = 15.0


@dataclass(slots=True)
class Day:
    """What the users were answered."""

    began_ms: int
    people: dict[str, Session] = field(default_factory=dict)
    trades: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Last known state of each trade, by id."""
    interactions: list[dict[str, Any]] = field(default_factory=list)
    subscription_payments: list[dict[str, Any]] = field(default_factory=list)
    sales: list[dict[str, Any]] = field(default_factory=list)
    """Purchases that were completed."""
    battle: dict[str, Any] = field(default_factory=dict)
    """As it was settled."""
    deposited: Decimal = Decimal(0)
    """USD."""
    card_refusals: int = 0


class DayPlay:
    """Plays the day on a running mesh."""

    def __init__(self, stage: Stage, *, prefix: str = "day") -> None:
        self._stage, self._rest = stage, stage.rest
        self._prefix = prefix
        self.day = Day(began_ms=time.time_ns() // 1_000_000)

    async def play(self) -> Day:
        """Plays it from the first registration to the last sale."""
        await self._quiet()
        self.day.began_ms = time.time_ns() // 1_000_000
        await self._arrive()
        battle_id = await self._challenge()
        await self._trade(battle_id)
        await asyncio.gather(self._praise(), self._subscribe(), self._sell_twice())
        await self._quiet()
        await self._settle(battle_id)
        await self._quiet()
        return self.day

    async def _quiet(self) -> None:
        await self._stage.onlooker.look_until_quiet(time.monotonic() + PATIENCE_SECONDS, ignore=UNRELATED)

    async def _arrive(self) -> None:
        """All register and check in; an admin verifies them, and gives prizes to some."""
        await asyncio.gather(*(self._arrive_one(name) for name in HOME + AWAY))

    async def _arrive_one(self, name: str) -> None:
        username, admin = f"{self._prefix}-{name}", self._stage.admin
        await self._rest.register(username)
        session = self.day.people[name] = await self._rest.login(username)
        tier = "VERIFICATION_TIER_IDENTITY" if name in (HOME[0], AWAY[0]) else "VERIFICATION_TIER_EMAIL"
        await self._rest.post(f"/v1/users/{session.user_id}:verify", {"tier": tier}, session=admin)
        await self._rest.post(f"/v1/users/{session.user_id}/progression:checkIn", {}, session=session)
        if xp := PRIZES.get(name):
            await self._rest.award_xp(admin, session.user_id, xp, correlation_id=f"{self._prefix}.{name}.prize")

    async def _challenge(self) -> str:
        """Founds both clans and begins a battle of an hour; returns its id."""
        clans = []
        for members in (HOME, AWAY):
            founder, *others = (self.day.people[name] for name in members)
            clan = await self._rest.post("/v1/clans", {"name": f"{self._prefix} {members[0]}"}, session=founder)
            path = f"/v1/clans/{clan['clanId']}"
            await asyncio.gather(*(self._rest.post(f"{path}:join", {}, session=other) for other in others))
            clans.append(path)
        challenge = {"type": "BATTLE_TYPE_TRADING_DUEL", "duration": "3600s"}
        battle = await self._rest.post(f"{clans[1]}:challenge", challenge, session=self.day.people[HOME[0]])
        await self._rest.post(f"/v1/battles/{battle['battleId']}:accept", {}, session=self.day.people[AWAY[0]])
        return str(battle["battleId"])

    async def _trade(self, battle_id: str) -> None:
        for name, symbol, usd in TRADES:
            path, session = self._path(name, "/trades"), self.day.people[name]
            body = {"symbol": symbol, "amount": money(Decimal(usd)), "direction": "DIRECTION_LONG"}
            trade = await self._rest.post(path, {**body, "battleId": battle_id}, session=session)
            self.day.trades[trade["tradeId"]] = trade
        for name in CLOSERS:
            user_id = self.day.people[name].user_id
            first = next(trade_id for trade_id, trade in self.day.trades.items() if trade["userId"] == user_id)
            path = f"{self._path(name, '/trades')}/{first}:close"
            self.day.trades[first] = await self._rest.post(path, {}, session=self.day.people[name])

    async def _praise(self) -> None:
        for name, target, kind in PRAISE:
            body = {"targetUserId": self.day.people[target].user_id, "kind": f"INTERACTION_KIND_{kind}"}
            text = {"text": "well fought"} if kind == "COMMENT" else {}
            path = self._path(name, "/interactions")
            self.day.interactions.append(await self._rest.post(path, {**body, **text}, session=self.day.people[name]))

    async def _subscribe(self) -> None:
        """One pays from the balance after a deposit, one by card, one by a card that is declined."""
        deposit = {"amount": money(DEPOSIT_USD), "card": CARD}
        await self._rest.post(self._path("bob", "/account:deposit"), deposit, session=self.day.people["bob"])
        self.day.deposited += DEPOSIT_USD
        for name, tier, card in (("bob", "PRO", None), ("cleo", "BASIC", CARD), ("hal", "PREMIUM", DECLINED)):
            body = {"tier": f"SUBSCRIPTION_TIER_{tier}", **({"card": card} if card else {})}
            path = self._path(name, "/subscription:subscribe")
            try:
                answer = await self._rest.post(path, body, session=self.day.people[name])
            except Refused:
                self.day.card_refusals += 1
            else:
                self.day.subscription_payments.append(answer["payment"])

    async def _sell_twice(self) -> None:
        """What the first trader mints is bought by one who made a large trade, and sold on to another."""
        minter, first, second = "ada", "bob", "fay"
        session = self.day.people[minter]

        async def eligible() -> bool:
            found = await self._rest.get(self._path(minter, "/eligible-achievements"), session=session)
            return any(each["genesisType"] == "first_trade" and each.get("eligible") for each in found["achievements"])

        await until(eligible)
        nft = await self._rest.post(self._path(minter, "/nfts:mint"), {"genesisType": "first_trade"}, session=session)
        for seller, buyer, price in ((minter, first, PRICES[0]), (first, second, PRICES[1])):
            await until(lambda buyer=buyer, price=price: self._has_shards(buyer, price))  # type: ignore[misc]
            path = f"{self._path(seller, '/nfts')}/{nft['nftId']}:list"
            offer = {"price": {"currencyCode": "SHARDS", "amount": str(price)}}
            listing = await self._rest.post(path, offer, session=self.day.people[seller])
            path = f"/v1/listings/{listing['listingId']}:buy"
            self.day.sales.append(await self._rest.post(path, {}, session=self.day.people[buyer]))

    async def _has_shards(self, name: str, amount: int) -> bool:
        account = await self._rest.get(self._path(name, "/shards"), session=self.day.people[name])
        return int(account.get("balance", {}).get("amount", "0")) >= amount

    async def _settle(self, battle_id: str) -> None:
        """Lets the hour of the battle pass and waits for its end."""
        let_time_pass(self._stage.running, battle_id)
        path = f"/v1/battles/{battle_id}"

        async def settled() -> Mapping[str, Any] | None:
            battle: dict[str, Any] = await self._rest.get(path, session=self._stage.admin)
            return battle if battle["state"] == "BATTLE_STATE_COMPLETED" else None

        self.day.battle = dict(await until(settled))

    def _path(self, name: str, rest: str) -> str:
        return f"/v1/users/{self.day.people[name].user_id}{rest}"


def let_time_pass(running: LocalMesh, battle_id: str) -> None:
    """Makes the battle's timer due now, as the hours would."""
    with closing(sqlite3.connect(running.mesh.database("social"), timeout=10)) as database, database:
        changed = database.execute("UPDATE due SET at_ms = 0 WHERE kind = 'complete_battle' AND key = ?", (battle_id,))
        if changed.rowcount != 1:
            raise RuntimeError(f"battle {battle_id} has no timer: it was never accepted, or is over")


async def until(look: Callable[[], Awaitable[Any]], *, seconds: float = PATIENCE_SECONDS) -> Any:
    """Returns what `look` finds as soon as it finds something."""
    async with asyncio.timeout(seconds):
        while not (found := await look()):  # noqa: ASYNC110 - what is awaited is in another process
            await asyncio.sleep(0.05)
        return found
