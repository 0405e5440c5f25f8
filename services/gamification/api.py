"""GamificationService: proto in, model call, proto out. This file has progress; boards and shards have theirs."""

from astra.gamification.v1 import gamification_service_pb2 as pb
from astra.gamification.v1.events_pb2 import XpSource

from services.gamification import store as sql
from services.gamification.board_api import BoardApi
from services.gamification.deeds import list_achievements
from services.gamification.model import check_award
from services.gamification.progress import check_in, gain_xp
from services.gamification.shard_api import ShardApi
from services.runtime.call import Call
from services.runtime.errors import InvalidArgument
from services.runtime.paging import page_key, page_size, page_token
from services.runtime.store import Store
from services.runtime.transaction import Tx


class GamificationApi(BoardApi, ShardApi):
    """Serves the rpcs of gamification."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get_progression(self, request: pb.GetProgressionRequest, call: Call) -> pb.GetProgressionResponse:
        at_ms = self._store.clock()
        progression = await self._store.read(lambda db: sql.progression_message(db, request.user_id, at_ms=at_ms))
        return pb.GetProgressionResponse(progression=progression)

    async def award_xp(self, request: pb.AwardXpRequest, call: Call) -> pb.AwardXpResponse:
        check_award(request.xp)

        def work(tx: Tx) -> pb.AwardXpResponse:
            gain_xp(tx, request.user_id, request.xp, source=XpSource.XP_SOURCE_AWARD)
            return pb.AwardXpResponse(progression=sql.progression_message(tx, request.user_id, at_ms=tx.now_ms))

        return await call.write(self._store, work)

    async def check_in(self, request: pb.CheckInRequest, call: Call) -> pb.CheckInResponse:
        def work(tx: Tx) -> pb.CheckInResponse:
            streak_days, xp = check_in(tx, request.user_id)
            return pb.CheckInResponse(
                streak_days=streak_days,
                xp=xp,
                progression=sql.progression_message(tx, request.user_id, at_ms=tx.now_ms),
            )

        return await call.write(self._store, work)

    async def list_achievements(self, request: pb.ListAchievementsRequest, call: Call) -> pb.ListAchievementsResponse:
        size, key = page_size(request.page_size), page_key(request.page_token, str)
        found = await self._store.read(lambda db: list_achievements(db, request.user_id))
        ids = [each.achievement_id for each in found]
        if key and key[0] not in ids:
            raise InvalidArgument("page_token is not one that this list returned", field="page_token")
        after = ids.index(key[0]) + 1 if key else 0
        listed = [each for each in found[after:] if each.HasField("unlock_time") or not request.unlocked_only]
        return pb.ListAchievementsResponse(
            achievements=listed[:size],
            next_page_token=page_token(listed[size - 1].achievement_id) if len(listed) > size else "",
        )
