"""Login: tokens, and what a failure gives away."""

import asyncio
from typing import Any

import grpc
import jwt
import pytest
from argon2 import PasswordHasher
from astra.user.v1 import user_service_pb2 as pb
from structlog.testing import capture_logs

from services.domain import Domain
from services.runtime.errors import ResourceExhausted, Unauthenticated
from services.runtime.store import Store
from services.user.model import UserState
from services.user.passwords import Passwords
from services.user.sign_in import SignIn
from tests.serving import reason_of
from tests.unit_user.users import CHEAP, PASSWORD, START_MS, HandClock, envelopes, registering, signing_in


async def refusal(stub: Any, username: str, password: str) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        # One chain for all: its id comes back, and nothing else may differ between two refusals.
        await stub.Login(signing_in(username, password), metadata=(("x-correlation-id", "chain"),))
    return refused.value


async def suspend(store: Store) -> None:
    await store.write(lambda tx: tx.execute("UPDATE account SET state = ?", UserState.SUSPENDED))


async def test_token_says_who_and_which_roles_for_15_minutes(stub: Any, clock: HandClock) -> None:
    user = (await stub.RegisterUser(registering("Ann"))).user
    clock.ms += 1_999
    reply = await stub.Login(signing_in("aNN"))
    claims = jwt.decode(reply.access_token, options={"verify_signature": False})
    issued = START_MS // 1000 + 1
    assert claims.pop("jti")
    assert claims == {
        "iss": "users",
        "aud": "astra",
        "sub": user.user_id,
        "roles": "user",
        "iat": issued,
        "exp": issued + 900,
    }
    assert reply.expire_time.ToSeconds() == issued + 900
    assert reply.user_id == user.user_id
    header = jwt.get_unverified_header(reply.access_token)
    assert (header["alg"], set(header)) == ("ES256", {"alg", "kid", "typ"})


async def test_each_token_has_an_id_of_its_own(stub: Any) -> None:
    await stub.RegisterUser(registering())
    replies = await asyncio.gather(*(stub.Login(signing_in()) for _ in range(8)))
    ids = {jwt.decode(reply.access_token, options={"verify_signature": False})["jti"] for reply in replies}
    assert len(ids) == 8


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("ann", "wrong-horse-9"),
        ("ann", PASSWORD + " "),
        ("ann", PASSWORD.upper()),
        ("ann", "x" * 10_000),
        ("nobody", PASSWORD),
        ("no such name!", PASSWORD),
        ("ann@example.org", PASSWORD),
    ],
)
async def test_wrong_username_and_wrong_password_look_the_same(stub: Any, username: str, password: str) -> None:
    await stub.RegisterUser(registering())
    wrong = await refusal(stub, "ann", "another-wrong-one")
    refused = await refusal(stub, username, password)
    assert (refused.code(), reason_of(refused)) == (grpc.StatusCode.UNAUTHENTICATED, "WRONG_CREDENTIALS")
    assert refused.details() == wrong.details()
    assert dict(refused.trailing_metadata()) == dict(wrong.trailing_metadata())


class CountingHasher(PasswordHasher):
    """Notes the parameters of every hash that it is asked to verify."""

    def __init__(self, time_cost: int = 1) -> None:
        super().__init__(time_cost=time_cost, memory_cost=8, parallelism=1)
        self.verified: list[str] = []

    def verify(self, hash: str | bytes, password: str | bytes) -> Any:  # noqa: A002 - the parent's name
        self.verified.append(str(hash).rpartition("$")[0].rpartition("$")[0])
        return super().verify(hash, password)


async def test_unknown_user_costs_the_same_one_verification(domain: Domain, stub: Any) -> None:
    await stub.RegisterUser(registering())
    hasher = CountingHasher()
    passwords = Passwords(hasher)
    sign_in = SignIn(domain.store, passwords)
    for username in ("ann", "nobody"):
        with pytest.raises(Unauthenticated):
            await sign_in.account_of(username, "wrong-horse-9")
    passwords.close()
    assert hasher.verified == ["$argon2id$v=19$m=8,t=1,p=1"] * 2


async def test_password_opens_however_its_letters_are_composed(stub: Any) -> None:
    await stub.RegisterUser(registering(password="caf\u00e9-au-lait"))
    assert (await stub.Login(signing_in(password="cafe\u0301-au-lait"))).access_token


async def test_suspended_user_is_told_so_only_with_its_password(stub: Any, domain: Domain) -> None:
    await stub.RegisterUser(registering())
    await suspend(domain.store)
    refused = await refusal(stub, "ann", PASSWORD)
    assert (refused.code(), reason_of(refused)) == (grpc.StatusCode.PERMISSION_DENIED, "USER_SUSPENDED")
    assert reason_of(await refusal(stub, "ann", "wrong-horse-9")) == "WRONG_CREDENTIALS"


async def test_user_suspended_while_its_password_is_verified_stays_out(stub: Any, domain: Domain) -> None:
    await stub.RegisterUser(registering())

    class Slow(Passwords):
        async def verify(self, password_hash: str | None, password: str) -> bool:
            verified = await super().verify(password_hash, password)
            await suspend(domain.store)
            return verified

    passwords = Slow(CHEAP)
    with pytest.raises(Exception, match="suspended"):
        await SignIn(domain.store, passwords).account_of("ann", PASSWORD)
    passwords.close()


async def test_password_changed_while_it_is_verified_no_longer_opens(stub: Any, domain: Domain) -> None:
    await stub.RegisterUser(registering())
    other = CHEAP.hash("other-password")

    class Slow(Passwords):
        async def verify(self, password_hash: str | None, password: str) -> bool:
            verified = await super().verify(password_hash, password)
            await domain.store.write(lambda tx: tx.execute("UPDATE account SET password_hash = ?", other))
            return verified

    passwords = Slow(CHEAP)
    with pytest.raises(Unauthenticated):
        await SignIn(domain.store, passwords).account_of("ann", PASSWORD)
    passwords.close()


async def test_hash_is_renewed_when_parameters_change(stub: Any, domain: Domain) -> None:
    await stub.RegisterUser(registering())
    dearer = Passwords(CountingHasher(time_cost=2))
    sign_in = SignIn(domain.store, dearer)
    with pytest.raises(Unauthenticated):
        await sign_in.account_of("ann", "wrong-horse-9")
    hashes = [domain.store.read_now(lambda db: db.value("SELECT password_hash FROM account"))]
    for _ in range(2):
        await sign_in.account_of("ann", PASSWORD)
        hashes.append(domain.store.read_now(lambda db: db.value("SELECT password_hash FROM account")))
    dearer.close()
    assert [",t=2," in hashed for hashed in hashes] == [False, True, True]
    assert hashes[1] == hashes[2]
    assert (await stub.Login(signing_in())).access_token


async def test_event_loop_stays_free_while_passwords_are_hashed() -> None:
    passwords = Passwords(threads=1)
    hashing = asyncio.create_task(passwords.hash(PASSWORD))
    beats = 0
    while not hashing.done():
        await asyncio.sleep(0)
        beats += 1
    passwords.close()
    assert (await hashing).startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert beats > 10  # 2 or 3 where the loop itself hashes


async def test_who_comes_when_too_many_wait_is_refused_at_once() -> None:
    passwords = Passwords(CHEAP, threads=1, most_waiting=3)
    asked = [asyncio.create_task(passwords.hash(PASSWORD)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted):
        await passwords.hash(PASSWORD)
    await asyncio.gather(*asked)
    assert await passwords.verify(await passwords.hash(PASSWORD), PASSWORD)
    passwords.close()


async def test_signing_in_publishes_and_logs_no_secret(stub: Any, domain: Domain) -> None:
    with capture_logs() as logs:
        await stub.RegisterUser(registering())
        before = len(envelopes(domain.store))
        token = (await stub.Login(signing_in())).access_token
        await refusal(stub, "ann", "wrong-horse-9")
    assert len(envelopes(domain.store)) == before
    assert not [secret for secret in (token, PASSWORD, "wrong-horse-9", "example.org") if secret in str(logs)]


async def test_login_knows_no_request_id() -> None:
    assert "request_id" not in pb.LoginRequest.DESCRIPTOR.fields_by_name
