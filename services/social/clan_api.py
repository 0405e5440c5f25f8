"""The rpcs about clans: who is in which, and in which role."""

from astra.social.v1 import events_pb2 as events
from astra.social.v1 import social_service_pb2 as pb

from services.runtime.call import Call
from services.runtime.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from services.runtime.paging import page_key, page_size, page_token
from services.runtime.store import Store
from services.runtime.transaction import Reader, Tx
from services.social import battle_store
from services.social import clan_store as sql
from services.social.clans import Member, Role, check_clan, check_removal, check_role_change, check_room, successor
from services.social.profiles import enter_social_life


class ClanApi:
    """Serves the part of SocialService that is about clans."""

    _store: Store

    async def create_clan(self, request: pb.CreateClanRequest, call: Call) -> pb.CreateClanResponse:
        check_clan(request.name, request.description)

        def work(tx: Tx) -> pb.CreateClanResponse:
            _check_free(tx, request.user_id)
            if sql.name_taken(tx, request.name):
                raise AlreadyExists(
                    f"the name {request.name!r} is taken; choose another one",
                    reason="CLAN_NAME_TAKEN",
                    name=request.name,
                )
            clan_id = sql.insert_clan(tx, request.name, request.description)
            _join(tx, request.user_id, clan_id, Role.OWNER)
            return pb.CreateClanResponse(clan=sql.whole_clan_message(tx, clan_id))

        return await call.write(self._store, work)

    async def join_clan(self, request: pb.JoinClanRequest, call: Call) -> pb.JoinClanResponse:
        def work(tx: Tx) -> pb.JoinClanResponse:
            clan = sql.load_clan(tx, request.clan_id)
            _check_free(tx, request.user_id)
            check_room(clan["member_count"])
            _join(tx, request.user_id, request.clan_id, Role.RECRUIT)
            return pb.JoinClanResponse(clan=sql.whole_clan_message(tx, request.clan_id))

        return await call.write(self._store, work)

    async def leave_clan(self, request: pb.LeaveClanRequest, call: Call) -> pb.LeaveClanResponse:
        def work(tx: Tx) -> pb.LeaveClanResponse:
            member = member_of(tx, request.user_id, request.clan_id)
            sql.delete_member(tx, request.user_id)
            left = sql.list_members(tx, request.clan_id)
            owner = successor(left)
            if owner is None:
                battle_store.cancel_challenges_of(tx, request.clan_id)
                sql.delete_clan(tx, request.clan_id)
                return pb.LeaveClanResponse()
            if member.role is Role.OWNER:
                sql.set_role(tx, owner.user_id, Role.OWNER)
            return pb.LeaveClanResponse(owner_user_id=owner.user_id, member_count=len(left))

        return await call.write(self._store, work)

    async def set_clan_role(self, request: pb.SetClanRoleRequest, call: Call) -> pb.SetClanRoleResponse:
        role = _role(request.role)

        def work(tx: Tx) -> pb.SetClanRoleResponse:
            actor = member_of(tx, request.user_id, request.clan_id)
            target = member_of(tx, request.member_user_id, request.clan_id)
            check_role_change(actor, target, role)
            if role is Role.OWNER:
                # Before the new owner is one: a clan never has two.
                sql.set_role(tx, actor.user_id, Role.ADMIN)
            sql.set_role(tx, target.user_id, role)
            return pb.SetClanRoleResponse(clan=sql.whole_clan_message(tx, request.clan_id))

        return await call.write(self._store, work)

    async def remove_clan_member(self, request: pb.RemoveClanMemberRequest, call: Call) -> pb.RemoveClanMemberResponse:
        def work(tx: Tx) -> pb.RemoveClanMemberResponse:
            actor = member_of(tx, request.user_id, request.clan_id)
            check_removal(actor, member_of(tx, request.member_user_id, request.clan_id))
            sql.delete_member(tx, request.member_user_id)
            return pb.RemoveClanMemberResponse(clan=sql.whole_clan_message(tx, request.clan_id))

        return await call.write(self._store, work)

    async def get_clan(self, request: pb.GetClanRequest, call: Call) -> pb.GetClanResponse:
        clan = await self._store.read(lambda db: sql.whole_clan_message(db, request.clan_id))
        return pb.GetClanResponse(clan=clan)

    async def list_clans(self, request: pb.ListClansRequest, call: Call) -> pb.ListClansResponse:
        size, key = page_size(request.page_size), page_key(request.page_token, int, str)
        after = (key[0], key[1]) if key else None
        rows = await self._store.read(lambda db: sql.list_clans(db, request.query, after=after, limit=size + 1))
        last = rows[size - 1] if len(rows) > size else None
        return pb.ListClansResponse(
            clans=map(sql.clan_message, rows[:size]),
            next_page_token=page_token(last["rating"], last["clan_id"]) if last else "",
        )


def member_of(db: Reader, user_id: str, clan_id: str) -> Member:
    """Returns a user's place in a clan. Raises `NotFound` without the clan, `FailedPrecondition` `NOT_IN_CLAN`."""
    sql.load_clan(db, clan_id)
    member = sql.find_member(db, user_id)
    if member is None or member.clan_id != clan_id:
        raise FailedPrecondition(
            f"user {user_id} is no member of the clan", reason="NOT_IN_CLAN", user_id=user_id, clan_id=clan_id
        )
    return member


def _check_free(tx: Tx, user_id: str) -> None:
    """Raises `FailedPrecondition` `ALREADY_IN_CLAN` for a user who is in a clan."""
    member = sql.find_member(tx, user_id)
    if member is not None:
        raise FailedPrecondition(
            "a user is in one clan at a time; leave the other one first",
            reason="ALREADY_IN_CLAN",
            clan_id=member.clan_id,
        )


def _join(tx: Tx, user_id: str, clan_id: str, role: Role) -> None:
    """Adds a member and tells of it."""
    sql.insert_member(tx, Member(user_id=user_id, clan_id=clan_id, role=role, join_ms=tx.now_ms))
    count = sql.load_clan(tx, clan_id)["member_count"]
    joined = tx.record(events.ClanMemberJoined(clan_id=clan_id, user_id=user_id, member_count=count))
    enter_social_life(tx, user_id, cause=joined)


def _role(value: int) -> Role:
    try:
        return Role(value)
    except ValueError:
        raise InvalidArgument(f"role must be one of {', '.join(role.name for role in Role)}", field="role") from None
