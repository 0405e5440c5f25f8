"""What events do to profiles: in any order, and however often they come."""

import itertools
from typing import Any

import pytest
from astra.event.v1.envelope_pb2 import Envelope
from astra.gamification.v1.events_pb2 import LevelUp
from astra.social.v1.events_pb2 import SocialInteraction, SocialRatingChanged
from astra.user.v1.events_pb2 import ProfileUpdated
from astra.user.v1.user_service_pb2 import GetUserRequest
from google.protobuf.message import Message

from bridge.groups import routes
from services import contracts
from services.domain import Domain
from services.runtime.delivery import Delivery
from services.runtime.store import Store
from services.user.reactions import GROUPS
from tests.serving import as_user
from tests.unit_user.users import START_MS, count, envelopes, registering

(GROUP,) = [group for group in GROUPS if group.name == "user_profile_updaters"]
READ = routes(GROUP, "user")


def delivered(event: Message, ordinal: int = 1, correlation_id: str = "chain-1") -> Delivery:
    stream = contracts.stream_of(type(event))
    envelope = Envelope(id=f"{stream}/{ordinal}", correlation_id=correlation_id, data=event.SerializeToString())
    return Delivery(stream, START_MS, ordinal, envelope, event)


async def react(store: Store, delivery: Delivery) -> bool:
    return await store.react(GROUP.name, delivery, READ[delivery.stream].reaction)


def updates(store: Store) -> list[ProfileUpdated]:
    kept = [envelope for envelope in envelopes(store) if envelope.type == "astra.user.v1.ProfileUpdated"]
    return [ProfileUpdated.FromString(envelope.data) for envelope in kept]


def profile(store: Store) -> tuple[Any, ...]:
    row = store.read_now(lambda db: db.one("SELECT * FROM profile WHERE user_id = 'ann'"))
    assert row is not None
    return tuple(row)


@pytest.fixture
async def store(domain: Domain) -> Any:
    yield domain.store
    await domain.store.close()


def test_group_is_the_one_of_the_table() -> None:
    assert (GROUP.name, GROUP.consumers) == ("user_profile_updaters", 1)
    assert sorted(READ) == [
        "astra.gamification.level_up.v1",
        "astra.social.social_interaction.v1",
        "astra.social.social_rating_changed.v1",
    ]


async def test_level_up_makes_the_title_and_is_its_cause(store: Store) -> None:
    delivery = delivered(LevelUp(user_id="ann", old_level=15, new_level=16))
    assert await react(store, delivery)
    assert updates(store) == [ProfileUpdated(user_id="ann", changed_fields=["title"], title="Level 16")]
    (envelope,) = envelopes(store)
    assert (envelope.causation_id, envelope.correlation_id) == (delivery.envelope.id, "chain-1")
    assert envelope.user_id == "ann"


async def test_level_that_is_no_higher_publishes_nothing(store: Store) -> None:
    for ordinal, level in enumerate((16, 15, 16, 2, 17), start=1):
        await react(store, delivered(LevelUp(user_id="ann", new_level=level), ordinal))
    assert [update.title for update in updates(store)] == ["Level 16", "Level 17"]


async def test_influence_adds_up_and_none_publishes_nothing(store: Store) -> None:
    for ordinal, influence in enumerate((5, 0, 3), start=1):
        event = SocialInteraction(user_id="ann", target_user_id="bob", influence=influence)
        await react(store, delivered(event, ordinal))
    assert updates(store) == [
        ProfileUpdated(user_id="ann", changed_fields=["influence"], influence=5),
        ProfileUpdated(user_id="ann", changed_fields=["influence"], influence=8),
    ]
    assert count(store, "profile") == 1  # nothing came to bob


async def test_rating_is_kept_and_publishes_nothing(store: Store) -> None:
    for ordinal, rating in ((1, "51.00"), (3, "53.00"), (2, "52.00")):
        await react(store, delivered(SocialRatingChanged(user_id="ann", new_rating=rating), ordinal))
    assert updates(store) == []
    assert profile(store) == ("ann", 0, 0, "53.00", 3)


async def test_repeats_change_nothing(store: Store) -> None:
    events = [
        delivered(LevelUp(user_id="ann", new_level=2)),
        delivered(SocialInteraction(user_id="ann", influence=5)),
        delivered(SocialRatingChanged(user_id="ann", new_rating="51.00")),
    ]
    assert [await react(store, event) for event in events * 3] == [True] * 3 + [False] * 6
    assert len(envelopes(store)) == 2
    assert profile(store) == ("ann", 2, 5, "51.00", 1)


EVENTS = [
    delivered(LevelUp(user_id="ann", new_level=2), 1),
    delivered(LevelUp(user_id="ann", new_level=4), 2),
    delivered(SocialInteraction(user_id="ann", influence=5), 1),
    delivered(SocialInteraction(user_id="ann", influence=7), 2),
    delivered(SocialRatingChanged(user_id="ann", new_rating="51.00"), 1),
    delivered(SocialRatingChanged(user_id="ann", new_rating="49.00"), 2),
]


@pytest.mark.parametrize("orders", [list(itertools.permutations(EVENTS))[start::24] for start in range(4)])
async def test_order_makes_no_difference(store: Store, orders: list[tuple[Delivery, ...]]) -> None:
    for order in orders:
        await store.write(lambda tx: [tx.execute(f"DELETE FROM {table}") for table in ("profile", *INBOX)])
        for event in order:
            await react(store, event)
        assert profile(store) == ("ann", 4, 12, "49.00", 2)


INBOX = ("inbox_event", "inbox_watermark")


async def test_profile_is_joined_to_the_account(stub: Any, domain: Domain) -> None:
    ann = (await stub.RegisterUser(registering("ann", display_name="Ann Lee"))).user.user_id
    await react(domain.store, delivered(LevelUp(user_id=ann, new_level=3)))
    await react(domain.store, delivered(SocialInteraction(user_id=ann, influence=5)))
    got = (await stub.GetUser(GetUserRequest(), metadata=as_user(ann))).user
    assert (got.title, got.influence, got.display_name) == ("Level 3", 5, "Ann Lee")
    assert updates(domain.store)[-1] == ProfileUpdated(
        user_id=ann, changed_fields=["influence"], title="Level 3", influence=5, display_name="Ann Lee"
    )
    assert "example.org" not in str(envelopes(domain.store))
