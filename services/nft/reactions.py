"""What nft does about events: it grants rewards, notes feats that Genesis NFTs are for, and sees to sales."""

from astra.gamification.v1.events_pb2 import AchievementUnlocked, LevelUp
from astra.nft.v1.events_pb2 import NftListed, NftSold, RewardDistributed
from astra.nft.v1.nft_pb2 import Rarity as RarityProto
from astra.nft.v1.nft_pb2 import RewardKind as RewardKindProto
from astra.social.v1.events_pb2 import ClanMemberJoined, SocialInteraction
from astra.trading.v1.events_pb2 import TradeExecuted, TradingRewardsCalculated

from bridge.groups import Group
from services.nft import genesis_rows, sales
from services.nft import store as sql
from services.nft.model import Reward, badge, level_reward, medal
from services.nft.model_genesis import Feat
from services.runtime.money import USD, parse_money
from services.runtime.transaction import Tx

TRADING_MASTER_ACHIEVEMENT = "trading_master"


def grant_level_reward(tx: Tx, event: LevelUp) -> None:
    """Grants the reward of the level reached; a rise over several levels is one reward."""
    genesis_rows.raise_feat(tx, event.user_id, Feat.LEVEL, event.new_level)
    _grant(tx, event.user_id, level_reward(event.new_level))


def grant_badge(tx: Tx, event: AchievementUnlocked) -> None:
    """Grants the badge of an achievement."""
    if event.achievement_id == TRADING_MASTER_ACHIEVEMENT:
        genesis_rows.raise_feat(tx, event.user_id, Feat.TRADING_MASTER, 1)
    _grant(tx, event.user_id, badge(event.achievement_id, event.display_name, event.rarity))


def grant_medal(tx: Tx, event: TradingRewardsCalculated) -> None:
    """Grants a medal for a very profitable close."""
    reward = medal(event.trade_id, parse_money(event.pnl, field="pnl", currency=USD))
    if reward is not None:
        _grant(tx, event.user_id, reward)


def note_trade(tx: Tx, event: TradeExecuted) -> None:
    """Notes that a user has traded."""
    genesis_rows.raise_feat(tx, event.user_id, Feat.TRADED, 1)


def note_founder(tx: Tx, event: ClanMemberJoined) -> None:
    """Notes that a user has founded a clan: was its first member."""
    if event.member_count == 1:
        genesis_rows.raise_feat(tx, event.user_id, Feat.FOUNDED_CLAN, 1)


def note_interaction(tx: Tx, event: SocialInteraction) -> None:
    """Counts that another user has done something with a user."""
    if event.target_user_id and event.target_user_id != event.user_id:
        genesis_rows.count_feat(tx, event.target_user_id, Feat.TALKED_ABOUT)


def _grant(tx: Tx, user_id: str, reward: Reward) -> None:
    """Gives a user a reward and tells of it, unless the user has had it."""
    if sql.was_granted(tx, user_id, reward):
        return
    tx.record(
        RewardDistributed(
            nft_id=sql.insert_reward(tx, user_id, reward),
            user_id=user_id,
            display_name=reward.display_name,
            rarity=RarityProto.Name(reward.rarity),
            kind=RewardKindProto.Name(reward.kind),
        )
    )


GROUPS = (
    Group(
        name="nft_reward_distributors",
        consumers=1,
        reactions={
            LevelUp: grant_level_reward,
            AchievementUnlocked: grant_badge,
            TradingRewardsCalculated: grant_medal,
            # For what can be minted; nothing is granted for these.
            TradeExecuted: note_trade,
            ClanMemberJoined: note_founder,
            SocialInteraction: note_interaction,
        },
    ),
    Group(
        name="marketplace_processors",
        consumers=2,
        reactions={NftListed: sales.set_expiry, NftSold: sales.begin_settlement},
    ),
)
