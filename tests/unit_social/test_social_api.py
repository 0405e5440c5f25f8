"""SocialService in process."""

import grpc
import pytest
from astra.gamification.v1.events_pb2 import LevelUp
from astra.social.v1 import social_service_pb2 as pb
from astra.social.v1.events_pb2 import SocialInteraction
from astra.social.v1.interaction_pb2 import Interaction, InteractionKind
from astra.social.v1.social_profile_pb2 import SocialProfile
from astra.trading.v1.events_pb2 import TradeExecuted
from astra.trading.v1.trade_pb2 import Direction
from astra.type.v1.money_pb2 import Money

from services.social.model import HOUR_MS
from tests.serving import as_user, reason_of
from tests.unit_gamification.deliveries import Stream, names, react, recorded
from tests.unit_social.conftest import START_MS, Circle

ALICE, ADMIN = as_user("alice"), as_user("root", "admin")
LIKE, COMMENT = InteractionKind.INTERACTION_KIND_LIKE, InteractionKind.INTERACTION_KIND_COMMENT


async def like(circle: Circle, target: str = "bob", **fields: str) -> Interaction:
    request = pb.InteractRequest(target_user_id=target, kind=LIKE, **fields)
    response = await circle.stub.Interact(request, metadata=ALICE)
    assert isinstance(response.interaction, Interaction)
    return response.interaction


async def test_a_user_unknown_so_far_has_a_fresh_profile(circle: Circle) -> None:
    assert await circle.profile("nobody") == SocialProfile(user_id="nobody", influence=0, rating="50.00")


async def test_an_interaction_is_recorded_and_the_first_opens_the_profile(circle: Circle) -> None:
    request = pb.InteractRequest(target_user_id="bob", kind=COMMENT, text="well done")
    metadata = (*ALICE, ("x-correlation-id", "my-chain"))
    interaction = (await circle.stub.Interact(request, metadata=metadata)).interaction
    assert (interaction.user_id, interaction.target_user_id, interaction.text) == ("alice", "bob", "well done")
    assert interaction.create_time.ToMilliseconds() == START_MS
    interacted, opened = await recorded(circle.domain.store)
    assert names([interacted, opened]) == ["SocialInteraction", "SocialProfileCreated"]
    assert SocialInteraction.FromString(interacted.data) == SocialInteraction(
        interaction_id=interaction.interaction_id, user_id="alice", target_user_id="bob", kind=COMMENT, influence=2
    )
    assert (interacted.causation_id, opened.causation_id) == ("", interacted.id)
    assert {interacted.correlation_id, opened.correlation_id} == {"my-chain"}
    await like(circle)
    assert names(await recorded(circle.domain.store))[2:] == ["SocialInteraction"]
    assert (await circle.profile("alice")).interaction_count == 2
    assert (await circle.profile("bob")).interaction_count == 0


async def test_a_repeated_request_is_one_interaction(circle: Circle) -> None:
    first = await like(circle, request_id="r1")
    assert await like(circle, request_id="r1") == first
    assert (await circle.profile("alice")).interaction_count == 1


async def test_the_limit_lets_go_at_the_hours_edge(circle: Circle) -> None:
    for at in range(10):
        circle.now[0] = START_MS + at
        await like(circle, request_id=f"r{at}")
    circle.now[0] = START_MS + HOUR_MS - 1
    with pytest.raises(grpc.aio.AioRpcError, match="10 interactions an hour") as caught:
        await like(circle)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(caught.value) == "INTERACTION_LIMIT_REACHED"
    await like(circle, request_id="r3")  # a repeat is not one more
    await circle.stub.Interact(pb.InteractRequest(target_user_id="alice", kind=LIKE), metadata=as_user("bob"))
    circle.now[0] = START_MS + HOUR_MS
    await like(circle)
    with pytest.raises(grpc.aio.AioRpcError):
        await like(circle)
    assert (await circle.profile("alice")).interaction_count == 11


async def test_trade_shares_do_not_count_towards_the_limit(circle: Circle) -> None:
    stream = Stream()
    amount = Money(currency_code="USD", amount="10.00")
    trade = TradeExecuted(user_id="alice", symbol="BTC", direction=Direction.DIRECTION_LONG, amount=amount)
    deliveries = [stream.delivery(trade, ms=START_MS) for _ in range(12)]
    await react(circle.domain, "social_feed_generators", *deliveries)
    await like(circle)
    assert names(await recorded(circle.domain.store)).count("SocialInteraction") == 13


@pytest.mark.parametrize(
    ("fields", "field_named"),
    [
        ({"kind": LIKE}, "target_user_id"),
        ({"target_user_id": "bob"}, "kind"),
        ({"target_user_id": "bob", "kind": InteractionKind.INTERACTION_KIND_TRADE_SHARE}, "kind"),
        ({"target_user_id": "bob", "kind": 77}, "kind"),
        ({"target_user_id": "alice", "kind": LIKE}, "target_user_id"),
        ({"target_user_id": "b o b", "kind": LIKE}, "target_user_id"),
        ({"target_user_id": "bob", "kind": LIKE, "text": "x"}, "text"),
        ({"target_user_id": "bob", "kind": COMMENT}, "COMMENT"),
    ],
)
async def test_a_wrong_interaction_is_refused_and_leaves_nothing(
    circle: Circle, fields: dict[str, object], field_named: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=field_named) as caught:
        await circle.stub.Interact(pb.InteractRequest(**fields), metadata=ALICE)  # type: ignore[arg-type]
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert await recorded(circle.domain.store) == []


async def test_nobody_interacts_for_another_but_an_admin(circle: Circle) -> None:
    request = pb.InteractRequest(user_id="carol", target_user_id="bob", kind=LIKE)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await circle.stub.Interact(request, metadata=ALICE)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    response = await circle.stub.Interact(request, metadata=ADMIN)
    assert response.interaction.user_id == "carol"


@pytest.mark.parametrize(("user_id", "levels"), [("", [6, 5, 4, 3, 2]), ("alice", [6, 4, 2]), ("nobody", [])])
async def test_pages_of_the_feed_follow_each_other_newest_first(
    circle: Circle, user_id: str, levels: list[int]
) -> None:
    stream = Stream()
    for level in range(2, 7):
        event = LevelUp(user_id="bob" if level % 2 else "alice", old_level=level - 1, new_level=level)
        # Two entries a millisecond: within one the ids decide.
        await react(circle.domain, "social_feed_generators", stream.delivery(event, ms=START_MS + level // 2))
    request, told = pb.ListFeedRequest(user_id=user_id, page_size=2), []
    while True:
        response = await circle.stub.ListFeed(request, metadata=ALICE)
        assert len(response.feed_entries) <= 2
        told += [entry.text for entry in response.feed_entries]
        request.page_token = response.next_page_token
        if not request.page_token:
            break
    assert told == [f"reached level {level}" for level in levels]


@pytest.mark.parametrize("page_token", ["x", "e30", "WzEsMl0"])
async def test_a_token_that_no_page_had_is_refused(circle: Circle, page_token: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await circle.stub.ListFeed(pb.ListFeedRequest(page_token=page_token), metadata=ALICE)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
