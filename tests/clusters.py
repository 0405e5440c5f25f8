"""A Redis cluster of three primaries and three replicas on free ports of this machine, made by commands."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from services.mesh import HOST
from tests.unit_bridge.polling import until
from tests.unit_bridge.valkey import binary

PRIMARIES = 3
SLOTS = 16_384
START_SECONDS = 30.0
ANSWER_SECONDS = 5.0
NODE_TIMEOUT_MS = 2_000
"""How long a node may be silent before the others fail it over."""


def free_ports(count: int) -> list[int]:
    """Returns ports that are free now, all different."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def client_of(host: str, port: int, **options: Any) -> Redis:
    """Returns a client of one node, as the bridge's: it never sends a command twice."""
    return Redis(host=host, port=port, retry=Retry(NoBackoff(), 0), socket_timeout=None, **options)


class Node:
    """One server of the cluster. Keeps its port and its folder over a restart."""

    def __init__(
        self, folder: Path, port: int, bus_port: int, lines: Sequence[str], *, user: str | None, password: str | None
    ) -> None:
        self.host = HOST
        self.port = port
        self.bus_port = bus_port
        self.folder = folder
        self.id = ""
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        configuration = [
            f"port {port}",
            f"cluster-port {bus_port}",
            f"bind {HOST}",
            f'dir "{folder}"',
            "cluster-enabled yes",
            f"cluster-node-timeout {NODE_TIMEOUT_MS}",
            "cluster-allow-replica-migration no",
            "cluster-replica-validity-factor 0",
            "repl-diskless-sync-delay 0",
            "save ''",
            *lines,
        ]
        (folder / "node.conf").write_text("\n".join(configuration) + "\n")
        self.client: Any = client_of(HOST, port, username=user, password=password)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [binary(), str(self.folder / "node.conf")], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def kill(self) -> None:
        """Ends it as the loss of its process would, also when it is frozen."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            os.kill(self.process.pid, number)

    async def answers(self) -> bool:
        try:
            async with asyncio.timeout(1):
                return bool(await self.client.ping())
        except (RedisError, OSError, TimeoutError):
            return False

    async def role(self) -> str:
        """Returns `master` or `slave`; nothing while it is away."""
        try:
            async with asyncio.timeout(1):
                return str((await self.client.role())[0].decode())
        except (RedisError, OSError, TimeoutError):
            return ""


class Cluster:
    """Six nodes, started and joined; ended by their pids."""

    def __init__(
        self, folder: Path, *lines: str, user: str | None = None, password: str | None = None, replicas: bool = True
    ) -> None:
        """`lines` go into each node's configuration. `user` may do everything, and the nodes let him in."""
        count = PRIMARIES * (2 if replicas else 1)
        ports = free_ports(2 * count)
        self.nodes = [
            Node(folder / f"node-{at}", ports[at], ports[count + at], lines, user=user, password=password)
            for at in range(count)
        ]

    @property
    def hosts(self) -> str:
        """What stands in a URL of the cluster."""
        return ",".join(node.address for node in self.nodes)

    @property
    def url(self) -> str:
        return f"redis+cluster://{self.hosts}"

    async def start(self) -> None:
        """Starts the nodes and joins them; returns when each knows who has what."""
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            await until(node.answers, f"the start of {node.address}", START_SECONDS)
            node.id = (await node.client.execute_command("CLUSTER", "MYID")).decode()
        first, *others = self.nodes
        for at, node in enumerate(self.nodes):
            await node.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
        for at, node in enumerate(self.nodes[:PRIMARIES]):
            last = SLOTS * (at + 1) // PRIMARIES - 1
            await node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", SLOTS * at // PRIMARIES, last)
        for node in others:
            await first.client.execute_command("CLUSTER", "MEET", HOST, node.port, node.bus_port)
        await until(self._all_met, "the meeting of the nodes", START_SECONDS)
        for at, node in enumerate(self.nodes[PRIMARIES:]):
            await node.client.execute_command("CLUSTER", "REPLICATE", self.nodes[at].id)
        await until(self.whole, "the cluster", START_SECONDS)

    async def whole(self) -> bool:
        """Tells whether all slots are served, and every node has its replica, as every node sees it."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return all([await self._is_whole(node) for node in self.nodes])
        except (RedisError, OSError, TimeoutError):
            return False

    async def _is_whole(self, node: Node) -> bool:
        slots = await node.client.execute_command("CLUSTER", "SLOTS")
        state = await node.client.execute_command("CLUSTER", "INFO")
        info = await node.client.info("replication")
        return (
            b"cluster_state:ok" in state
            and sum(last - first + 1 for first, last, *_ in slots) == SLOTS
            and all(len(nodes) == len(self.nodes) // PRIMARIES for _, _, *nodes in slots)
            and (info["role"] == "master" or info["master_link_status"] == "up")
        )

    async def primaries(self) -> list[Node]:
        """Returns the nodes that say of themselves that they are primaries."""
        return [node for node in self.nodes if await node.role() == "master"]

    async def replica_of(self, primary: Node) -> Node | None:
        """Returns the replica of a primary that is alive."""
        for node in self.nodes:
            if node.process is None or node is primary:
                continue
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    told = await node.client.execute_command("CLUSTER", "NODES")
            except (RedisError, OSError, TimeoutError):
                continue
            myself = next(line for line in told.decode().splitlines() if "myself" in line).split(" ")
            if myself[3] == primary.id:
                return node
        return None

    async def owner(self, key: str) -> Node:
        """Returns the primary that serves a key."""
        for node in await self.primaries():
            try:
                await node.client.exists(key)
            except ResponseError:
                continue
            return node
        raise AssertionError(f"nobody serves {key}")

    async def aclose(self) -> None:
        for node in self.nodes:
            await node.client.aclose()
            node.kill()

    async def _all_met(self) -> bool:
        for node in self.nodes:
            told = (await node.client.execute_command("CLUSTER", "NODES")).decode().splitlines()
            if len(told) != len(self.nodes) or any("handshake" in line or "fail" in line for line in told):
                return False
        return True


async def hold_behind(replica: Any) -> None:
    """Cuts a replica off, by its client: what its primary takes from now on, it has not when it takes over."""
    await replica.config_set("masteruser", "nobody", "masterauth", "wrong")
    await replica.execute_command("CLIENT", "KILL", "TYPE", "master")


async def let_follow(replica: Any, user: str = "", password: str = "") -> None:
    """Lets a replica follow again, whoever is its primary. One that is just promoted may end the connection first."""

    async def let() -> bool:
        try:
            return bool(await replica.config_set("masteruser", user, "masterauth", password))
        except RedisError:
            return False

    await until(let, "the change of a password", START_SECONDS)


async def take_over(primary: Node, replica: Node, how: str) -> None:
    """Has the replica put itself in the primary's place: `FORCE` asks the other primaries, `TAKEOVER` nobody."""
    await replica.client.execute_command("CLUSTER", "FAILOVER", how)

    async def promoted() -> bool:
        return await replica.role() == "master"

    await until(promoted, f"the failover of {primary.address}", START_SECONDS)
