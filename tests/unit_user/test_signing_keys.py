"""Signing keys: served as a JWKS that verifies every token still good, made once, rotated without a gap."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import jwt
import pytest
from astra.user.v1.user_service_pb2_grpc import UserServiceStub

from services import user
from services.domain import Domain
from services.mesh import Mesh
from services.user.admin import rotate_user_keys, rotate_user_keys_of
from services.user.jwks_listener import CACHE_SECONDS
from services.user.passwords import Passwords
from services.user.signing_keys import LEEWAY_MS, PUBLISH_MS, TOKEN_MS, SigningKeys
from services.user.tokens import TokenIssuer
from tests.serving import serving
from tests.unit_user.users import HandClock, count, registering, signing_in

TIMELESS: Any = {"verify_exp": False, "verify_iat": False}
"""The clock of these tests is not the one that pyjwt reads."""


@asynccontextmanager
async def listening(domain: Domain, mesh: Mesh) -> AsyncIterator[str]:
    """Runs the domain's listener and yields its address."""
    stop = asyncio.Event()
    address = mesh.addresses["user-jwks"]

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        for listener in domain.listeners:
            tasks.create_task(listener(stop))
        await accepted(*address.split(":"))
        yield f"http://{address}"
        stop.set()


async def accepted(host: str, port: str) -> None:
    """Returns when somebody listens there; whoever waits has a deadline."""
    while True:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return await writer.wait_closed()


def verifies(token: str, jwks: dict[str, Any]) -> bool:
    """Tells whether a token is good, but for its time, by the keys shown and by nothing else."""
    kid = jwt.get_unverified_header(token)["kid"]
    key = next((key for key in jwks["keys"] if key["kid"] == kid), None)
    if key is None:
        return False
    jwt.decode(token, jwt.PyJWK(key), algorithms=["ES256"], audience="astra", options=TIMELESS)
    return True


async def test_token_verifies_against_the_jwks_that_is_served(mesh: Mesh, passwords: Passwords) -> None:
    domain = user.build(mesh, passwords=passwords)
    async with serving(domain) as channel, listening(domain, mesh) as url:
        stub: Any = UserServiceStub(channel)
        registered = (await stub.RegisterUser(registering())).user
        token = (await stub.Login(signing_in())).access_token
        client = jwt.PyJWKClient(f"{url}/jwks.json")
        key = await asyncio.to_thread(client.get_signing_key_from_jwt, token)
        claims = jwt.decode(
            token,
            key,
            algorithms=["ES256"],
            audience="astra",
            issuer="users",
            options={"require": ["exp", "iat", "sub", "jti"]},
        )
        assert claims["sub"] == registered.user_id
        head, body, signature = token.split(".")
        forged = f"{head}.{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(forged, key, algorithms=["ES256"], audience="astra")


async def test_listener_shows_public_keys_and_nothing_else(domain: Domain, mesh: Mesh) -> None:
    async with listening(domain, mesh) as url, aiohttp.ClientSession() as http:
        async with http.get(f"{url}/jwks.json") as reply:
            text = await reply.text()
            assert (reply.status, reply.headers["cache-control"]) == (200, "public, max-age=5")
        (key,) = json.loads(text)["keys"]
        assert set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"}  # `d` would be the private one
        assert (key["kty"], key["crv"], key["alg"]) == ("EC", "P-256", "ES256")
        for method, path, status in (("GET", "/", 404), ("POST", "/jwks.json", 405), ("GET", "/jwks.json/", 404)):
            async with http.request(method, url + path) as reply:
                assert reply.status == status
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(f"{url}/jwks.json")
    await domain.store.close()


async def test_taken_address_is_an_error(domain: Domain, mesh: Mesh) -> None:
    server = await asyncio.start_server(lambda *_: None, mesh.host("user-jwks"), mesh.port("user-jwks"))
    async with server:
        with pytest.raises(OSError, match=str(mesh.port("user-jwks"))):
            await domain.listeners[0](asyncio.Event())
    await domain.store.close()


async def test_processes_that_start_at_once_make_one_key(mesh: Mesh) -> None:
    stores = [user.open_store(mesh.database("user")) for _ in range(4)]
    keys = [SigningKeys(store) for store in stores]
    made = await asyncio.gather(*(key.signing() for key in keys for _ in range(4)))
    shown = await asyncio.gather(*(key.public() for key in keys))
    assert len({key.kid for key in made}) == 1
    assert [[key["kid"] for key in jwks["keys"]] for jwks in shown] == [[made[0].kid]] * 4
    assert count(stores[0], "signing_key") == 1
    for store in stores:
        await store.close()


async def test_rotation_leaves_no_moment_in_which_a_token_is_not_good(domain: Domain, clock: HandClock) -> None:
    keys = SigningKeys(domain.store)
    issuer = TokenIssuer(keys)
    first = (await keys.signing()).kid
    step_ms = CACHE_SECONDS * 1000 // 2
    shown = [await keys.public()] * 2
    end_ms = clock.ms + PUBLISH_MS + TOKEN_MS
    second = await rotate_user_keys(domain.store, os_user="op")
    assert [key["kid"] for key in (await keys.public())["keys"]] == [first, second]
    tokens, signers = [], []
    while clock.ms < end_ms:
        tokens.append(await issuer.issue("ann", [], issue_ms=clock.ms, session_expire_ms=clock.ms + 10**9))
        signers.append(jwt.get_unverified_header(tokens[-1].jwt)["kid"])
        assert verifies(tokens[-1].jwt, shown[-2]), "a cache as old as it may be knows the signer"
        shown.append(await keys.public())
        oldest = next(token for token in tokens if token.expire_ms > clock.ms)
        assert verifies(oldest.jwt, shown[-1]), "the keys shown now know the oldest token that is still good"
        clock.ms += step_ms
    assert signers == sorted(signers)
    assert set(signers) == {first, second}
    clock.ms += LEEWAY_MS
    assert [key["kid"] for key in (await keys.public())["keys"]] == [second]
    await domain.store.close()


async def test_second_rotation_in_a_row_keeps_what_the_others_signed(domain: Domain, clock: HandClock) -> None:
    keys = SigningKeys(domain.store)
    issuer = TokenIssuer(keys)
    tokens = [(await issuer.issue("ann", [], issue_ms=clock.ms, session_expire_ms=clock.ms + 10**9)).jwt]
    for _ in range(2):
        await rotate_user_keys(domain.store, os_user="op")
        clock.ms += 3_000
        tokens.append((await issuer.issue("ann", [], issue_ms=clock.ms, session_expire_ms=clock.ms + 10**9)).jwt)
    clock.ms += PUBLISH_MS
    tokens.append((await issuer.issue("ann", [], issue_ms=clock.ms, session_expire_ms=clock.ms + 10**9)).jwt)
    jwks = await keys.public()
    assert all(verifies(token, jwks) for token in tokens)
    assert jwt.get_unverified_header(tokens[-1])["kid"] == jwks["keys"][-1]["kid"]
    clock.ms += PUBLISH_MS + TOKEN_MS + LEEWAY_MS
    await rotate_user_keys(domain.store, os_user="op")
    assert count(domain.store, "signing_key") == 2
    await domain.store.close()


async def test_rotation_before_the_first_start_makes_a_key_that_signs(domain: Domain) -> None:
    kid = await rotate_user_keys(domain.store, os_user="op")
    assert (await SigningKeys(domain.store).signing()).kid == kid
    await domain.store.close()


async def test_keys_are_rotated_beside_a_running_service_and_it_is_audited(domain: Domain, mesh: Mesh) -> None:
    keys = SigningKeys(domain.store)
    await keys.signing()
    said = await rotate_user_keys_of(mesh)
    assert (await keys.public())["keys"][-1]["kid"] in said
    audit = domain.store.read_now(lambda db: db.one("SELECT action, os_user, detail FROM admin_audit"))
    assert audit is not None
    assert audit["action"] == "rotate_user_keys"
    assert audit["os_user"]
    assert "PRIVATE" not in audit["detail"]
    await domain.store.close()
