"""Counts a caller's calls over the whole mesh: in Redis, by the library `limits`, in a window that moves.

It fails open: what cannot be counted passes, and the log says when that begins and when it ends.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.mesh import Mesh
from services.runtime import metrics
from services.runtime.redis_client import connect

TIMEOUT_SECONDS = 0.25
"""How long counting may hold a call up."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How it stands with a caller's limit after one more call."""

    allowed: bool
    per_minute: int
    remaining: int
    reset_seconds: float
    """Until the oldest call of the window no longer counts."""


class _Storage(RedisStorage):
    """Windows in whatever Redis a client of ours is for: each is one key, and one script."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        super().__init__("async+redis://", implementation="redispy", key_prefix="limits")

    def configure_bridge(self) -> None:
        bridge: Any = self.bridge
        bridge.storage = self._redis
        bridge.connection_getter = lambda _: self._redis


class Limiter:
    """The limits of `Mesh.limits`, for callers by whatever tells them apart."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        for limit in mesh.limits:
            for outcome in ("allowed", "refused", "uncounted"):
                metrics.LIMIT_HITS.labels(limit, outcome)  # from 0: an increase from nothing would not be seen as one
        self._redis: Redis | None = None
        self._windows: MovingWindowRateLimiter | None = None
        self._open = False

    async def hit(self, limit: str, *caller: str) -> Standing | None:
        """Counts a call. None when that is not possible; it should pass then. KeyError for an unknown limit."""
        item = RateLimitItemPerMinute(self._mesh.limits[limit])
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                windows = self._connected()
                allowed = await windows.hit(item, limit, *caller)
                stats = await windows.get_window_stats(item, limit, *caller)
        # SystemExit tells that Redis' password is not there: as good as no Redis.
        except (RedisError, OSError, TimeoutError, SystemExit) as error:
            self._tell(open_=True, why=repr(error))
            metrics.LIMIT_HITS.labels(limit, "uncounted").inc()
            return None
        self._tell(open_=False)
        metrics.LIMIT_HITS.labels(limit, "allowed" if allowed else "refused").inc()
        return Standing(
            allowed=allowed,
            per_minute=item.amount,
            remaining=max(0, stats.remaining),
            reset_seconds=max(0.0, stats.reset_time - time.time()),
        )

    async def ping(self) -> bool:
        """Connects, and tells whether calls can be counted now: a first call would wait too long for it."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._connected().storage.check()
        except (RedisError, OSError, TimeoutError):
            return False

    async def close(self) -> None:
        if self._redis is not None:
            await self._redis.aclose()

    def _connected(self) -> MovingWindowRateLimiter:
        if self._windows is None:
            self._redis = connect(self._mesh, "limiter", timeout_seconds=None)
            self._windows = MovingWindowRateLimiter(_Storage(self._redis))
        return self._windows

    def _tell(self, *, open_: bool, why: str = "") -> None:
        """Says once that limits are open, and once that they hold again."""
        if open_ and not self._open:
            log.error("limits.open", why=why, do="bring Redis back: until then nobody is limited by these")
        elif self._open and not open_:
            log.warning("limits.hold_again")
        self._open = open_
