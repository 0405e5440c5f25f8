"""What the users of a random run do, and how often: trading, progress, social life."""

import asyncio
from decimal import Decimal

from tests.story.day import let_time_pass
from tests.story.rest import Session, money
from tests.system.crowd import Crowd

SYMBOLS = ("ADA", "BTC", "ETH", "LINK", "MATIC", "SOL", "STRK")
INTERACTIONS = ("LIKE", "COMMENT", "SHARE", "FOLLOW", "ENDORSEMENT", "NEGATIVE")
BATTLES = ("TRADING_DUEL", "STELLAR_SUPREMACY", "COSMIC_CONQUEST")
TIERS = ("UNVERIFIED", "EMAIL", "PHONE", "IDENTITY", "PREMIUM")
MOST_CLANS = 6


async def trade(crowd: Crowd, user: Session) -> None:
    """Makes a trade, one in ten a large one, and half of them for a battle that goes on."""
    chance = crowd.chance
    cents = chance.randrange(500_100, 600_000) if chance.random() < 0.1 else chance.randrange(100, 100_000)
    body = {
        "symbol": chance.choice(SYMBOLS),
        "amount": money(Decimal(cents) / 100),
        "direction": chance.choice(["DIRECTION_LONG", "DIRECTION_SHORT"]),
    }
    if crowd.journal.battles and chance.random() < 0.5:
        body["battleId"] = chance.choice(sorted(crowd.journal.battles))
    answer = await crowd.send(f"/v1/users/{user.user_id}/trades", body, user)
    crowd.journal.trades[answer["tradeId"]] = answer


async def close(crowd: Crowd, user: Session) -> bool | None:
    mine = [
        trade_id
        for trade_id, each in crowd.journal.trades.items()
        if (each["userId"], each["state"]) == (user.user_id, "TRADE_STATE_ACTIVE")
    ]
    if not mine:
        return False
    trade_id = crowd.chance.choice(mine)
    answer = await crowd.send(f"/v1/users/{user.user_id}/trades/{trade_id}:close", {}, user)
    crowd.journal.trades[trade_id] = answer
    return None


async def grant(crowd: Crowd, user: Session) -> None:
    cents = crowd.chance.randrange(1, 500_000)
    path = f"/v1/users/{user.user_id}/portfolio:grantPracticeFunds"
    await crowd.send(path, {"amount": money(Decimal(cents) / 100)}, crowd.admin)
    crowd.journal.grants[user.user_id] += cents


async def award(crowd: Crowd, user: Session) -> None:
    xp = crowd.chance.randrange(1, 2500)
    await crowd.send(f"/v1/users/{user.user_id}/progression:awardXp", {"xp": str(xp)}, crowd.admin)
    crowd.journal.awards[user.user_id] += xp


async def check_in(crowd: Crowd, user: Session) -> None:
    await crowd.send(f"/v1/users/{user.user_id}/progression:checkIn", {}, user)
    crowd.journal.check_ins.add(user.user_id)


async def verify(crowd: Crowd, user: Session) -> None:
    """Asks for any tier; only a higher one may be given."""
    number = crowd.chance.randrange(2, len(TIERS) + 1)
    tier = {"tier": f"VERIFICATION_TIER_{TIERS[number - 1]}"}
    await crowd.send(f"/v1/users/{user.user_id}:verify", tier, crowd.admin)
    crowd.journal.tiers[user.user_id] = max(number, crowd.journal.tiers.get(user.user_id, 1))


async def read_notifications(crowd: Crowd, user: Session) -> None:
    await crowd.rest.get(f"/v1/users/{user.user_id}/notifications?pageSize=5", session=user)


async def interact(crowd: Crowd, user: Session) -> None:
    kind = crowd.chance.choice(INTERACTIONS)
    body = {
        "targetUserId": crowd.other_than(user).user_id,
        "kind": f"INTERACTION_KIND_{kind}",
        **({"text": "well done"} if kind == "COMMENT" else {}),
    }
    crowd.journal.interactions.append(await crowd.send(f"/v1/users/{user.user_id}/interactions", body, user))


async def found_clan(crowd: Crowd, user: Session) -> bool | None:
    if len(crowd.journal.clans) >= MOST_CLANS:
        return False
    name = f"clan {crowd.chance.randrange(10**9)}"
    clan = await crowd.send("/v1/clans", {"name": name}, user)
    crowd.journal.clans[clan["clanId"]] = name
    return None


async def join_clan(crowd: Crowd, user: Session) -> bool | None:
    if not crowd.journal.clans:
        return False
    await crowd.send(f"/v1/clans/{crowd.chance.choice(sorted(crowd.journal.clans))}:join", {}, user)
    return None


async def leave_clan(crowd: Crowd, user: Session) -> bool | None:
    profile = await crowd.rest.get(f"/v1/users/{user.user_id}/socialProfile", session=user)
    if not profile.get("clanId"):
        return False
    await crowd.send(f"/v1/clans/{profile['clanId']}:leave", {}, user)
    return None


async def challenge(crowd: Crowd, _: Session) -> bool | None:
    """The owner of a clan challenges another clan."""
    if len(crowd.journal.clans) < 2:
        return False
    challenger, defender = crowd.chance.sample(sorted(crowd.journal.clans), 2)
    owner = await _owner(crowd, challenger)
    kind = {"type": f"BATTLE_TYPE_{crowd.chance.choice(BATTLES)}"}
    battle = await crowd.send(f"/v1/clans/{defender}:challenge", {**kind, "userId": owner}, crowd.admin)
    crowd.journal.challenges[battle["battleId"]] = battle
    return None


async def answer_challenge(crowd: Crowd, _: Session) -> bool | None:
    """The owner of the clan that was challenged accepts, or now and then declines."""
    if not crowd.journal.challenges:
        return False
    battle = crowd.journal.challenges.pop(crowd.chance.choice(sorted(crowd.journal.challenges)))
    owner = await _owner(crowd, battle["defenderClanId"])
    verb = "decline" if crowd.chance.random() < 0.2 else "accept"
    answer = await crowd.send(f"/v1/battles/{battle['battleId']}:{verb}", {"userId": owner}, crowd.admin)
    if verb == "accept":
        crowd.journal.battles[battle["battleId"]] = answer
    return None


async def end_battle(crowd: Crowd, _: Session) -> bool | None:
    """Lets the time of a battle pass."""
    if not crowd.journal.battles:
        return False
    battle_id = crowd.chance.choice(sorted(crowd.journal.battles))
    del crowd.journal.battles[battle_id]
    await asyncio.to_thread(let_time_pass, crowd.running, battle_id)
    return None


async def _owner(crowd: Crowd, clan_id: str) -> str:
    clan = await crowd.rest.get(f"/v1/clans/{clan_id}", session=crowd.admin)
    return str(clan["members"][0]["userId"])
