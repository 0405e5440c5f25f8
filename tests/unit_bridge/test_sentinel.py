"""The bus on a server that three Sentinels watch: who the primary is changes, and nothing is lost or doubled."""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from astra.trading.v1.events_pb2 import TradeExecuted
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bridge.groups import Group
from services.mesh import HOST, Mesh
from services.runtime.redis_client import connect, connect_blocking, is_own
from services.runtime.store import Store
from tests.clusters import client_of, free_ports, hold_behind, let_follow
from tests.unit_bridge.consuming import SCHEMA, consuming, effects, envelopes, note
from tests.unit_bridge.outboxes import OutboxServer
from tests.unit_bridge.polling import until
from tests.unit_bridge.publishing import EXECUTED, all_published, publishing
from tests.unit_bridge.valkey import binary

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]

NAME = "streams"
SECONDS = 60.0


class Watched:
    """Three servers, of which one is the primary, and three Sentinels."""

    def __init__(self, folder: Path) -> None:
        ports = free_ports(6)
        self.servers, self.sentinels = ports[:3], ports[3:]
        self.clients: dict[int, Any] = {port: client_of(HOST, port) for port in ports}
        self._folder = folder
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        first = self.servers[0]
        follow = {port: [f"replicaof {HOST} {first}"] for port in self.servers[1:]}
        watch = [
            f"sentinel monitor {NAME} {HOST} {first} 2",
            f"sentinel down-after-milliseconds {NAME} 1500",
            f"sentinel failover-timeout {NAME} 4000",
        ]
        for port in ports:
            (folder / str(port)).mkdir(parents=True)
            lines = [f"port {port}", f"bind {HOST}", f'dir "{folder / str(port)}"']
            lines += watch if port in self.sentinels else ["appendonly yes", "save ''", "repl-diskless-sync-delay 0"]
            self._file(port).write_text("\n".join([*lines, *follow.get(port, ())]) + "\n")

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'{HOST}:{port}' for port in self.sentinels)}/{NAME}"

    async def start(self) -> None:
        for port in (*self.servers, *self.sentinels):
            self.launch(port)
        await until(self.known, "the Sentinels' knowing of each other", SECONDS)

    def launch(self, port: int) -> None:
        command = [str(binary()), str(self._file(port)), *(["--sentinel"] if port in self.sentinels else [])]
        with (self._folder / f"{port}.log").open("ab") as log:
            self._processes[port] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self, port: int) -> None:
        self._processes[port].kill()
        self._processes[port].wait()

    async def known(self) -> bool:
        """Tells whether every Sentinel knows the other two and both replicas, and these follow."""
        try:
            for port in self.sentinels:
                told = await self.clients[port].execute_command("SENTINEL", "MASTERS")
                [found] = [
                    dict(zip(one[::2], one[1::2], strict=True)) if isinstance(one, list) else one for one in told
                ]
                if (int(found[b"num-other-sentinels"]), int(found[b"num-slaves"])) != (2, 2):
                    return False
            states = [await self.clients[port].info("replication") for port in self.servers]
        except (RedisError, OSError):
            return False
        return sorted(state.get("master_link_status", "") for state in states) == ["", "up", "up"]

    async def primary(self) -> int:
        """Returns the port of the primary, as the first Sentinel says."""
        found = await self.clients[self.sentinels[0]].execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        return int(found[1])

    async def aclose(self) -> None:
        for client in self.clients.values():
            await client.aclose()
        for port in self._processes:
            self.kill(port)

    def _file(self, port: int) -> Path:
        return self._folder / f"{port}.conf"


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    made = Watched(tmp_path / "watched")
    try:
        await made.start()
        yield made
    finally:
        await made.aclose()


@pytest.fixture
def mesh(tmp_path: Path, watched: Watched) -> Mesh:
    return Mesh.at(tmp_path / "mesh", redis_url=watched.url, free_ports=True)


@pytest.fixture
async def redis(mesh: Mesh) -> AsyncIterator[Redis]:
    client = connect(mesh, "bridge", timeout_seconds=None)
    yield client
    await client.aclose()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path / "gamification.db", domain="gamification", schema=SCHEMA)
    yield opened
    await opened.close()


async def published(outbox: OutboxServer, redis: Redis) -> None:
    check = all_published(outbox, redis)

    async def now() -> bool:
        try:
            return bool(await check())
        except (RedisError, OSError):
            return False

    await until(now, "the publishing", SECONDS)


async def test_events_go_on_when_the_primary_is_killed_or_replaced_by_one_that_lacks_the_last(
    watched: Watched, mesh: Mesh, outbox: OutboxServer, redis: Redis, store: Store
) -> None:
    assert not is_own(mesh)
    with connect_blocking(mesh, "reader") as blocking:
        assert blocking.ping()
    group = Group(name="g", consumers=2, reactions={TradeExecuted: note("g")})
    names = [f"t{n}" for n in range(60)]
    async with publishing(outbox, redis), consuming(group, store, redis):
        outbox.record(EXECUTED, envelopes(names[:20]))
        await until(lambda: len(effects(store)) == 20, seconds=SECONDS)

        killed = await watched.primary()
        watched.kill(killed)
        outbox.record(EXECUTED, envelopes(names[20:40]))
        await until(lambda: len(effects(store)) == 40, "the effects after a failover", SECONDS)
        assert await watched.primary() != killed
        watched.launch(killed)
        await until(watched.known, "the return of the killed one", SECONDS)

        primary = await watched.primary()
        for port in watched.servers:
            if port != primary:
                await hold_behind(watched.clients[port])
        outbox.record(EXECUTED, envelopes(names[40:]))
        await published(outbox, redis)
        await watched.clients[watched.sentinels[0]].execute_command("SENTINEL", "FAILOVER", NAME)

        async def replaced() -> bool:
            return await watched.primary() != primary

        await until(replaced, "the failover", SECONDS)
        for port in watched.servers:
            await let_follow(watched.clients[port])
        await published(outbox, redis)
        await until(lambda: len(effects(store)) == 60, "all effects", SECONDS)
    assert sorted(effects(store)) == sorted(names)
