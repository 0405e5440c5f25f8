"""Connects to the Redis of the mesh in a role."""

from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from services.mesh import Mesh
from services.runtime.credentials import read_password
from services.runtime.redis_acl import ROLES
from services.runtime.redis_connection import PackedConnection

CONNECT_TIMEOUT_SECONDS = 2.0
READ_TIMEOUT_SECONDS = 10.0
"""How long a reply may take. A blocking read must block for less."""


def connect(mesh: Mesh, role: str, *, timeout_seconds: float | None = READ_TIMEOUT_SECONDS) -> Redis:
    """Returns a client that signs in as `bridge`, `consumer` or `reader`. Nothing is sent before its first command.

    A command that fails is not sent again: only its caller knows whether it may be. A caller that is cancelled and has
    deadlines of its own passes None: with a timeout redis-py sends through `asyncio.wait_for`, which before Python 3.12
    loses a cancellation that comes as the send ends.
    """
    options = connection_options(mesh, role, timeout_seconds=timeout_seconds)
    client: Redis = Redis.from_url(
        mesh.redis_url, **options, connection_class=PackedConnection, retry=Retry(NoBackoff(), 0)
    )
    return client


def connection_options(
    mesh: Mesh, role: str, *, timeout_seconds: float | None = READ_TIMEOUT_SECONDS
) -> dict[str, Any]:
    """Returns what any client of redis-py is made with besides the URL.

    On the mesh's own Redis the role's password is taken from `keys_dir`; the URL of another Redis is used as it is,
    with the user and password it names, if any.
    """
    if role not in ROLES:
        raise ValueError(f"no such Redis role: {role!r}; there are {', '.join(ROLES)}")
    own = {"username": role, "password": read_password(mesh.keys_dir, role)} if is_own(mesh) else {}
    return {
        **own,
        "decode_responses": False,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": timeout_seconds,
        "socket_keepalive": True,
    }


def is_own(mesh: Mesh) -> bool:
    """Tells whether the streams are in the Redis on the map, which knows our roles, and the URL names no password."""
    url = urlsplit(mesh.redis_url)
    return f"{url.hostname}:{url.port or 6379}" == mesh.addresses["redis"] and url.password is None
