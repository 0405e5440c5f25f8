"""What callers notice of services that fail, dawdle or are asked too much."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import grpc
import pytest

from envoy.endpoints import write_endpoints
from envoy.policy import Policy
from services.mesh import Mesh
from tests.unit_envoy.door import Echo, Issuer, RunningEnvoy, bearer, call, spare_ports, until

OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
WRITE = "/astra.gamification.v1.GamificationService/AwardXp"
READ = "/astra.trading.v1.TradingService/GetQuote"
TAIL = "/astra.event.v1.OutboxService/Tail"
PROCESSES = Issuer("services", kid="bridge")

Start = Callable[[Policy], Awaitable[RunningEnvoy]]


@pytest.fixture
async def start(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def envoy(policy: Policy) -> RunningEnvoy:
            mesh = Mesh.at(tmp_path_factory.mktemp("mesh"), free_ports=True)
            started = RunningEnvoy(mesh, PROCESSES, policy)
            stack.push_async_callback(started.stop)
            await started.start()
            return started

        yield envoy


@pytest.fixture
async def replicas() -> AsyncIterator[dict[int, Echo]]:
    """Two replicas of a service by their ports."""
    services = {port: Echo(str(port)) for port in spare_ports(2)}
    for port, service in services.items():
        await service.start(port)
    yield services
    for service in services.values():
        await service.stop()


def settle(envoy: RunningEnvoy, service: str, replicas: dict[int, Echo]) -> None:
    write_endpoints(envoy.mesh, service, [f"127.0.0.1:{port}" for port in replicas])


async def test_replica_that_fails_is_left_alone(start: Start, replicas: dict[int, Echo]) -> None:
    envoy = await start(Policy())
    settle(envoy, "gamification", replicas)
    channel, token = envoy.channel("envoy-internal"), bearer(PROCESSES.token(sub="service:bridge"))
    seen: set[str] = set()

    async def both_answer() -> bool:
        answer = await call(channel, WRITE, token)
        seen.update({answer.seen["service"]} if answer.code is OK else set())
        return len(seen) == 2

    await until(both_answer)
    next(iter(replicas.values())).failing = True
    codes = Counter([(await call(channel, WRITE, token)).code for _ in range(60)])
    assert codes == {OK: 55, UNAVAILABLE: 5}, "ejected after five failures, and no write was tried twice"


async def test_replica_that_hangs_costs_a_reader_one_try(start: Start, replicas: dict[int, Echo]) -> None:
    envoy = await start(Policy(try_timeout_seconds=0.2))
    settle(envoy, "trading", replicas)
    channel = envoy.channel("envoy-public")

    async def answers() -> bool:
        return (await call(channel, READ)).code is OK

    await until(answers)
    next(iter(replicas.values())).dawdling_seconds = 3
    assert [(await call(channel, READ)).code for _ in range(10)] == [OK] * 10


async def test_calls_over_the_breaker_are_refused_at_once_and_deadlines_spare_streams(start: Start) -> None:
    envoy = await start(Policy(max_requests=2, deadline_seconds=0.4))
    service, token = Echo("gamification"), bearer(PROCESSES.token(sub="service:bridge"))
    channel = envoy.channel("envoy-internal", "gamification.mesh")
    await service.start(envoy.mesh.port("gamification"))
    try:

        async def answers() -> bool:
            return (await call(channel, WRITE, token)).code is OK

        await until(answers)
        slow = {"test-sleep": "0.8"} | token
        streams = await asyncio.gather(*(call(channel, TAIL, slow, None) for _ in range(4)))
        codes = Counter(answer.code for answer in streams)
        assert codes == {OK: 2, UNAVAILABLE: 2}
        refused = next(answer for answer in streams if answer.code is UNAVAILABLE)
        assert (refused.trailers["x-mesh-flags"], refused.trailers["x-envoy-overloaded"]) == ("UO", "true")

        assert (await call(channel, WRITE, slow, None)).code is grpc.StatusCode.DEADLINE_EXCEEDED
    finally:
        await service.stop()
