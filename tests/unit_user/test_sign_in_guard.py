"""How often a username may be tried, counted in a real Redis by several processes of the service."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.local import redis_server
from services.mesh import LIMITS, Mesh
from services.runtime.credentials import make_credentials
from services.runtime.errors import ResourceExhausted
from services.runtime.limiter import Limiter
from services.runtime.redis_client import connect
from services.user.sign_in_guard import LIMIT, SignInGuard

START_SECONDS = 10


@pytest.fixture
async def limited(tmp_path: Path) -> AsyncIterator[Mesh]:
    mesh = replace(Mesh.at(tmp_path, free_ports=True), limits=LIMITS)
    make_credentials(mesh)
    redis_server.render(mesh)
    with (tmp_path / "redis.log").open("wb") as log:
        server = await asyncio.create_subprocess_exec(*redis_server.command(mesh), stdout=log, stderr=log)
    try:
        limiter = Limiter(mesh)
        async with asyncio.timeout(START_SECONDS):
            while not await limiter.ping():  # noqa: ASYNC110 -- another process
                await asyncio.sleep(0.02)
        await limiter.close()
        yield mesh
    finally:
        server.kill()
        await server.wait()


async def test_a_username_is_refused_whoever_tries_and_whatever_the_case(limited: Mesh) -> None:
    limiters = [Limiter(limited), Limiter(limited)]
    guards = [SignInGuard(limiter) for limiter in limiters]
    for number in range(LIMITS[LIMIT]):
        await guards[number % 2].admit("Ada" if number % 3 else "aDA")
    for guard in guards:
        with pytest.raises(ResourceExhausted) as refused:
            await guard.admit("ada")
        assert refused.value.reason == "TOO_MANY_SIGN_INS"
        assert 1 <= int(refused.value.metadata["retry_after_seconds"]) <= 60
    await guards[0].admit("bob")
    for limiter in limiters:
        await limiter.close()


async def test_what_was_typed_as_a_username_is_not_in_redis(limited: Mesh) -> None:
    limiter = Limiter(limited)
    await SignInGuard(limiter).admit("my secret password")
    async with connect(limited, "limiter") as redis:
        keys = [key async for key in redis.scan_iter("limits:*")]
    assert len(keys) == 1
    assert b"secret" not in keys[0]
    await limiter.close()


async def test_without_redis_a_username_may_be_tried(tmp_path: Path) -> None:
    guard = SignInGuard(Limiter(replace(Mesh.at(tmp_path, free_ports=True), limits={LIMIT: 1})))
    for _ in range(3):
        await guard.admit("ada")
