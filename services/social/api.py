"""SocialService: proto in, model call, proto out. This file has people and the feed; clans and battles have theirs."""

from collections.abc import AsyncIterator, Sequence

from astra.social.v1 import events_pb2 as events
from astra.social.v1 import social_service_pb2 as pb

from services.runtime.call import Call
from services.runtime.errors import InvalidArgument
from services.runtime.paging import page_key, page_size, page_token
from services.runtime.store import Store
from services.runtime.transaction import Reader, Tx
from services.runtime.watching import watch
from services.social import store as sql
from services.social.battle_api import BattleApi
from services.social.clan_api import ClanApi
from services.social.model import INFLUENCE, check_hour, check_interaction, requested_kind
from services.social.profiles import enter_social_life, move_rating

WATCH_PAGE = 100


class SocialApi(ClanApi, BattleApi):
    """Serves the rpcs of social."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get_social_profile(self, request: pb.GetSocialProfileRequest, call: Call) -> pb.GetSocialProfileResponse:
        profile = await self._store.read(lambda db: sql.profile_message(db, request.user_id))
        return pb.GetSocialProfileResponse(social_profile=profile)

    async def interact(self, request: pb.InteractRequest, call: Call) -> pb.InteractResponse:
        user_id, target_user_id, kind = request.user_id, request.target_user_id, requested_kind(request.kind)
        check_interaction(kind, user_id=user_id, target_user_id=target_user_id, text=request.text)

        def work(tx: Tx) -> pb.InteractResponse:
            check_hour(sql.interactions_of_last_hour(tx, user_id), tx.now_ms)
            interaction = sql.insert_interaction(
                tx, user_id=user_id, target_user_id=target_user_id, kind=kind, text=request.text, at_ms=tx.now_ms
            )
            interacted = tx.record(
                events.SocialInteraction(
                    interaction_id=interaction.interaction_id,
                    user_id=user_id,
                    target_user_id=target_user_id,
                    kind=interaction.kind,
                    influence=INFLUENCE[kind],
                )
            )
            enter_social_life(tx, user_id, cause=interacted)
            sql.count_interaction(tx, user_id)
            move_rating(tx, target_user_id, kind, cause=interacted)
            return pb.InteractResponse(interaction=interaction)

        return await call.write(self._store, work)

    async def list_feed(self, request: pb.ListFeedRequest, call: Call) -> pb.ListFeedResponse:
        size, key = page_size(request.page_size), page_key(request.page_token, int, str)
        before = (key[0], key[1]) if key else None
        rows = await self._store.read(lambda db: sql.list_feed(db, request.user_id, before=before, limit=size + 1))
        last = rows[size - 1] if len(rows) > size else None
        return pb.ListFeedResponse(
            feed_entries=map(sql.feed_entry_message, rows[:size]),
            next_page_token=page_token(last["create_ms"], last["feed_entry_id"]) if last else "",
        )

    async def watch_feed(self, request: pb.WatchFeedRequest, call: Call) -> AsyncIterator[pb.WatchFeedResponse]:
        start = _position(request.resume_token)
        if start is None:
            start = await self._store.read(sql.last_feed_seq)
            yield pb.WatchFeedResponse(resume_token=page_token(start))

        def query(db: Reader, seq: int) -> Sequence[tuple[int, pb.WatchFeedResponse]]:
            rows = sql.list_feed_after(db, request.user_id, seq, limit=WATCH_PAGE)
            return [
                (
                    row["seq"],
                    pb.WatchFeedResponse(feed_entry=sql.feed_entry_message(row), resume_token=page_token(row["seq"])),
                )
                for row in rows
            ]

        async for _, response in watch(self._store, query, start):
            yield response


def _position(resume_token: str) -> int | None:
    """Returns where to go on; None to begin now. Raises `InvalidArgument` for a token that no stream gave."""
    try:
        key = page_key(resume_token, int)
    except InvalidArgument:
        raise InvalidArgument("resume_token is not one that this stream gave", field="resume_token") from None
    return key[0] if key else None
