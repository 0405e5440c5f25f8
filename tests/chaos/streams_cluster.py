"""The cluster under test: three primaries and three replicas, with the roles of `make run` and AOF everysec."""

import asyncio
import hashlib
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bridge.ids import ordinal_of
from services import contracts
from services.local import redis_server
from services.mesh import Mesh
from services.runtime.credentials import read_password
from services.runtime.redis_acl import ROLES, acl_file
from services.runtime.redis_client import connect
from tests.chaos.streams_server import PASSWORD, cut_file
from tests.clusters import ANSWER_SECONDS, Cluster, Node, hold_behind, let_follow, take_over
from tests.unit_bridge.polling import until

USER = "chaos"
WHOLE_SECONDS = 60.0


class StreamsCluster:
    """The cluster, and what can be done to it. Who is a primary changes all the time."""

    def __init__(self, mesh: Mesh, chance: random.Random) -> None:
        folder = mesh.state_dir / "redis"
        folder.mkdir()
        self.cluster = Cluster(
            folder / "nodes",
            f"maxmemory {redis_server.MAX_MEMORY}",
            "maxmemory-policy noeviction",
            "appendonly yes",
            "appendfsync everysec",
            f'aclfile "{_acl(mesh, folder)}"',
            f"masteruser {USER}",
            f"masterauth {PASSWORD}",
            user=USER,
            password=PASSWORD,
        )
        self.mesh = replace(mesh, redis_url=f"{self.cluster.url}?acl=roles")
        everything = f"redis+cluster://{USER}:{PASSWORD}@{self.cluster.hosts}"
        self.client: Redis = connect(replace(mesh, redis_url=everything), "reader", timeout_seconds=None)
        self.failovers = 0
        self.dropped = 0
        """Entries that a primary had and its replica had not when it took over; those at least."""
        self._chance = chance

    async def start(self) -> None:
        """Starts and joins the nodes; later, starts those that are down. Returns when each has its replica."""
        if not self.cluster.nodes[0].id:
            await self.cluster.start()
        for node in self.cluster.nodes:
            if node.process is None:
                node.start()
        await until(self.cluster.whole, "the return of the cluster", WHOLE_SECONDS)

    def kill(self) -> None:
        """Ends all nodes, as the loss of power would."""
        for node in self.cluster.nodes:
            node.kill()

    def cut(self, most_bytes: int) -> int:
        """Takes bytes off the end of every AOF whose node is down. Returns how many."""
        return sum(cut_file(node.folder, most_bytes) for node in self.cluster.nodes if node.process is None)

    async def rewrite(self) -> None:
        await self._each(lambda node: node.client.bgrewriteaof())

    async def fill(self) -> None:
        await self._each(lambda node: node.client.config_set("maxmemory", 1_000_000))

    async def free(self) -> None:
        await self._each(lambda node: node.client.config_set("maxmemory", redis_server.MAX_MEMORY))

    async def fail_over(self, how: str, *, behind_seconds: float) -> None:
        """Has a replica take over; one that has been cut off for so long first has lost what was appended since."""
        primary, replica = await self._shard()
        if behind_seconds:
            await hold_behind(replica.client)
            await asyncio.sleep(behind_seconds)
        try:
            had, has = await _ends(primary), await _ends(replica)
            await take_over(primary, replica, how)
        finally:
            await let_follow(replica.client, USER, PASSWORD)
        self.failovers += 1
        self.dropped += sum(max(0, ordinal - has.get(stream, 0)) for stream, ordinal in had.items())
        await self.start()

    async def lose_primary(self, *, frozen: bool, most_bytes: int) -> int:
        """Kills or freezes a primary until its replica is voted in. It comes back, cut, as the new one's replica.

        Returns how many bytes were cut.
        """
        primary, replica = await self._shard()
        if frozen:
            primary.signal(signal.SIGSTOP)
        else:
            primary.kill()
        try:
            await until(lambda: _leads(replica), f"the vote for {replica.address}", WHOLE_SECONDS)
            self.failovers += 1
            return 0 if frozen else cut_file(primary.folder, most_bytes)
        finally:
            if frozen:
                primary.signal(signal.SIGCONT)
            await self.start()

    async def restart_primary(self, most_bytes: int) -> int:
        """Kills a primary, cuts its AOF and starts it at once: what it has lost, its replica then loses too."""
        primary, _ = await self._shard()
        primary.kill()
        cut = cut_file(primary.folder, most_bytes)
        await self.start()
        return cut

    async def close(self) -> None:
        await self.client.aclose()
        await self.cluster.aclose()

    async def _each(self, do: Callable[[Node], Awaitable[object]]) -> None:
        """Does something to each node that lives; one that is down comes back with its configuration anyway."""
        async with asyncio.timeout(ANSWER_SECONDS):
            await asyncio.gather(*(do(node) for node in self.cluster.nodes), return_exceptions=True)

    async def _shard(self) -> tuple[Node, Node]:
        """Returns a primary and its replica."""
        if not (primaries := await self.cluster.primaries()):
            raise RedisError("no primary answers now")
        primary = self._chance.choice(primaries)
        replica = await self.cluster.replica_of(primary)
        if replica is None:
            raise RedisError(f"{primary.address} has no replica now")
        return primary, replica


async def _leads(node: Node) -> bool:
    return await node.role() == "master"


async def _ends(node: Node) -> dict[str, int]:
    """Returns the last ordinal of each stream that a node has, as a primary or as a replica."""
    pipe = node.client.pipeline(transaction=False)
    pipe.execute_command("READONLY")
    streams = list(contracts.events())
    for stream in streams:
        pipe.xinfo_stream(stream)
    answers = await pipe.execute(raise_on_error=False)
    return {
        stream: ordinal_of(answer["last-generated-id"].decode())
        for stream, answer in zip(streams, answers[1:], strict=True)
        if not isinstance(answer, Exception)
    }


def _acl(mesh: Mesh, folder: Path) -> Path:
    path = folder / "users.acl"
    roles = acl_file({role: read_password(mesh.keys_dir, role) for role in ROLES})
    path.write_text(f"{roles}user {USER} on #{hashlib.sha256(PASSWORD.encode()).hexdigest()} ~* &* +@all\n")
    return path
