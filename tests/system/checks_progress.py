"""Progress: XP is the sum of XpGained and follows from the deeds; ranks follow XP; shards come and go in pairs."""

from collections import Counter

from tests.story import worth
from tests.system.findings import Evidence, Findings


def experience(findings: Findings, evidence: Evidence) -> None:
    """XP, levels and the board, against the events and against the journal."""
    journal, world = evidence.journal, evidence.world
    published = Counter[str]()
    for event in evidence.events("XpGained"):
        published[event.user_id] += event.xp
    deserved = journal.awards + worth.achievement_xp(journal.trades.values(), journal.interactions)
    for trade in journal.trades.values():
        deserved[trade["userId"]] += worth.trade_xp(trade)
    for interaction in journal.interactions:
        deserved[interaction["targetUserId"]] += worth.SOCIAL_XP[worth.kind_of(interaction)]
    for user_id in journal.check_ins:
        deserved[user_id] += worth.CHECK_IN_XP
    totals = {user_id: int(each["progression"].get("totalXp", 0)) for user_id, each in world.users.items()}
    findings.same_items("XP against XpGained", totals, published)
    findings.same_items("XP against the journal", totals, deserved)
    for user_id, total in totals.items():
        findings.same(f"level of {user_id}", world.users[user_id]["progression"]["level"], total // 1000 + 1)
    ranked = [(row["userId"], int(row["xp"])) for row in world.board]
    findings.same_items("score on the board", dict(ranked), totals)
    findings.same("order of the board", [xp for _, xp in ranked], sorted((xp for _, xp in ranked), reverse=True))
    unlocked = Counter((event.user_id, event.achievement_id) for event in evidence.events("AchievementUnlocked"))
    findings.same("achievements unlocked twice", [key for key, times in unlocked.items() if times > 1], [])
    tiers = ("UNSPECIFIED", "UNVERIFIED", "EMAIL", "PHONE", "IDENTITY", "PREMIUM")
    for user_id, of_user in world.users.items():
        tier = of_user["profile"]["verificationTier"].removeprefix("VERIFICATION_TIER_")
        findings.same(f"tier of {user_id}", tier, tiers[journal.tiers.get(user_id, 1)])


def shards(findings: Findings, evidence: Evidence) -> None:
    """Shards are achievements' and battles', and sales only move them: what a buyer pays others get."""
    expected, sold = Counter[str](), {}
    for event in evidence.events("AchievementUnlocked"):
        expected[event.user_id] += event.shards
    for battle in evidence.events("ClanBattleCompleted"):
        for share in battle.shares:
            expected[share.user_id] += int(share.amount.amount)
    for sale in evidence.events("NftSold"):
        sold[sale.listing_id] = sale
        expected[sale.buyer_user_id] -= int(sale.price.amount)
    for settled in evidence.events("MarketplaceSale"):
        sale = sold.get(settled.listing_id)
        parts = [int(part.amount) for part in (settled.proceeds, settled.platform_fee, settled.creator_fee)]
        expected[settled.seller_user_id] += parts[0]
        if sale is not None:
            expected[sale.creator_user_id] += parts[2]
            price = int(sale.price.amount)
            creator = worth.creator_fee(price, genesis=not sale.creator_user_id)
            split = [price - worth.platform_fee(price) - creator, worth.platform_fee(price), creator]
            findings.same(f"split of {price} SHARDS for {settled.listing_id}", parts, split)
    del expected[""]
    balances = {
        user_id: int(worth.amount_of(each["shards"].get("balance"))) for user_id, each in evidence.world.users.items()
    }
    findings.same_items("shards", balances, expected)
    sums, accounts = Counter[str](), Counter[str]()
    for transfer, account, amount in evidence.world.shard_entries:
        sums[transfer] += amount
        accounts[account] += amount
    findings.same("shard transfers that do not sum to zero", {key for key, total in sums.items() if total}, set())
    findings.same_items("shards against their entries", balances, {key: accounts[key] for key in balances})
