"""Clans: names, roles, coming and going."""

import asyncio
from collections.abc import Callable

import grpc
import pytest
from astra.social.v1 import social_service_pb2 as pb
from astra.social.v1.clan_pb2 import ClanRole
from astra.social.v1.events_pb2 import ClanMemberJoined

from services.runtime.errors import InvalidArgument, MeshError
from services.social.clans import Member, Role, check_clan, check_removal, check_role_change, name_key, successor
from tests.serving import as_user, reason_of
from tests.unit_gamification.deliveries import names, recorded
from tests.unit_social.conftest import Circle

OWNER, ADMIN, MEMBER, RECRUIT = Role


def member(user_id: str, role: Role, join_ms: int = 0) -> Member:
    return Member(user_id=user_id, clan_id="c", role=role, join_ms=join_ms)


@pytest.mark.parametrize("name", ["abc", "A-Team", "Ann's 3rd_Clan", "Ölfass", "x" * 30, "宇宙の旅人"])
def test_a_good_name_is_taken(name: str) -> None:
    check_clan(name, "")


@pytest.mark.parametrize("name", ["ab", "x" * 31, " abc", "abc ", "a  b", "a/b", "-abc", "abc_", "a\nbc", "a<b>c"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_clan(name, "")
    assert caught.value.field == "name"


@pytest.mark.parametrize(
    ("name", "same"), [("Abc", "aBC"), ("Straße", "STRASSE"), ("ＡＢＣ", "abc"), ("é1x", "e\u03011x")]
)
def test_names_are_the_same_whatever_the_case(name: str, same: str) -> None:
    assert name_key(name) == name_key(same)


@pytest.mark.parametrize(
    ("actor", "target", "role", "reason"),
    [
        (OWNER, RECRUIT, MEMBER, None),
        (OWNER, RECRUIT, ADMIN, None),
        (OWNER, ADMIN, OWNER, None),
        (OWNER, ADMIN, RECRUIT, None),
        (ADMIN, RECRUIT, MEMBER, None),
        (ADMIN, MEMBER, RECRUIT, None),
        (ADMIN, MEMBER, ADMIN, "CLAN_ROLE_REQUIRED"),
        (ADMIN, ADMIN, MEMBER, "CLAN_ROLE_REQUIRED"),
        (ADMIN, OWNER, MEMBER, "CLAN_ROLE_REQUIRED"),
        (ADMIN, MEMBER, OWNER, "CLAN_ROLE_REQUIRED"),
        (MEMBER, RECRUIT, MEMBER, "CLAN_ROLE_REQUIRED"),
        (RECRUIT, MEMBER, RECRUIT, "CLAN_ROLE_REQUIRED"),
    ],
)
def test_who_gives_which_role(actor: Role, target: Role, role: Role, reason: str | None) -> None:
    assert refusal(lambda: check_role_change(member("a", actor), member("t", target), role)) == reason


@pytest.mark.parametrize(
    ("actor", "target", "reason"),
    [
        (OWNER, ADMIN, None),
        (OWNER, RECRUIT, None),
        (ADMIN, MEMBER, None),
        (ADMIN, RECRUIT, None),
        (ADMIN, ADMIN, "CLAN_ROLE_REQUIRED"),
        (ADMIN, OWNER, "CLAN_ROLE_REQUIRED"),
        (MEMBER, RECRUIT, "CLAN_ROLE_REQUIRED"),
        (RECRUIT, RECRUIT, "CLAN_ROLE_REQUIRED"),
    ],
)
def test_who_removes_whom(actor: Role, target: Role, reason: str | None) -> None:
    assert refusal(lambda: check_removal(member("a", actor), member("t", target))) == reason


def refusal(check: Callable[[], None]) -> str | None:
    try:
        check()
    except MeshError as error:
        return error.reason
    return None


@pytest.mark.parametrize(
    ("left", "owner"),
    [
        ([], None),
        ([member("r", RECRUIT, 1), member("m", MEMBER, 9)], "m"),
        ([member("m", MEMBER, 1), member("late", ADMIN, 9), member("early", ADMIN, 5)], "early"),
        ([member("b", RECRUIT, 1), member("a", RECRUIT, 1)], "a"),
    ],
)
def test_the_longest_standing_of_the_highest_role_follows_the_owner(left: list[Member], owner: str | None) -> None:
    found = successor(left)
    assert (found.user_id if found else None) == owner


async def refused(call: object, request: object, user_id: str) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(request, metadata=as_user(user_id))  # type: ignore[operator]
    return caught.value.code().name, reason_of(caught.value)


async def test_a_clan_begins_with_its_owner_and_grows_by_recruits(circle: Circle) -> None:
    request = pb.CreateClanRequest(name="The Ants", description="small but many")
    clan = (await circle.stub.CreateClan(request, metadata=as_user("ann"))).clan
    assert (clan.name, clan.description, clan.rating, clan.member_count) == ("The Ants", "small but many", 1000, 1)
    circle.now[0] += 5
    joined = (await circle.stub.JoinClan(pb.JoinClanRequest(clan_id=clan.clan_id), metadata=as_user("ben"))).clan
    assert [(each.user_id, ClanRole.Name(each.role)) for each in joined.members] == [
        ("ann", "CLAN_ROLE_OWNER"),
        ("ben", "CLAN_ROLE_RECRUIT"),
    ]
    assert await circle.get_clan(clan.clan_id) == joined
    assert (await circle.profile("ben")).clan_id == clan.clan_id
    told = await recorded(circle.domain.store)
    assert names(told) == ["ClanMemberJoined", "SocialProfileCreated"] * 2
    assert told[1].causation_id == told[0].id
    assert ClanMemberJoined.FromString(told[2].data) == ClanMemberJoined(
        clan_id=clan.clan_id, user_id="ben", member_count=2
    )


async def test_what_clans_refuse(circle: Circle) -> None:
    clan_id = await circle.clan("a", 2)
    other_id = await circle.clan("b", 1)
    stub = circle.stub
    before = len(await recorded(circle.domain.store))
    taken = pb.CreateClanRequest(name="CLAN a")
    assert await refused(stub.CreateClan, taken, "x") == ("ALREADY_EXISTS", "CLAN_NAME_TAKEN")
    again = pb.CreateClanRequest(name="Another")
    assert await refused(stub.CreateClan, again, "a1") == ("FAILED_PRECONDITION", "ALREADY_IN_CLAN")
    join = pb.JoinClanRequest(clan_id=other_id)
    assert await refused(stub.JoinClan, join, "a1") == ("FAILED_PRECONDITION", "ALREADY_IN_CLAN")
    assert await refused(stub.JoinClan, pb.JoinClanRequest(clan_id="none"), "x") == ("NOT_FOUND", "CLAN_NOT_FOUND")
    leave = pb.LeaveClanRequest(clan_id=other_id)
    assert await refused(stub.LeaveClan, leave, "a1") == ("FAILED_PRECONDITION", "NOT_IN_CLAN")
    assert await refused(stub.GetClan, pb.GetClanRequest(clan_id="none"), "x") == ("NOT_FOUND", "CLAN_NOT_FOUND")
    role = pb.SetClanRoleRequest(clan_id=clan_id, member_user_id="a0", role=ClanRole.CLAN_ROLE_ADMIN)
    assert await refused(stub.SetClanRole, role, "a1") == ("PERMISSION_DENIED", "CLAN_ROLE_REQUIRED")
    assert await refused(stub.SetClanRole, role, "a0") == ("INVALID_ARGUMENT", "INVALID_FIELD")
    stranger = pb.RemoveClanMemberRequest(clan_id=clan_id, member_user_id="b0")
    assert await refused(stub.RemoveClanMember, stranger, "a0") == ("FAILED_PRECONDITION", "NOT_IN_CLAN")
    assert len(await recorded(circle.domain.store)) == before


async def test_an_owner_hands_over_removes_and_leaves(circle: Circle) -> None:
    clan_id = await circle.clan("a", 4)
    hand_over = pb.SetClanRoleRequest(clan_id=clan_id, member_user_id="a2", role=ClanRole.CLAN_ROLE_OWNER)
    clan = (await circle.stub.SetClanRole(hand_over, metadata=as_user("a0"))).clan
    assert [(each.user_id, each.role) for each in clan.members] == [("a2", 1), ("a0", 2), ("a1", 4), ("a3", 4)]
    remove = pb.RemoveClanMemberRequest(clan_id=clan_id, member_user_id="a3")
    assert (await circle.stub.RemoveClanMember(remove, metadata=as_user("a0"))).clan.member_count == 3
    left = await circle.stub.LeaveClan(pb.LeaveClanRequest(clan_id=clan_id), metadata=as_user("a2"))
    assert (left.owner_user_id, left.member_count) == ("a0", 2)
    assert (await circle.get_clan(clan_id)).members[0].role == ClanRole.CLAN_ROLE_OWNER


async def test_the_last_to_leave_dissolves_the_clan_and_frees_its_name(circle: Circle) -> None:
    clan_id = await circle.clan("a", 1)
    left = await circle.stub.LeaveClan(pb.LeaveClanRequest(clan_id=clan_id), metadata=as_user("a0"))
    assert (left.owner_user_id, left.member_count) == ("", 0)
    request = pb.GetClanRequest(clan_id=clan_id)
    assert await refused(circle.stub.GetClan, request, "x") == ("NOT_FOUND", "CLAN_NOT_FOUND")
    assert await circle.clan("a", 1) != clan_id


async def test_64_callers_fill_a_clan_to_200_and_no_further(circle: Circle) -> None:
    clan_id = await circle.clan("a", 160)
    join = pb.JoinClanRequest(clan_id=clan_id)
    outcomes = await asyncio.gather(
        *(circle.stub.JoinClan(join, metadata=as_user(f"late{n}")) for n in range(64)), return_exceptions=True
    )
    refusals = [each for each in outcomes if isinstance(each, grpc.aio.AioRpcError)]
    assert (len(outcomes) - len(refusals), {reason_of(each) for each in refusals}) == (40, {"CLAN_FULL"})
    assert (await circle.get_clan(clan_id)).member_count == 200


async def test_64_callers_create_one_clan_of_a_name(circle: Circle) -> None:
    spellings = [("the bees", "THE BEES", "The Bees")[n % 3] for n in range(64)]
    outcomes = await asyncio.gather(
        *(
            circle.stub.CreateClan(pb.CreateClanRequest(name=name), metadata=as_user(f"u{n}"))
            for n, name in enumerate(spellings)
        ),
        return_exceptions=True,
    )
    refusals = [each for each in outcomes if isinstance(each, grpc.aio.AioRpcError)]
    assert (len(refusals), {reason_of(each) for each in refusals}) == (63, {"CLAN_NAME_TAKEN"})


async def test_pages_of_clans_follow_each_other_and_a_query_narrows_them(circle: Circle) -> None:
    ids = [await circle.clan(name, 1) for name in ("x1y", "x2y", "z3y", "x4y")]
    request, found = pb.ListClansRequest(page_size=2, query="N X"), []
    while True:
        response = await circle.stub.ListClans(request, metadata=as_user("reader"))
        found += [clan.clan_id for clan in response.clans]
        assert not any(clan.members for clan in response.clans)
        request.page_token = response.next_page_token
        if not request.page_token:
            break
    assert found == [ids[0], ids[1], ids[3]]
