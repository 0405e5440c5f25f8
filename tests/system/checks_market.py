"""NFTs: everyone owns what was given, minted or bought, each thing once, and every sale is settled once."""

from collections import Counter

from tests.system.findings import Evidence, Findings


def ownership(findings: Findings, evidence: Evidence) -> None:
    """Follows every NFT from hand to hand; one Genesis NFT a type and user, one reward a level and achievement."""
    owner: dict[str, str] = {}
    for event in [*evidence.events("RewardDistributed"), *evidence.events("NftMinted")]:
        findings.same(f"{event.nft_id} came into being twice", event.nft_id in owner, False)
        owner[event.nft_id] = event.user_id
    for sale in evidence.events("NftSold"):
        findings.same(f"seller of {sale.nft_id}", sale.seller_user_id, owner.get(sale.nft_id))
        owner[sale.nft_id] = sale.buyer_user_id
    found = {nft["nftId"]: user_id for user_id, each in evidence.world.users.items() for nft in each["nfts"]}
    findings.same_items("owner", found, owner)
    findings.same("NFTs owned twice", sum(len(each["nfts"]) for each in evidence.world.users.values()), len(found))
    genesis = Counter((event.user_id, event.genesis_type) for event in evidence.events("NftMinted"))
    findings.same("Genesis NFTs minted twice", [key for key, times in genesis.items() if times > 1], [])
    minted = sorted(event.nft_id for event in evidence.events("NftMinted"))
    findings.same("Genesis NFTs", minted, sorted(evidence.journal.minted))
    levels = Counter((event.user_id, f"Level {event.new_level} Pioneer") for event in evidence.events("LevelUp"))
    badges = Counter((event.user_id, f"{event.display_name} Badge") for event in evidence.events("AchievementUnlocked"))
    medals = Counter(
        (event.user_id, "Profit Medal")
        for event in evidence.events("TradingRewardsCalculated")
        if float(event.pnl.amount) > 500
    )
    rewards = Counter((event.user_id, event.display_name) for event in evidence.events("RewardDistributed"))
    findings.same_items("reward", rewards, levels + badges + medals)


def sales(findings: Findings, evidence: Evidence) -> None:
    """What was acknowledged as bought was sold once and settled once."""
    sold = sorted(event.listing_id for event in evidence.events("NftSold"))
    findings.same("listings sold twice", [each for each, times in Counter(sold).items() if times > 1], [])
    answers = {each["listingId"]: each["state"] for each in evidence.journal.purchases.values()}
    findings.acknowledged("sales", sold, answers)
    findings.same("settlements", sorted(event.listing_id for event in evidence.events("MarketplaceSale")), sold)
    listed = sorted(event.listing_id for event in evidence.events("NftListed"))
    findings.same("offers", listed, sorted(evidence.journal.listings))
