"""Limits as callers meet them: the call after the last one that is allowed, and who else is held up by it."""

import asyncio
import math
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import grpc
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from envoy.limits import LIMIT_OF, WHOLE_MESH
from envoy.policy import Policy
from envoy.ratelimit import RateLimitServer
from services.contracts import rpcs
from services.local import redis_server
from services.mesh import LIMITS, Mesh
from services.runtime.credentials import make_credentials
from services.runtime.limiter import Limiter
from tests.unit_envoy.door import Answer, Echo, Issuer, Jwks, Metadata, RunningEnvoy, bearer, call, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

OK, EXHAUSTED = grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED
SERVED = ("trading", "user", "social")
USERS, PROCESSES = Issuer("users"), Issuer("services", kid="bridge")
# Counting on Redis on a busy machine must not look like Redis being away.
POLICY = Policy(ratelimit_timeout_seconds=2)


@dataclass
class Mall:
    """Two Envoys with a common rate limit service."""

    mesh: Mesh
    one: RunningEnvoy
    other: RunningEnvoy
    redis: "subprocess.Popen[bytes]"

    def channel(self, envoy: RunningEnvoy, listener: str = "public") -> grpc.aio.Channel:
        return envoy.channel(f"envoy-{listener}")


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mesh, "subprocess.Popen[bytes]"]]:
    mesh = Mesh.at(tmp_path_factory.mktemp("mesh"), free_ports=True)
    mesh = replace(mesh, limits=LIMITS)
    make_credentials(mesh)
    redis_server.render(mesh)
    with (mesh.state_dir / "redis.log").open("wb") as log:
        server = subprocess.Popen(redis_server.command(mesh), stdout=log, stderr=log)
    yield mesh, server
    server.kill()
    server.wait(10)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mall(
    redis: tuple[Mesh, "subprocess.Popen[bytes]"], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mall]:
    mesh, server = redis
    own = Mesh.at(tmp_path_factory.mktemp("other"), free_ports=True).addresses
    doors = {name: own[name] for name in ("envoy-public", "envoy-internal", "envoy-admin", "envoy-metrics")}
    second = replace(mesh, state_dir=tmp_path_factory.mktemp("other"), addresses={**mesh.addresses, **doors})
    envoys = [RunningEnvoy(described, PROCESSES, POLICY) for described in (mesh, second)]
    limiter = Limiter(mesh)
    await until(limiter.ping)
    counting, jwks = RateLimitServer(mesh.addresses["ratelimit"], limiter), Jwks(USERS)
    services = [Echo(name) for name in SERVED]
    try:
        await counting.start()
        await jwks.start(mesh.port("user-jwks"))
        for service in services:
            await service.start(mesh.port(service.name))
        for envoy in envoys:
            await envoy.start()
        found = Mall(mesh, envoys[0], envoys[1], server)
        for envoy in envoys:
            await until(lambda envoy=envoy: ready(found, envoy))  # type: ignore[misc]
        yield found
    finally:
        for envoy in envoys:
            await envoy.stop()
        for service in services:
            await service.stop()
        await jwks.stop()
        await counting.stop()


async def ready(mall: Mall, envoy: RunningEnvoy) -> bool:
    """Tells whether every service is found healthy; by calls that have no limit."""
    paths = (
        "/astra.trading.v1.TradingService/GetTrade",
        "/astra.social.v1.SocialService/Interact",
        "/astra.user.v1.UserService/GetUser",
    )
    channel = mall.channel(envoy)
    headers = bearer(USERS.token(sub="early"))
    return all([(await call(channel, path, headers)).code is OK for path in paths])


async def times(channel: grpc.aio.Channel, count: int, path: str, headers: Metadata) -> list[Answer]:
    return list(await asyncio.gather(*(call(channel, path, headers, 10) for _ in range(count))))


@pytest.mark.parametrize("path", [path for path in LIMIT_OF if path in rpcs() and LIMIT_OF[path] not in WHOLE_MESH])
async def test_the_call_after_the_last_allowed_one_is_refused_and_others_are_not(mall: Mall, path: str) -> None:
    allowed, channel = LIMITS[LIMIT_OF[path]], mall.channel(mall.one)
    mine, hers = bearer(USERS.token(sub="mine")), bearer(USERS.token(sub="hers"))
    began = time.monotonic()
    answers = await times(channel, allowed, path, mine)
    assert [answer.code for answer in answers] == [OK] * allowed
    # While these were made the bucket filled again, steadily.
    filled = math.ceil((time.monotonic() - began) * allowed / 60) + 1
    more = await times(channel, filled + 1, path, mine)
    refused = [answer for answer in more if answer.code is EXHAUSTED]
    assert refused
    assert refused[0].trailers["x-ratelimit-limit"].startswith(str(allowed))
    assert refused[0].trailers["x-ratelimit-remaining"] == "0"
    assert int(refused[0].trailers["x-ratelimit-reset"]) >= 0
    assert int(refused[0].trailers["retry-after"]) == math.ceil(60 / allowed)
    assert refused[0].trailers["x-mesh-flags"] == "RL"
    theirs = await call(channel, path, hers)
    assert theirs.code is OK
    assert theirs.trailers["x-ratelimit-remaining"] == str(allowed - 1)
    assert "retry-after" not in theirs.trailers


@pytest.mark.parametrize("path", [path for path in LIMIT_OF if LIMIT_OF[path] in WHOLE_MESH])
async def test_a_limit_of_the_whole_mesh_holds_over_two_envoys_by_address(mall: Mall, path: str) -> None:
    allowed = LIMITS[LIMIT_OF[path]]
    here, there = (mall.channel(envoy, "internal") for envoy in (mall.one, mall.other))
    address = {"x-forwarded-for": "203.0.113.9"}
    half = allowed // 2
    answers = [*await times(here, half, path, address), *await times(there, allowed - half, path, address)]
    assert [answer.code for answer in answers] == [OK] * allowed
    for channel in (here, there):
        refused = await call(channel, path, address)
        assert (refused.code, refused.trailers["x-mesh-flags"]) == (EXHAUSTED, "RL")
        assert refused.trailers["x-ratelimit-limit"].startswith(str(allowed))
        assert refused.trailers["x-ratelimit-remaining"] == "0"
        assert 1 <= int(refused.trailers["retry-after"]) <= 60
    assert (await call(here, path, {"x-forwarded-for": "203.0.113.10"})).code is OK
    assert (await call(here, path, address | bearer(USERS.token(sub="someone")))).code is OK, "a user counts"


async def test_an_address_that_a_public_caller_states_is_not_believed(mall: Mall) -> None:
    path, channel = "/astra.user.v1.UserService/RegisterUser", mall.channel(mall.one)
    addresses = [{"x-forwarded-for": f"203.0.113.{number}"} for number in range(LIMITS["registration"] + 1)]
    codes = [(await call(channel, path, address)).code for address in addresses]
    assert codes == [OK] * LIMITS["registration"] + [EXHAUSTED]


async def test_what_is_not_limited_is_not_counted(mall: Mall) -> None:
    answer = await call(mall.channel(mall.one), "/astra.trading.v1.TradingService/GetQuote")
    assert answer.code is OK
    assert not [name for name in answer.trailers if name.startswith("x-ratelimit")]


async def test_every_limit_of_the_table_is_somebodys() -> None:
    assert {*LIMIT_OF.values(), "login_of_username"} == LIMITS.keys()
    assert {LIMIT_OF[path] for path in LIMIT_OF if path in rpcs()} == set(LIMIT_OF.values())


async def test_without_its_redis_a_limit_is_open_and_the_log_says_so(mall: Mall) -> None:
    """The last of the module: it stops Redis."""
    path, channel = "/astra.user.v1.UserService/Login", mall.channel(mall.one, "internal")
    address = {"x-forwarded-for": "203.0.113.77"}
    await times(channel, LIMITS["login"], path, address)
    assert (await call(channel, path, address)).code is EXHAUSTED, "the control: with Redis it is refused"
    with suppress(ProcessLookupError):
        mall.redis.kill()
    mall.redis.wait(10)
    with capture_logs() as logs:
        assert [(await call(channel, path, address)).code for _ in range(3)] == [OK] * 3
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["limits.open"]
