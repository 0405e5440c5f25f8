"""A server for the run, emptied for each test; and servers of a test's own, to be killed."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from redis.asyncio import Redis

from tests.unit_bridge.outboxes import OutboxServer
from tests.unit_bridge.valkey import Valkey


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def redis(shared_server: Valkey) -> AsyncIterator[Redis]:
    client = shared_server.client()
    await client.config_set("maxmemory", 0)
    await client.flushall()
    await client.script_flush()
    yield client
    await client.aclose()


@pytest.fixture
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Valkey]]:
    servers: list[Valkey] = []

    def start(*options: str) -> Valkey:
        servers.append(Valkey(tmp_path_factory.mktemp("valkey"), *options))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
async def outbox() -> AsyncIterator[OutboxServer]:
    server = OutboxServer()
    await server.start()
    yield server
    await server.stop()
