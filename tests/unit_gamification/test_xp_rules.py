"""The rules of progression, as tables."""

from decimal import Decimal

import pytest

from services.gamification.model import check_award, level_of, social_xp, trade_xp, xp_to_next_level
from services.runtime.errors import InvalidArgument


@pytest.mark.parametrize(
    ("amount", "xp"),
    [
        ("0.01", 10),
        ("999.99", 10),
        ("1000", 10),
        ("1099.99", 10),
        ("1100", 11),
        ("1500", 15),
        ("5000", 50),
        ("5099.99", 50),
    ],
)
def test_a_trade_is_worth_a_hundredth_and_at_least_10(amount: str, xp: int) -> None:
    assert trade_xp(Decimal(amount)) == xp


@pytest.mark.parametrize(
    ("total_xp", "level", "missing"),
    [(0, 1, 1000), (999, 1, 1), (1000, 2, 1000), (14_950, 15, 50), (15_000, 16, 1000), (1_000_000, 1001, 1000)],
)
def test_a_level_takes_1000_xp(total_xp: int, level: int, missing: int) -> None:
    assert (level_of(total_xp), xp_to_next_level(total_xp)) == (level, missing)


@pytest.mark.parametrize(
    ("kind", "target", "xp"),
    [
        (1, "bob", 2),
        (2, "bob", 5),
        (3, "bob", 10),
        (4, "bob", 3),
        (1, "alice", 0),  # oneself
        (3, "", 0),  # nobody
        (5, "", 0),  # a shared trade
        (0, "bob", 0),
        (99, "bob", 0),  # a kind of a later version
    ],
)
def test_an_interaction_is_worth_something_to_its_target_alone(kind: int, target: str, xp: int) -> None:
    assert social_xp(kind, user_id="alice", target_user_id=target) == xp


@pytest.mark.parametrize(("xp", "allowed"), [(-1, False), (0, False), (1, True), (1_000_000, True), (1_000_001, False)])
def test_an_award_is_within_its_bounds(xp: int, allowed: bool) -> None:
    if allowed:
        check_award(xp)
    else:
        with pytest.raises(InvalidArgument, match="from 1 to 1000000"):
            check_award(xp)
