"""What a process needs to be ready. Each check tells what is wrong, in a few words; nothing when all is well."""

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.runtime import leases
from services.runtime.clock import uuid7
from services.runtime.errors import Unavailable
from services.runtime.store import Store
from services.telemetry.health import Check

PROBE = "readiness"
_PROBE_MS = 1


def store_writes(store: Store) -> Check:
    """Passes when the store commits a write: a disk that is full, or read-only, reads well."""
    holder = uuid7()

    async def check() -> str:
        try:
            await store.write(lambda tx: leases.take(tx, PROBE, holder, ms=_PROBE_MS))
        except Unavailable as error:
            return error.message
        return ""

    return check


def redis_answers(redis: Redis) -> Check:
    """Passes when Redis answers. The health of the process decides how long that may take."""

    async def check() -> str:
        try:
            await redis.ping()
        except (RedisError, OSError) as error:
            return f"Redis: {error or type(error).__name__}"
        return ""

    return check
