"""Who may call what, through the real Envoy to the real services: every kind of caller × every rpc."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import grpc
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec

from services.contracts import Rpc, rpcs
from services.mesh import Mesh
from services.runtime.clock import wall_clock
from services.runtime.credentials import ServiceToken
from services.runtime.door import Door
from services.user import open_store
from services.user.admin import rotate_user_keys_of
from services.user.signing_keys import SigningKeys
from tests.story.play import Stage
from tests.story.rest import Session

pytestmark = pytest.mark.asyncio(loop_scope="session")

UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
UNIMPLEMENTED, DEADLINE = grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.DEADLINE_EXCEEDED
IN = "let in"
FORGED = (
    *(("x-astra-user", "admin"), ("x-astra-roles", "admin"), ("x-astra-service", "service:bridge")),
    *(("x-jwt-sub", "admin"), ("x-user-id", "admin"), ("x-user-roles", "admin")),
)
BAD_TOKENS = ("expired", "other key", "other audience", "unsigned")
CALLERS = ("nobody", *BAD_TOKENS, "user", "other user", "admin", "service")


@dataclass
class Callers:
    """Tokens by kind of caller, and the user whose things are asked for."""

    ada: Session
    tokens: dict[str, str]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def callers(stage: Stage) -> Callers:
    mesh = stage.running.mesh
    for name in ("access-ada", "access-bob"):
        await stage.rest.register(name)
    ada, bob = await stage.rest.login("access-ada"), await stage.rest.login("access-bob")
    claims = jwt.decode(ada.token, options={"verify_signature": False})
    store = open_store(mesh.database("user"), clock=wall_clock)
    try:
        key = await SigningKeys(store).signing()
    finally:
        await store.close()

    def signed(private: Any, **other: Any) -> str:
        return jwt.encode({**claims, **other}, private, algorithm="ES256", headers={"kid": key.kid})

    now = int(time.time())
    # The control: what only differs in nothing is believed, as the caller `user`.
    tokens = {
        "user": signed(key.private_pem),
        "expired": signed(key.private_pem, iat=now - 7200, exp=now - 3600),
        "other key": signed(ec.generate_private_key(ec.SECP256R1())),
        "other audience": signed(key.private_pem, aud="elsewhere"),
        "unsigned": jwt.encode(claims, "", algorithm="none", headers={"kid": key.kid}),
        "other user": bob.token,
        "admin": stage.admin.token,
        "service": ServiceToken(mesh.keys_dir, "operator").bearer(),
    }
    return Callers(ada, tokens)


def expected(rpc: Rpc, caller: str, *, internal: bool) -> set[object]:
    """Returns how a call may end, by the rpc's own declaration."""
    if not internal and not rpc.public:
        return {UNIMPLEMENTED}
    if caller in BAD_TOKENS or (caller == "service" and not internal):
        return {UNAUTHENTICATED, DENIED}
    if "OPEN" in rpc.allow:
        return {IN}
    if caller == "nobody":
        return {UNAUTHENTICATED}
    if rpc.allow == {"SERVICE"}:
        # The token of a user is none of the issuer that is asked for.
        return {IN} if caller == "service" else {UNAUTHENTICATED, DENIED}
    let_in = {
        "user": bool(rpc.allow & {"PUBLIC", "SELF"}),
        "other user": "PUBLIC" in rpc.allow,
        "admin": bool(rpc.allow & {"PUBLIC", "SELF", "ADMIN"}),
        "service": "SERVICE" in rpc.allow,
    }
    return {IN} if let_in[caller] else {DENIED}


async def ending(channel: grpc.aio.Channel, rpc: Rpc, callers: Callers, caller: str) -> object:
    """Calls an rpc with a request that names the user and nothing else, and with headers that claim to be others."""
    token = callers.tokens.get(caller)
    metadata = (*FORGED, *((("authorization", f"Bearer {token}"),) if token else ()))
    request = rpc.request(**({rpc.acting_user: callers.ada.user_id} if rpc.acting_user else {}))
    method: Any = channel.unary_stream(rpc.path, request_serializer=rpc.request.SerializeToString)
    # A stream that is let in says nothing until something happens.
    answers = method(request, metadata=metadata, timeout=0.5 if rpc.server_streaming else 10)
    try:
        async for _ in answers:
            break
    except grpc.aio.AioRpcError as error:
        code = error.code()
        refused = {UNAUTHENTICATED, DENIED, UNIMPLEMENTED, *(() if rpc.server_streaming else (DEADLINE,))}
        return code if code in refused else IN
    return IN


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("listener", ["public", "internal"])
async def test_a_caller_is_let_in_where_the_rpc_says_so_and_nowhere_else(
    stage: Stage, callers: Callers, listener: str, caller: str
) -> None:
    wrong = {}
    internal = listener == "internal"
    mesh = stage.running.mesh
    domains = sorted({rpc.domain for rpc in rpcs().values()})
    for domain in domains:
        options = [("grpc.default_authority", "trading.mesh")] if domain == "event" and internal else []
        door = Door.of(mesh, "operator") if internal else Door(mesh.addresses["envoy-public"])
        async with door.open(options) as channel:
            for rpc in (rpc for rpc in rpcs().values() if rpc.domain == domain):
                ended = await ending(channel, rpc, callers, caller)
                if ended not in expected(rpc, caller, internal=internal):
                    wrong[rpc.path] = ended
    assert not wrong


async def test_keys_rotate_without_a_failed_call(stage: Stage, callers: Callers) -> None:
    mesh: Mesh = stage.running.mesh
    rpc = rpcs()["/astra.trading.v1.TradingService/GetPortfolio"]
    codes: Counter[object] = Counter()
    async with grpc.aio.insecure_channel(mesh.addresses["envoy-public"]) as channel:
        rotated, until = False, time.monotonic() + 7  # longer than Envoy keeps the keys
        while time.monotonic() < until:
            codes[await ending(channel, rpc, callers, "user")] += 1
            if not rotated:
                await rotate_user_keys_of(mesh)
                rotated = True
            await asyncio.sleep(0.05)
        fresh = await stage.rest.login("access-ada")
        codes[await ending(channel, rpc, Callers(callers.ada, {"user": fresh.token}), "user")] += 1
    assert set(codes) == {IN}
