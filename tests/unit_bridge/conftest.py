"""A server for the run, emptied for each test; and servers of a test's own, to be killed.

`ASTRA_TEST_REDIS` names another server's binary; with `ASTRA_TEST_CLUSTER=1` the server for the run is a cluster.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from services.runtime.redis_cluster import ClusterRedis, slot
from services.runtime.redis_topology import Topology
from tests.clusters import Cluster, client_of
from tests.unit_bridge.consuming import EXECUTED
from tests.unit_bridge.outboxes import OutboxServer
from tests.unit_bridge.valkey import Valkey


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey | Cluster]:
    if os.environ.get("ASTRA_TEST_CLUSTER") != "1":
        server = Valkey(tmp_path_factory.mktemp("valkey"))
        server.start()
        yield server
        server.kill()
        return
    cluster = Cluster(tmp_path_factory.mktemp("cluster") / "nodes", "appendonly yes")
    try:
        asyncio.run(_started(cluster))
        yield cluster
    finally:
        for node in cluster.nodes:
            node.kill()


async def _started(cluster: Cluster) -> None:
    await cluster.start()
    for node in cluster.nodes:
        await node.client.aclose()  # its connections belong to this loop


class WholeCluster(ClusterRedis):
    """The bus's client, which also does to each primary what a test does to its server."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] == "INFO":
            owner: Any = await self.topology.owner(slot(EXECUTED))
            return await owner.execute_command(*args, **options)
        if args[0] in ("CONFIG SET", "FLUSHALL", "SCRIPT FLUSH", "KEYS"):
            nodes: list[Any] = await self.topology.primaries()
            answers = await asyncio.gather(*(node.execute_command(*args, **options) for node in nodes))
            return [key for keys in answers for key in keys] if args[0] == "KEYS" else answers[0]
        return await super().execute_command(*args, **options)


@pytest.fixture
async def redis(shared_server: Valkey | Cluster) -> AsyncIterator[Redis]:
    if isinstance(shared_server, Valkey):
        client = shared_server.client()
    else:
        seeds = [(node.host, node.port) for node in shared_server.nodes]
        client = WholeCluster(Topology(seeds, client_of), client_of(*seeds[0]))
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
