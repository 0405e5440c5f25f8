"""What nft does about events: it grants rewards."""

from astra.gamification.v1.events_pb2 import AchievementUnlocked, LevelUp
from astra.nft.v1.events_pb2 import RewardDistributed
from astra.nft.v1.nft_pb2 import Rarity as RarityProto
from astra.nft.v1.nft_pb2 import RewardKind as RewardKindProto
from astra.trading.v1.events_pb2 import TradingRewardsCalculated

from bridge.groups import Group
from services.nft import store as sql
from services.nft.model import Reward, badge, level_reward, medal
from services.runtime.money import USD, parse_money
from services.runtime.transaction import Tx


def grant_level_reward(tx: Tx, event: LevelUp) -> None:
    """Grants the reward of the level reached; a rise over several levels is one reward."""
    _grant(tx, event.user_id, level_reward(event.new_level))


def grant_badge(tx: Tx, event: AchievementUnlocked) -> None:
    """Grants the badge of an achievement."""
    _grant(tx, event.user_id, badge(event.achievement_id, event.display_name, event.rarity))


def grant_medal(tx: Tx, event: TradingRewardsCalculated) -> None:
    """Grants a medal for a very profitable close."""
    reward = medal(event.trade_id, parse_money(event.pnl, field="pnl", currency=USD))
    if reward is not None:
        _grant(tx, event.user_id, reward)


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
        },
    ),
)
