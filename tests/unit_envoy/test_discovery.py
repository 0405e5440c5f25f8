"""The registry and what discovery makes of it, on a real Redis that goes away, fills up and forgets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from envoy.discovery import SETTLE_SECONDS, Discovery, endpoints
from envoy.endpoints import endpoints_path, write_endpoints
from services.local import redis_server
from services.mesh import Mesh
from services.runtime.credentials import make_credentials
from services.runtime.redis_client import connect
from services.runtime.registry import (
    GONE_SECONDS,
    INDEX,
    STALE_SECONDS,
    Instance,
    Registration,
    Seen,
    forget,
    read_registry,
)
from tests.unit_envoy.door import until

ONE, TWO, THREE = "127.0.0.1:1001", "127.0.0.1:1002", "127.0.0.1:1003"


@dataclass
class Town:
    """A Redis, a registry in it, and discovery with a clock moved by hand."""

    mesh: Mesh
    redis: Redis
    process: asyncio.subprocess.Process
    stack: AsyncExitStack
    seconds: float = 0.0
    registrations: dict[str, Registration] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.discovery = Discovery(self.mesh, self.redis, lambda: self.seconds)

    async def register(self, *addresses: str) -> None:
        for address in addresses:
            registration = self.registrations[address] = Registration(self.redis, "trading", address)
            registration.start()
            self.stack.push_async_callback(registration.leave)
        entries = [self.registrations[address].instance.entry.encode() for address in addresses]

        async def registered() -> bool:
            return set(entries) <= set(await self.redis.smembers(INDEX))

        await until(registered)

    async def silence(self, address: str, seconds: int) -> None:
        """Makes an instance as if it had not been heard of for so long."""
        registration = self.registrations[address]
        assert registration._beating
        registration._beating.cancel()
        await asyncio.gather(registration._beating, return_exceptions=True)
        if seconds >= GONE_SECONDS:
            await self.redis.delete(registration.instance.key)
        else:
            await self.redis.expire(registration.instance.key, GONE_SECONDS - seconds)

    async def found(self) -> list[str]:
        """Looks once, and returns what the endpoint file says then."""
        await self.discovery.look()
        (assignment,) = yaml.safe_load(endpoints_path(self.mesh, "trading").read_text())["resources"]
        sockets = [
            host["endpoint"]["address"]["socket_address"]
            for group in assignment["endpoints"]
            for host in group["lb_endpoints"]
        ]
        return [f"{socket['address']}:{socket['port_value']}" for socket in sockets]

    async def kill_redis(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def start_redis(self) -> None:
        self.process = await start_redis(self.mesh)


async def start_redis(mesh: Mesh) -> asyncio.subprocess.Process:
    with (mesh.state_dir / "redis.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*redis_server.command(mesh), stdout=log, stderr=log)
    async with connect(mesh, "registry", timeout_seconds=None) as client:

        async def answers() -> bool:
            try:
                return bool(await client.ping())
            except (RedisError, OSError):
                return False

        await until(answers)
    return process


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    mesh = Mesh.at(tmp_path, free_ports=True)
    make_credentials(mesh)
    redis_server.render(mesh)
    process = await start_redis(mesh)
    write_endpoints(mesh, "trading", [THREE])
    async with connect(mesh, "registry", timeout_seconds=None) as redis, AsyncExitStack() as stack:
        town = Town(mesh, redis, process, stack)
        try:
            yield town
        finally:
            await stack.aclose()
            if town.process.returncode is None:
                await town.kill_redis()


async def test_what_registers_is_found_and_what_leaves_is_not_but_never_the_last(town: Town) -> None:
    assert await town.found() == [THREE], "nobody has registered yet"
    await town.register(ONE, TWO)
    assert await town.found() == [ONE, TWO]
    assert await town.redis.ttl(town.registrations[ONE].instance.key) > STALE_SECONDS
    await town.registrations[ONE].leave()
    assert await town.found() == [TWO]
    await town.registrations[TWO].leave()
    assert await town.found() == [TWO]


@pytest.mark.parametrize("seconds", [STALE_SECONDS + 1, GONE_SECONDS])
async def test_a_silent_instance_is_dropped_but_never_the_last(town: Town, seconds: int) -> None:
    await town.register(ONE, TWO)
    await town.silence(ONE, seconds)
    assert await town.found() == [TWO]
    await town.silence(TWO, seconds)
    assert TWO in await town.found()


async def test_an_instance_younger_than_stale_stays(town: Town) -> None:
    await town.register(ONE, TWO)
    await town.silence(ONE, STALE_SECONDS - 2)
    assert await town.found() == [ONE, TWO]


async def test_without_redis_all_stay_where_they_were_even_when_envoy_starts_anew(town: Town) -> None:
    await town.register(ONE, TWO)
    assert await town.found() == [ONE, TWO]
    await town.kill_redis()
    write_endpoints(town.mesh, "trading", [THREE])  # as an Envoy that starts does
    assert await town.found() == [ONE, TWO]


async def test_a_redis_that_forgot_everything_is_told_again_and_nobody_is_dropped_meanwhile(town: Town) -> None:
    await town.register(ONE, TWO)
    await town.silence(ONE, GONE_SECONDS)
    await town.kill_redis()
    assert await town.found() == [THREE]
    await town.start_redis()
    assert set(await town.found()) >= {ONE}, "just back: silence proves nothing yet"
    town.seconds += SETTLE_SECONDS + 1
    assert ONE not in await town.found()


async def test_a_full_redis_takes_nobody_down(town: Town) -> None:
    await town.register(ONE, TWO)
    await town.silence(ONE, GONE_SECONDS)
    async with Redis(
        host=town.mesh.host("redis"),
        port=town.mesh.port("redis"),
        username="registry",
        password=(town.mesh.keys_dir / "redis-registry.password").read_text(),
    ) as probe:
        await fill(town)
        with pytest.raises(OutOfMemoryError):
            await probe.set("{registry}:more", "x")
        await town.found()  # finds its connection closed
        town.seconds += SETTLE_SECONDS + 1
        assert await town.found() == [ONE, TWO], "who is silent may only have been refused"
        await town.registrations[TWO]._renew()
        await town.registrations[TWO].leave()
        assert await town.found() == [ONE], "leaving passes"


async def fill(town: Town) -> None:
    """Restarts the server with less memory than it already uses."""
    town.process.terminate()
    await town.process.wait()
    configuration = town.mesh.state_dir / "redis" / "valkey.conf"
    configuration.write_text(configuration.read_text().replace("maxmemory 2560mb", "maxmemory 1kb"))
    await town.start_redis()


async def test_the_dead_are_taken_off_the_index(town: Town) -> None:
    await town.register(ONE, TWO)
    await town.silence(ONE, GONE_SECONDS)
    await town.found()
    assert [seen.instance.address for seen in await read_registry(town.redis)] == [TWO]
    await forget(town.redis, [])


def test_an_address_that_envoy_cannot_call_spoils_nothing() -> None:
    seen = [
        Seen(Instance(service="trading", address=address, id=str(number)), fresh=True, gone=False)
        for number, address in enumerate([ONE, "trading:10011", "127.0.0.1:x", "127.0.0.1:70000", ONE])
    ]
    assert endpoints(seen, may_drop=True) == {"trading": [ONE]}
