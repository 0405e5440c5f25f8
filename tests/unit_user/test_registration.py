"""RegisterUser and GetUser, over gRPC."""

import asyncio
from typing import Any

import grpc
import pytest
from astra.user.v1 import user_pb2, user_service_pb2
from astra.user.v1.events_pb2 import UserRegistered

from services.domain import Domain
from tests.serving import as_user, reason_of
from tests.unit_user.users import PASSWORD, START_MS, count, envelopes, registering, signing_in


async def test_registered_user_is_returned_as_it_was_given(stub: Any) -> None:
    user = (await stub.RegisterUser(registering("Ann", email="Ann@Example.org", display_name="Ann Lee"))).user
    assert (user.username, user.email, user.display_name) == ("Ann", "Ann@Example.org", "Ann Lee")
    assert list(user.roles) == [user_pb2.ROLE_USER]
    assert user.verification_tier == user_pb2.VERIFICATION_TIER_UNVERIFIED
    assert user.state == user_pb2.USER_STATE_ACTIVE
    assert user.create_time.ToMilliseconds() == START_MS
    assert (user.title, user.influence) == ("", 0)
    got = await stub.GetUser(user_service_pb2.GetUserRequest(), metadata=as_user(user.user_id))
    assert got.user == user


async def test_registration_is_published_without_address_and_password(stub: Any, domain: Domain) -> None:
    user = (await stub.RegisterUser(registering("Ann"), metadata=(("x-correlation-id", "reg-1"),))).user
    (envelope,) = envelopes(domain.store)
    event = UserRegistered.FromString(envelope.data)
    assert event == UserRegistered(user_id=user.user_id, username="Ann", display_name="Ann")
    assert (envelope.type, envelope.correlation_id) == ("astra.user.v1.UserRegistered", "reg-1")
    assert (envelope.subject, envelope.user_id) == (user.user_id, user.user_id)


@pytest.mark.parametrize(
    ("username", "email", "reason"),
    [
        ("ann", "other@example.org", "USERNAME_TAKEN"),
        ("ANN", "other@example.org", "USERNAME_TAKEN"),
        ("bob", "ann@example.org", "EMAIL_TAKEN"),
        ("bob", "ANN@EXAMPLE.ORG", "EMAIL_TAKEN"),
        ("aNN", "ANN@example.org", "USERNAME_TAKEN"),
    ],
)
async def test_name_and_address_are_unique_whatever_the_case(
    stub: Any, domain: Domain, username: str, email: str, reason: str
) -> None:
    await stub.RegisterUser(registering("Ann"))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.RegisterUser(registering(username, email=email))
    assert (refused.value.code(), reason_of(refused.value)) == (grpc.StatusCode.ALREADY_EXISTS, reason)
    assert "example.org" not in str(refused.value).lower()
    assert count(domain.store, "account") == len(envelopes(domain.store)) == 1


async def test_one_of_64_concurrent_callers_gets_the_name(stub: Any, domain: Domain) -> None:
    def spelled(number: int) -> str:
        """Spells `annlee` in one of its 64 cases."""
        return "".join(c.upper() if number >> bit & 1 else c for bit, c in enumerate("annlee"))

    calls = [stub.RegisterUser(registering(spelled(n), email=f"n{n}@example.org")) for n in range(64)]
    ends = await asyncio.gather(*calls, return_exceptions=True)
    refused = [end for end in ends if isinstance(end, grpc.aio.AioRpcError)]
    assert len(refused) == 63
    assert {reason_of(error) for error in refused} == {"USERNAME_TAKEN"}
    assert count(domain.store, "account") == len(envelopes(domain.store)) == 1


async def test_repeat_returns_the_same_user_though_hashes_are_salted(stub: Any, domain: Domain) -> None:
    request = registering(request_id="r-1")
    first = await stub.RegisterUser(request)
    hashed = domain.store.read_now(lambda db: db.value("SELECT password_hash FROM account"))
    repeats = await asyncio.gather(*(stub.RegisterUser(request) for _ in range(8)))
    assert all(repeat == first for repeat in repeats)
    assert count(domain.store, "account") == len(envelopes(domain.store)) == 1
    assert domain.store.read_now(lambda db: db.value("SELECT password_hash FROM account")) == hashed


async def test_concurrent_repeats_register_once(stub: Any, domain: Domain) -> None:
    ends = await asyncio.gather(*(stub.RegisterUser(registering(request_id="r-1")) for _ in range(16)))
    assert len({end.user.user_id for end in ends}) == 1
    assert len(envelopes(domain.store)) == 1


@pytest.mark.parametrize(
    "guess", [{"password": "guessed-12345"}, {"email": "eve@example.org"}, {"username": "eve"}, {"display_name": "A"}]
)
async def test_guessed_request_id_tells_a_stranger_nothing(stub: Any, guess: dict[str, str]) -> None:
    user = (await stub.RegisterUser(registering(request_id="r-1"))).user
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.RegisterUser(registering(request_id="r-1", **guess))
    assert (refused.value.code(), reason_of(refused.value)) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
    )
    assert not {user.user_id, user.email} & set(str(refused.value).split())


async def test_refused_registration_leaves_its_request_id_free(stub: Any) -> None:
    await stub.RegisterUser(registering("ann"))
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.RegisterUser(registering("ann", request_id="r-1"))
    assert (await stub.RegisterUser(registering("bob", request_id="r-1"))).user.username == "bob"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"username": "a"}, "username"),
        ({"email": "nowhere"}, "email"),
        ({"email": ""}, "email"),
        ({"password": "short"}, "password"),
        ({"password": ""}, "password"),
        ({"display_name": "x" * 61}, "display_name"),
    ],
)
async def test_wrong_field_is_named_and_its_value_is_not_repeated(
    stub: Any, domain: Domain, fields: dict[str, str], field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.RegisterUser(registering(**fields))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (refused.value.details() or "").startswith(field)
    assert "short" not in (refused.value.details() or "")
    assert count(domain.store, "account") == 0


async def test_user_is_shown_to_itself_and_to_admins_alone(stub: Any) -> None:
    user = (await stub.RegisterUser(registering())).user
    asked = user_service_pb2.GetUserRequest(user_id=user.user_id)
    for metadata in (as_user(user.user_id), as_user("root", "admin")):
        assert (await stub.GetUser(asked, metadata=metadata)).user.email == "ann@example.org"
    for metadata, code in (
        (as_user("eve"), grpc.StatusCode.PERMISSION_DENIED),
        (as_user("eve", "moderator"), grpc.StatusCode.PERMISSION_DENIED),
        ((), grpc.StatusCode.UNAUTHENTICATED),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetUser(asked, metadata=metadata)
        assert refused.value.code() is code


async def test_unknown_user_is_not_found(stub: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await stub.GetUser(user_service_pb2.GetUserRequest(), metadata=as_user("nobody"))
    assert (missing.value.code(), reason_of(missing.value)) == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")


async def test_password_is_kept_as_an_argon2id_hash_and_nowhere_else(stub: Any, domain: Domain) -> None:
    await stub.RegisterUser(registering(request_id="r-1"))
    token = (await stub.Login(signing_in())).access_token
    hashed = domain.store.read_now(lambda db: db.value("SELECT password_hash FROM account"))
    assert hashed.startswith("$argon2id$")
    folder = domain.store.path.parent
    assert folder.stat().st_mode & 0o077 == 0
    kept = b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())
    assert b"ann@example.org" in kept  # control: what is kept is found this way
    assert PASSWORD.encode() not in kept
    assert token.encode() not in kept
    for envelope in envelopes(domain.store):
        raw = envelope.SerializeToString()
        assert b"ann" in raw
        assert not [secret for secret in (PASSWORD, hashed, token, "example.org") if secret.encode() in raw]
