"""SocialService: proto in, model call, proto out."""

from astra.social.v1 import events_pb2 as events
from astra.social.v1 import social_service_pb2 as pb

from services.runtime.call import Call
from services.runtime.paging import page_key, page_size, page_token
from services.runtime.store import Store
from services.runtime.transaction import Tx
from services.social import store as sql
from services.social.model import INFLUENCE, check_hour, check_interaction, requested_kind


class SocialApi:
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
            if sql.open_profile(tx, user_id):
                tx.record(events.SocialProfileCreated(user_id=user_id), cause=interacted)
            sql.count_interaction(tx, user_id)
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
