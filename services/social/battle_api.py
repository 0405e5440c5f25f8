"""The rpcs about battles: the challenge, its answer, and what is to be seen of it."""

from sqlite3 import Row

from astra.social.v1 import social_service_pb2 as pb
from astra.social.v1.battle_pb2 import Battle

from services.runtime.call import Call
from services.runtime.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from services.runtime.paging import page_key, page_size, page_token
from services.runtime.store import Store
from services.runtime.transaction import Reader, Tx
from services.social import battle_store as sql
from services.social import clan_store, settlement
from services.social.battles import BattleState, battle_type, check_match, check_state_filter, duration_seconds
from services.social.clans import Member, check_leads


class BattleApi:
    """Serves the part of SocialService that is about battles."""

    _store: Store

    async def challenge_clan(self, request: pb.ChallengeClanRequest, call: Call) -> pb.ChallengeClanResponse:
        kind = battle_type(request.type)
        seconds = duration_seconds(request.duration.seconds, request.duration.nanos, given=request.HasField("duration"))

        def work(tx: Tx) -> pb.ChallengeClanResponse:
            member, defender = _clan_of(tx, request.user_id), request.defender_clan_id
            check_leads(member)
            clan_store.load_clan(tx, defender)
            if member.clan_id == defender:
                raise InvalidArgument("a clan does not challenge itself", field="defender_clan_id")
            _check_no_open_battle(tx, member.clan_id, defender)
            _check_clans(tx, member.clan_id, defender)
            battle_id = settlement.challenge(tx, member.clan_id, defender, kind, seconds)
            return pb.ChallengeClanResponse(battle=_whole(tx, battle_id))

        return await call.write(self._store, work)

    async def accept_battle(self, request: pb.AcceptBattleRequest, call: Call) -> pb.AcceptBattleResponse:
        def work(tx: Tx) -> pb.AcceptBattleResponse:
            battle = sql.load_battle(tx, request.battle_id)
            _check_speaks_for(tx, request.user_id, [battle["defender_clan_id"]])
            _check_pending(tx, battle)
            _check_clans(tx, battle["challenger_clan_id"], battle["defender_clan_id"])
            settlement.begin(tx, request.battle_id)
            return pb.AcceptBattleResponse(battle=_whole(tx, request.battle_id))

        return await call.write(self._store, work)

    async def decline_battle(self, request: pb.DeclineBattleRequest, call: Call) -> pb.DeclineBattleResponse:
        def work(tx: Tx) -> pb.DeclineBattleResponse:
            battle = sql.load_battle(tx, request.battle_id)
            sides = [battle["challenger_clan_id"], battle["defender_clan_id"]]
            member = _check_speaks_for(tx, request.user_id, sides)
            _check_pending(tx, battle)
            withdrawn = member.clan_id == battle["challenger_clan_id"]
            sql.end_battle(tx, request.battle_id, BattleState.CANCELLED if withdrawn else BattleState.DECLINED)
            return pb.DeclineBattleResponse(battle=_whole(tx, request.battle_id))

        return await call.write(self._store, work)

    async def get_battle(self, request: pb.GetBattleRequest, call: Call) -> pb.GetBattleResponse:
        battle = await self._store.read(lambda db: _whole(db, request.battle_id))
        return pb.GetBattleResponse(battle=battle)

    async def list_battles(self, request: pb.ListBattlesRequest, call: Call) -> pb.ListBattlesResponse:
        size, key = page_size(request.page_size), page_key(request.page_token, int, str)
        check_state_filter(request.state)
        before = (key[0], key[1]) if key else None

        def query(db: Reader) -> pb.ListBattlesResponse:
            rows = sql.list_battles(db, request.clan_id, request.state, before=before, limit=size + 1)
            last = rows[size - 1] if len(rows) > size else None
            return pb.ListBattlesResponse(
                battles=[sql.battle_message(db, row) for row in rows[:size]],
                next_page_token=page_token(last["create_ms"], last["battle_id"]) if last else "",
            )

        return await self._store.read(query)


def _whole(db: Reader, battle_id: str) -> Battle:
    return sql.battle_message(db, sql.load_battle(db, battle_id), with_fighters=True)


def _clan_of(tx: Tx, user_id: str) -> Member:
    """Returns a user's place in its clan. Raises `FailedPrecondition` `NOT_IN_CLAN`."""
    member = clan_store.find_member(tx, user_id)
    if member is None:
        raise FailedPrecondition("only clans fight; join one or create one", reason="NOT_IN_CLAN", user_id=user_id)
    return member


def _check_speaks_for(tx: Tx, user_id: str, clan_ids: list[str]) -> Member:
    """Returns the place of a user who may answer for one of the clans.

    Raises `FailedPrecondition` `NOT_IN_CLAN` for a member of neither, `PermissionDenied` for one without the role.
    """
    member = _clan_of(tx, user_id)
    if member.clan_id not in clan_ids:
        raise FailedPrecondition(
            f"user {user_id} is no member of the clan that is asked", reason="NOT_IN_CLAN", user_id=user_id
        )
    check_leads(member)
    return member


def _check_pending(tx: Tx, battle: Row) -> None:
    """Raises `FailedPrecondition` `BATTLE_NOT_PENDING`, also for a challenge that has lapsed this very moment."""
    state = BattleState(battle["state"])
    if state is BattleState.PENDING and battle["expire_ms"] <= tx.now_ms:
        state = BattleState.EXPIRED
    if state is not BattleState.PENDING:
        raise FailedPrecondition(
            f"the battle is {state.name.lower()}; make a new challenge", reason="BATTLE_NOT_PENDING", state=state.name
        )


def _check_no_open_battle(tx: Tx, clan_id: str, other_clan_id: str) -> None:
    """Raises `AlreadyExists` `BATTLE_ALREADY_OPEN` for two clans with a battle; a lapsed challenge is none."""
    open_battle = sql.find_open_battle(tx, clan_id, other_clan_id)
    if open_battle is None:
        return
    battle_id, pending = open_battle["battle_id"], open_battle["state"] == BattleState.PENDING
    if pending and open_battle["expire_ms"] <= tx.now_ms:
        settlement.expire_challenge(tx, battle_id)
        return
    raise AlreadyExists(
        f"the two clans have the battle {battle_id} already; {'answer it' if pending else 'wait for its end'}",
        reason="BATTLE_ALREADY_OPEN",
        battle_id=battle_id,
    )


def _check_clans(tx: Tx, challenger: str, defender: str) -> None:
    clans = [clan_store.load_clan(tx, clan_id) for clan_id in (challenger, defender)]
    check_match([clan["rating"] for clan in clans], [clan["member_count"] for clan in clans])
