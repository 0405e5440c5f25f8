"""What callers and REST clients are told, and how soon, when a service has more in hand than its breakers allow."""

import asyncio
import statistics
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import web

from envoy.policy import Policy
from gateway.process import running
from gateway.settings import Settings
from services.contracts import DESCRIPTORS
from services.mesh import Mesh
from tests.mesh_replicas.figures import FIGURES
from tests.unit_envoy.door import Answer, Echo, Issuer, RunningEnvoy, bearer, call, until

pytestmark = pytest.mark.long

QUOTE = "/astra.trading.v1.TradingService/GetQuote"
OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
BURST = 40
PROCESSES = Issuer("services", kid="bridge")


@dataclass
class Crowd:
    """A service behind narrow breakers."""

    mesh: Mesh
    channel: grpc.aio.Channel
    held: list["asyncio.Task[Answer]"] = field(default_factory=list)

    async def hold(self, count: int) -> None:
        """Fills the service with calls that take a while."""
        self.held = [asyncio.create_task(call(self.channel, QUOTE, {"test-sleep": "1.5"})) for _ in range(count)]
        await until(lambda: self.has("upstream_rq_active", count))

    async def overflow(self, name: str) -> list[Answer]:
        """Calls on top of that one by one; each is answered at once."""
        answers, took_ms = [], []
        for _ in range(BURST):
            begun = time.perf_counter()
            answers.append(await call(self.channel, QUOTE))
            took_ms.append((time.perf_counter() - begun) * 1000)
        FIGURES[f"ms until a call over the {name} breaker is refused, median (goal: 50)"] = statistics.median(took_ms)
        FIGURES[f"ms until a call over the {name} breaker is refused, worst"] = max(took_ms)
        assert max(took_ms) < 1000, "not after the deadline of the calls before"
        return answers

    async def has(self, statistic: str, count: int) -> bool:
        return self.count(statistic) == count

    def count(self, statistic: str) -> int:
        url = f"http://{self.mesh.addresses['envoy-admin']}/stats?filter=^cluster.trading.{statistic}$"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.read().decode().rpartition(" ")[2] or 0)

    async def held_ones_end_well(self) -> None:
        assert {(await task).code for task in self.held} == {OK}


@pytest.fixture
async def crowd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Crowd]:
    policy, streams = request.param
    mesh = Mesh.at(tmp_path_factory.mktemp("mesh"), free_ports=True)
    mesh = replace(mesh, limits={**mesh.limits, "profile_reads": 1})
    envoy, trading = RunningEnvoy(mesh, PROCESSES, policy), Echo("trading")
    await trading.start(mesh.port("trading"), streams=streams)
    try:
        await envoy.start()
        channel = envoy.channel("envoy-public")

        async def answers() -> bool:
            return (await call(channel, QUOTE)).code is OK

        await until(answers)
        yield Crowd(mesh, channel)
    finally:
        await envoy.stop()
        await trading.stop()


def narrow(**bounds: int) -> Policy:
    """Returns a policy whose tries last longer than the calls that fill the service."""
    return replace(Policy(try_timeout_seconds=4), **bounds)


ONE_STREAM = 1
CASES: dict[str, tuple[tuple[Policy, int | None], int, str]] = {
    "requests": ((narrow(max_requests=2), None), 2, ""),
    # With one stream a connection a second call waits for it; a third finds the queue full.
    "pending": ((narrow(max_connections=1, max_pending_requests=1), ONE_STREAM), 1, "rq_pending_overflow"),
    # As many connections as there may be are busy: no more are opened, and what waits is over the limit.
    "connections": ((narrow(max_connections=2, max_pending_requests=1), ONE_STREAM), 2, "cx_overflow"),
}
"""Breakers, how many calls are under way before one is over it, and what Envoy counts then beside `UO`."""


@pytest.mark.parametrize(
    ("crowd", "name"), [(case[0], name) for name, case in CASES.items()], indirect=["crowd"], ids=list(CASES)
)
async def test_a_call_over_a_breaker_is_refused_at_once_and_says_why(crowd: Crowd, name: str) -> None:
    _, active, counter = CASES[name]
    await crowd.hold(active)
    if name != "requests":
        crowd.held.append(asyncio.create_task(call(crowd.channel, QUOTE)))
        await until(lambda: crowd.has("upstream_rq_pending_active", 1))
    answers = await crowd.overflow(name)
    assert {answer.code for answer in answers} == {UNAVAILABLE}
    told = {(a.trailers["x-mesh-flags"], a.trailers["x-envoy-overloaded"]) for a in answers}
    assert told == {("UO", "true")}
    assert all("overflow" in answer.trailers["x-mesh-reason"] for answer in answers)
    assert not counter or crowd.count(f"upstream_{counter}") > 0
    await crowd.held_ones_end_well()
    assert (await call(crowd.channel, QUOTE)).code is OK, "and then it is as before"


def token() -> dict[str, str]:
    """Makes a token now: one made when the file is read has ended when a long run comes to it."""
    return bearer(PROCESSES.token(sub="service:gateway"))


@asynccontextmanager
async def rest(mesh: Mesh) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a gateway before the mesh."""
    internal = mesh.addresses["envoy-internal"]
    async with running(Settings(), DESCRIPTORS.read_bytes(), internal) as gateway:
        await web.TCPSite(gateway.runner, "127.0.0.1", 0).start()
        host, port = gateway.addresses[0]
        async with aiohttp.ClientSession(f"http://{host}:{port}") as client:
            yield client


@pytest.mark.parametrize("crowd", [(narrow(max_requests=2), None)], indirect=True)
async def test_a_rest_client_is_told_503_or_429_and_when_to_come_back(crowd: Crowd) -> None:
    async with rest(crowd.mesh) as client:

        async def let_in() -> bool:
            async with client.get("/v1/markets/BTC/quote", headers=token()) as got:
                return got.status != 401

        await until(let_in)  # once Envoy has the keys of the users' tokens
        await crowd.hold(2)
        async with client.get("/v1/markets/BTC/quote") as got:
            assert (got.status, reasons(await got.json())) == (503, {"OVERLOADED": "UO"})
            assert int(got.headers["retry-after"]) >= 1
        await crowd.held_ones_end_well()
        for last in (False, True):
            async with client.get("/v1/users/u-1", headers=token()) as got:
                assert (got.status == 429) is last
                refused = await got.json()
        assert reasons(refused) == {"RATE_LIMITED": "RL"}
        assert int(got.headers["retry-after"]) == 60


def reasons(body: dict[str, Any]) -> dict[str, str]:
    """Returns why the mesh refused a call, and by which flag."""
    return {detail["reason"]: detail["metadata"]["flags"] for detail in body["details"]}
