"""Profiles, verification tiers, suspension: what changes, who may, and what is told of it."""

import asyncio
from typing import Any

import grpc
import pytest
from astra.user.v1 import user_service_pb2 as pb
from astra.user.v1.events_pb2 import AccountStatusChanged, ProfileUpdated
from astra.user.v1.user_pb2 import User, UserState, VerificationTier
from google.protobuf.field_mask_pb2 import FieldMask

from services.domain import Domain
from services.user.access import raise_tier
from services.user.model import VerificationTier as Tier
from tests.serving import as_service, as_user, reason_of
from tests.unit_user.users import PASSWORD, HandClock, count, envelopes, registering, signing_in

ADMIN = as_user("root", "admin")


async def registered(stub: Any, username: str = "ann") -> User:
    user: User = (await stub.RegisterUser(registering(username))).user
    return user


async def refusal(call: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, reason_of(caught.value)


def named(domain: Domain, name: str) -> list[bytes]:
    return [envelope.data for envelope in envelopes(domain.store) if envelope.type == f"astra.user.v1.{name}"]


@pytest.mark.parametrize(
    ("paths", "given", "changed", "after"),
    [
        ([], {"display_name": "Ann B."}, ["display_name"], ("Ann B.", "")),
        (["bio"], {"display_name": "Ann B.", "bio": " I trade. "}, ["bio"], ("ann", "I trade.")),
        (["*"], {"display_name": "Ann B.", "bio": "I trade."}, ["display_name", "bio"], ("Ann B.", "I trade.")),
        (["display_name"], {"display_name": "ann"}, None, ("ann", "")),
        (["bio"], {}, None, ("ann", "")),
    ],
)
async def test_a_mask_says_what_changes(
    stub: Any,
    domain: Domain,
    paths: list[str],
    given: Any,
    changed: list[str] | None,
    after: tuple[str, str],
) -> None:
    me = as_user((await registered(stub)).user_id)
    request = pb.UpdateProfileRequest(user=User(**given), update_mask=FieldMask(paths=paths))
    if not given:  # the field must be there, also to empty what it names
        request.user.SetInParent()
    user = (await stub.UpdateProfile(request, metadata=me)).user
    assert (user.display_name, user.bio) == after
    told = [list(ProfileUpdated.FromString(data).changed_fields) for data in named(domain, "ProfileUpdated")]
    assert told == ([] if changed is None else [changed])


@pytest.mark.parametrize(
    ("paths", "given"),
    [
        (["email"], {"email": "other@example.org"}),
        (["roles"], {"display_name": "x"}),
        (["display_name"], {}),
        (["display_name"], {"display_name": "ann@example.org"}),
        (["bio"], {"bio": "x" * 301}),
        (["bio"], {"bio": "two\nlines"}),
        ([], {"title": "Level 99"}),
    ],
)
async def test_what_is_not_ones_own_to_change_is_refused(
    stub: Any, domain: Domain, paths: list[str], given: Any
) -> None:
    me = as_user((await registered(stub)).user_id)
    request = pb.UpdateProfileRequest(user=User(**given), update_mask=FieldMask(paths=paths))
    request.user.SetInParent()
    assert (await refusal(stub.UpdateProfile(request, metadata=me)))[0] == "INVALID_ARGUMENT"
    assert named(domain, "ProfileUpdated") == []


TIERS = list(Tier)


@pytest.mark.parametrize("now", TIERS)
@pytest.mark.parametrize("asked", TIERS)
async def test_tiers_only_rise(stub: Any, domain: Domain, now: Tier, asked: Tier) -> None:
    user = await registered(stub)
    if now > Tier.UNVERIFIED:
        await domain.store.write(lambda tx: raise_tier(tx, user.user_id, now))
    call = stub.VerifyUser(
        pb.VerifyUserRequest(user_id=user.user_id, tier=VerificationTier.Name(asked)), metadata=ADMIN
    )
    if asked > now:
        assert (await call).user.verification_tier == asked
        [told] = named(domain, "ProfileUpdated")
        assert list(ProfileUpdated.FromString(told).changed_fields) == ["verification_tier"]
    else:
        assert await refusal(call) == ("FAILED_PRECONDITION", "TIER_NOT_HIGHER")
        assert named(domain, "ProfileUpdated") == []


async def test_a_suspended_user_is_out_until_reactivated(stub: Any, domain: Domain, clock: HandClock) -> None:
    user = await registered(stub)
    session = await stub.Login(signing_in())
    suspend = pb.SuspendUserRequest(user_id=user.user_id, reason="spam", request_id="s1")
    reply = await stub.SuspendUser(suspend, metadata=ADMIN)
    assert reply.user.state == UserState.USER_STATE_SUSPENDED
    assert await stub.SuspendUser(suspend, metadata=ADMIN) == reply
    again = pb.SuspendUserRequest(user_id=user.user_id)
    assert await refusal(stub.SuspendUser(again, metadata=ADMIN)) == ("FAILED_PRECONDITION", "USER_SUSPENDED")
    assert await refusal(stub.Login(signing_in())) == ("PERMISSION_DENIED", "USER_SUSPENDED")
    refreshing = pb.RefreshSessionRequest(refresh_token=session.refresh_token)
    assert await refusal(stub.RefreshSession(refreshing)) == ("UNAUTHENTICATED", "SESSION_ENDED")
    reactivate = pb.ReactivateUserRequest(user_id=user.user_id)
    assert (await stub.ReactivateUser(reactivate, metadata=ADMIN)).user.state == UserState.USER_STATE_ACTIVE
    assert await refusal(stub.ReactivateUser(reactivate, metadata=ADMIN)) == (
        "FAILED_PRECONDITION",
        "USER_NOT_SUSPENDED",
    )
    assert await refusal(stub.RefreshSession(refreshing)) == ("UNAUTHENTICATED", "SESSION_ENDED")
    assert await stub.Login(signing_in())
    out, back = (AccountStatusChanged.FromString(data) for data in named(domain, "AccountStatusChanged"))
    assert (out.state, back.state) == (UserState.USER_STATE_SUSPENDED, UserState.USER_STATE_ACTIVE)
    assert out.not_before == back.not_before
    assert out.not_before.ToMilliseconds() > clock.ms
    assert not [data for data in named(domain, "AccountStatusChanged") if b"spam" in data]
    assert count(domain.store, "admin_audit") == 2


@pytest.mark.parametrize("rpc", ["VerifyUser", "SuspendUser", "ReactivateUser"])
async def test_nobody_is_nobody(stub: Any, rpc: str) -> None:
    request = getattr(pb, f"{rpc}Request")(user_id="nobody", **({"tier": 2} if rpc == "VerifyUser" else {}))
    assert await refusal(getattr(stub, rpc)(request, metadata=ADMIN)) == ("NOT_FOUND", "USER_NOT_FOUND")


async def test_an_admin_cannot_suspend_itself(stub: Any) -> None:
    call = stub.SuspendUser(pb.SuspendUserRequest(user_id="root"), metadata=ADMIN)
    assert await refusal(call) == ("FAILED_PRECONDITION", "CANNOT_SUSPEND_YOURSELF")


async def test_a_service_may_ask_for_a_user_and_is_not_shown_its_address(stub: Any) -> None:
    user = await registered(stub)
    shown = (await stub.GetUser(pb.GetUserRequest(user_id=user.user_id), metadata=as_service("trading"))).user
    assert shown.email == ""
    assert shown.verification_tier == VerificationTier.VERIFICATION_TIER_UNVERIFIED


async def test_64_callers_for_one_username_make_one_user(stub: Any, domain: Domain) -> None:
    requests = [
        pb.RegisterUserRequest(username=["ann", "ANN", "Ann"][n % 3], email=f"a{n}@example.org", password=PASSWORD)
        for n in range(64)
    ]
    answers = await asyncio.gather(*(stub.RegisterUser(request) for request in requests), return_exceptions=True)
    assert sum(isinstance(answer, pb.RegisterUserResponse) for answer in answers) == 1
    reasons = {reason_of(answer) for answer in answers if isinstance(answer, grpc.aio.AioRpcError)}
    assert reasons == {"USERNAME_TAKEN"}
    assert count(domain.store, "account") == 1
