"""A Redis emptied for each test, and a bus with one service behind it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.runtime import server
from tests.unit_bridge.valkey import Valkey
from tests.unit_bus_ops.world import World, as_envoy_would, open_world


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def redis(shared_server: Valkey) -> AsyncIterator[Redis]:
    client = shared_server.client()
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def world(redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(server, "caller_from", as_envoy_would)
    async with open_world(redis, tmp_path) as world:
        yield world
