"""Keeps the bus safe from its Redis: refuses one that may drop streams, and holds appends back before it is full."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from bridge import metrics
from services.runtime.redis_client import each_node

SLOW_AT = 0.8
PAUSE_AT = 0.9
"""Parts of `maxmemory` from which appends slow down, and from which they wait."""

SLOWEST_SECONDS = 0.2
"""Wait before a batch just below the pause; less towards SLOW_AT."""

LOOK_SECONDS = 1.0
LOOK_PAUSED_SECONDS = 0.2
"""How often memory is looked at. Paused, more often: appends go on within a second of memory freeing."""

ANSWER_SECONDS = 2.0

_DISK = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")

log = structlog.get_logger()


class UnsafeRedis(Exception):
    """The Redis may lose streams by itself; says which settings make it so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """What a Redis says of itself."""

    run_id: str
    replication_id: str
    primary: bool = True
    """Whether it takes writes; a replica only may come to."""
    policy: str
    aof: bool
    persists: bool
    """Whether its last writes to disk went well."""
    used_bytes: int
    max_bytes: int
    """0 for no bound."""

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> "ServerState":
        """Reads an INFO answer. Buffers that Redis leaves out when it looks for room are left out here too."""
        return cls(
            run_id=str(info.get("run_id", "")),
            replication_id=str(info.get("master_replid", "")),
            primary=info.get("role", "master") == "master",
            policy=str(info.get("maxmemory_policy", "")),
            aof=bool(int(info.get("aof_enabled", 0))),
            persists=all(info.get(name, "ok") == "ok" for name in _DISK),
            used_bytes=int(info.get("used_memory", 0)) - int(info.get("mem_not_counted_for_evict", 0)),
            max_bytes=int(info.get("maxmemory", 0)),
        )

    @property
    def full(self) -> float:
        """Part of the memory that is used; 0 without a bound."""
        return self.used_bytes / self.max_bytes if self.max_bytes else 0.0


async def read_states(redis: Redis) -> list[ServerState]:
    """Asks the server, or each node of a cluster that answers. Raises `RedisError`, `OSError` or `TimeoutError` if none
    does."""
    answers = await _of_each(redis, read_state)
    return [answer for answer in answers if isinstance(answer, ServerState)]


async def refusals(redis: Redis) -> list[str]:
    """Returns why streams are not safe on this server, or on these, replicas included: nothing if they are."""
    answers = await _of_each(redis, _refusals_of_one)
    return list(dict.fromkeys(reason for answer in answers if isinstance(answer, list) for reason in answer))


async def read_state(node: Redis) -> ServerState:
    """Asks one server. Raises `RedisError`, `OSError` or `TimeoutError` while it is away."""
    async with asyncio.timeout(ANSWER_SECONDS):
        return ServerState.of(await node.info())


async def _of_each(redis: Redis, ask: Callable[[Redis], Awaitable[object]]) -> list[object]:
    """Asks every node. Those that are away are told of by whoever needs them; if all are, so is Redis."""
    answers: list[object] = await asyncio.gather(
        *(ask(node) for node in await each_node(redis)), return_exceptions=True
    )
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, RedisError | OSError | TimeoutError):
            raise answer
    if all(isinstance(answer, BaseException) for answer in answers):
        raise next(answer for answer in answers if isinstance(answer, BaseException))
    return answers


async def _refusals_of_one(redis: Redis) -> list[str]:
    state = await read_state(redis)
    found = []
    if state.policy != "noeviction":
        found.append(f"maxmemory-policy is {state.policy!r}: it evicts streams with their groups; set `noeviction`")
    if not state.aof and not await _has_save_points(redis):
        found.append("nothing is persisted: set `appendonly yes`")
    return found


async def _has_save_points(redis: Redis) -> bool:
    """Tells whether snapshots are taken. Where CONFIG is closed, whether any was taken or loaded since the start."""
    async with asyncio.timeout(ANSWER_SECONDS):
        try:
            return bool((await redis.config_get("save")).get("save"))
        except ResponseError:
            info = await redis.info("persistence")
            return int(info.get("rdb_saves", 0)) + int(info.get("rdb_last_load_keys_loaded", 0)) > 0


class Gate:
    """Where appends wait while Redis is full, or is not safe."""

    def __init__(self, *, insist: bool = False) -> None:
        self.reason = ""
        """Why appends wait; empty while they pass."""
        self.full = 0.0
        """Part of Redis' memory that is used, when last looked at."""
        self._insist = insist
        self._open = asyncio.Event()
        self._open.set()
        self._servers: frozenset[tuple[str, str]] = frozenset()

    async def passed(self) -> None:
        """Waits until appends may go on; a little when memory runs low."""
        await self._open.wait()
        if self.full >= SLOW_AT:
            await asyncio.sleep(SLOWEST_SECONDS * max(0.1, (self.full - SLOW_AT) / (PAUSE_AT - SLOW_AT)))

    def pause(self, reason: str) -> None:
        """Stops appends until Redis has room. The outboxes hold what is recorded meanwhile."""
        if not self.reason:
            log.error("bridge.paused", reason=reason, full=round(self.full, 3))
        self.reason = reason
        metrics.PAUSED.set(1)
        self._open.clear()

    async def run(self, redis: Redis) -> None:
        """Looks at the server, or at all nodes, until cancelled."""
        while True:
            try:
                await self.look(redis)
            except (RedisError, OSError, TimeoutError):
                metrics.REDIS_UP.set(0)  # whoever appends meets the same, and says so
            else:
                metrics.REDIS_UP.set(1)
            await asyncio.sleep(LOOK_PAUSED_SECONDS if self.reason else LOOK_SECONDS)

    async def look(self, redis: Redis) -> None:
        """Looks once, and opens or closes."""
        states = await read_states(redis)
        # Of a cluster's nodes the fullest counts: streams are spread over them all, and one gate holds them all up.
        self.full = max((state.full for state in states if state.primary), default=0.0)
        metrics.FULL.set(self.full)
        metrics.REDIS_PERSISTS.set(all(state.persists for state in states))
        reason = ""
        servers = frozenset((state.run_id, state.replication_id) for state in states)
        if not servers <= self._servers or self.reason.startswith("unsafe"):
            # Another process, or another server after a failover: it may be set up otherwise.
            unsafe = [] if self._insist else await refusals(redis)
            reason = "unsafe: " + "; ".join(unsafe) if unsafe else ""
            for run_id, replication_id in servers - self._servers if self._servers else ():
                log.warning("redis.changed", run_id=run_id, replication_id=replication_id)
            self._servers = servers
        if not reason and self.full >= PAUSE_AT:
            reason = f"{self.full:.0%} of maxmemory is used"
        if reason:
            self.pause(reason)
        elif self.reason:
            log.warning("bridge.goes_on", after=self.reason, full=round(self.full, 3))
            self.reason = ""
            metrics.PAUSED.set(0)
            self._open.set()
