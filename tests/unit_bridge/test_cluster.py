"""Failovers, zombies, moving slots and the guards on a real cluster of three primaries and three replicas.

That all else is as on one server, the tests of one server show: `test_servers.py` runs them on a cluster.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from astra.trading.v1.events_pb2 import TradeExecuted
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ResponseError
from structlog.testing import capture_logs

from bridge.groups import Group
from bridge.guards import PAUSE_AT, Gate, refusals
from services import contracts
from services.mesh import Mesh
from services.runtime.credentials import make_credentials, read_password
from services.runtime.limiter import Limiter
from services.runtime.redis_acl import ROLES, acl_file
from services.runtime.redis_client import connect, connect_blocking
from services.runtime.redis_cluster import ClusterRedis, slot
from services.runtime.registry import Registration, read_registry
from services.runtime.store import Store
from tests.clusters import NODE_TIMEOUT_MS, Cluster, Node, hold_behind, let_follow, take_over
from tests.unit_bridge.consuming import SCHEMA, consuming, effects, envelopes, note, publish
from tests.unit_bridge.outboxes import OutboxServer
from tests.unit_bridge.polling import until
from tests.unit_bridge.publishing import EXECUTED, all_published, publishing, some

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]

SECONDS = 60.0
VOTE_SECONDS = 10 * NODE_TIMEOUT_MS / 1000


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path / "cluster", "appendonly yes", "maxmemory 100mb", "maxmemory-policy noeviction")
    try:
        await made.start()
        yield made
    finally:
        await made.aclose()


@pytest.fixture
def mesh(tmp_path: Path, cluster: Cluster) -> Mesh:
    return Mesh.at(tmp_path / "mesh", redis_url=cluster.url, free_ports=True)


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


def group(name: str = "g") -> Group:
    return Group(name=name, consumers=2, reactions={TradeExecuted: note(name)})


async def pair_of(cluster: Cluster, stream: str = EXECUTED) -> tuple[Node, Node]:
    """Returns the primary of a stream, and its replica."""
    primary = await cluster.owner(stream)
    replica = await cluster.replica_of(primary)
    assert replica is not None
    return primary, replica


async def length_on(node: Node, stream: str = EXECUTED) -> int:
    """Returns how many entries a node has, be it a replica."""
    pipe = node.client.pipeline(transaction=False)
    pipe.execute_command("READONLY")
    pipe.xlen(stream)
    return int((await pipe.execute())[1])


async def leads(node: Node) -> bool:
    return await node.role() == "master"


async def published(outbox: OutboxServer, redis: Redis) -> None:
    """Waits until every stream is what its outbox is, through whatever the cluster goes through."""
    check = all_published(outbox, redis)

    async def now() -> bool:
        try:
            return bool(await check())
        except RedisConnectionError:
            return False

    await until(now, "the publishing", SECONDS)


async def test_end_that_a_failover_lost_is_sent_again_in_order_and_counted(
    cluster: Cluster, outbox: OutboxServer, redis: Redis
) -> None:
    with capture_logs() as logs:
        async with publishing(outbox, redis):
            outbox.record(EXECUTED, some(30))
            await published(outbox, redis)
            primary, replica = await pair_of(cluster)
            await until(lambda: _has(replica, 30), "the replication")
            await hold_behind(replica.client)
            outbox.record(EXECUTED, some(20))
            await published(outbox, redis)
            assert (await length_on(primary), await length_on(replica)) == (50, 30)
            await take_over(primary, replica, "TAKEOVER")
            await let_follow(replica.client)
            await published(outbox, redis)
            await until(lambda: _has(replica, 50), "the repair, while nothing happens", SECONDS)
    assert [line["sent_again"] for line in logs if line["event"] == "stream.lost_its_end"] == [20]


async def _has(node: Node, count: int) -> bool:
    try:
        return await length_on(node) == count
    except ResponseError:
        return False


async def test_stream_that_the_new_primary_never_had_gets_its_groups_at_0_and_no_effect_twice(
    cluster: Cluster, outbox: OutboxServer, redis: Redis, store: Store
) -> None:
    primary, replica = await pair_of(cluster)
    await hold_behind(replica.client)
    trades = [f"t{n}" for n in range(30)]
    async with publishing(outbox, redis), consuming(group(), store, redis):
        outbox.record(EXECUTED, envelopes(trades))
        await until(lambda: sorted(effects(store)) == sorted(trades), seconds=SECONDS)
        await asyncio.sleep(2)  # until the bridge has seen the group
        await take_over(primary, replica, "TAKEOVER")
        await let_follow(replica.client)
        await published(outbox, redis)
        outbox.record(EXECUTED, envelopes(["after"]))
        await until(lambda: "after" in effects(store), seconds=SECONDS)
        await until(lambda: _nothing_pending(redis), seconds=SECONDS)
    assert sorted(effects(store)) == sorted([*trades, "after"])


async def _nothing_pending(redis: Any) -> bool:
    try:
        [found] = await redis.xinfo_groups(EXECUTED)
        info = await redis.xinfo_stream(EXECUTED)
    except (RedisConnectionError, ResponseError):
        return False
    return not found["pending"] and found["last-delivered-id"] == info["last-generated-id"]


async def test_primary_that_hangs_is_voted_out_and_its_zombie_changes_nothing(
    cluster: Cluster, outbox: OutboxServer, redis: Redis, store: Store
) -> None:
    async with publishing(outbox, redis), consuming(group(), store, redis):
        outbox.record(EXECUTED, envelopes(["before"]))
        await until(lambda: effects(store) == ["before"], seconds=SECONDS)
        primary, replica = await pair_of(cluster)
        primary.signal(signal.SIGSTOP)
        outbox.record(EXECUTED, envelopes(["meanwhile"]))
        await until(lambda: leads(replica), "the vote", VOTE_SECONDS)
        await until(lambda: "meanwhile" in effects(store), seconds=SECONDS)
        primary.signal(signal.SIGCONT)
        await until(cluster.whole, "the return of the zombie", SECONDS)
        outbox.record(EXECUTED, envelopes(["after"]))
        await until(lambda: "after" in effects(store), seconds=SECONDS)
        await published(outbox, redis)
    assert effects(store) == ["before", "meanwhile", "after"]


async def test_slot_that_moves_to_another_node_is_followed_while_events_come(
    cluster: Cluster, outbox: OutboxServer, redis: Redis, store: Store
) -> None:
    giver = await cluster.owner(EXECUTED)
    taker = next(node for node in await cluster.primaries() if node is not giver)
    number = slot(EXECUTED)
    async with publishing(outbox, redis), consuming(group(), store, redis):
        outbox.record(EXECUTED, envelopes([f"t{n}" for n in range(50)]))
        await until(lambda: len(effects(store)) > 5, seconds=SECONDS)
        await taker.client.execute_command("CLUSTER", "SETSLOT", number, "IMPORTING", giver.id)
        await giver.client.execute_command("CLUSTER", "SETSLOT", number, "MIGRATING", taker.id)
        while keys := await giver.client.execute_command("CLUSTER", "GETKEYSINSLOT", number, 10):
            await giver.client.execute_command("MIGRATE", taker.host, taker.port, "", 0, 5000, "KEYS", *keys)
            outbox.record(EXECUTED, envelopes([f"u{n}" for n in range(20)]))  # asked for where it is not yet
            await asyncio.sleep(0.3)
        for node in (taker, giver):
            await node.client.execute_command("CLUSTER", "SETSLOT", number, "NODE", taker.id)
        await until(lambda: len(set(effects(store))) == 70, seconds=SECONDS)
        await published(outbox, redis)
    assert len(effects(store)) == 70
    assert (await cluster.owner(EXECUTED)) is taker


async def test_guards_ask_every_node_replicas_too(cluster: Cluster, redis: Redis) -> None:
    assert await refusals(redis) == []
    _, replica = await pair_of(cluster)
    await replica.client.config_set("maxmemory-policy", "allkeys-lru")
    [reason] = await refusals(redis)
    assert "allkeys-lru" in reason


async def test_one_full_primary_holds_appends_up_until_it_has_room(cluster: Cluster, redis: Redis) -> None:
    gate, primary = Gate(), await cluster.owner(EXECUTED)
    await gate.look(redis)
    assert gate.reason == ""
    await primary.client.config_set("maxmemory", 1)
    await gate.look(redis)
    assert gate.full > PAUSE_AT
    assert "maxmemory" in gate.reason
    await primary.client.config_set("maxmemory", 0)
    await gate.look(redis)
    assert gate.reason == ""


async def test_node_that_is_down_does_not_blind_the_guards_to_the_others(cluster: Cluster, redis: Redis) -> None:
    gate = Gate()
    await gate.look(redis)
    dead, other = (await cluster.primaries())[:2]
    dead.kill()
    await other.client.config_set("maxmemory", 1)
    await gate.look(redis)
    assert gate.reason
    for node in cluster.nodes:
        node.kill()
    with pytest.raises(RedisConnectionError):
        await gate.look(redis)


async def test_roles_registry_and_limits_are_on_a_cluster_what_they_are_on_one_server(tmp_path: Path) -> None:
    mesh = Mesh.at(tmp_path / "mesh", free_ports=True)
    make_credentials(mesh)
    acl = tmp_path / "users.acl"
    roles = acl_file({role: read_password(mesh.keys_dir, role) for role in ROLES})
    acl.write_text(f"{roles}user all on nopass ~* &* +@all\n")
    cluster = Cluster(tmp_path / "cluster", f'aclfile "{acl}"', user="all", password="x", replicas=False)
    try:
        await cluster.start()
        mesh = replace(mesh, redis_url=f"{cluster.url}?acl=roles")
        clients: list[Any] = [connect(mesh, role) for role in ("bridge", "consumer", "registry")]
        bridge, consumer, registry = clients
        for stream in contracts.events():
            await bridge.execute_command("XADD", stream, "1-1", "e", "x")
            await consumer.xgroup_create(stream, "g", "0")
        with pytest.raises(NoPermissionError):
            await consumer.execute_command("XADD", EXECUTED, "2-2", "e", "forged")
        places: Any = dict.fromkeys(contracts.events(), ">")
        seen: set[bytes] = set()
        while answer := await consumer.xreadgroup("g", "c", places, count=1, block=500):
            seen |= {stream for stream, _ in answer}
        assert seen == {stream.encode() for stream in contracts.events()}

        registration = Registration(registry, "trading", "127.0.0.1:1")
        registration.start()
        await until(lambda: _registered(registry, 1))
        await registration.leave()
        assert await read_registry(registry) == []

        limiter = Limiter(replace(mesh, limits={"trades": 2}))
        standings = [await limiter.hit("trades", "someone") for _ in range(3)]
        assert [standing is not None and standing.allowed for standing in standings] == [True, True, False]
        await limiter.close()

        with connect_blocking(mesh, "reader") as reader:
            assert reader.ping()
            assert set(reader.scan_iter("astra.*", _type="stream")) == {
                stream.encode() for stream in contracts.events()
            }
        for client in clients:
            await client.aclose()
    finally:
        await cluster.aclose()


async def _registered(registry: Redis, count: int) -> bool:
    return len(await read_registry(registry)) == count


async def test_client_that_began_at_one_node_finds_the_others_when_that_one_is_gone(
    cluster: Cluster, mesh: Mesh
) -> None:
    first, *_ = cluster.nodes
    client = connect(replace(mesh, redis_url=f"redis+cluster://{first.address}"), "bridge", timeout_seconds=None)
    assert isinstance(client, ClusterRedis)
    await client.ping()
    first.kill()

    async def answers() -> bool:
        try:
            return bool(await client.ping())
        except RedisConnectionError:
            return False

    await until(answers, "the vote", VOTE_SECONDS)
    await publish(client, "t")
    await client.aclose()
