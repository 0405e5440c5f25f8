"""GamificationService: proto in, model call, proto out."""

from astra.gamification.v1 import gamification_service_pb2 as pb
from astra.gamification.v1.events_pb2 import XpSource

from services.gamification import store as sql
from services.gamification.boards import Board, period_start_ms
from services.gamification.model import check_award
from services.gamification.progress import gain_xp
from services.runtime.call import Call
from services.runtime.errors import InvalidArgument
from services.runtime.paging import page_key, page_size, page_token
from services.runtime.store import Store
from services.runtime.transaction import Reader, Tx


class GamificationApi:
    """Serves the rpcs of gamification."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get_progression(self, request: pb.GetProgressionRequest, call: Call) -> pb.GetProgressionResponse:
        progression = await self._store.read(lambda db: sql.progression_message(db, request.user_id))
        return pb.GetProgressionResponse(progression=progression)

    async def award_xp(self, request: pb.AwardXpRequest, call: Call) -> pb.AwardXpResponse:
        check_award(request.xp)

        def work(tx: Tx) -> pb.AwardXpResponse:
            gain_xp(tx, request.user_id, request.xp, source=XpSource.XP_SOURCE_AWARD)
            return pb.AwardXpResponse(progression=sql.progression_message(tx, request.user_id))

        return await call.write(self._store, work)

    async def get_leaderboard(self, request: pb.GetLeaderboardRequest, call: Call) -> pb.GetLeaderboardResponse:
        board, size = _board(request.board), page_size(request.page_size)
        key = page_key(request.page_token, int, int, int, int)
        if key is not None and key[0] != board:
            raise InvalidArgument("page_token is one of another board", field="page_token")
        # A later page is one of the period that the first was of, even when that has ended meanwhile.
        period_ms = period_start_ms(board, self._store.clock()) if key is None else key[1]
        after = sql.BEFORE_ALL if key is None else (key[2], key[3])

        def query(db: Reader) -> pb.GetLeaderboardResponse:
            scores = sql.list_scores(db, board, period_ms, after=after, limit=size + 1)
            page = scores[:size]
            last = page[-1] if len(scores) > size else None
            return pb.GetLeaderboardResponse(
                ranks=sql.rank_messages(db, page),
                next_page_token=page_token(board, period_ms, last["xp"], last["reached"]) if last else "",
            )

        return await self._store.read(query)

    async def get_rank(self, request: pb.GetRankRequest, call: Call) -> pb.GetRankResponse:
        board = _board(request.board)
        period_ms = period_start_ms(board, self._store.clock())
        rank = await self._store.read(lambda db: sql.rank_of(db, board, period_ms, request.user_id))
        return pb.GetRankResponse(rank=rank)


def _board(value: int) -> Board:
    """Returns the board asked for. Raises `InvalidArgument` for a number that none has."""
    try:
        return Board(value)
    except ValueError:
        names = ", ".join(board.name for board in Board)
        raise InvalidArgument(f"board must be one of {names}, not {value}", field="board") from None
