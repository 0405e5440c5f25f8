"""Leaderboards: exact under ties and at period ends, whatever the order of events; and published sparingly."""

import asyncio
import random
from datetime import UTC, datetime

import grpc
import pytest
from astra.event.v1.envelope_pb2 import Envelope
from astra.gamification.v1 import gamification_service_pb2 as pb
from astra.gamification.v1.events_pb2 import LeaderboardUpdated, LevelUp, XpGained
from astra.gamification.v1.leaderboard_pb2 import Board

from services.gamification import leaderboards
from services.gamification.boards import Board as BoardRule
from services.gamification.store import has_scores
from services.runtime.delivery import Delivery
from services.runtime.timers import run_timers
from tests.serving import as_user, reason_of
from tests.unit_gamification.conftest import FRIDAY_NOON_MS, Game
from tests.unit_gamification.deliveries import Stream, react, recorded

GROUP = "leaderboard_updaters"
ALL_TIME, MONTHLY, WEEKLY, DAILY = (
    Board.BOARD_ALL_TIME,
    Board.BOARD_MONTHLY,
    Board.BOARD_WEEKLY,
    Board.BOARD_DAILY,
)
ANYONE = as_user("reader")


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def gain(user_id: str, xp: int, level: int = 1) -> XpGained:
    return XpGained(user_id=user_id, xp=xp, level=level)


async def ranks(game: Game, board: Board, **fields: object) -> list[tuple[str, int, int]]:
    request = pb.GetLeaderboardRequest(board=board, **fields)  # type: ignore[arg-type]
    response = await game.stub.GetLeaderboard(request, metadata=ANYONE)
    return [(rank.user_id, rank.rank, rank.xp) for rank in response.ranks]


async def updates(game: Game, board: Board = ALL_TIME) -> list[LeaderboardUpdated]:
    events = [LeaderboardUpdated.FromString(envelope.data) for envelope in await update_envelopes(game)]
    return [event for event in events if event.board == board]


async def update_envelopes(game: Game) -> list[Envelope]:
    return [each for each in await recorded(game.domain.store) if each.type.endswith("LeaderboardUpdated")]


async def test_equal_scores_share_a_rank_and_the_first_to_reach_it_stands_first(game: Game) -> None:
    stream = Stream()
    gains = [("carol", 30), ("bob", 20), ("alice", 20), ("bob", 10), ("dave", 5), ("alice", 10)]
    await react(game.domain, GROUP, *(stream.delivery(gain(*each), ms=game.now[0]) for each in gains))
    expected = [("carol", 1, 30), ("bob", 1, 30), ("alice", 1, 30), ("dave", 4, 5)]
    for board in (ALL_TIME, MONTHLY, WEEKLY, DAILY):
        assert await ranks(game, board) == expected
    for user_id, rank, xp in expected:
        response = await game.stub.GetRank(pb.GetRankRequest(board=DAILY, user_id=user_id), metadata=ANYONE)
        assert (response.rank.user_id, response.rank.rank, response.rank.xp) == (user_id, rank, xp)


async def test_boards_are_the_same_whatever_the_order_of_events_and_repeats(game: Game) -> None:
    stream, luck = Stream(), random.Random(3)
    users = [f"u{n}" for n in range(8)]
    gains = users * 6
    luck.shuffle(gains)
    deliveries = [stream.delivery(gain(user, 10), ms=game.now[0] + at // 7) for at, user in enumerate(gains)]
    for _ in range(2):
        luck.shuffle(deliveries)
        await react(game.domain, GROUP, *deliveries)
    last = {user: at for at, user in enumerate(gains)}
    assert await ranks(game, ALL_TIME) == [(user, 1, 60) for user in sorted(users, key=last.__getitem__)]


@pytest.mark.parametrize(
    ("board", "last", "first"),
    [
        (DAILY, "2027-01-15T23:59:59.999", "2027-01-16"),
        (WEEKLY, "2027-01-17T23:59:59.999", "2027-01-18"),
        (MONTHLY, "2027-01-31T23:59:59.999", "2027-02-01"),
    ],
)
async def test_xp_counts_for_the_period_it_was_earned_in(game: Game, board: Board, last: str, first: str) -> None:
    game.now[0] = ms(last)
    stream = Stream()
    old = [stream.delivery(gain("alice", 10), ms=ms(last)), stream.delivery(gain("alice", 5), ms=ms(last))]
    new = stream.delivery(gain("bob", 7), ms=ms(first))
    await react(game.domain, GROUP, old[0], new)
    assert await ranks(game, board) == [("alice", 1, 10)]
    game.now[0] = ms(first)
    await react(game.domain, GROUP, old[1])  # a late one
    assert await ranks(game, board) == [("bob", 1, 7)]
    assert await ranks(game, ALL_TIME) == [("alice", 1, 15), ("bob", 2, 7)]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await game.stub.GetRank(pb.GetRankRequest(board=board, user_id="alice"), metadata=ANYONE)
    assert (caught.value.code(), reason_of(caught.value)) == (grpc.StatusCode.NOT_FOUND, "NOT_RANKED")


async def test_the_level_shown_is_the_highest_seen(game: Game) -> None:
    stream = Stream()
    deliveries: list[Delivery] = [
        stream.delivery(LevelUp(user_id="alice", old_level=2, new_level=5), ms=game.now[0]),
        stream.delivery(gain("alice", 10, level=3), ms=game.now[0]),
        stream.delivery(LevelUp(user_id="alice", old_level=1, new_level=2), ms=game.now[0]),
    ]
    await react(game.domain, GROUP, *deliveries)
    response = await game.stub.GetRank(pb.GetRankRequest(board=ALL_TIME, user_id="alice"), metadata=ANYONE)
    assert response.rank.level == 5


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (2, [[("a", 1), ("b", 2)], [("c", 2), ("d", 2)], [("e", 5)]]),
        (3, [[("a", 1), ("b", 2), ("c", 2)], [("d", 2), ("e", 5)]]),
        (5, [[("a", 1), ("b", 2), ("c", 2), ("d", 2), ("e", 5)]]),
    ],
)
async def test_pages_follow_each_other_through_a_tie_and_over_midnight(
    game: Game, size: int, expected: list[list[tuple[str, int]]]
) -> None:
    stream = Stream()
    scores = [("a", 50), ("b", 40), ("c", 40), ("d", 40), ("e", 10)]
    await react(game.domain, GROUP, *(stream.delivery(gain(*each), ms=game.now[0]) for each in scores))
    request, pages = pb.GetLeaderboardRequest(board=DAILY, page_size=size), []
    while True:
        response = await game.stub.GetLeaderboard(request, metadata=ANYONE)
        pages.append([(rank.user_id, rank.rank) for rank in response.ranks])
        request.page_token = response.next_page_token
        if not request.page_token:
            break
        game.now[0] = ms("2027-01-16")
        await game.fire_due()
    assert pages == expected


@pytest.mark.parametrize("page_token", ["x", "e30", "WzEsMl0"])
async def test_a_token_that_no_page_had_is_refused(game: Game, page_token: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ranks(game, DAILY, page_token=page_token)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_token_of_another_board_is_refused(game: Game) -> None:
    stream = Stream()
    await react(game.domain, GROUP, *(stream.delivery(gain(user, 1), ms=game.now[0]) for user in "ab"))
    first = await game.stub.GetLeaderboard(pb.GetLeaderboardRequest(board=DAILY, page_size=1), metadata=ANYONE)
    with pytest.raises(grpc.aio.AioRpcError, match="another board"):
        await ranks(game, WEEKLY, page_token=first.next_page_token)


async def test_a_changed_board_is_published_at_most_once_a_second(game: Game) -> None:
    stream, published_at = Stream(), []
    for at_ms in range(FRIDAY_NOON_MS, FRIDAY_NOON_MS + 3_500, 100):
        game.now[0] = at_ms
        await react(game.domain, GROUP, stream.delivery(gain("alice", 1), ms=at_ms))
        before = len(await updates(game))
        await game.fire_due()
        if len(await updates(game)) > before:
            published_at.append(at_ms - FRIDAY_NOON_MS)
    assert published_at == [0, 1000, 2000, 3000]
    assert [event.ranks[0].xp for event in await updates(game)] == [1, 11, 21, 31]
    game.now[0] = FRIDAY_NOON_MS + 4_000
    await game.fire_due()
    assert (await updates(game))[-1].ranks[0].xp == 35, "the last change is published too, with no event after it"


async def test_an_update_is_the_first_of_a_chain_of_its_own(game: Game) -> None:
    await react(game.domain, GROUP, Stream().delivery(gain("alice", 1), ms=game.now[0], correlation_id="story-1"))
    await game.fire_due()
    envelopes = await update_envelopes(game)
    assert len(envelopes) == 4
    assert {envelope.causation_id for envelope in envelopes} == {""}
    chains = {envelope.correlation_id for envelope in envelopes}
    assert len(chains) == 4
    assert not chains & {"story-1", "passing"}


async def test_a_change_below_the_top_100_is_not_published(game: Game) -> None:
    stream = Stream()
    top = [stream.delivery(gain(f"u{n}", 1000 - n), ms=game.now[0]) for n in range(100)]
    await react(game.domain, GROUP, *top)
    await game.fire_due()
    game.now[0] += 5_000
    await react(game.domain, GROUP, stream.delivery(gain("late", 901), ms=game.now[0]))
    assert await game.fire_due() == 4, "the control: the boards are compared"
    assert len(await updates(game)) == 1
    game.now[0] += 5_000
    await react(game.domain, GROUP, stream.delivery(gain("late", 1), ms=game.now[0]))
    await game.fire_due()
    last = (await updates(game))[-1]
    assert len(last.ranks) == 100
    assert [(rank.user_id, rank.rank) for rank in last.ranks[97:]] == [("u97", 98), ("u98", 99), ("late", 99)]


async def test_a_board_is_published_empty_when_its_period_ends(game: Game) -> None:
    await react(game.domain, GROUP, Stream().delivery(gain("alice", 1), ms=game.now[0]))
    await game.fire_due()
    game.now[0] = ms("2027-01-16")
    while await game.fire_due():
        pass
    assert [len(event.ranks) for event in await updates(game, DAILY)] == [1, 0]
    assert [len(event.ranks) for event in await updates(game, WEEKLY)] == [1]


async def test_scores_are_deleted_when_the_period_after_theirs_is_over(game: Game) -> None:
    stream = Stream()
    await react(game.domain, GROUP, stream.delivery(gain("alice", 1), ms=game.now[0]))
    kept = []
    for day in ("2027-01-16", "2027-01-17", "2027-01-18"):
        game.now[0] = ms(day)
        while await game.fire_due():
            pass
        kept.append(await game.domain.store.read(lambda db: has_scores(db, BoardRule.DAILY)))
    assert kept == [True, False, False]
    assert await ranks(game, ALL_TIME) == [("alice", 1, 1)]


async def test_a_large_board_is_deleted_in_parts(game: Game, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaderboards, "DELETED_AT_ONCE", 2)
    stream = Stream()
    await react(game.domain, GROUP, *(stream.delivery(gain(user, 1), ms=game.now[0]) for user in "abcde"))
    game.now[0] = ms("2027-01-20")
    left = []
    while await game.fire_due():
        left.append(
            await game.domain.store.read(lambda db: db.value("SELECT count(*) FROM board_score WHERE board = 4"))
        )
    assert left[:3] == [3, 1, 0]


async def test_the_running_timers_publish_without_being_asked(game: Game) -> None:
    stop = asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(run_timers(game.domain.store, game.domain.timers, stop))
        await react(game.domain, GROUP, Stream().delivery(gain("alice", 1), ms=game.now[0]))
        while len(await update_envelopes(game)) < 4:  # noqa: ASYNC110 - what is awaited is in the database
            await asyncio.sleep(0.01)
        stop.set()
