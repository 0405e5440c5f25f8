"""Sessions: refresh tokens good once, ends that are final, and access that ends with a password or a suspension."""

import asyncio
import itertools
from typing import Any

import grpc
import jwt
import pytest
from astra.user.v1 import user_service_pb2 as pb
from astra.user.v1.events_pb2 import AccountChange, AccountStatusChanged
from astra.user.v1.user_pb2 import UserState

from services.domain import Domain
from services.runtime.context import Caller
from services.runtime.revocations import Revocations
from services.user.sessions import SESSION_MS
from services.user.signing_keys import TOKEN_MS
from tests.serving import as_user, reason_of
from tests.unit_user.users import PASSWORD, START_MS, HandClock, count, envelopes, registering, signing_in

ADMIN = as_user("root", "admin")
OTHER = "another-horse-8"


async def signed_in(stub: Any, username: str = "ann") -> pb.LoginResponse:
    await stub.RegisterUser(registering(username))
    reply: pb.LoginResponse = await stub.Login(signing_in(username))
    return reply


async def refresh(stub: Any, token: str) -> pb.RefreshSessionResponse:
    reply: pb.RefreshSessionResponse = await stub.RefreshSession(pb.RefreshSessionRequest(refresh_token=token))
    return reply


async def refusal(call: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, reason_of(caught.value)


ENDED = ("UNAUTHENTICATED", "SESSION_ENDED")


def claims(token: str) -> dict[str, Any]:
    decoded: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return decoded


def changes(domain: Domain) -> list[AccountStatusChanged]:
    kept = [envelope for envelope in envelopes(domain.store) if envelope.type == "astra.user.v1.AccountStatusChanged"]
    return [AccountStatusChanged.FromString(envelope.data) for envelope in kept]


def accepted(domain: Domain, token: str) -> bool:
    """Tells whether services that heard of every change still take a token."""
    rules = Revocations()
    for change in changes(domain):
        rules.note(change.user_id, change.not_before.ToMilliseconds())
    stated = claims(token)
    return not rules.refuses(Caller(user_id=stated["sub"], token_ms=stated["iat"] * 1000))


async def test_a_session_lasts_24_hours_however_often_it_is_refreshed(stub: Any, clock: HandClock) -> None:
    reply = await signed_in(stub)
    end_ms = START_MS + SESSION_MS
    assert reply.session_expire_time.ToMilliseconds() == end_ms
    token = reply.refresh_token
    while clock.ms + TOKEN_MS < end_ms:
        clock.ms += TOKEN_MS
        went_on = await refresh(stub, token)
        assert went_on.user_id == reply.user_id
        assert went_on.session_expire_time.ToMilliseconds() == end_ms
        token = went_on.refresh_token
    clock.ms = end_ms - 60_000
    last = await refresh(stub, token)
    assert claims(last.access_token)["exp"] == end_ms // 1000  # no token outlives its session
    clock.ms = end_ms
    assert await refusal(refresh(stub, last.refresh_token)) == ENDED


async def test_a_refresh_token_used_twice_ends_its_session_and_no_other(stub: Any) -> None:
    first = await signed_in(stub)
    elsewhere = await stub.Login(signing_in())
    second = await refresh(stub, first.refresh_token)
    assert await refusal(refresh(stub, first.refresh_token)) == ENDED
    assert await refusal(refresh(stub, second.refresh_token)) == ENDED
    assert await refresh(stub, elsewhere.refresh_token)


@pytest.mark.parametrize("forge", ["mac", "rotation", "session", "empty-ish", "long", "signs", "no digits"])
async def test_a_made_up_refresh_token_is_refused_and_ends_nothing(stub: Any, forge: str) -> None:
    token = (await signed_in(stub)).refresh_token
    session_id, _, mac = token.split(".")
    forged = {
        "mac": f"{session_id}.1.{'A' * len(mac)}",
        "rotation": f"{session_id}.2.{mac}",
        "session": f"nobody.1.{mac}",
        "empty-ish": "..",
        "long": token + "." + "x" * 100_000,
        "signs": f"{session_id}.1.é{mac}",
        "no digits": f"{session_id}.²٣.{mac}",
    }[forge]
    assert await refusal(refresh(stub, forged)) == ENDED
    assert await refusal(stub.Logout(pb.LogoutRequest(refresh_token=forged))) == ENDED
    assert await refresh(stub, token)


async def test_a_logout_ends_one_session_for_good_and_may_be_repeated(stub: Any) -> None:
    here, there = await signed_in(stub), await stub.Login(signing_in())
    for _ in range(2):
        await stub.Logout(pb.LogoutRequest(refresh_token=here.refresh_token))
    assert await refusal(refresh(stub, here.refresh_token)) == ENDED
    assert await refresh(stub, there.refresh_token)


async def test_64_callers_with_one_refresh_token_get_one_session_at_most(stub: Any) -> None:
    token = (await signed_in(stub)).refresh_token
    answers = await asyncio.gather(*(refresh(stub, token) for _ in range(64)), return_exceptions=True)
    [winner] = [answer for answer in answers if isinstance(answer, pb.RefreshSessionResponse)]
    assert await refusal(refresh(stub, winner.refresh_token)) == ENDED


async def test_a_new_password_ends_every_session_and_every_token_issued_so_far(
    stub: Any, clock: HandClock, domain: Domain
) -> None:
    before = await signed_in(stub)
    me = as_user(before.user_id)
    clock.ms += 400
    request = pb.ChangePasswordRequest(current_password=PASSWORD, new_password=OTHER, request_id="r1")
    reply = await stub.ChangePassword(request, metadata=me)
    assert await stub.ChangePassword(request, metadata=me) == reply  # a repeat, though the current one is another now
    [change] = changes(domain)
    assert change.change == AccountChange.ACCOUNT_CHANGE_PASSWORD_CHANGED
    assert (change.state, change.not_before) == (UserState.USER_STATE_ACTIVE, reply.not_before)
    assert await refusal(refresh(stub, before.refresh_token)) == ENDED
    assert await refusal(stub.Login(signing_in())) == ("UNAUTHENTICATED", "WRONG_CREDENTIALS")
    # In the very same second: the old token is refused, the new one is not.
    after = await stub.Login(signing_in(password=OTHER))
    assert not accepted(domain, before.access_token)
    assert accepted(domain, after.access_token)


async def test_a_second_change_in_the_same_second_ends_what_came_between(stub: Any, domain: Domain) -> None:
    first = await signed_in(stub)
    me, passwords = as_user(first.user_id), [PASSWORD, OTHER, "third-horse-77"]
    tokens = [first.access_token]
    for current, new in itertools.pairwise(passwords):
        await stub.ChangePassword(pb.ChangePasswordRequest(current_password=current, new_password=new), metadata=me)
        tokens.append((await stub.Login(signing_in(password=new))).access_token)
    assert [accepted(domain, token) for token in tokens] == [False, False, True]


@pytest.mark.parametrize(
    ("current", "new", "refused"),
    [
        ("wrong-horse-9", OTHER, ("PERMISSION_DENIED", "WRONG_PASSWORD")),
        (PASSWORD, "short", ("INVALID_ARGUMENT", "INVALID_FIELD")),
        (PASSWORD, "x" * 257, ("INVALID_ARGUMENT", "INVALID_FIELD")),
        (PASSWORD, PASSWORD, ("INVALID_ARGUMENT", "INVALID_FIELD")),
        (PASSWORD, "ANN@example.org", ("INVALID_ARGUMENT", "INVALID_FIELD")),
    ],
)
async def test_a_refused_change_of_password_changes_nothing(
    stub: Any, domain: Domain, current: str, new: str, refused: tuple[str, str]
) -> None:
    session = await signed_in(stub)
    request = pb.ChangePasswordRequest(current_password=current, new_password=new)
    assert await refusal(stub.ChangePassword(request, metadata=as_user(session.user_id))) == refused
    assert changes(domain) == []
    assert await refresh(stub, session.refresh_token)
    assert await stub.Login(signing_in())


async def test_64_changes_of_one_password_at_once_change_it_once(stub: Any, domain: Domain) -> None:
    me = as_user((await signed_in(stub)).user_id)
    new = [f"horse-number-{number}" for number in range(64)]
    answers = await asyncio.gather(
        *(
            stub.ChangePassword(pb.ChangePasswordRequest(current_password=PASSWORD, new_password=one), metadata=me)
            for one in new
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, pb.ChangePasswordResponse) for answer in answers) == 1
    assert len(changes(domain)) == 1


async def test_sessions_that_expired_leave_the_database(stub: Any, clock: HandClock, domain: Domain) -> None:
    await signed_in(stub)
    for _ in range(3):
        await stub.Login(signing_in())
    clock.ms += SESSION_MS
    for _ in range(3):
        await stub.Login(signing_in())
    assert count(domain.store, "session") == 3


async def test_no_token_or_password_is_published_or_kept_in_the_clear(stub: Any, domain: Domain) -> None:
    session = await signed_in(stub)
    request = pb.ChangePasswordRequest(current_password=PASSWORD, new_password=OTHER, request_id="r1")
    await stub.ChangePassword(request, metadata=as_user(session.user_id))
    text = b"".join(envelope.SerializeToString() for envelope in envelopes(domain.store))
    kept = domain.store.path.read_bytes() + domain.store.path.with_name("user.db-wal").read_bytes()
    for secret in (session.access_token, session.refresh_token, PASSWORD, OTHER):
        assert secret.encode() not in text + kept
