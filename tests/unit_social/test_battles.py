"""Battles from the challenge to the settlement, by a clock that is moved."""

import asyncio
import random

import grpc
import pytest
from astra.social.v1 import social_service_pb2 as pb
from astra.social.v1.battle_pb2 import Battle, BattleState
from astra.social.v1.clan_pb2 import ClanRole
from astra.social.v1.events_pb2 import ClanBattleCompleted
from astra.trading.v1.events_pb2 import ClanBattleScoreUpdated
from astra.type.v1.money_pb2 import Money

from services.social.battles import SETTLE_AFTER_MS
from services.social.model import HOUR_MS
from tests.serving import as_user, reason_of
from tests.unit_gamification.deliveries import Stream, names, react, recorded
from tests.unit_social.conftest import START_MS, Circle

GROUP = "clan_battle_processors"
DAY_MS = 24 * HOUR_MS
PENDING, ACTIVE, COMPLETED, DECLINED, EXPIRED, CANCELLED = BattleState.values()[1:]


def score(battle: Battle, user_id: str, value: str) -> ClanBattleScoreUpdated:
    return ClanBattleScoreUpdated(battle_id=battle.battle_id, user_id=user_id, trade_id="t", score=value)


async def refused(call: object, request: object, user_id: str) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(request, metadata=as_user(user_id))  # type: ignore[operator]
    return caught.value.code().name, reason_of(caught.value)


async def challenge(circle: Circle, user_id: str, defender: str, **fields: object) -> Battle:
    request = pb.ChallengeClanRequest(defender_clan_id=defender, type=1, **fields)  # type: ignore[arg-type]
    battle = (await circle.stub.ChallengeClan(request, metadata=as_user(user_id))).battle
    assert isinstance(battle, Battle)
    return battle


async def completed(circle: Circle) -> list[ClanBattleCompleted]:
    told = [each for each in await recorded(circle.domain.store) if each.type.endswith("ClanBattleCompleted")]
    return [ClanBattleCompleted.FromString(each.data) for each in told]


async def test_a_battle_from_its_challenge_to_its_settlement(circle: Circle) -> None:
    challenger, defender = await circle.clan("a"), await circle.clan("d", 6)
    battle = await challenge(circle, "a0", defender)
    assert (battle.state, battle.duration.seconds, battle.HasField("start_time")) == (PENDING, 86_400, False)
    assert battle.expire_time.ToMilliseconds() == START_MS + DAY_MS
    circle.now[0] += HOUR_MS
    accept = pb.AcceptBattleRequest(battle_id=battle.battle_id)
    battle = (await circle.stub.AcceptBattle(accept, metadata=as_user("d0"))).battle
    start_ms, end_ms = START_MS + HOUR_MS, START_MS + HOUR_MS + DAY_MS
    assert (battle.start_time.ToMilliseconds(), battle.end_time.ToMilliseconds()) == (start_ms, end_ms)
    assert (battle.state, len(battle.fighters)) == (ACTIVE, 11)
    assert battle.pot == Money(currency_code="SHARDS", amount="220")
    stream = Stream()
    scores = [("a0", "10.00", start_ms), ("d5", "30.00", start_ms + 1), ("a1", "50.00", end_ms - 1)]
    for user_id, value, at_ms in scores:
        await react(circle.domain, GROUP, stream.delivery(score(battle, user_id, value), ms=at_ms))
    circle.now[0] = end_ms + SETTLE_AFTER_MS - 1
    assert await circle.fire_due() == 1  # the challenge's own timer: it has been accepted
    assert (await circle.get_battle(battle.battle_id)).state == ACTIVE
    circle.now[0] += 1
    assert await circle.fire_due() == 1
    battle = await circle.get_battle(battle.battle_id)
    assert (battle.state, battle.winner_clan_id) == (COMPLETED, challenger)
    assert (battle.challenger_score, battle.defender_score) == ("60.00", "30.00")
    rewards = {each.user_id: int(each.reward.amount) for each in battle.fighters if each.reward.amount != "0"}
    assert rewards == {"a0": 29, "a1": 147, "d5": 44}
    [event] = await completed(circle)
    assert event.winner_clan_id == challenger
    assert (event.challenger_clan_id, event.defender_clan_id) == (challenger, defender)
    assert {share.user_id: int(share.amount.amount) for share in event.shares} == rewards
    winner, loser = await circle.get_clan(challenger), await circle.get_clan(defender)
    assert (winner.rating, winner.wins, loser.rating, loser.losses) == (1020, 1, 990, 1)
    assert await circle.fire_due() == 0


async def test_a_draw_moves_no_rating_and_halves_the_pot(circle: Circle) -> None:
    battle = await circle.battle()
    stream = Stream()
    for user_id in ("a1", "d1"):
        await react(circle.domain, GROUP, stream.delivery(score(battle, user_id, "7.50"), ms=START_MS + 1))
    circle.now[0] += DAY_MS + SETTLE_AFTER_MS
    await circle.fire_due()
    [event] = await completed(circle)
    assert event.winner_clan_id == ""
    assert {share.user_id: share.amount.amount for share in event.shares} == {"a1": "100", "d1": "100"}
    for clan_id in (battle.challenger_clan_id, battle.defender_clan_id):
        clan = await circle.get_clan(clan_id)
        assert (clan.rating, clan.draws) == (1000, 1)


@pytest.mark.parametrize(("kind", "shown"), [(1, "10.00"), (2, "8.00"), (3, "12.00")])
async def test_a_types_multiplier_scales_scores(circle: Circle, kind: int, shown: str) -> None:
    battle = await circle.battle(kind)
    await react(circle.domain, GROUP, Stream().delivery(score(battle, "a0", "10.00"), ms=START_MS))
    battle = await circle.get_battle(battle.battle_id)
    assert (battle.challenger_score, battle.fighters[0].score) == (shown, shown)


@pytest.mark.parametrize("seed", range(4))
async def test_the_highest_ordinal_counts_whatever_the_order_and_repeats(circle: Circle, seed: int) -> None:
    battle = await circle.battle()
    stream, luck = Stream(), random.Random(seed)
    told = [("a0", "90.00"), ("d0", "5.00"), ("a0", "20.00"), ("d1", "6.00"), ("a0", "40.00")]
    deliveries = [
        stream.delivery(score(battle, user_id, value), ms=START_MS + at) for at, (user_id, value) in enumerate(told)
    ]
    for _ in range(2):
        luck.shuffle(deliveries)
        await react(circle.domain, GROUP, *deliveries)
    battle = await circle.get_battle(battle.battle_id)
    assert (battle.challenger_score, battle.defender_score) == ("40.00", "11.00")
    assert [each.user_id for each in battle.fighters][:3] == ["a0", "d1", "d0"]


async def test_scores_out_of_time_or_of_others_do_not_count(circle: Circle) -> None:
    circle.now[0] += 10
    battle = await circle.battle()
    late_comer = pb.JoinClanRequest(clan_id=battle.challenger_clan_id)
    await circle.stub.JoinClan(late_comer, metadata=as_user("late"))
    leaver = pb.LeaveClanRequest(clan_id=battle.challenger_clan_id)
    await circle.stub.LeaveClan(leaver, metadata=as_user("a4"))
    stream, end_ms = Stream(), battle.end_time.ToMilliseconds()
    for user_id, at_ms in [
        ("a0", battle.start_time.ToMilliseconds() - 1),
        ("a1", end_ms),
        ("late", START_MS + 20),
        ("stranger", START_MS + 20),
        ("a4", START_MS + 20),  # has left, and fights to the end
    ]:
        await react(circle.domain, GROUP, stream.delivery(score(battle, user_id, "5.00"), ms=at_ms))
    nowhere = ClanBattleScoreUpdated(battle_id="none", user_id="a0", score="9.00")
    await react(circle.domain, GROUP, stream.delivery(nowhere, ms=START_MS + 20))
    assert (await circle.get_battle(battle.battle_id)).challenger_score == "5.00"
    circle.now[0] = end_ms + SETTLE_AFTER_MS
    await circle.fire_due()
    await react(circle.domain, GROUP, stream.delivery(score(battle, "d0", "99.00"), ms=end_ms - 1))
    assert (await circle.get_battle(battle.battle_id)).defender_score == "0.00"  # settled is settled


async def test_who_may_challenge_whom(circle: Circle) -> None:
    large, other, small = await circle.clan("a"), await circle.clan("d"), await circle.clan("s", 4)
    call, before = circle.stub.ChallengeClan, len(await recorded(circle.domain.store))
    other_request = pb.ChallengeClanRequest(defender_clan_id=other, type=1)  # type: ignore[arg-type]
    assert await refused(call, other_request, "a1") == ("PERMISSION_DENIED", "CLAN_ROLE_REQUIRED")
    assert await refused(call, other_request, "nobody") == ("FAILED_PRECONDITION", "NOT_IN_CLAN")
    small_request = pb.ChallengeClanRequest(defender_clan_id=small, type=1)  # type: ignore[arg-type]
    assert await refused(call, small_request, "a0") == ("FAILED_PRECONDITION", "CLAN_TOO_SMALL")
    assert await refused(call, other_request, "s0") == ("FAILED_PRECONDITION", "CLAN_TOO_SMALL")
    own_request = pb.ChallengeClanRequest(defender_clan_id=large, type=1)  # type: ignore[arg-type]
    assert await refused(call, own_request, "a0") == ("INVALID_ARGUMENT", "INVALID_FIELD")
    none = pb.ChallengeClanRequest(defender_clan_id="none", type=1)  # type: ignore[arg-type]
    assert await refused(call, none, "a0") == ("NOT_FOUND", "CLAN_NOT_FOUND")
    await circle.domain.store.write(lambda tx: tx.execute("UPDATE clan SET rating = 1501 WHERE clan_id = ?", other))
    assert await refused(call, other_request, "a0") == ("FAILED_PRECONDITION", "RATING_GAP_TOO_WIDE")
    assert len(await recorded(circle.domain.store)) == before
    promote = pb.SetClanRoleRequest(clan_id=large, member_user_id="a1", role=ClanRole.CLAN_ROLE_ADMIN)
    await circle.stub.SetClanRole(promote, metadata=as_user("a0"))
    await circle.domain.store.write(lambda tx: tx.execute("UPDATE clan SET rating = 1500 WHERE clan_id = ?", other))
    assert (await challenge(circle, "a1", other)).state == PENDING


async def test_two_clans_have_one_open_battle_at_a_time(circle: Circle) -> None:
    battle = await circle.battle()
    for user_id, defender in (("a0", battle.defender_clan_id), ("d0", battle.challenger_clan_id)):
        request = pb.ChallengeClanRequest(defender_clan_id=defender, type=2)  # type: ignore[arg-type]
        assert await refused(circle.stub.ChallengeClan, request, user_id) == ("ALREADY_EXISTS", "BATTLE_ALREADY_OPEN")
    third = await circle.clan("e")
    assert (await challenge(circle, "a0", third)).state == PENDING
    circle.now[0] += DAY_MS + SETTLE_AFTER_MS
    await circle.fire_due()
    assert (await challenge(circle, "d0", battle.challenger_clan_id)).state == PENDING


@pytest.mark.parametrize(("user_id", "state"), [("d0", DECLINED), ("a0", CANCELLED)])
async def test_a_challenge_is_declined_or_withdrawn(circle: Circle, user_id: str, state: BattleState) -> None:
    await circle.clan("a")
    defender = await circle.clan("d")
    battle = await challenge(circle, "a0", defender)
    decline = pb.DeclineBattleRequest(battle_id=battle.battle_id)
    assert await refused(circle.stub.DeclineBattle, decline, "d1") == ("PERMISSION_DENIED", "CLAN_ROLE_REQUIRED")
    assert (await circle.stub.DeclineBattle(decline, metadata=as_user(user_id))).battle.state == state
    accept = pb.AcceptBattleRequest(battle_id=battle.battle_id)
    assert await refused(circle.stub.AcceptBattle, accept, "d0") == ("FAILED_PRECONDITION", "BATTLE_NOT_PENDING")
    assert (await challenge(circle, "a0", defender)).state == PENDING


async def test_a_challenge_lapses_after_a_day_even_before_its_timer_fires(circle: Circle) -> None:
    await circle.clan("a")
    defender = await circle.clan("d")
    battle = await challenge(circle, "a0", defender)
    accept = pb.AcceptBattleRequest(battle_id=battle.battle_id)
    assert await refused(circle.stub.AcceptBattle, accept, "a0") == ("FAILED_PRECONDITION", "NOT_IN_CLAN")
    circle.now[0] = START_MS + DAY_MS
    assert await refused(circle.stub.AcceptBattle, accept, "d0") == ("FAILED_PRECONDITION", "BATTLE_NOT_PENDING")
    again = await challenge(circle, "a0", defender)
    assert (await circle.get_battle(battle.battle_id)).state == EXPIRED
    await circle.fire_due()
    assert (await circle.get_battle(again.battle_id)).state == PENDING
    circle.now[0] += DAY_MS
    await circle.fire_due()
    assert (await circle.get_battle(again.battle_id)).state == EXPIRED


async def test_an_acceptance_looks_at_the_clans_again(circle: Circle) -> None:
    await circle.clan("a")
    defender = await circle.clan("d")
    battle = await challenge(circle, "a0", defender)
    await circle.stub.LeaveClan(pb.LeaveClanRequest(clan_id=defender), metadata=as_user("d4"))
    accept = pb.AcceptBattleRequest(battle_id=battle.battle_id)
    assert await refused(circle.stub.AcceptBattle, accept, "d0") == ("FAILED_PRECONDITION", "CLAN_TOO_SMALL")
    for n in range(4):
        await circle.stub.LeaveClan(pb.LeaveClanRequest(clan_id=defender), metadata=as_user(f"d{n}"))
    assert (await circle.get_battle(battle.battle_id)).state == CANCELLED


async def test_64_callers_open_one_battle_and_accept_it_once(circle: Circle) -> None:
    sides = (await circle.clan("a"), await circle.clan("d"))
    requests = [pb.ChallengeClanRequest(defender_clan_id=sides[n % 2], type=1) for n in range(64)]  # type: ignore[arg-type]
    outcomes = await asyncio.gather(
        *(
            circle.stub.ChallengeClan(each, metadata=as_user("d0" if each.defender_clan_id == sides[0] else "a0"))
            for each in requests
        ),
        return_exceptions=True,
    )
    [opened] = [each.battle for each in outcomes if not isinstance(each, BaseException)]
    assert {reason_of(each) for each in outcomes if isinstance(each, grpc.aio.AioRpcError)} == {"BATTLE_ALREADY_OPEN"}
    accept = pb.AcceptBattleRequest(battle_id=opened.battle_id)
    owner = "a0" if opened.defender_clan_id == sides[0] else "d0"
    accepted = await asyncio.gather(
        *(circle.stub.AcceptBattle(accept, metadata=as_user(owner)) for _ in range(64)), return_exceptions=True
    )
    assert sum(not isinstance(each, BaseException) for each in accepted) == 1
    assert len((await circle.get_battle(opened.battle_id)).fighters) == 10


async def test_pages_of_battles_follow_each_other_and_filters_narrow_them(circle: Circle) -> None:
    sides = {name: await circle.clan(name) for name in "abcd"}
    opened = []
    for user_id, defender in (("a0", "b"), ("a0", "c"), ("b0", "c"), ("a0", "d")):
        opened.append((await challenge(circle, user_id, sides[defender])).battle_id)
        circle.now[0] += 1
    await circle.stub.DeclineBattle(pb.DeclineBattleRequest(battle_id=opened[1]), metadata=as_user("a0"))

    async def listed(**fields: object) -> list[int]:
        request, found = pb.ListBattlesRequest(page_size=2, **fields), []  # type: ignore[arg-type]
        while True:
            response = await circle.stub.ListBattles(request, metadata=as_user("reader"))
            found += [opened.index(each.battle_id) for each in response.battles]
            request.page_token = response.next_page_token
            if not request.page_token:
                return found

    assert await listed() == [3, 2, 1, 0]
    assert await listed(clan_id=sides["a"]) == [3, 1, 0]
    assert await listed(clan_id=sides["c"], state=PENDING) == [2]
    assert await listed(state=CANCELLED) == [1]
    assert names(await recorded(circle.domain.store)).count("ClanBattleCompleted") == 0
