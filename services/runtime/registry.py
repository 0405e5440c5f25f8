"""The registry: which instances of the services run, kept in Redis by the instances themselves.

An instance is a hash that lives for 60 s and an entry in the index. A heartbeat only renews the life of the hash:
EXPIRE passes when Redis is full. Discovery reads it; if Redis is away, everybody stays where they were last seen.
"""

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.mesh import ANY_HOST
from services.runtime import metrics
from services.runtime.clock import uuid7, wall_clock

INDEX = "{registry}:index"
"""All keys of the registry share a slot, so that one transaction takes them on a cluster too."""

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 30
GONE_SECONDS = 60
TIMEOUT_SECONDS = 2.0
RETRY_SECONDS = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One server of one service."""

    service: str
    address: str
    """`ip:port` that Envoy is to call."""
    id: str

    @property
    def key(self) -> str:
        return f"{{registry}}:instance:{self.id}"

    @property
    def entry(self) -> str:
        """What stands for it in the index."""
        return f"{self.service} {self.address} {self.id}"

    @classmethod
    def of(cls, entry: str) -> "Instance":
        service, address, id_ = entry.split(" ")
        return cls(service=service, address=address, id=id_)


@dataclass(frozen=True, slots=True)
class Seen:
    """An instance, and how it stands with its heartbeats."""

    instance: Instance
    fresh: bool
    """Heard of in the last 30 s."""
    gone: bool
    """Not heard of for 60 s."""


class Registration:
    """Keeps one instance in the registry, through outages of Redis, until it leaves."""

    def __init__(self, redis: Redis, service: str, address: str) -> None:
        self.instance = Instance(service=service, address=address, id=uuid7())
        self._redis = redis
        self._beating: asyncio.Task[None] | None = None
        self._outage = False
        metrics.HEARTBEATS.labels(service, "lost")  # from 0: an increase from nothing would not be seen as one

    def start(self) -> None:
        """Begins to register and then to beat; Redis may come later."""
        self._beating = asyncio.create_task(self._beat(), name=f"heartbeat {self.instance.service}")

    async def leave(self) -> None:
        """Deregisters. Without Redis nothing happens: health checks find out then."""
        if self._beating is None:
            return
        self._beating.cancel()
        await asyncio.gather(self._beating, return_exceptions=True)
        self._beating = None
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS), self._redis.pipeline(transaction=True) as pipe:
                pipe.srem(INDEX, self.instance.entry)
                pipe.delete(self.instance.key)
                await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("registry.not_left", service=self.instance.service, error=repr(error))

    async def _beat(self) -> None:
        while True:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await self._renew()
            except (RedisError, OSError, TimeoutError) as error:
                metrics.HEARTBEATS.labels(self.instance.service, "lost").inc()
                if not self._outage:
                    log.warning("registry.not_heard", service=self.instance.service, error=repr(error))
                self._outage = True
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._outage = False
            metrics.HEARTBEATS.labels(self.instance.service, "heard").inc()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _renew(self) -> None:
        """Renews the instance's life, and registers it where it is not known: at first, or after Redis lost it."""
        instance = self.instance
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.expire(instance.key, GONE_SECONDS)
            pipe.sismember(INDEX, instance.entry)
            alive, listed = await pipe.execute()
        if alive and listed:
            return
        about: dict[Any, Any] = {"service": instance.service, "address": instance.address, "start_ms": wall_clock()}
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(instance.key, mapping=about)
            pipe.expire(instance.key, GONE_SECONDS)
            pipe.sadd(INDEX, instance.entry)
            await pipe.execute()
        log.info("registry.registered", service=instance.service, address=instance.address)


def reachable(address: str) -> str:
    """Returns where others reach a server: of one bound to every address, at this machine's or container's own."""
    host, _, port = address.rpartition(":")
    return f"{socket.gethostbyname(socket.gethostname())}:{port}" if host == ANY_HOST else address


async def read_registry(redis: Redis) -> list[Seen]:
    """Returns all instances of the index, in the order of their addresses. Raises `RedisError` or `OSError`."""
    listed: Any = await redis.smembers(INDEX)
    entries = sorted(entry.decode() for entry in listed)
    instances = [Instance.of(entry) for entry in entries]
    async with redis.pipeline(transaction=False) as pipe:
        for instance in instances:
            pipe.pttl(instance.key)
        lives_ms = await pipe.execute()
    stale_ms = (GONE_SECONDS - STALE_SECONDS) * 1000
    return [
        Seen(instance, fresh=life_ms > stale_ms, gone=life_ms < 0)
        for instance, life_ms in zip(instances, lives_ms, strict=True)
    ]


async def forget(redis: Redis, instances: list[Instance]) -> None:
    """Takes instances that are gone off the index. Raises `RedisError` when Redis takes no writes, as when it is full.

    Nothing is known to be dead then: heartbeats may have been refused like this.
    """
    async with redis.pipeline(transaction=True) as pipe:
        pipe.set("{registry}:writable", "1", ex=GONE_SECONDS)
        if instances:
            pipe.srem(INDEX, *(instance.entry for instance in instances))
        await pipe.execute()
