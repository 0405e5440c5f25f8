"""The rpcs about leaderboards: pages, ranks, and the live top."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence

from astra.gamification.v1 import gamification_service_pb2 as pb

from services.gamification import store as sql
from services.gamification.boards import Board, period_start_ms
from services.gamification.leaderboards import TOP
from services.runtime.call import Call
from services.runtime.errors import InvalidArgument
from services.runtime.paging import page_key, page_size, page_token
from services.runtime.store import Store
from services.runtime.transaction import Reader
from services.runtime.watching import watch

WATCH_EVERY_SECONDS = 0.05
"""Least time between two tops told to one watcher, so that a busy board does not read itself all the time."""

Position = tuple[int, str]
"""Version of the board, and digest of the top told last."""


class BoardApi:
    """Serves the part of GamificationService that is about leaderboards."""

    _store: Store

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

    async def watch_leaderboard(
        self, request: pb.WatchLeaderboardRequest, call: Call
    ) -> AsyncIterator[pb.WatchLeaderboardResponse]:
        board, start = _board(request.board), _position(request)

        def query(db: Reader, position: Position) -> Sequence[tuple[Position, pb.WatchLeaderboardResponse | None]]:
            version, told = position
            now_version = sql.load_version(db, board)
            if now_version == version:
                return []
            top = self._top(db, board)
            digest = hashlib.sha256(top.SerializeToString(deterministic=True)).hexdigest()[:16]
            # What changed below the top moves the position and tells nothing.
            return [((now_version, digest), None if digest == told else top)]

        async for (version, digest), top in watch(self._store, query, start):
            if top is None:
                continue
            top.resume_token = page_token(board, version, digest)
            yield top
            await asyncio.sleep(WATCH_EVERY_SECONDS)

    def _top(self, db: Reader, board: Board) -> pb.WatchLeaderboardResponse:
        period_ms = period_start_ms(board, self._store.clock())
        scores = sql.list_scores(db, board, period_ms, limit=TOP)
        top = pb.WatchLeaderboardResponse(ranks=sql.rank_messages(db, scores))
        top.period_start_time.FromMilliseconds(period_ms)
        return top


def _board(value: int) -> Board:
    """Returns the board asked for. Raises `InvalidArgument` for a number that none has."""
    try:
        return Board(value)
    except ValueError:
        names = ", ".join(board.name for board in Board)
        raise InvalidArgument(f"board must be one of {names}, not {value}", field="board") from None


def _position(request: pb.WatchLeaderboardRequest) -> Position:
    """Returns where to go on. Raises `InvalidArgument` for a token that this board's stream never gave."""
    if not request.resume_token:
        return -1, ""
    try:
        key = page_key(request.resume_token, int, int, str)
    except InvalidArgument:
        key = None
    if key is None or key[0] != request.board:
        raise InvalidArgument("resume_token is not one that this stream gave", field="resume_token")
    return key[1], key[2]
