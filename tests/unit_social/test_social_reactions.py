"""What events put into the feed, and what influence they bring."""

import random

from astra.gamification.v1.events_pb2 import LevelUp
from astra.nft.v1.events_pb2 import NftSold
from astra.social.v1 import social_service_pb2 as pb
from astra.social.v1.events_pb2 import FeedEntryCreated, SocialInteraction, SocialRatingChanged
from astra.social.v1.feed_pb2 import FeedEntryKind
from astra.social.v1.interaction_pb2 import InteractionKind
from astra.social.v1.social_profile_pb2 import SocialProfile
from astra.trading.v1.events_pb2 import TradeExecuted
from astra.trading.v1.trade_pb2 import Direction
from astra.type.v1.money_pb2 import Money

from tests.serving import as_user
from tests.unit_gamification.deliveries import Stream, names, react, recorded
from tests.unit_social.conftest import START_MS, Circle

FEED, INFLUENCE = "social_feed_generators", "influence_calculators"
TRADE = TradeExecuted(
    trade_id="t",
    user_id="alice",
    symbol="STRK",
    direction=Direction.DIRECTION_SHORT,
    amount=Money(currency_code="USD", amount="1500.00"),
)
LEVEL_UP = LevelUp(user_id="alice", old_level=1, new_level=16, total_xp=15_000)
SALE = NftSold(
    listing_id="l",
    nft_id="n",
    seller_user_id="carol",
    buyer_user_id="alice",
    price=Money(currency_code="SHARDS", amount="120"),
)


async def feed(circle: Circle) -> list[tuple[str, str, int]]:
    response = await circle.stub.ListFeed(pb.ListFeedRequest(), metadata=as_user("reader"))
    return [(entry.user_id, entry.text, entry.kind) for entry in response.feed_entries]


async def test_a_trade_is_shared_by_one_interaction_and_nothing_beyond(circle: Circle) -> None:
    delivery = Stream().delivery(TRADE, correlation_id="story-1")
    await react(circle.domain, FEED, delivery)
    [envelope] = await recorded(circle.domain.store)
    shared = SocialInteraction.FromString(envelope.data)
    assert shared.interaction_id
    assert shared == SocialInteraction(
        interaction_id=shared.interaction_id,
        user_id="alice",
        kind=InteractionKind.INTERACTION_KIND_TRADE_SHARE,
        influence=5,
    )
    assert (envelope.causation_id, envelope.correlation_id) == (delivery.envelope.id, "story-1")
    assert await feed(circle) == [
        ("alice", "went short on STRK with 1500.00 USD", FeedEntryKind.FEED_ENTRY_KIND_TRADE_SHARE)
    ]


async def test_a_level_up_is_told_once_by_its_last_level(circle: Circle) -> None:
    delivery = Stream().delivery(LEVEL_UP, correlation_id="story-2")
    await react(circle.domain, FEED, delivery)
    [envelope] = await recorded(circle.domain.store)
    created = FeedEntryCreated.FromString(envelope.data)
    assert (created.user_id, created.kind) == ("alice", FeedEntryKind.FEED_ENTRY_KIND_LEVEL_UP)
    assert (envelope.causation_id, envelope.correlation_id) == (delivery.envelope.id, "story-2")
    assert await feed(circle) == [("alice", "reached level 16", FeedEntryKind.FEED_ENTRY_KIND_LEVEL_UP)]


async def test_a_sale_is_told_about_its_seller(circle: Circle) -> None:
    await react(circle.domain, FEED, Stream().delivery(SALE))
    [envelope] = await recorded(circle.domain.store)
    assert FeedEntryCreated.FromString(envelope.data).user_id == "carol"
    assert await feed(circle) == [("carol", "sold an NFT for 120 SHARDS", FeedEntryKind.FEED_ENTRY_KIND_NFT_SOLD)]


async def test_the_feed_is_in_the_order_of_the_deeds_whatever_came_first_and_however_often(circle: Circle) -> None:
    stream, luck = Stream(), random.Random(5)
    deliveries = [
        stream.delivery(event, ms=START_MS + at)
        for at, event in enumerate([TRADE, LEVEL_UP, SALE, TRADE, LEVEL_UP, TRADE])
    ]
    for _ in range(3):
        luck.shuffle(deliveries)
        await react(circle.domain, FEED, *deliveries)
    expected = ["TRADE_SHARE", "LEVEL_UP", "TRADE_SHARE", "NFT_SOLD", "LEVEL_UP", "TRADE_SHARE"]
    kinds = [FeedEntryKind.Name(kind).removeprefix("FEED_ENTRY_KIND_") for *_, kind in await feed(circle)]
    assert kinds == expected
    assert sorted(names(await recorded(circle.domain.store))) == ["FeedEntryCreated"] * 3 + ["SocialInteraction"] * 3


async def test_reactions_open_no_profile(circle: Circle) -> None:
    stream = Stream()
    await react(circle.domain, FEED, *(stream.delivery(event) for event in (TRADE, LEVEL_UP, SALE)))
    assert "SocialProfileCreated" not in names(await recorded(circle.domain.store))
    assert (await circle.profile("alice")).interaction_count == 0


async def test_influence_is_the_same_in_any_order_and_after_repeats(circle: Circle) -> None:
    stream, luck = Stream(), random.Random(9)
    deliveries = [
        stream.delivery(SocialInteraction(interaction_id="i", user_id="alice", target_user_id="bob", influence=3)),
        stream.delivery(SocialInteraction(interaction_id="j", user_id="alice", influence=5)),
        stream.delivery(FeedEntryCreated(feed_entry_id="f", user_id="alice")),
        # Alone it would go below 0; in sum it does not, so no order may cut it off there.
        stream.delivery(SocialRatingChanged(user_id="alice", old_rating="50.00", new_rating="45.50")),
        stream.delivery(SocialRatingChanged(user_id="bob", old_rating="50.00", new_rating="45.00")),
    ]
    deliveries.sort(key=lambda delivery: "rating" not in delivery.stream)
    for _ in range(3):
        await react(circle.domain, INFLUENCE, *deliveries)
        luck.shuffle(deliveries)
    assert (await circle.profile("alice")).influence == 3 + 5 + 1 - 4
    assert await circle.profile("bob") == SocialProfile(user_id="bob", influence=0, rating="50.00")
    assert await recorded(circle.domain.store) == []
