"""What social does about events: the feed, shared trades, influence, and the scores of battles."""

from decimal import Decimal

from astra.gamification.v1.events_pb2 import LevelUp
from astra.nft.v1.events_pb2 import NftSold
from astra.social.v1.events_pb2 import FeedEntryCreated, SocialInteraction, SocialRatingChanged
from astra.social.v1.feed_pb2 import FeedEntryKind
from astra.trading.v1.events_pb2 import ClanBattleScoreUpdated, TradeExecuted
from astra.trading.v1.trade_pb2 import Direction

from bridge.groups import Group
from services.runtime.transaction import Tx
from services.social import store as sql
from services.social.model import FEED_ENTRY_INFLUENCE, INFLUENCE, InteractionKind, rating_influence
from services.social.settlement import keep_battle_score


def share_trade(tx: Tx, event: TradeExecuted) -> None:
    """Shares a trade: an interaction without a target, and a line of the feed that is told by no event of its own."""
    kind, at_ms = InteractionKind.TRADE_SHARE, _happened_ms(tx)
    interaction = sql.insert_interaction(tx, user_id=event.user_id, target_user_id="", kind=kind, text="", at_ms=at_ms)
    direction = Direction.Name(event.direction).removeprefix("DIRECTION_").lower()
    sql.insert_feed_entry(
        tx,
        user_id=event.user_id,
        kind=FeedEntryKind.FEED_ENTRY_KIND_TRADE_SHARE,
        text=f"went {direction} on {event.symbol} with {event.amount.amount} {event.amount.currency_code}",
        at_ms=at_ms,
    )
    tx.record(
        SocialInteraction(
            interaction_id=interaction.interaction_id,
            user_id=event.user_id,
            kind=interaction.kind,
            influence=INFLUENCE[kind],
        )
    )


def tell_of_level(tx: Tx, event: LevelUp) -> None:
    """Tells the feed of a new level; of several levels at once it tells the last."""
    kind = FeedEntryKind.FEED_ENTRY_KIND_LEVEL_UP
    _tell(tx, event.user_id, kind, f"reached level {event.new_level}")


def tell_of_sale(tx: Tx, event: NftSold) -> None:
    """Tells the feed of a sold NFT, about its seller."""
    kind = FeedEntryKind.FEED_ENTRY_KIND_NFT_SOLD
    _tell(tx, event.seller_user_id, kind, f"sold an NFT for {event.price.amount} {event.price.currency_code}")


def add_interaction_influence(tx: Tx, event: SocialInteraction) -> None:
    """Adds what an interaction brings to the user who made it."""
    sql.add_influence(tx, event.user_id, event.influence)


def add_feed_influence(tx: Tx, event: FeedEntryCreated) -> None:
    """Adds what it brings to be in the feed."""
    sql.add_influence(tx, event.user_id, FEED_ENTRY_INFLUENCE)


def move_influence_by_rating(tx: Tx, event: SocialRatingChanged) -> None:
    """Adds or takes the whole points by which a rating moved."""
    sql.add_influence(tx, event.user_id, rating_influence(Decimal(event.old_rating), Decimal(event.new_rating)))


GROUPS = (
    Group(
        name="social_feed_generators",
        consumers=2,
        reactions={TradeExecuted: share_trade, LevelUp: tell_of_level, NftSold: tell_of_sale},
    ),
    Group(
        name="influence_calculators",
        consumers=1,
        reactions={
            SocialInteraction: add_interaction_influence,
            FeedEntryCreated: add_feed_influence,
            SocialRatingChanged: move_influence_by_rating,
        },
    ),
    Group(name="clan_battle_processors", consumers=1, reactions={ClanBattleScoreUpdated: keep_battle_score}),
)


def _tell(tx: Tx, user_id: str, kind: FeedEntryKind, text: str) -> None:
    """Adds a line to the feed and records FeedEntryCreated."""
    feed_entry_id = sql.insert_feed_entry(tx, user_id=user_id, kind=kind, text=text, at_ms=_happened_ms(tx))
    tx.record(FeedEntryCreated(feed_entry_id=feed_entry_id, user_id=user_id, kind=kind))


def _happened_ms(tx: Tx) -> int:
    """Returns when the event being reacted to happened: the feed is in that order, whatever came late."""
    return tx.context.delivery.ms if tx.context.delivery else tx.now_ms
