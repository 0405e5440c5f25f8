"""The rules of battles, as tables."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime.errors import FailedPrecondition, InvalidArgument
from services.social.battles import (
    BattleType,
    Fighter,
    battle_type,
    check_match,
    check_state_filter,
    duration_seconds,
    scaled_score,
    settle,
    split,
)

HOUR = 3600
DUEL, STELLAR, COSMIC = BattleType


@pytest.mark.parametrize(("seconds", "given_"), [(HOUR, True), (168 * HOUR, True), (5000, True), (0, False)])
def test_a_battle_lasts_1_to_168_hours_and_24_unless_said(seconds: int, given_: bool) -> None:
    assert duration_seconds(seconds, 0, given=given_) == (seconds if given_ else 24 * HOUR)


@pytest.mark.parametrize(("seconds", "nanos"), [(HOUR - 1, 0), (168 * HOUR + 1, 0), (0, 0), (-HOUR, 0), (HOUR, 1)])
def test_another_duration_is_refused(seconds: int, nanos: int) -> None:
    with pytest.raises(InvalidArgument, match="1–168 h"):
        duration_seconds(seconds, nanos, given=True)


@pytest.mark.parametrize(
    ("ratings", "sizes", "reason"),
    [
        ((1000, 1000), (5, 5), None),
        ((1000, 1000), (200, 5), None),
        ((1000, 1000), (4, 5), "CLAN_TOO_SMALL"),
        ((1000, 1000), (5, 4), "CLAN_TOO_SMALL"),
        ((1000, 1500), (5, 5), None),
        ((1500, 1000), (5, 5), None),
        ((1000, 1501), (5, 5), "RATING_GAP_TOO_WIDE"),
        ((1501, 1000), (5, 5), "RATING_GAP_TOO_WIDE"),
    ],
)
def test_clans_must_be_large_enough_and_near_in_rating(
    ratings: tuple[int, int], sizes: tuple[int, int], reason: str | None
) -> None:
    if reason is None:
        check_match(ratings, sizes)
        return
    with pytest.raises(FailedPrecondition) as caught:
        check_match(ratings, sizes)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("kind", "score", "scaled"),
    [
        (DUEL, "123.45", "123.45"),
        (STELLAR, "100.00", "80.00"),
        (STELLAR, "0.01", "0.01"),  # 0.008, half up
        (COSMIC, "100.00", "120.00"),
        (COSMIC, "0.04", "0.05"),  # 0.048
        (DUEL, "-5", "0.00"),
    ],
)
def test_a_type_scales_scores(kind: BattleType, score: str, scaled: str) -> None:
    assert scaled_score(Decimal(score), kind) == Decimal(scaled)


@pytest.mark.parametrize("value", [0, 4, -1])
def test_a_type_or_a_state_that_there_is_not_is_refused(value: int) -> None:
    with pytest.raises(InvalidArgument, match="TRADING_DUEL, STELLAR_SUPREMACY, COSMIC_CONQUEST"):
        battle_type(value)
    if value < 0:
        with pytest.raises(InvalidArgument, match="PENDING"):
            check_state_filter(value)


def fighters(challengers: list[str], defenders: list[str]) -> list[Fighter]:
    return [
        Fighter(user_id=f"{clan}{n}", clan_id=clan, score=Decimal(score))
        for clan, scores in (("c", challengers), ("d", defenders))
        for n, score in enumerate(scores)
    ]


@pytest.mark.parametrize(
    ("challengers", "defenders", "pot", "winner", "changes", "rewards"),
    [
        (["3", "1"], ["1", "1"], 100, "c", (20, -10), [60, 20, 10, 10]),
        (["1", "1"], ["3", "1"], 100, "d", (-10, 20), [10, 10, 60, 20]),
        (["2", "2"], ["3", "1"], 100, "", (0, 0), [25, 25, 38, 12]),  # 37.5 and 12.5: the first gets what is left over
        (["0", "0"], ["0", "0"], 101, "", (0, 0), [26, 25, 25, 25]),  # 50.5 each: the first side gets what is left over
        (["1", "0"], ["0", "0"], 100, "c", (20, -10), [80, 0, 10, 10]),  # nobody of the loser scored: evenly
        (["1", "1", "1"], ["0.01"], 100, "c", (20, -10), [27, 27, 26, 20]),
        (["0.02"], ["0.01"], 7, "c", (20, -10), [6, 1]),  # 5.6 and 1.4
    ],
)
def test_a_battle_is_settled(
    challengers: list[str], defenders: list[str], pot: int, winner: str, changes: tuple[int, int], rewards: list[int]
) -> None:
    both = fighters(challengers, defenders)
    outcome = settle("c", "d", both, pot)
    assert outcome.winner_clan_id == winner
    assert (outcome.rating_changes["c"], outcome.rating_changes["d"]) == changes
    assert [outcome.rewards[each.user_id] for each in both] == rewards


scores = st.lists(st.decimals(0, 10**9, places=2), min_size=1, max_size=40)


@given(challengers=scores, defenders=scores, pot=st.integers(0, 10**9))
def test_what_is_shared_out_sums_to_the_pot(challengers: list[Decimal], defenders: list[Decimal], pot: int) -> None:
    both = fighters([str(each) for each in challengers], [str(each) for each in defenders])
    outcome = settle("c", "d", both, pot)
    assert sum(outcome.rewards.values()) == pot
    assert set(outcome.rewards) == {each.user_id for each in both}
    sides = [sum(reward for user, reward in outcome.rewards.items() if user[0] == clan) for clan in "cd"]
    exact = {"": (pot / 2, pot / 2), "c": (pot * 0.8, pot * 0.2), "d": (pot * 0.2, pot * 0.8)}[outcome.winner_clan_id]
    assert all(abs(side - part) < 1.001 for side, part in zip(sides, exact, strict=True))


@given(amount=st.integers(0, 10**12), weights=scores)
def test_parts_are_within_one_of_their_proportion(amount: int, weights: list[Decimal]) -> None:
    parts = split(amount, weights)
    assert sum(parts) == amount
    total = sum(weights)
    for part, weight in zip(parts, weights, strict=True):
        proportion = amount * weight / total if total else Decimal(amount) / len(weights)
        assert abs(part - proportion) <= 1


def test_the_check_sees_parts_that_are_merely_rounded() -> None:
    """The control: rounding each part by itself loses or makes money."""

    def rounded(amount: int, weights: list[Decimal]) -> list[int]:
        return [round(amount * weight / sum(weights)) for weight in weights]

    assert sum(rounded(100, [Decimal(1)] * 3)) == 99
    assert sum(split(100, [Decimal(1)] * 3)) == 100
