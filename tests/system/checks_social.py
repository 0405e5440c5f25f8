"""Social life: influence and feed follow from what happened, clans keep their members, battles pay their pots."""

from collections import Counter, defaultdict
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from itertools import pairwise
from math import inf

from tests.story.worth import amount_of
from tests.system.findings import Evidence, Findings

OPEN = ("BATTLE_STATE_PENDING", "BATTLE_STATE_ACTIVE")


def fame(findings: Findings, evidence: Evidence) -> None:
    """Titles, influence and the feed."""
    world, levels, influence = evidence.world, defaultdict[str, list[int]](list), Counter[str]()
    feed: Counter[tuple[str, str]] = Counter()
    for event in evidence.events("LevelUp"):
        levels[event.user_id].append(event.new_level)
        feed[event.user_id, "LEVEL_UP"] += 1
    for event in evidence.events("SocialInteraction"):
        influence[event.user_id] += event.influence
    for trade in evidence.journal.trades.values():
        feed[trade["userId"], "TRADE_SHARE"] += 1
    for sale in evidence.events("NftSold"):
        feed[sale.seller_user_id, "NFT_SOLD"] += 1
    told = Counter((row["userId"], row["kind"].removeprefix("FEED_ENTRY_KIND_")) for row in world.feed)
    findings.same_items("lines of the feed", told, feed)
    points = influence + Counter(event.user_id for event in evidence.events("FeedEntryCreated"))
    for moved in evidence.events("SocialRatingChanged"):
        change = Decimal(moved.new_rating) - Decimal(moved.old_rating)
        points[moved.user_id] += int(change.to_integral_value(ROUND_DOWN))
    for user_id, of_user in world.users.items():
        title = f"Level {max(levels[user_id])}" if levels[user_id] else ""
        findings.same(f"title of {user_id}", of_user["profile"].get("title", ""), title)
        shown = int(of_user["profile"].get("influence", 0))
        findings.same(f"influence of {user_id} in the profile", shown, influence[user_id])
        found = int(of_user["social"].get("influence", 0))
        findings.same(f"influence of {user_id}", found, max(0, points[user_id]))
        made = sum(each["userId"] == user_id for each in evidence.journal.interactions)
        findings.same(f"interactions of {user_id}", int(of_user["social"].get("interactionCount", 0)), made)


def clans(findings: Findings, evidence: Evidence) -> None:
    """Everybody is in one clan at most, both sides agree on it, and counts and owners are right."""
    world, members = evidence.world, dict[str, str]()
    for clan in world.clans:
        found = [member["userId"] for member in clan["members"]]
        findings.same(f"members of {clan['name']}", clan["memberCount"], len(found))
        owners = [member["role"] for member in clan["members"]].count("CLAN_ROLE_OWNER")
        findings.same(f"owners of {clan['name']}", owners, 1)
        findings.same(f"in two clans, of {clan['name']}", [user for user in found if user in members], [])
        members |= dict.fromkeys(found, clan["clanId"])
    shown = {user_id: each["social"].get("clanId", "") for user_id, each in world.users.items()}
    findings.same_items("clan", shown, members)


def battles(findings: Findings, evidence: Evidence) -> None:
    """One open battle a pair at any moment; each that is over was told once, moved the ratings and paid its pot."""
    world, spans = evidence.world, defaultdict[frozenset[str], list[tuple[int, float]]](list)
    told = Counter(event.battle_id for event in evidence.events("ClanBattleCompleted"))
    ends = {entry.envelope.subject: entry.recorded_ms for entry in evidence.entries("ClanBattleCompleted")}
    ratings = Counter[str]()
    for battle in world.battles:
        battle_id, sides = battle["battleId"], (battle["challengerClanId"], battle["defenderClanId"])
        completed = battle["state"] == "BATTLE_STATE_COMPLETED"
        findings.same(f"told ends of {battle_id}", told[battle_id], int(completed))
        if completed or battle["state"] in OPEN:
            began_ms = int(datetime.fromisoformat(battle["createTime"]).timestamp() * 1000)
            spans[frozenset(sides)].append((began_ms, ends.get(battle_id, inf)))
        if not completed:
            continue
        rewards = sum(int(amount_of(fighter.get("reward"))) for fighter in battle["fighters"])
        findings.same(f"rewards of {battle_id}", rewards, int(amount_of(battle["pot"])))
        if winner := battle.get("winnerClanId", ""):
            for side in sides:
                ratings[side] += 20 if side == winner else -10
    for pair, found in spans.items():
        for (_, ended_ms), (next_ms, _) in pairwise(sorted(found)):
            findings.same(f"two open battles of {sorted(pair)}", next_ms < ended_ms, False)
    for clan in world.clans:
        findings.same(f"rating of {clan['name']}", clan["rating"], 1000 + ratings[clan["clanId"]])
