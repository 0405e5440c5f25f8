"""Chains of events: their tree, who sees them, and how long they are kept."""

import random

import grpc
import pytest
from astra.analytics.v1 import analytics_service_pb2 as pb
from astra.analytics.v1.trace_pb2 import TracedEvent
from astra.financial.v1.events_pb2 import RevenueRecorded
from astra.gamification.v1.events_pb2 import LevelUp, XpGained
from astra.nft.v1.events_pb2 import RewardDistributed
from astra.social.v1.events_pb2 import FeedEntryCreated, SocialInteraction
from astra.trading.v1.events_pb2 import PositionUpdated, TradeExecuted
from astra.user.v1.events_pb2 import ProfileUpdated
from google.protobuf.message import Message

from services.analytics.store import RETENTION_MS
from services.analytics.tree import Event, concerns, depth_first
from services.runtime.delivery import Delivery
from tests.reacting import START_MS, Streams
from tests.serving import Metadata, as_user, reason_of
from tests.unit_analytics.conftest import ADMIN, Watch

ALICE, BOB = as_user("alice"), as_user("bob")


def story_2(streams: Streams) -> list[Delivery]:
    """Returns the ten events of a trade that carries its user to level 16, causes first, 7 ms from cause to effect."""

    def after(cause: Delivery, event: Message) -> Delivery:
        return streams.add(event, cause=cause, ms=cause.ms + 7)

    executed = streams.add(TradeExecuted(trade_id="t1", user_id="alice"), correlation_id="story-2")
    updated = after(executed, PositionUpdated(trade_id="t1", user_id="alice"))
    gained = after(executed, XpGained(user_id="alice", xp=50))
    shared = after(executed, SocialInteraction(interaction_id="i1", user_id="alice"))
    earned = after(executed, RevenueRecorded(revenue_id="r1", user_id="alice"))
    risen = after(gained, LevelUp(user_id="alice", old_level=15, new_level=16))
    told = after(risen, FeedEntryCreated(feed_entry_id="f1", user_id="alice"))
    rewarded = after(risen, RewardDistributed(nft_id="n1", user_id="alice"))
    titled = after(risen, ProfileUpdated(user_id="alice", title="Level 16"))
    liked = after(shared, ProfileUpdated(user_id="alice", influence=5))
    return [executed, updated, gained, shared, earned, risen, told, rewarded, titled, liked]


async def trace(watch: Watch, correlation_id: str, metadata: Metadata = ALICE) -> list[TracedEvent]:
    request = pb.TraceCorrelationRequest(correlation_id=correlation_id)
    return list((await watch.stub.TraceCorrelation(request, metadata=metadata)).events)


@pytest.mark.parametrize("seed", range(3))
async def test_story_2_is_traced_depth_first_whatever_order_it_came_in(watch: Watch, seed: int) -> None:
    deliveries = story_2(watch.streams)
    shuffled = random.Random(seed).sample(deliveries, k=len(deliveries))
    await watch.collect(*shuffled)
    traced = await trace(watch, "story-2")
    assert [(event.depth, event.stream.split(".")[2], event.since_start.ToMilliseconds()) for event in traced] == [
        (0, "trade_executed", 0),
        (1, "position_updated", 7),
        (1, "xp_gained", 7),
        (2, "level_up", 14),
        (3, "feed_entry_created", 21),
        (3, "reward_distributed", 21),
        (3, "profile_updated", 21),
        (1, "social_interaction", 7),
        (2, "profile_updated", 14),
        (1, "revenue_recorded", 7),
    ]
    first, revenue = traced[0], traced[-1]
    assert (first.user_id, first.subject, first.causation_id) == ("alice", "t1", "")
    assert (first.stream_id, first.time.ToMilliseconds()) == (f"{START_MS}-1", START_MS)
    assert revenue.causation_id == first.event_id == deliveries[0].envelope.id


async def test_a_repeated_event_is_traced_once(watch: Watch) -> None:
    deliveries = story_2(watch.streams)
    await watch.collect(*deliveries, *deliveries)
    assert len(await trace(watch, "story-2")) == 10


async def test_an_event_whose_cause_is_not_there_yet_hangs_at_the_root(watch: Watch) -> None:
    executed, _, gained, _, _, risen, *_ = story_2(watch.streams)
    await watch.collect(executed, risen)
    assert [event.depth for event in await trace(watch, "story-2")] == [0, 0]
    await watch.collect(gained)
    assert [event.depth for event in await trace(watch, "story-2")] == [0, 1, 2]


@pytest.mark.parametrize(("metadata", "visible"), [(ALICE, True), (BOB, False), (ADMIN, True)])
async def test_a_user_traces_chains_of_its_own_alone(watch: Watch, metadata: Metadata, visible: bool) -> None:
    executed, *_ = story_2(watch.streams)
    touching_bob = watch.streams.add(XpGained(user_id="bob", xp=2), cause=executed)
    await watch.collect(executed, touching_bob)
    if visible:
        assert [event.user_id for event in await trace(watch, "story-2", metadata)] == ["alice", "bob"]
        return
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trace(watch, "story-2", metadata)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert reason_of(caught.value) == "CORRELATION_NOT_FOUND"


async def test_a_chain_with_a_root_of_another_user_is_hidden_from_both(watch: Watch) -> None:
    for user_id in ("alice", "bob"):
        await watch.collect(watch.streams.add(TradeExecuted(trade_id="t", user_id=user_id), correlation_id="shared"))
    for metadata in (ALICE, BOB):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await trace(watch, "shared", metadata)
        assert reason_of(caught.value) == "CORRELATION_NOT_FOUND"
    assert len(await trace(watch, "shared", ADMIN)) == 2


@pytest.mark.parametrize(
    ("correlation_id", "reason"), [("unheard-of", "CORRELATION_NOT_FOUND"), ("a b", "INVALID_FIELD")]
)
async def test_a_chain_that_is_not_there_is_told_apart_from_an_id_that_is_none(
    watch: Watch, correlation_id: str, reason: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await trace(watch, correlation_id, ADMIN)
    assert reason_of(caught.value) == reason


async def test_traces_go_after_30_days_two_out_for_one_in(watch: Watch) -> None:
    await watch.collect(*story_2(watch.streams))
    watch.now[0] = START_MS + RETENTION_MS
    await watch.collect(watch.streams.add(LevelUp(user_id="bob"), correlation_id="late", ms=watch.now[0]))
    assert await watch.count("trace_event") == 11
    for n in range(1, 6):
        watch.now[0] = START_MS + RETENTION_MS + 100
        await watch.collect(watch.streams.add(LevelUp(user_id="bob"), correlation_id="late", ms=watch.now[0]))
        assert await watch.count("trace_event") == 11 - n
    assert len(await trace(watch, "late", BOB)) == 6


def event(event_id: str, cause: str = "", ms: int = 0, user_id: str = "u") -> Event:
    return Event(event_id=event_id, causation_id=cause, stream="s", stream_id="0-1", user_id=user_id, subject="", ms=ms)


@pytest.mark.parametrize(
    ("events", "tree"),
    [
        ([], []),
        ([event("b", ms=2), event("a", ms=1)], [("a", 0), ("b", 0)]),
        ([event("c", "a"), event("b", "a"), event("a")], [("a", 0), ("b", 1), ("c", 1)]),
        # An effect recorded on a clock behind its cause's still stands below it.
        ([event("a", ms=5), event("b", "a", ms=3)], [("a", 0), ("b", 1)]),
        ([event("b", "gone"), event("a", ms=1)], [("b", 0), ("a", 0)]),
        # A circle, and an event that is its own cause, are told and not followed for ever.
        ([event("a", "b"), event("b", "a", ms=1), event("c")], [("c", 0), ("a", 0), ("b", 1)]),
        ([event("a", "a")], [("a", 0)]),
    ],
)
def test_a_tree_has_every_event_once_and_causes_first(events: list[Event], tree: list[tuple[str, int]]) -> None:
    assert [(event.event_id, depth) for event, depth in depth_first(events)] == tree


def test_a_chain_deeper_than_the_stack_is_walked() -> None:
    events = [event(str(n), str(n - 1) if n else "", ms=n) for n in range(5000)]
    assert [depth for _, depth in depth_first(events)] == list(range(5000))


@pytest.mark.parametrize(
    ("events", "own"),
    [
        ([event("a")], True),
        ([event("a"), event("b", "a", user_id="v")], True),
        ([event("a"), event("b", user_id="v")], False),
        ([event("a"), event("b", "gone", user_id="v")], False),
        ([event("a"), event("b", user_id="")], False),
        ([event("a", "a")], False),
        ([], False),
    ],
)
def test_a_chain_is_a_users_own_if_all_at_its_root_concerns_it(events: list[Event], own: bool) -> None:
    assert concerns(events, "u") == own
