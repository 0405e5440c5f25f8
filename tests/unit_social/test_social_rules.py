"""The rules of social life, as tables."""

from decimal import Decimal

import pytest

from services.runtime.errors import InvalidArgument, ResourceExhausted
from services.social.model import (
    HOUR_MS,
    INFLUENCE,
    InteractionKind,
    check_hour,
    check_interaction,
    rating_influence,
    requested_kind,
    shown_influence,
)

NOW = 10 * HOUR_MS
LIKE, COMMENT = InteractionKind.LIKE, InteractionKind.COMMENT


def test_every_kind_brings_influence() -> None:
    assert {kind.name: INFLUENCE[kind] for kind in InteractionKind} == {
        "LIKE": 1,
        "COMMENT": 2,
        "SHARE": 3,
        "FOLLOW": 1,
        "TRADE_SHARE": 5,
        "ENDORSEMENT": 1,
        "NEGATIVE": 0,
    }


@pytest.mark.parametrize("value", [0, 5, 8])
def test_a_kind_that_nobody_asks_for_is_refused(value: int) -> None:
    with pytest.raises(InvalidArgument, match="LIKE, COMMENT, SHARE, FOLLOW, ENDORSEMENT, NEGATIVE"):
        requested_kind(value)


@pytest.mark.parametrize(
    ("kind", "target", "text", "field"),
    [
        (LIKE, "bob", "", None),
        (LIKE, "alice", "", "target_user_id"),
        (LIKE, "bob", "well done", "text"),
        (COMMENT, "bob", "", "text"),
        (COMMENT, "bob", " \n", "text"),
        (COMMENT, "bob", "x", None),
        (COMMENT, "bob", "é" * 500, None),
        (COMMENT, "bob", "é" * 501, "text"),
        (COMMENT, "alice", "x", "target_user_id"),
    ],
)
def test_an_interaction_needs_another_user_and_a_text_if_it_is_a_comment(
    kind: InteractionKind, target: str, text: str, field: str | None
) -> None:
    if field is None:
        check_interaction(kind, user_id="alice", target_user_id=target, text=text)
        return
    with pytest.raises(InvalidArgument) as caught:
        check_interaction(kind, user_id="alice", target_user_id=target, text=text)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("ages_ms", "wait_seconds"),
    [
        ([], None),
        ([0] * 9, None),
        ([0] * 10, 3600),
        ([0] * 9 + [HOUR_MS], None),  # made exactly an hour ago: past
        ([0] * 9 + [HOUR_MS - 1], 1),
        ([0] * 9 + [HOUR_MS - 1001], 2),
        ([0] * 10 + [HOUR_MS - 1], 3600),  # of eleven the second oldest has to pass
    ],
)
def test_the_eleventh_interaction_within_an_hour_is_refused(ages_ms: list[int], wait_seconds: int | None) -> None:
    made_ms = [NOW - age for age in ages_ms]
    if wait_seconds is None:
        check_hour(made_ms, NOW)
        return
    with pytest.raises(ResourceExhausted) as caught:
        check_hour(made_ms, NOW)
    assert caught.value.reason == "INTERACTION_LIMIT_REACHED"
    assert caught.value.metadata == {"limit": "10", "retry_after_seconds": str(wait_seconds)}


@pytest.mark.parametrize(
    ("old", "new", "points"),
    [
        ("50.00", "52.00", 2),
        ("50.00", "51.99", 1),
        ("50.00", "50.99", 0),
        ("50.00", "45.01", -4),
        ("50.00", "45.00", -5),
    ],
)
def test_a_rating_moves_influence_by_its_whole_points(old: str, new: str, points: int) -> None:
    assert rating_influence(Decimal(old), Decimal(new)) == points


@pytest.mark.parametrize(("points", "shown"), [(-3, 0), (0, 0), (7, 7)])
def test_influence_is_never_shown_below_0(points: int, shown: int) -> None:
    assert shown_influence(points) == shown
