"""Connects to the Redis of the mesh in a role: the one place that makes clients, whatever REDIS_URL names."""

from typing import Any

import redis as blocking
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry as BlockingRetry

from services.mesh import Mesh
from services.runtime.credentials import read_password
from services.runtime.redis_acl import ROLES
from services.runtime.redis_cluster import ClusterRedis
from services.runtime.redis_connection import PackedConnection
from services.runtime.redis_topology import Topology
from services.runtime.redis_url import Kind, RedisUrl, parse

_Sentinel: Any = Sentinel  # redis-py leaves it without annotations
_BlockingSentinel: Any = blocking.Sentinel
_ClusterNode: Any = ClusterNode

CONNECT_TIMEOUT_SECONDS = 2.0
READ_TIMEOUT_SECONDS = 10.0
"""How long a reply may take. A blocking read must block for less."""
SENTINEL_TIMEOUT_SECONDS = 1.0
"""How long a Sentinel may take to say where the server is; then the next one is asked."""


def connect(mesh: Mesh, role: str, *, timeout_seconds: float | None = READ_TIMEOUT_SECONDS) -> Redis:
    """Returns a client that signs in as `bridge`, `consumer` or `reader`. Nothing is sent before its first command.

    A command that fails is not sent again: only its caller knows whether it may be. A caller that is cancelled and has
    deadlines of its own passes None: with a timeout redis-py sends through `asyncio.wait_for`, which before Python 3.12
    loses a cancellation that comes as the send ends.
    """
    url = parse(mesh.redis_url)
    options = connection_options(mesh, role, timeout_seconds=timeout_seconds)

    def connect_to(host: str, port: int) -> Redis:
        client: Redis = Redis.from_url(
            url.at(host, port), **options, connection_class=PackedConnection, retry=Retry(NoBackoff(), 0)
        )
        return client

    if url.kind is Kind.CLUSTER:
        return ClusterRedis(Topology(url.hosts, connect_to), connect_to(*url.hosts[0]))
    if url.kind is Kind.SENTINEL:
        sentinel = _Sentinel(
            url.hosts, sentinel_kwargs=_sentinel_options(url, Retry(NoBackoff(), 0)), **_tls(url), **options
        )
        client: Redis = sentinel.master_for(url.path, redis_class=_WatchedRedis, retry=Retry(NoBackoff(), 0))
        return client
    return connect_to(*url.hosts[0])


def connect_blocking(mesh: Mesh, role: str) -> Any:
    """Returns a client for code that does not run in an event loop: a `redis.Redis` or a `redis.RedisCluster`."""
    url = parse(mesh.redis_url)
    options = connection_options(mesh, role)
    retry = BlockingRetry(NoBackoff(), 0)
    if url.kind is Kind.CLUSTER:
        nodes: Any = [_ClusterNode(*host) for host in url.hosts]
        options |= {"require_full_coverage": False, **_tls(url)}
        return blocking.RedisCluster(startup_nodes=nodes, **options, retry=retry)
    if url.kind is Kind.SENTINEL:
        sentinel = _BlockingSentinel(url.hosts, sentinel_kwargs=_sentinel_options(url, retry), **_tls(url), **options)
        return sentinel.master_for(url.path, retry=retry)
    return blocking.Redis.from_url(url.at(*url.hosts[0]), **options)


def connection_options(
    mesh: Mesh, role: str, *, timeout_seconds: float | None = READ_TIMEOUT_SECONDS
) -> dict[str, Any]:
    """Returns what any client of redis-py is made with besides the URL.

    On the mesh's own Redis, and where the URL says `acl=roles`, the role's password is taken from `keys_dir`; else the
    user and the password are those that the URL names, if any.
    """
    if role not in ROLES:
        raise ValueError(f"no such Redis role: {role!r}; there are {', '.join(ROLES)}")
    url = parse(mesh.redis_url)
    user, password = url.user, url.password
    if is_own(mesh) or url.roles:
        user, password = role, read_password(mesh.keys_dir, role)
    return {
        **({} if user is None else {"username": user}),
        **({} if password is None else {"password": password}),
        "decode_responses": False,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": timeout_seconds,
        "socket_keepalive": True,
    }


async def each_node(redis: Redis) -> list[Redis]:
    """Returns a client of each server that holds keys, or may come to: of a cluster all nodes, primaries first."""
    return await redis.topology.nodes() if isinstance(redis, ClusterRedis) else [redis]


async def each_primary(redis: Redis) -> list[Redis]:
    """Returns a client of each server that takes writes."""
    return await redis.topology.primaries() if isinstance(redis, ClusterRedis) else [redis]


def is_own(mesh: Mesh) -> bool:
    """Tells whether the streams are in the Redis on the map, which knows our roles, and the URL names no password."""
    url = parse(mesh.redis_url)
    return url.kind is Kind.ONE and url.shown == mesh.addresses["redis"] and url.password is None


class _WatchedRedis(Redis):
    """A client that closes its clients of the Sentinels with itself."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        pool: Any = self.connection_pool
        await super().aclose(close_connection_pool)
        await pool.sentinel_manager.aclose()


def _tls(url: RedisUrl) -> dict[str, Any]:
    return {"ssl": True} if url.tls else {}


def _sentinel_options(url: RedisUrl, retry: Any) -> dict[str, Any]:
    return {
        "retry": retry,
        "password": url.sentinel_password,
        "socket_timeout": SENTINEL_TIMEOUT_SECONDS,
        "socket_connect_timeout": SENTINEL_TIMEOUT_SECONDS,
        **_tls(url),
    }
