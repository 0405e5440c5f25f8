"""Clans and battles in every state, so that each rpc about them has a request that succeeds."""

import uuid
from typing import Any

from tests.story.rest import Scene, Session


async def clan_requests(stage: Scene, user: Session) -> dict[str, dict[str, Any]]:
    """Returns a request for every rpc about clans and battles, by its name, in an order in which all succeed.

    The user owns a clan that may challenge a second one and that two others have challenged.
    """
    run = uuid.uuid4().hex[:8]
    me, member = {"userId": user.user_id}, f"{run}-own"
    own = await found_clan(stage, f"{run} own", user.user_id, member)
    second, *_ = [await found_clan(stage, f"{run} {name}", f"{run}-{name}", f"{run}-{name}") for name in "bcd"]
    challenge = {"defenderClanId": own, "type": "BATTLE_TYPE_TRADING_DUEL"}
    to_accept, to_decline = [
        await stage.rest.post(
            f"/v1/clans/{own}:challenge",
            {"userId": f"{run}-{name}", "type": challenge["type"]},
            session=stage.admin,
        )
        for name in "cd"
    ]
    role = {**me, "clanId": own, "memberUserId": f"{member}1"}
    return {
        "CreateClan": {"userId": f"{run}-new", "name": f"{run} new"},
        "GetClan": {"clanId": own},
        "ListClans": {"query": run},
        "SetClanRole": {**role, "role": "CLAN_ROLE_MEMBER"},
        "ChallengeClan": {**me, **challenge, "defenderClanId": second},
        "AcceptBattle": {**me, "battleId": to_accept["battleId"]},
        "DeclineBattle": {**me, "battleId": to_decline["battleId"]},
        "GetBattle": {"battleId": to_accept["battleId"]},
        "ListBattles": {"clanId": own},
        "RemoveClanMember": role,
        "LeaveClan": {**me, "clanId": own},
        "JoinClan": {**me, "clanId": second},
    }


async def found_clan(stage: Scene, name: str, owner: str, member: str) -> str:
    """Founds a clan of five, the admin acting for all of them, and returns its id."""
    clan = await stage.rest.post("/v1/clans", {"userId": owner, "name": name}, session=stage.admin)
    clan_id: str = clan["clanId"]
    for n in range(1, 5):
        await stage.rest.post(f"/v1/clans/{clan_id}:join", {"userId": f"{member}{n}"}, session=stage.admin)
    return clan_id
