"""Who owns which slot of a Redis cluster, as one of its nodes said last, and a client for each node."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

SLOTS = 16_384
ASK_SECONDS = 1.0
"""How long one node may take to say who owns what; then another is asked."""
ASK_AGAIN_SECONDS = 0.1
"""How often at most the nodes are asked while things change."""

Address = tuple[str, int]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Shard:
    """A range of slots, and the nodes that have it."""

    first: int
    last: int
    primary: Address
    replicas: tuple[Address, ...]


class Topology:
    """The map of a cluster. It is asked for again whenever an answer, or none, puts it in doubt."""

    def __init__(self, seeds: Sequence[Address], connect: Callable[[str, int], Redis]) -> None:
        """`seeds` are nodes to ask at first; `connect` makes a client of one node."""
        self._seeds = tuple(seeds)
        self._connect = connect
        self._clients: dict[Address, Redis] = {}
        self._shards: tuple[Shard, ...] = ()
        self._owners: dict[int, Address] = {}
        self._doubted = True
        self._asked_at = float("-inf")
        self._turn = 0
        self._error = ""
        self._asking = asyncio.Lock()

    async def owner(self, slot: int) -> Redis:
        """Returns the client of the node that serves a slot. Raises `ConnectionError` if none is known to."""
        await self._known()
        if (address := self._owners.get(slot)) is None:
            self.doubt()
            raise RedisConnectionError(f"no node of the cluster serves slot {slot}")
        return self.client(address)

    async def primaries(self) -> list[Redis]:
        """Returns a client of each node that serves slots. Raises `ConnectionError` if none is known to."""
        shards = await self._known()
        return [self.client(address) for address in dict.fromkeys(shard.primary for shard in shards)]

    async def nodes(self) -> list[Redis]:
        """Returns a client of each node: those that serve slots, then those that may come to. Raises as above."""
        shards = await self._known()
        replicas = [address for shard in shards for address in shard.replicas]
        return [self.client(one) for one in dict.fromkeys([*(shard.primary for shard in shards), *replicas])]

    def doubt(self) -> None:
        """Has the nodes asked again before the next command."""
        self._doubted = True

    def move(self, slot: int, to: Address) -> None:
        """Notes a redirection: the slot, and with a failover many more, are elsewhere now."""
        self._owners[slot] = to
        self._doubted = True

    def client(self, address: Address) -> Redis:
        """Returns the client of a node; there is one for as long as this lives, whatever the node's part is."""
        if address not in self._clients:
            self._clients[address] = self._connect(*address)
        return self._clients[address]

    async def aclose(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    async def _known(self) -> tuple[Shard, ...]:
        """Returns the map, asked for if it is in doubt. Raises `ConnectionError` while there is none at all."""
        await self._ask_if_doubted()
        if not self._shards:
            raise RedisConnectionError(f"no node of the cluster answers: {self._error}")
        return self._shards

    async def _ask_if_doubted(self) -> None:
        if not self._doubted:
            return
        async with self._asking:
            if not self._doubted or time.monotonic() < self._asked_at + ASK_AGAIN_SECONDS:
                return
            self._doubted = False
            try:
                await self._ask()
            except BaseException:
                self._doubted = True
                raise
            finally:
                self._asked_at = time.monotonic()

    async def _ask(self) -> None:
        """Asks one node after the other until one knows. An old map is better than none."""
        known = [address for shard in self._shards for address in (*shard.replicas, shard.primary)]
        nodes = list(dict.fromkeys([*known, *self._seeds]))
        # Each time another one first: a node that is cut off from the others goes on telling the old map.
        self._turn += 1
        for address in (nodes[(self._turn + at) % len(nodes)] for at in range(len(nodes))):
            node: Any = self.client(address)
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    answer = await node.execute_command("CLUSTER", "SLOTS")
            except (RedisError, OSError, TimeoutError) as failure:
                self._error = repr(failure)
                continue
            if shards := tuple(_shards(answer, address[0])):
                self._take(shards)
                return
            self._error = f"the node at {address[0]}:{address[1]} knows of no slots"
        self._doubted = True
        log.debug("cluster.not_asked", error=self._error)

    def _take(self, shards: tuple[Shard, ...]) -> None:
        before, now = ({shard.primary for shard in those} for those in (self._shards, shards))
        if before and before != now:
            log.warning("cluster.moved", primaries=sorted(f"{host}:{port}" for host, port in now))
        self._shards = shards
        self._owners = {slot: shard.primary for shard in shards for slot in range(shard.first, shard.last + 1)}


def _shards(answer: Iterable[Any], asked_host: str) -> Iterable[Shard]:
    """Reads CLUSTER SLOTS. A node that does not know its own name is at the host it was asked at."""
    for first, last, *nodes in answer:
        addresses = [((host or b"").decode() or asked_host, int(port)) for host, port, *_ in nodes]
        yield Shard(int(first), int(last), addresses[0], tuple(addresses[1:]))
