"""Streaks: which days follow each other, and what a check-in brings."""

import asyncio

import pytest
from astra.gamification.v1 import gamification_service_pb2 as pb
from astra.gamification.v1.events_pb2 import StreakUpdated, XpGained, XpSource

from services.gamification.boards import DAY_MS
from services.gamification.streaks import check_in_xp, next_streak, shown_streak
from tests.serving import as_user
from tests.unit_gamification.conftest import FRIDAY_NOON_MS, Game
from tests.unit_gamification.deliveries import names, recorded

ALICE = as_user("alice")
MIDNIGHT_MS = FRIDAY_NOON_MS - FRIDAY_NOON_MS % DAY_MS


@pytest.mark.parametrize(
    ("days", "last_day", "today", "after"),
    [
        (0, -2, 100, 1),  # the first ever
        (0, -2, 0, 1),  # on the first day of the epoch
        (1, 100, 100, None),
        (1, 100, 101, 2),
        (6, 100, 101, 7),
        (6, 100, 102, 1),  # a day missed
        (6, 100, 400, 1),
        (6, 100, 99, None),  # the clock was set back
    ],
)
def test_the_next_day_adds_one_and_a_gap_begins_anew(days: int, last_day: int, today: int, after: int | None) -> None:
    assert next_streak(days, last_day, today) == after


def test_a_check_in_brings_more_on_day_3_and_on_day_7() -> None:
    assert [check_in_xp(days) for days in range(1, 11)] == [25, 25, 50, 25, 25, 25, 75, 25, 25, 25]


@pytest.mark.parametrize(("today", "shown"), [(100, 4), (101, 4), (102, 0), (99, 4)])
def test_a_streak_shows_until_a_whole_day_has_gone_by(today: int, shown: int) -> None:
    assert shown_streak(4, 100, today) == shown


async def check_in(game: Game, **fields: str) -> pb.CheckInResponse:
    response = await game.stub.CheckIn(pb.CheckInRequest(**fields), metadata=ALICE)
    assert isinstance(response, pb.CheckInResponse)
    return response


async def test_a_week_of_check_ins_over_midnights(game: Game) -> None:
    """The last millisecond of a day and the first of the next are two days; a day's second check-in brings nothing."""
    brought = []
    for day in range(7):
        game.now[0] = MIDNIGHT_MS + (day + 1) * DAY_MS - 1 if day % 2 == 0 else MIDNIGHT_MS + day * DAY_MS
        response = await check_in(game)
        brought.append((response.streak_days, response.xp))
        again = await check_in(game)
        assert (again.streak_days, again.xp, again.progression) == (day + 1, 0, response.progression)
    assert brought == [(1, 25), (2, 25), (3, 50), (4, 25), (5, 25), (6, 25), (7, 75)]
    assert again.progression.total_xp == 250
    assert again.progression.streak_days == 7
    assert names(await recorded(game.domain.store)) == ["StreakUpdated", "XpGained"] * 7
    game.now[0] += 2 * DAY_MS
    stale = await game.stub.GetProgression(pb.GetProgressionRequest(user_id="alice"), metadata=ALICE)
    assert stale.progression.streak_days == 0
    assert (await check_in(game)).streak_days == 1


async def test_a_check_in_is_the_root_of_its_chain_and_its_xp_may_raise_a_level(game: Game) -> None:
    await game.stub.AwardXp(pb.AwardXpRequest(user_id="alice", xp=990), metadata=as_user("root", "admin"))
    await game.stub.CheckIn(pb.CheckInRequest(), metadata=(*ALICE, ("x-correlation-id", "morning")))
    _, updated, gained, level_up = await recorded(game.domain.store)
    assert names([updated, gained, level_up]) == ["StreakUpdated", "XpGained", "LevelUp"]
    assert StreakUpdated.FromString(updated.data) == StreakUpdated(user_id="alice", days=1)
    assert XpGained.FromString(gained.data).source == XpSource.XP_SOURCE_CHECK_IN
    assert (updated.causation_id, gained.causation_id, level_up.causation_id) == ("", updated.id, gained.id)
    assert {each.correlation_id for each in (updated, gained, level_up)} == {"morning"}


async def test_64_check_ins_at_once_are_one(game: Game) -> None:
    responses = await asyncio.gather(*(check_in(game, request_id=f"r{n}") for n in range(64)))
    assert sum(response.xp for response in responses) == 25
    assert names(await recorded(game.domain.store)) == ["StreakUpdated", "XpGained"]
