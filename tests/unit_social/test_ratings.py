"""Ratings: how praise and its opposite move them, and when that is told."""

from decimal import Decimal

import pytest
from astra.social.v1 import social_service_pb2 as pb
from astra.social.v1.events_pb2 import SocialRatingChanged
from astra.social.v1.interaction_pb2 import InteractionKind

from services.social.model import InteractionKind as Kind
from services.social.ratings import is_told, moved_rating
from tests.serving import as_user
from tests.unit_gamification.deliveries import names, recorded
from tests.unit_social.conftest import Circle

ENDORSEMENT, NEGATIVE = InteractionKind.INTERACTION_KIND_ENDORSEMENT, InteractionKind.INTERACTION_KIND_NEGATIVE


@pytest.mark.parametrize(
    ("rating", "kind", "endorsements", "after"),
    [
        ("50.00", Kind.ENDORSEMENT, 0, "52.00"),
        ("50.00", Kind.ENDORSEMENT, 1, "52.00"),
        ("50.00", Kind.ENDORSEMENT, 5, "52.00"),
        ("50.00", Kind.ENDORSEMENT, 6, "51.67"),  # 10/6, half up
        ("50.00", Kind.ENDORSEMENT, 10, "51.00"),
        ("50.00", Kind.ENDORSEMENT, 1000, "50.01"),
        ("99.00", Kind.ENDORSEMENT, 0, "100.00"),
        ("100.00", Kind.ENDORSEMENT, 0, "100.00"),
        ("50.00", Kind.NEGATIVE, 0, "45.00"),
        ("80.00", Kind.NEGATIVE, 0, "75.00"),  # 10 % would be 8
        ("49.99", Kind.NEGATIVE, 0, "44.99"),
        ("20.00", Kind.NEGATIVE, 9, "18.00"),
        ("0.04", Kind.NEGATIVE, 0, "0.04"),
        ("0.00", Kind.NEGATIVE, 0, "0.00"),
        ("50.00", Kind.LIKE, 0, "50.00"),
        ("50.00", Kind.FOLLOW, 0, "50.00"),
    ],
)
def test_an_interaction_moves_a_rating(rating: str, kind: Kind, endorsements: int, after: str) -> None:
    assert moved_rating(Decimal(rating), kind, endorsements=endorsements) == Decimal(after)


@pytest.mark.parametrize(
    ("told", "before", "after", "expected"),
    [
        ("50.00", "50.00", "52.00", True),
        ("50.00", "50.00", "51.00", True),
        ("50.00", "50.00", "50.99", False),
        ("50.00", "50.99", "51.50", True),  # small moves add up
        ("50.00", "50.90", "49.90", True),  # a whole point at once
        ("10.00", "10.00", "9.00", True),
        ("9.00", "9.00", "8.10", False),
    ],
)
def test_a_move_is_told_from_a_point_on(told: str, before: str, after: str, expected: bool) -> None:
    assert is_told(told=Decimal(told), before=Decimal(before), after=Decimal(after)) is expected


async def interact(circle: Circle, kind: int, user_id: str = "alice", target: str = "bob") -> None:
    request = pb.InteractRequest(target_user_id=target, kind=kind)  # type: ignore[arg-type]
    await circle.stub.Interact(request, metadata=as_user(user_id))


async def changes(circle: Circle) -> list[tuple[str, str, str]]:
    told = [each for each in await recorded(circle.domain.store) if each.type.endswith("SocialRatingChanged")]
    events = [SocialRatingChanged.FromString(each.data) for each in told]
    return [(event.user_id, event.old_rating, event.new_rating) for event in events]


async def test_a_move_is_told_of_the_target_and_caused_by_the_interaction(circle: Circle) -> None:
    await interact(circle, ENDORSEMENT)
    interacted, opened, changed = await recorded(circle.domain.store)
    assert names([interacted, opened, changed]) == ["SocialInteraction", "SocialProfileCreated", "SocialRatingChanged"]
    assert (opened.causation_id, changed.causation_id) == (interacted.id, interacted.id)
    assert (opened.user_id, changed.user_id) == ("alice", "bob")
    assert (await circle.profile("bob")).rating == "52.00"
    assert (await circle.profile("alice")).rating == "50.00"
    await interact(circle, NEGATIVE, "bob", "alice")  # bob's own first deed: only now is his profile told of
    assert await changes(circle) == [("bob", "50.00", "52.00"), ("alice", "50.00", "45.00")]
    assert names(await recorded(circle.domain.store)).count("SocialProfileCreated") == 2


async def test_moves_that_are_too_small_to_tell_are_told_together(circle: Circle) -> None:
    for n in range(14):
        await interact(circle, ENDORSEMENT, user_id=f"fan{n}")
    # 6 × 2, then 10/6, 10/7, 10/8, 10/9 and 10/10; 10/11 and 10/12 are told together, 10/13 not yet.
    tenth = [("50.00", "52.00"), ("52.00", "54.00"), ("54.00", "56.00"), ("56.00", "58.00"), ("58.00", "60.00")]
    rest = [("60.00", "62.00"), ("62.00", "63.67"), ("63.67", "65.10"), ("65.10", "66.35"), ("66.35", "67.46")]
    last = [("67.46", "68.46"), ("68.46", "70.20")]
    assert [(old, new) for _, old, new in await changes(circle)] == tenth + rest + last
    assert (await circle.profile("bob")).rating == "70.97"


async def test_a_rating_stays_within_0_and_100(circle: Circle) -> None:
    for n in range(70):
        await interact(circle, NEGATIVE, user_id=f"foe{n}")
        assert 0 <= Decimal((await circle.profile("bob")).rating) < 50
