"""The rules of Genesis NFTs: what each type takes, and how rare it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.nft.model import Rarity
from services.runtime.errors import FailedPrecondition, InvalidArgument

RARE_MILESTONE_LEVEL = 50
"""From it on a level milestone is rare instead of uncommon."""


class Feat(StrEnum):
    """What users do that Genesis NFTs are for; kept from the events of other domains."""

    TRADED = "traded"
    """1 once the user has traded (TradeExecuted)."""
    LEVEL = "level"
    """The highest level reached (LevelUp)."""
    FOUNDED_CLAN = "founded_clan"
    """1 once the user was a clan's first member (ClanMemberJoined)."""
    TALKED_ABOUT = "talked_about"
    """Interactions that others have made with the user (SocialInteraction)."""
    TRADING_MASTER = "trading_master"
    """1 once the achievement is unlocked (AchievementUnlocked)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisType:
    """One type of Genesis NFT."""

    name: str
    display_name: str
    requirement: str
    feat: Feat
    goal: int
    """How far it takes to come with the feat."""
    rarity: Rarity

    def rarity_at(self, progress: int) -> Rarity:
        """Returns how rare the NFT is for a user who has come so far."""
        return Rarity.RARE if self.feat is Feat.LEVEL and progress >= RARE_MILESTONE_LEVEL else self.rarity


GENESIS: Mapping[str, GenesisType] = {
    each.name: each
    for each in (
        GenesisType(
            name="constellation_founder",
            display_name="Constellation Founder Genesis",
            requirement="Found a clan",
            feat=Feat.FOUNDED_CLAN,
            goal=1,
            rarity=Rarity.EPIC,
        ),
        GenesisType(
            name="first_trade",
            display_name="First Trade Genesis",
            requirement="Make a trade",
            feat=Feat.TRADED,
            goal=1,
            rarity=Rarity.COMMON,
        ),
        GenesisType(
            name="level_milestone",
            display_name="Level Milestone Genesis",
            requirement=f"Reach level 25; rare from level {RARE_MILESTONE_LEVEL}",
            feat=Feat.LEVEL,
            goal=25,
            rarity=Rarity.UNCOMMON,
        ),
        GenesisType(
            name="trading_master",
            display_name="Trading Master Genesis",
            requirement="Unlock the achievement Trading Master",
            feat=Feat.TRADING_MASTER,
            goal=1,
            rarity=Rarity.LEGENDARY,
        ),
        GenesisType(
            name="viral_legend",
            display_name="Viral Legend Genesis",
            requirement="Be liked, commented, shared or followed 1000 times",
            feat=Feat.TALKED_ABOUT,
            goal=1000,
            rarity=Rarity.EPIC,
        ),
    )
}
"""The types by name, sorted."""


def genesis_type(name: str) -> GenesisType:
    """Returns a type. Raises `InvalidArgument` for one there is not."""
    if name not in GENESIS:
        raise InvalidArgument(f"genesis_type must be one of {', '.join(GENESIS)}", field="genesis_type")
    return GENESIS[name]


def check_eligible(kind: GenesisType, progress: int) -> None:
    """Raises `FailedPrecondition` for a user who has not come far enough."""
    if progress < kind.goal:
        raise FailedPrecondition(
            f"{kind.name} takes more: {kind.requirement} ({progress} of {kind.goal})",
            reason="NOT_ELIGIBLE",
            progress=str(progress),
            goal=str(kind.goal),
        )
