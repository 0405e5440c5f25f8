"""What each role may do, tried on the real server with the configuration that `make run` gives it."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from redis.exceptions import ConnectionError as NotConnectedError

from services.local import redis_server
from services.mesh import Mesh
from services.runtime.credentials import make_credentials
from services.runtime.redis_client import connect, is_own

STREAM = "astra.trading.trade_executed.v1"
DEAD_LETTERS = f"{{{STREAM}}}.dlq.some_group"
GROUP = "some_group"
TO_DEAD_LETTERS = "redis.call('XADD', KEYS[2], '*', 'e', ARGV[2]); return redis.call('XACK', KEYS[1], ARGV[1], '1-1')"
TO_STREAM = "return redis.call('XADD', KEYS[1], '*', 'e', 'forged')"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    mesh = Mesh.at(tmp_path_factory.mktemp("a mesh"), free_ports=True)
    make_credentials(mesh)
    redis_server.render(mesh)
    with (mesh.state_dir / "redis.log").open("wb") as log:
        server = subprocess.Popen(redis_server.command(mesh), stdout=log, stderr=log)
    try:
        asyncio.run(_answering(mesh))
        yield mesh
    finally:
        server.terminate()
        server.wait(10)


async def _answering(mesh: Mesh) -> None:
    deadline = time.monotonic() + 10
    while True:
        async with connect(mesh, "reader") as client:
            try:
                await client.ping()
                return
            except NotConnectedError:
                if time.monotonic() > deadline:
                    raise
        await asyncio.sleep(0.02)


@pytest.fixture
async def bridge(mesh: Mesh) -> AsyncIterator[Any]:
    async with connect(mesh, "bridge") as client:
        await client.delete(STREAM, DEAD_LETTERS)
        for number in (1, 2):
            await client.xadd(STREAM, {"e": b"entry"}, id=f"{number}-{number}")
        yield client


@pytest.fixture
async def consumer(mesh: Mesh, bridge: Any) -> AsyncIterator[Any]:
    async with connect(mesh, "consumer") as client:
        await client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        yield client


async def test_a_consumer_reads_claims_and_acknowledges(consumer: Any, bridge: Any) -> None:
    [[_, entries]] = await consumer.xreadgroup(GROUP, "one", {STREAM: ">"}, count=10)
    assert [entry_id for entry_id, _ in entries] == [b"1-1", b"2-2"]
    claimed = await consumer.xautoclaim(STREAM, GROUP, "two", 0)
    assert len(claimed[1]) == 2
    assert await consumer.xack(STREAM, GROUP, "1-1") == 1
    [group] = await consumer.xinfo_groups(STREAM)
    assert group["pending"] == 1
    assert await consumer.xgroup_create("astra.social.feed_entry_created.v1", GROUP, "0", mkstream=True)
    await bridge.delete("astra.social.feed_entry_created.v1")


async def test_a_consumer_moves_an_entry_to_the_dead_letters_in_one_script(consumer: Any, bridge: Any) -> None:
    await consumer.xreadgroup(GROUP, "one", {STREAM: ">"})
    assert await consumer.eval(TO_DEAD_LETTERS, 2, STREAM, DEAD_LETTERS, GROUP, b"bad") == 1
    assert [fields for _, fields in await bridge.xrange(DEAD_LETTERS)] == [{b"e": b"bad"}]


@pytest.mark.parametrize(
    "command",
    [
        ("XADD", STREAM, "*", "e", "forged"),
        ("XADD", "astra.no.such.v1", "*", "e", "forged"),
        ("XTRIM", STREAM, "MAXLEN", "0"),
        ("XDEL", STREAM, "1-1"),
        ("DEL", STREAM),
        ("DEL", DEAD_LETTERS),
        ("XSETID", STREAM, "9-9"),
        ("XGROUP", "DESTROY", STREAM, GROUP),
        ("XGROUP", "SETID", STREAM, GROUP, "0"),
        ("EXPIRE", STREAM, "1"),
        ("SET", "other", "1"),
        ("XLEN", "other"),
        ("FLUSHALL",),
        ("CONFIG", "SET", "maxmemory-policy", "allkeys-lru"),
        ("ACL", "LIST"),
        ("SHUTDOWN",),
        ("EVAL", TO_STREAM, "1", STREAM),
        ("EVAL", TO_STREAM, "2", STREAM, DEAD_LETTERS),
        ("EVAL", "return redis.call('DEL', KEYS[1])", "1", STREAM),
    ],
)
async def test_a_consumer_may_not(consumer: Any, bridge: Any, command: tuple[str, ...]) -> None:
    with pytest.raises(ResponseError, match=r"(?i)permission|acl failure"):
        await consumer.execute_command(*command)
    assert await bridge.xlen(STREAM) == 2


@pytest.mark.parametrize(
    "command",
    [
        ("XADD", STREAM, "*", "e", "forged"),
        ("XADD", DEAD_LETTERS, "*", "e", "forged"),
        ("XACK", STREAM, GROUP, "1-1"),
        ("XGROUP", "CREATE", STREAM, "another", "0"),
        ("XREADGROUP", "GROUP", GROUP, "me", "STREAMS", STREAM, ">"),
        ("DEL", STREAM),
        ("EVAL", TO_STREAM, "1", STREAM),
    ],
)
async def test_a_reader_may_not(mesh: Mesh, consumer: Any, command: tuple[str, ...]) -> None:
    reader: Any
    async with connect(mesh, "reader") as reader:
        assert await reader.xlen(STREAM) == 2
        assert len(await reader.xinfo_groups(STREAM)) == 1
        with pytest.raises(NoPermissionError):
            await reader.execute_command(*command)


async def test_the_bridge_appends_by_script_trims_and_recreates_groups(bridge: Any) -> None:
    append = "return redis.call('XADD', KEYS[1], ARGV[1], 'e', 'x')"
    assert await bridge.eval(append, 1, STREAM, "3-3") == b"3-3"
    assert await bridge.xtrim(STREAM, minid="3-3", approximate=False) == 2
    assert await bridge.xgroup_create(STREAM, "recreated", "0")
    assert await bridge.xgroup_destroy(STREAM, "recreated")
    with pytest.raises(NoPermissionError):
        await bridge.execute_command("FLUSHALL")


async def test_the_server_never_evicts_and_persists(bridge: Any) -> None:
    assert await bridge.config_get("maxmemory-policy", "appendonly", "maxmemory") == {
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "maxmemory": str(2560 * 1024 * 1024),
    }


async def test_nobody_gets_in_without_a_role(mesh: Mesh) -> None:
    async with Redis.from_url(mesh.redis_url) as anonymous:
        with pytest.raises(AuthenticationError):
            await anonymous.ping()


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("redis://{own}/0", True),
        ("redis://someone:secret@{own}/0", False),
        ("redis://elsewhere.example:6379/0", False),
        ("rediss://:secret@elsewhere.example/0", False),
    ],
)
def test_the_url_of_another_redis_is_used_as_it_is(mesh: Mesh, url: str, own: bool) -> None:
    other = replace(mesh, redis_url=url.format(own=mesh.addresses["redis"]))
    assert is_own(other) is own
    options: dict[str, Any] = connect(other, "reader").connection_pool.connection_kwargs
    expected = "reader" if own else ("someone" if "someone" in url else None)
    assert options.get("username") == expected
