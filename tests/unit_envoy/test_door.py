"""Who the real Envoy lets in, what it tells the services of them, and where it takes their calls."""

import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import grpc
import jwt
import pytest
import pytest_asyncio

from envoy.endpoints import write_endpoints
from services.mesh import Mesh
from tests.unit_envoy.door import Answer, Echo, Issuer, Jwks, Metadata, RunningEnvoy, bearer, call, spare_ports, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

OK, DENIED = grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED
UNAUTHENTICATED, UNIMPLEMENTED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED

OPEN = "/astra.trading.v1.TradingService/GetQuote"
READ = "/astra.trading.v1.TradingService/GetTrade"
WRITE = "/astra.trading.v1.TradingService/ExecuteTrade"
AWARD = "/astra.gamification.v1.GamificationService/AwardXp"
TAIL = "/astra.event.v1.OutboxService/Tail"
HEALTH = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
SERVED = ("trading", "gamification", "user")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

FORGED = {
    "x-astra-user": "admin",
    "x-astra-roles": "admin",
    "x-astra-token-time": "9",
    "x-astra-service": "service:bridge",
    "x-astra-made-up": "1",
    "x-envoy-retry-on": "5xx",
}


@dataclass
class Stage:
    """An Envoy with services behind it and callers before it."""

    envoy: RunningEnvoy
    services: dict[str, Echo]
    users: Issuer
    processes: Issuer
    channels: dict[str, grpc.aio.Channel]

    async def call(self, where: str, path: str, headers: Metadata, timeout_seconds: float | None = 4) -> Answer:
        return await call(self.channels[where], path, headers, timeout_seconds)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    mesh = Mesh.at(tmp_path_factory.mktemp("mesh"), free_ports=True)
    users, processes = Issuer("users"), Issuer("services", kid="bridge")
    services, jwks = {name: Echo(name) for name in SERVED}, Jwks(users)
    envoy = RunningEnvoy(mesh, processes)
    try:
        await jwks.start(mesh.port("user-jwks"))
        for name, service in services.items():
            await service.start(mesh.port(name))
        await envoy.start()
        channels = {name: envoy.channel(f"envoy-{name}") for name in ("public", "internal")}
        channels |= {f"{name}.mesh": envoy.channel("envoy-internal", f"{name}.mesh") for name in SERVED}
        channels["public as trading.mesh"] = envoy.channel("envoy-public", "trading.mesh")
        yield Stage(envoy, services, users, processes, channels)
    finally:
        await envoy.stop()
        await jwks.stop()
        for service in services.values():
            await service.stop()


def user(stage: Stage) -> str:
    return stage.users.token(sub="u-1", roles="user admin", iat=1_700_000_001)


def bridge(stage: Stage) -> str:
    return stage.processes.token(sub="service:bridge")


def unsigned(stage: Stage) -> str:
    claims = {"iss": "users", "aud": "astra", "sub": "u-1", "exp": int(time.time()) + 300}
    return jwt.encode(claims, "", algorithm="none", headers={"kid": "key-1"})


USER = {"x-astra-user": "u-1", "x-astra-roles": "user admin", "x-astra-token-time": "1700000001"}
BRIDGE = {"x-astra-service": "service:bridge"}
Token = Callable[[Stage], str]


@pytest.mark.parametrize(
    ("where", "path", "token", "identity"),
    [
        ("public", OPEN, None, {}),
        ("public", OPEN, user, USER),
        ("public", READ, user, USER),
        ("public", WRITE, user, USER),
        ("public", AWARD, user, USER),
        ("public", REFLECTION, None, {}),
        ("internal", OPEN, None, {}),
        ("internal", OPEN, bridge, BRIDGE),
        ("internal", READ, user, USER),
        ("internal", AWARD, user, USER),
        ("internal", AWARD, bridge, BRIDGE),
        ("internal", REFLECTION, None, {}),
        ("trading.mesh", TAIL, bridge, BRIDGE),
        ("trading.mesh", READ, user, USER),
        ("user.mesh", REFLECTION, None, {}),
    ],
)
async def test_only_what_a_token_proves_reaches_the_service(
    stage: Stage, where: str, path: str, token: Token | None, identity: Metadata
) -> None:
    headers = FORGED | (bearer(token(stage)) if token else {})
    answer = await stage.call(where, path, headers)
    assert answer.code is OK, answer
    said = {key: value for key, value in answer.metadata.items() if key.startswith(("x-astra-", "x-envoy-retry"))}
    assert said == identity
    assert "authorization" not in answer.metadata


BAD_TOKENS: dict[str, Token] = {
    "other_key": lambda stage: Issuer("users").token(sub="u-1"),
    "expired": lambda stage: stage.users.token(sub="u-1", exp=int(time.time()) - 60),
    "never_expires": lambda stage: stage.users.token(sub="u-1", exp=None),
    "other_audience": lambda stage: stage.users.token(sub="u-1", aud="elsewhere"),
    "no_audience": lambda stage: stage.users.token(sub="u-1", aud=None),
    "unknown_issuer": lambda stage: stage.users.token(sub="u-1", iss="someone"),
    "services_issuer_with_a_users_key": lambda stage: stage.users.token(sub="service:bridge", iss="services"),
    "users_issuer_with_a_services_key": lambda stage: stage.processes.token(sub="u-1", iss="users"),
    "user_named_like_a_service": lambda stage: stage.users.token(sub="service:bridge"),
    "service_named_like_a_user": lambda stage: stage.processes.token(sub="u-1"),
    "nobody": lambda stage: stage.users.token(),
    "unsigned": unsigned,
    "garbage": lambda stage: "garbage",
}


@pytest.mark.parametrize("kind", BAD_TOKENS)
@pytest.mark.parametrize("where", ["public", "internal"])
@pytest.mark.parametrize("path", [OPEN, AWARD])
async def test_bad_token_is_refused_even_where_none_is_needed(stage: Stage, where: str, path: str, kind: str) -> None:
    answer = await stage.call(where, path, bearer(BAD_TOKENS[kind](stage)))
    assert answer.code in {UNAUTHENTICATED, DENIED}, answer


@pytest.mark.parametrize(
    ("where", "path", "token", "code"),
    [
        ("public", READ, None, UNAUTHENTICATED),
        ("public", AWARD, None, UNAUTHENTICATED),
        ("public", OPEN, bridge, UNAUTHENTICATED),
        ("public", READ, bridge, UNAUTHENTICATED),
        ("public", AWARD, bridge, UNAUTHENTICATED),
        ("public", TAIL, bridge, UNIMPLEMENTED),
        ("public", TAIL, user, UNIMPLEMENTED),
        ("public", TAIL, None, UNIMPLEMENTED),
        ("public as trading.mesh", TAIL, bridge, UNIMPLEMENTED),
        ("public", HEALTH, None, UNIMPLEMENTED),
        ("public", "/astra.trading.v1.TradingService/Nothing", user, UNIMPLEMENTED),
        ("public", READ + "/", user, UNIMPLEMENTED),
        ("public", "//" + READ[1:], user, UNIMPLEMENTED),
        ("internal", READ, None, UNAUTHENTICATED),
        ("internal", TAIL, bridge, UNIMPLEMENTED),
        ("internal", HEALTH, None, UNIMPLEMENTED),
        ("trading.mesh", TAIL, None, UNAUTHENTICATED),
        ("trading.mesh", TAIL, user, UNAUTHENTICATED),
        ("trading.mesh", AWARD, bridge, UNIMPLEMENTED),
    ],
)
async def test_call_that_may_not_be_made_is_refused_at_the_door(
    stage: Stage, where: str, path: str, token: Token | None, code: grpc.StatusCode
) -> None:
    answer = await stage.call(where, path, bearer(token(stage)) if token else {})
    assert answer.code is code, answer
    assert answer.trailers["x-mesh-reason"] not in {"", "via_upstream"}


async def test_token_in_the_query_string_counts_as_none(stage: Stage) -> None:
    answer = await stage.call("public", f"{READ}?access_token={user(stage)}", {})
    assert answer.code is UNAUTHENTICATED


@pytest.mark.parametrize("name", SERVED)
async def test_authority_picks_the_service(stage: Stage, name: str) -> None:
    answer = await stage.call(f"{name}.mesh", TAIL, bearer(bridge(stage)))
    assert answer.seen["service"] == name
    health: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = stage.channels[f"{name}.mesh"].unary_unary(HEALTH)
    assert await health(b"", timeout=4) == b"\x08\x01"


@pytest.mark.parametrize(("path", "name"), [(OPEN, "trading"), (AWARD, "gamification")])
async def test_path_picks_the_service(stage: Stage, path: str, name: str) -> None:
    assert (await stage.call("internal", path, bearer(bridge(stage)))).seen["service"] == name


async def test_address_of_a_caller_is_the_gateways_to_state_and_nobody_elses(stage: Stage) -> None:
    headers = {"x-forwarded-for": "203.0.113.9"}
    assert (await stage.call("internal", OPEN, headers)).metadata["x-forwarded-for"] == "203.0.113.9"
    assert (await stage.call("public", OPEN, headers)).metadata["x-forwarded-for"] == "127.0.0.1"


async def test_correlation_id_and_trace_pass(stage: Stage) -> None:
    answer = await stage.call("public", OPEN, {"x-correlation-id": "c-1", "traceparent": TRACE})
    assert (answer.metadata["x-correlation-id"], answer.metadata["traceparent"]) == ("c-1", TRACE)


@pytest.mark.parametrize(
    ("where", "path", "timeout_seconds", "seen_seconds"),
    [
        ("public", OPEN, None, 5),
        ("public", OPEN, 2, 2),
        ("public", OPEN, 20, 20),
        ("public", OPEN, 90, 30),
        ("trading.mesh", TAIL, None, None),
        ("trading.mesh", TAIL, 90, 90),
    ],
)
async def test_deadline_of_the_caller_is_kept_within_bounds_and_a_stream_has_only_its_own(
    stage: Stage, where: str, path: str, timeout_seconds: float | None, seen_seconds: float | None
) -> None:
    answer = await stage.call(where, path, bearer(bridge(stage)) if path == TAIL else {}, timeout_seconds)
    if seen_seconds is None:
        assert answer.seen["remaining_seconds"] is None
    else:
        assert answer.seen["remaining_seconds"] == pytest.approx(seen_seconds, abs=1)


async def test_call_past_its_deadline_is_answered_before_the_caller_gives_up(stage: Stage) -> None:
    answer = await stage.call("public", OPEN, {"test-sleep": "3"}, 0.5)
    assert answer.code is grpc.StatusCode.DEADLINE_EXCEEDED
    # Envoy and the service count down together, so either may be first; the caller's own library states no reason.
    assert answer.trailers["x-mesh-reason"] in {"max_duration_timeout", "via_upstream"}


@pytest.mark.parametrize(("path", "code", "calls"), [(READ, OK, 3), (WRITE, grpc.StatusCode.UNAVAILABLE, 1)])
async def test_only_a_read_is_tried_again(stage: Stage, path: str, code: grpc.StatusCode, calls: int) -> None:
    call_id = path.rpartition("/")[2]
    answer = await stage.call("public", path, {"x-correlation-id": call_id, "test-fail": "2"} | bearer(user(stage)))
    assert answer.code is code, answer
    assert stage.services["trading"].calls[call_id] == calls


async def test_rewritten_endpoint_file_moves_the_traffic(stage: Stage) -> None:
    mesh, moved, (port,) = stage.envoy.mesh, Echo("moved"), spare_ports(1)
    await moved.start(port)
    try:
        write_endpoints(mesh, "user", [f"127.0.0.1:{port}"])

        async def answers() -> bool:
            answer = await stage.call("user.mesh", TAIL, bearer(bridge(stage)))
            return answer.code is OK and answer.seen["service"] == "moved"

        await until(answers, seconds=3)
    finally:
        write_endpoints(mesh, "user", [mesh.addresses["user"]])
        await moved.stop()


async def test_reflection_works_while_a_service_is_down_and_the_service_comes_back(stage: Stage) -> None:
    trading, port = stage.services["trading"], stage.envoy.mesh.port("trading")
    assert (await stage.call("public", REFLECTION, {})).seen["service"] == "trading"
    await trading.stop()
    try:

        async def answers() -> bool:
            answer = await stage.call("public", REFLECTION, {})
            return answer.code is OK and answer.seen["service"] == "gamification"

        await until(answers, seconds=3)
        down = await stage.call("public", OPEN, {})
        assert (down.code, down.trailers["x-mesh-flags"]) == (grpc.StatusCode.UNAVAILABLE, "UH"), down
    finally:
        await trading.start(port)

    async def back() -> bool:
        return (await stage.call("public", OPEN, {})).code is OK

    await until(back, seconds=3)


async def test_access_log_tells_how_calls_ended_and_no_tokens(stage: Stage) -> None:
    token = user(stage)
    for path in (READ, f"{READ}?access_token={token}"):
        headers = {"x-correlation-id": "logged", "traceparent": TRACE}
        await stage.call("public", path, headers | bearer(token))
    log = stage.envoy.mesh.state_dir / "log" / "envoy-access.log"

    async def flushed() -> bool:
        return log.read_text().count('"logged"') == 2

    await until(flushed)
    text = log.read_text()
    line = next(line for line in map(json.loads, text.splitlines()) if line["correlation_id"] == "logged")
    expected = {"path": READ, "grpc_status": "OK", "listener": "public", "user": "u-1", "cluster": "trading"}
    assert {name: line[name] for name in expected} == expected
    # A tracer in Envoy gives the call a span of its own, in the same trace.
    assert TRACE.split("-")[1] in line["traceparent"]
    assert token not in text
    assert token.rpartition(".")[2] not in text
