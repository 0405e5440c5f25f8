"""GamificationService in process."""

import grpc
import pytest
from astra.gamification.v1 import gamification_service_pb2 as pb
from astra.gamification.v1.events_pb2 import XpGained, XpSource
from astra.gamification.v1.progression_pb2 import Progression

from tests.serving import as_service, as_user, reason_of
from tests.unit_gamification.conftest import Game
from tests.unit_gamification.deliveries import names, recorded

ALICE, ADMIN = as_user("alice"), as_user("root", "admin")


async def progression(game: Game, user_id: str) -> Progression:
    response = await game.stub.GetProgression(pb.GetProgressionRequest(user_id=user_id), metadata=ALICE)
    assert isinstance(response.progression, Progression)
    return response.progression


async def test_a_user_who_has_earned_nothing_is_at_level_1(game: Game) -> None:
    assert await progression(game, "nobody") == Progression(
        user_id="nobody", total_xp=0, level=1, xp_to_next_level=1000
    )


@pytest.mark.parametrize("caller", [ADMIN, as_service("nft")])
async def test_an_award_is_the_root_of_its_chain_and_its_level_up_is_caused_by_it(
    game: Game, caller: tuple[tuple[str, str], ...]
) -> None:
    metadata = (*caller, ("x-correlation-id", "my-chain"))
    response = await game.stub.AwardXp(pb.AwardXpRequest(user_id="alice", xp=2_500), metadata=metadata)
    assert response.progression == Progression(user_id="alice", total_xp=2_500, level=3, xp_to_next_level=500)
    assert await progression(game, "alice") == response.progression
    gained, level_up = await recorded(game.domain.store)
    assert names([gained, level_up]) == ["XpGained", "LevelUp"]
    assert XpGained.FromString(gained.data).source == XpSource.XP_SOURCE_AWARD
    assert (gained.causation_id, level_up.causation_id) == ("", gained.id)
    assert {gained.correlation_id, level_up.correlation_id} == {"my-chain"}


async def test_a_repeated_award_is_one(game: Game) -> None:
    request = pb.AwardXpRequest(user_id="alice", xp=10, request_id="r1")
    first = await game.stub.AwardXp(request, metadata=ADMIN)
    assert await game.stub.AwardXp(request, metadata=ADMIN) == first
    assert (await progression(game, "alice")).total_xp == 10
    assert len(await recorded(game.domain.store)) == 1


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"user_id": "alice"}, grpc.StatusCode.INVALID_ARGUMENT, "FIELD_REQUIRED"),
        ({"user_id": "alice", "xp": -1}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ({"user_id": "alice", "xp": 1_000_001}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ({"xp": 1}, grpc.StatusCode.INVALID_ARGUMENT, "FIELD_REQUIRED"),
        ({"user_id": "a b", "xp": 1}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    ],
)
async def test_a_wrong_award_is_refused_and_changes_nothing(
    game: Game, fields: dict[str, object], code: grpc.StatusCode, reason: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await game.stub.AwardXp(pb.AwardXpRequest(**fields), metadata=ADMIN)  # type: ignore[arg-type]
    assert (caught.value.code(), reason_of(caught.value)) == (code, reason)
    assert await recorded(game.domain.store) == []


async def test_a_user_awards_nothing(game: Game) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await game.stub.AwardXp(pb.AwardXpRequest(user_id="alice", xp=1), metadata=ALICE)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("board", [0, 9])
async def test_a_board_that_there_is_not_is_refused(game: Game, board: int) -> None:
    for call, request in (
        (game.stub.GetLeaderboard, pb.GetLeaderboardRequest(board=board)),  # type: ignore[arg-type]
        (game.stub.GetRank, pb.GetRankRequest(board=board, user_id="alice")),  # type: ignore[arg-type]
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(request, metadata=ALICE)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
