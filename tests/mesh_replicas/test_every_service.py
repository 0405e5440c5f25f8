"""Two replicas of every service under 200 calls a second: what dies, hangs, fails or restarts, no read notices.

The tests run in their order; each takes the same replica of all services at once.
"""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import jwt
import pytest
import pytest_asyncio
from astra.event.v1.envelope_pb2 import Envelope

from services.local import LocalMesh
from services.local.processes import processes
from services.mesh import ROOT, SERVICES, Mesh
from services.runtime.certificates import server_credentials
from services.runtime.clock import wall_clock
from services.runtime.credentials import ServiceToken
from services.runtime.redis_client import connect
from services.runtime.registry import Registration
from services.user import open_store
from services.user.signing_keys import SigningKeys
from tests.mesh_replicas.conftest import Replicas
from tests.mesh_replicas.figures import FIGURES
from tests.mesh_replicas.mixed_traffic import BY_NAME, READS, SEED, WRITES, Mixed
from tests.mesh_replicas.traffic import channel_to
from tests.unit_envoy.door import Echo, spare_ports, until

# All replicas that were killed start at once, which on a busy machine takes a while.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long, pytest.mark.timeout(300)]

NAMES = tuple(service.name for service in SERVICES)
FIRST = tuple("trading-serve" if name == "trading" else name for name in NAMES)
SECOND = tuple(f"{name}-2" for name in NAMES)
NONE: Counter[str] = Counter()


@dataclass
class Whole(Replicas):
    """A whole mesh, each service twice, and the calls of all tests."""

    admin: str = ""
    applied: dict[str, set[str]] | None = None

    def mixed(self, channel: grpc.aio.Channel | None = None) -> Mixed:
        mixed = Mixed(channel or self.channel, self.admin)
        self.applied = mixed.applied = self.applied or mixed.applied
        return mixed

    async def all_take_calls(self) -> None:
        for first, second in zip(FIRST, SECOND, strict=True):
            await self.take_calls(second.removesuffix("-2"), *self.addresses(first, second))

    async def back(self, pids: dict[str, int]) -> None:
        """Waits until processes that ended are there again and take calls."""
        for name, pid in pids.items():
            await asyncio.to_thread(self.running.wait_ready, name, not_pid=pid)
        await self.all_take_calls()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    mesh = Mesh.at(tmp_path_factory.mktemp("mesh"), free_ports=True)
    for name in NAMES:
        mesh = mesh.with_replica(name)
    with LocalMesh(mesh, processes=processes(mesh), ready_seconds=120) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole(running: LocalMesh) -> AsyncIterator[Whole]:
    mesh = running.mesh
    async with channel_to(mesh) as channel:
        whole = Whole(running, channel, ServiceToken(mesh.keys_dir, "operator").bearer, await admin_token(mesh))
        await whole.all_take_calls()
        mixed = whole.mixed()
        await mixed.write("AwardXp", SEED)
        await until(lambda: readable(mixed), seconds=30, every_seconds=0.2)
        yield whole


async def admin_token(mesh: Mesh) -> str:
    store = open_store(mesh.database("user"), clock=wall_clock)
    try:
        key = await SigningKeys(store).signing()
    finally:
        await store.close()
    now = int(time.time())
    claims = {"iss": "users", "aud": "astra", "sub": "mesh-admin", "roles": "user admin", "iat": now, "exp": now + 1800}
    return jwt.encode(claims, key.private_pem, algorithm="ES256", headers={"kid": key.kid})


async def readable(mixed: Mixed) -> bool:
    before = mixed.failed.total()
    for name in READS:
        await mixed.read(name)
    return mixed.failed.total() == before


async def test_replicas_that_are_killed_fail_no_read(whole: Whole) -> None:
    async with whole.mixed() as mixed:
        await asyncio.sleep(1)
        pids = {name: whole.running.kill(name, signal.SIGKILL) for name in SECOND}
        await whole.back(pids)
    assert mixed.failed_reads() == NONE
    assert min(mixed.reads.values()) > 50
    FIGURES["reads while every service's second replica was killed"] = mixed.reads.total()


async def test_replicas_that_are_stopped_fail_no_call(whole: Whole) -> None:
    async with whole.mixed() as mixed:
        await asyncio.sleep(1)
        pids = {name: whole.running.kill(name, signal.SIGTERM) for name in SECOND}
        await whole.back(pids)
    assert mixed.failed == NONE
    FIGURES["calls while every service's second replica was stopped"] = mixed.reads.total()


async def test_replicas_that_hang_fail_no_read(whole: Whole) -> None:
    async with whole.mixed() as mixed:
        await asyncio.sleep(1)
        for name in SECOND:
            whole.running.kill(name, signal.SIGSTOP)
        try:
            await asyncio.sleep(8)
        finally:
            for name in SECOND:
                whole.running.kill(name, signal.SIGCONT)
        await whole.all_take_calls()
    assert mixed.failed_reads() == NONE
    assert mixed.slowest_seconds > 1, "the control: somebody was waiting for them"
    FIGURES["reads while every service's second replica hung"] = mixed.reads.total()


async def test_replicas_that_answer_unavailable_or_are_not_serving_fail_no_read(whole: Whole) -> None:
    async with whole.mixed() as mixed, stand_ins(whole) as echoes:

        async def all_called() -> bool:
            return all(echo.calls.total() > 0 for echo in echoes)

        await until(all_called, seconds=20)
        await asyncio.sleep(2)
        unavailable = mixed.reads.total()
        for echo in echoes:
            echo.healthy = False
        await asyncio.sleep(3)
    assert mixed.failed_reads() == NONE
    FIGURES["reads while a replica of every service answered UNAVAILABLE"] = unavailable
    FIGURES["reads while a replica of every service was NOT_SERVING"] = mixed.reads.total() - unavailable


@asynccontextmanager
async def stand_ins(whole: Whole) -> AsyncIterator[list[Echo]]:
    """Adds a replica to every service that answers everything UNAVAILABLE."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(connect(whole.mesh, "registry", timeout_seconds=None))
        echoes = []
        for name, port in zip(NAMES, spare_ports(len(NAMES)), strict=True):
            echo = Echo(name)
            echo.failing = True
            await echo.start(port, server_credentials(whole.mesh, name))
            stack.push_async_callback(echo.stop)
            registration = Registration(redis, name, f"127.0.0.1:{port}")
            registration.start()
            stack.push_async_callback(registration.leave)
            echoes.append(echo)
        yield echoes
    await whole.all_take_calls()


async def test_without_its_retries_a_read_does_fail(whole: Whole) -> None:
    """The control: what the stand-ins answer reaches whoever is not tried again, here writes."""
    async with stand_ins(whole) as echoes, whole.mixed() as mixed:

        async def refused() -> bool:
            return bool(mixed.failed)

        await until(refused, seconds=20)
    assert {how.split()[0] for how in mixed.failed} <= set(WRITES)
    assert any(echo.calls for echo in echoes)


async def test_everything_restarts_in_turn_without_a_failed_call(whole: Whole) -> None:
    async with channel_to(whole.mesh, resend_unsent=True) as channel, whole.mixed(channel) as mixed:
        await asyncio.sleep(1)
        await restart(whole, *SECOND)
        await restart(whole, "discovery", "ratelimit", "bridge", "trading-react", "gateway")
        await restart_envoy(whole)
        await restart(whole, "redis")
        await restart(whole, *FIRST)
        await asyncio.sleep(1)
    assert mixed.failed == NONE
    FIGURES["calls during a rolling restart of everything"] = mixed.reads.total()


async def restart(whole: Whole, *names: str) -> None:
    await whole.back({name: whole.running.kill(name, signal.SIGTERM) for name in names})


async def restart_envoy(whole: Whole) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "envoy", "restart"), cwd=ROOT, env={**os.environ, **whole.running.environment}
    )
    assert await asyncio.wait_for(process.wait(), 60) == 0
    await whole.all_take_calls()


async def test_every_acknowledged_write_was_applied_exactly_once(whole: Whole) -> None:
    """All writes of the module, many of them repeated because their first answer was lost."""
    assert whole.applied
    async with connect(whole.mesh, "reader") as redis:
        for name, (stream, _) in WRITES.items():
            done = frozenset(whole.applied[name])
            assert len(done) > 50, name

            async def all_there(stream: str = stream, done: frozenset[str] = done) -> bool:
                return done <= (await times_in(redis, stream)).keys()

            await until(all_there, seconds=60, every_seconds=1)
            times = await times_in(redis, stream)
            assert {call_id: times[call_id] for call_id in done if times[call_id] != 1} == {}, BY_NAME[name].path
            FIGURES[f"{name}: writes applied exactly once"] = len(done)


async def times_in(redis: Any, stream: str) -> Counter[str]:
    """Counts a stream's entries by correlation id."""
    entries: Any = await redis.xrange(stream)
    return Counter(Envelope.FromString(fields[b"e"]).correlation_id for _, fields in entries)
