"""The bridge process, killed at any moment and started again."""

import asyncio
import functools
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from services.mesh import ROOT, Mesh
from services.runtime.credentials import make_credentials
from tests.unit_bridge.outboxes import OutboxServer
from tests.unit_bridge.polling import until
from tests.unit_bridge.valkey import Valkey

EXECUTED = "astra.trading.trade_executed.v1"
LEVEL_UP = "astra.gamification.level_up.v1"


@pytest.fixture
async def outbox() -> AsyncIterator[OutboxServer]:
    server = OutboxServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def mesh(tmp_path: Path, server: Valkey, outbox: OutboxServer) -> Mesh:
    """A mesh whose internal listener is the outbox itself: one server has the streams of every service."""
    described = Mesh.at(tmp_path, redis_url=server.url, free_ports=True)
    described = replace(described, addresses={**described.addresses, "envoy-internal": outbox.address})
    described.save()
    make_credentials(described)
    return described


@asynccontextmanager
async def bridge(mesh: Mesh, *arguments: str, wants_words: bool = False) -> AsyncIterator[Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bridge", "serve", *arguments),
        cwd=ROOT,
        env={**os.environ, "ASTRA_MESH": str(mesh.state_dir / "mesh.json")},
        stderr=asyncio.subprocess.PIPE if wants_words else asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def lengths(server: Valkey, *streams: str) -> list[int]:
    async with server.client() as redis:
        return [await redis.xlen(stream) for stream in streams]


async def assert_streams_are_the_outbox(server: Valkey, outbox: OutboxServer) -> None:
    async with server.client() as redis:
        for stream, held in outbox.entries.items():
            found: Any = await redis.xrange(stream)
            wanted = [(entry.id, entry.envelope) for entry in held]
            assert [(id_.decode(), fields[b"e"]) for id_, fields in found] == wanted


async def health(mesh: Mesh) -> int | None:
    """Returns the bridge's health; None while it does not answer."""
    async with grpc.aio.insecure_channel(mesh.addresses["bridge"]) as channel:
        check: Any = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        try:
            return int((await check(HealthCheckRequest(), timeout=1)).status)
        except grpc.aio.AioRpcError:
            return None


async def test_bridge_killed_at_any_moment_loses_and_doubles_nothing(
    mesh: Mesh, server: Valkey, outbox: OutboxServer
) -> None:
    chance = random.Random(11)
    for _ in range(6):
        begun = functools.partial(_longer, server, (await lengths(server, EXECUTED))[0])
        async with bridge(mesh) as process:
            outbox.record(EXECUTED, [b"x"] * 20)
            await until(begun, "the first append")
            for _ in range(chance.randrange(30)):
                outbox.record(EXECUTED, [b"x"] * chance.randrange(1, 30))
                outbox.record(LEVEL_UP, [b"y"])
                await asyncio.sleep(0)
            process.send_signal(signal.SIGKILL)
            await process.wait()
    async with bridge(mesh, "--address", mesh.addresses["gateway"]), bridge(mesh) as process:
        wanted = [len(outbox.entries[stream]) for stream in (EXECUTED, LEVEL_UP)]
        await until(lambda: _are(server, wanted), "the rest, by two bridges at once")
        await until(lambda: _health_is(mesh, HealthCheckResponse.SERVING), "readiness")
        process.terminate()
        async with asyncio.timeout(10):
            assert await process.wait() == 0
    await assert_streams_are_the_outbox(server, outbox)


async def test_bridge_is_ready_while_redis_answers_and_no_stream_diverged(
    mesh: Mesh, server: Valkey, outbox: OutboxServer
) -> None:
    serving, not_serving = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
    async with bridge(mesh) as process:
        await until(lambda: _health_is(mesh, serving), "readiness")
        server.kill()
        await until(lambda: _health_is(mesh, not_serving), "the loss of Redis")
        server.start()
        await until(lambda: _health_is(mesh, serving), "the return of Redis")
        async with server.client() as redis:
            await redis.xadd(EXECUTED, {"e": b"stray"})
        outbox.record(EXECUTED, [b"x"])
        await until(lambda: _health_is(mesh, not_serving), "the divergence")
        outbox.record(LEVEL_UP, [b"y"])
        await until(lambda: _are(server, [1, 1]), "the other streams")
        process.terminate()
        async with asyncio.timeout(10):
            assert await process.wait() == 0


async def test_bridge_whose_address_is_taken_says_so(mesh: Mesh) -> None:
    async with bridge(mesh) as process:
        await until(lambda: _health_is(mesh, HealthCheckResponse.SERVING), "readiness")
        async with bridge(mesh, wants_words=True) as second, asyncio.timeout(20):
            _, words = await second.communicate()
            assert second.returncode == 1
            assert b"cannot be bound" in words
            assert b"Traceback" not in words
        assert process.returncode is None


async def _longer(server: Valkey, than: int) -> bool:
    return (await lengths(server, EXECUTED))[0] > than


async def _are(server: Valkey, wanted: list[int]) -> bool:
    return await lengths(server, EXECUTED, LEVEL_UP) == wanted


async def _health_is(mesh: Mesh, wanted: int) -> bool:
    return await health(mesh) == wanted


async def test_end_of_the_append_only_file_that_is_lost_is_sent_again_though_nothing_happens(
    mesh: Mesh, server: Valkey, outbox: OutboxServer
) -> None:
    async with bridge(mesh):
        for _ in range(20):
            outbox.record(EXECUTED, [b"x" * 50] * 10)
            outbox.record(LEVEL_UP, [b"y"])
        await until(lambda: _are(server, [200, 20]))
        await asyncio.sleep(1.2)  # everysec: the file holds all of it
        server.kill()
        [file] = server.folder.glob("appendonlydir/*.incr.aof")
        os.truncate(file, file.stat().st_size - 4_000)
        server.start()
        kept = await lengths(server, EXECUTED, LEVEL_UP)
        assert kept < [200, 20], "the cut took something"
        await until(lambda: _are(server, [200, 20]), "the repair")
    await assert_streams_are_the_outbox(server, outbox)


async def test_bridge_refuses_a_redis_that_keeps_nothing_unless_told_to(
    mesh: Mesh, server: Valkey, outbox: OutboxServer
) -> None:
    async with server.client() as redis:
        await redis.config_set("appendonly", "no")
    outbox.record(EXECUTED, [b"x"])
    async with bridge(mesh, wants_words=True) as process, asyncio.timeout(20):
        _, words = await process.communicate()
        assert process.returncode == 1
        assert b"appendonly yes" in words
        assert b"Traceback" not in words
    assert await lengths(server, EXECUTED) == [0]
    async with bridge(mesh, "--insist"):
        await until(functools.partial(_longer, server, 0), "the append")
