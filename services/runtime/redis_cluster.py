"""A client of a Redis cluster with the face of one for a single server: each command goes to the node of its slot.

A command that fails is not sent again, but for redirections: a node that redirects has not run it. What says that a
part of the cluster is away, in whatever words, is a `ConnectionError` here, as the loss of a single server is.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.runtime.redis_standing import Read, StandingReads
from services.runtime.redis_topology import Topology

REDIRECTIONS = 8
TRY_AGAIN_SECONDS = 0.05

_WITH_SUBCOMMAND = {"XGROUP", "XINFO", "OBJECT", "MEMORY"}
_OF_EACH_PRIMARY = {"PING", "SCRIPT LOAD"}
_READS = {"XREAD", "XREADGROUP"}
_REDIRECTED = (AskError, TryAgainError)


class ClusterRedis(Redis):
    """The client. Commands need keys of one slot, but for reads of several streams; PING asks every primary."""

    def __init__(self, topology: Topology, seed: Redis) -> None:
        super().__init__(connection_pool=seed.connection_pool)
        self.topology = topology
        self._standing = StandingReads(self.execute_command)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Runs a command where its keys are. Raises what the node answers, and `ConnectionError` if it is away."""
        name = str(args[0]).upper()
        if name in _OF_EACH_PRIMARY:
            primaries = await self.topology.primaries()
            answers = await asyncio.gather(*(self._on(node, args, options) for node in primaries))
            return answers[0]
        if name in _READS and len((read := Read.of(args)).places) > 1:
            return await self._read(read)
        return await self._routed(slot_of(args), args, options)

    async def _routed(self, slot: int, args: Sequence[Any], options: dict[str, Any]) -> Any:
        for _ in range(REDIRECTIONS):
            node = await self.topology.owner(slot)
            try:
                return await self._on(node, args, options)
            except MovedError as moved:
                self.topology.move(slot, (moved.host, moved.port))
            except AskError as ask:
                asked = self.topology.client((ask.host, ask.port)).pipeline(transaction=False)
                asked.execute_command("ASKING")
                asked.execute_command(*args, **options)
                return (await asked.execute())[1]
            except TryAgainError:
                await asyncio.sleep(TRY_AGAIN_SECONDS)
        self.topology.doubt()
        raise RedisConnectionError(f"slot {slot} is on its way to another node; try again")

    async def _on(self, node: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
        try:
            return await node.execute_command(*args, **options)
        except asyncio.CancelledError:
            # By the caller's deadline, perhaps: a node that hangs says nothing, and another may have its slots by now.
            self.topology.doubt()
            raise
        except (RedisError, OSError) as error:
            if (away := away_of(error)) is None:
                raise
            self.topology.doubt()
            raise away from error

    async def _read(self, read: Read) -> list[Any]:
        if read.block_ms is not None:
            return await self._standing.read(read, read.block_ms)
        pipe = self.pipeline(transaction=False)
        for stream in read.places:
            pipe.execute_command(*read.of_one(stream))
        return [part for answer in await pipe.execute() for part in answer or ()]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> "ClusterPipeline":
        """Returns a pipeline. As a transaction its keys need one slot."""
        return ClusterPipeline(self, transaction=transaction)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await self._standing.aclose()
        await self.topology.aclose()


class ClusterPipeline(Pipeline):
    """Commands that are sent together to each node. Those of one slot keep their order."""

    def __init__(self, cluster: ClusterRedis, *, transaction: bool) -> None:
        super().__init__(cluster.connection_pool, cluster.response_callbacks, transaction, None)
        self._cluster = cluster

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Runs them all. Raises `ConnectionError` if any node is away, when the others have answered."""
        stack: Any = self.command_stack
        self.command_stack = []
        if not stack:
            return []
        if self.is_transaction:
            return await self._execute_together(stack, raise_on_error)
        answers = await self._execute_apart(stack)
        away = next((away for answer in answers if (away := away_of(answer)) is not None), None)
        if away is not None:
            raise away
        if raise_on_error and (error := next((one for one in answers if isinstance(one, Exception)), None)):
            raise error
        return answers

    async def _execute_together(self, stack: Sequence[Any], raise_on_error: bool) -> list[Any]:
        slots = {slot_of(args) for args, _ in stack}
        if len(slots) > 1:
            raise ResponseError("the keys of a transaction lie in several slots")
        pipe = (await self._cluster.topology.owner(slots.pop())).pipeline(transaction=True)
        for args, options in stack:
            pipe.execute_command(*args, **options)
        try:
            answers: list[Any] = await pipe.execute(raise_on_error)
        except (RedisError, OSError) as error:
            if (away := away_of(error)) is None and not isinstance(error, _REDIRECTED):
                raise
            # Nothing of it was run, so it may be tried again at once; by whom it is for, as after any outage.
            self._cluster.topology.doubt()
            raise (away or RedisConnectionError(str(error))) from error
        return answers

    async def _execute_apart(self, stack: Sequence[Any]) -> list[Any]:
        answers: list[Any] = [None] * len(stack)
        by_node: dict[Redis, list[int]] = defaultdict(list)
        # Reads of several streams have no one node, and may block: they come last.
        alone = [at for at, (args, _) in enumerate(stack) if args[0] in _READS and len(Read.of(args).places) > 1]
        for at, (args, _) in enumerate(stack):
            if at not in alone:
                by_node[await self._cluster.topology.owner(slot_of(args))].append(at)

        async def on(node: Redis, those: Sequence[int]) -> None:
            pipe = node.pipeline(transaction=False)
            for at in those:
                pipe.execute_command(*stack[at][0], **stack[at][1])
            try:
                found: Sequence[Any] = await pipe.execute(raise_on_error=False)
            except asyncio.CancelledError:
                self._cluster.topology.doubt()
                raise
            except (RedisError, OSError) as error:
                found = [error] * len(those)
            for at, answer in zip(those, found, strict=True):
                answers[at] = answer

        await asyncio.gather(*(on(node, those) for node, those in by_node.items()))
        if any(away_of(answer) is not None for answer in answers):
            self._cluster.topology.doubt()
        for at, answer in enumerate(answers):
            if isinstance(answer, _REDIRECTED) or at in alone:
                try:
                    answers[at] = await self._cluster.execute_command(*stack[at][0], **stack[at][1])
                except RedisError as error:
                    answers[at] = error
        return answers


def slot_of(args: Sequence[Any]) -> int:
    """Returns the slot of a command's first key. Raises `ResponseError` for a command without one."""
    name = str(args[0]).upper()
    if name in ("EVAL", "EVALSHA"):
        at = 3
    elif name in _READS:
        return slot(next(iter(Read.of(tuple(args)).places)))
    else:
        at = 2 if name in _WITH_SUBCOMMAND else 1
    if len(args) <= at:
        raise ResponseError(f"{name} names no key: in a cluster each node is asked")
    return slot(args[at])


def slot(key: str | bytes) -> int:
    """Returns the slot of a key: that of what stands between its first braces, if anything does."""
    return key_slot(key.encode() if isinstance(key, str) else bytes(key))


def away_of(answer: object) -> Exception | None:
    """Returns the error that says that a node is away, if an answer says so."""
    if isinstance(answer, RedisConnectionError | RedisTimeoutError | OSError):
        return answer
    if not isinstance(answer, ResponseError):
        return None
    says_so = isinstance(answer, ClusterDownError | ReadOnlyError) or str(answer).startswith("UNBLOCKED")
    return RedisConnectionError(str(answer)) if says_so else None
