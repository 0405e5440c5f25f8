"""How far each group is behind: by ordinals, since Redis' own lag is missing or wrong after trims."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from bridge import metrics
from bridge.entries import dead_letters_of
from bridge.ids import ordinal_of, parse
from bridge.lane import REDIS_TIMEOUT_SECONDS

EVERY_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLag:
    """Where one group stands in one stream."""

    stream: str
    group: str
    waiting: int
    """Entries it has not been given yet, from 0."""
    pending: int
    """Entries it has in hand, from 0."""
    oldest_ms: int | None
    """When its oldest unfinished entry was committed, ms since the epoch; None for none."""


async def read_lags(redis: Redis, streams: Sequence[str]) -> list[GroupLag]:
    """Asks Redis about every group of these streams. Raises `RedisError`, `OSError` or `TimeoutError`."""
    client: Any = redis  # redis-py's annotations unite the sync and async answers
    pipe = client.pipeline(transaction=False)
    for stream in streams:
        pipe.xinfo_stream(stream)
        pipe.xinfo_groups(stream)
    async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
        answers = await pipe.execute(raise_on_error=False)
    lags = []
    for stream, info, groups in zip(streams, answers[::2], answers[1::2], strict=True):
        if isinstance(info, ResponseError) or isinstance(groups, ResponseError):
            continue  # no stream, yet
        last = ordinal_of(info["last-generated-id"].decode())
        metrics.LAST.labels(stream).set(last)
        for row in groups:
            delivered = row["last-delivered-id"].decode()
            waiting = max(0, last - ordinal_of(delivered))
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                oldest = await _oldest(client, stream, row, delivered if waiting else "")
            lags.append(
                GroupLag(
                    stream=stream,
                    group=row["name"].decode(),
                    waiting=waiting,
                    pending=row["pending"],
                    oldest_ms=oldest,
                )
            )
    return lags


async def _oldest(client: Any, stream: str, row: Any, after: str) -> int | None:
    """Returns the ms of the oldest entry that is pending or, past `after`, has not been delivered."""
    if row["pending"]:
        pending = await client.xpending(stream, row["name"])
        if pending["pending"]:
            return parse(pending["min"].decode())[0]
    if after:
        for id_, _ in await client.xrange(stream, min=f"({after}", count=1):
            return parse(id_.decode())[0]
    return None


async def count_dead(redis: Redis, lags: Sequence[GroupLag]) -> None:
    """Counts the dead letters of these groups. Raises as `read_lags`."""
    pipe = redis.pipeline(transaction=False)
    for lag in lags:
        pipe.xlen(dead_letters_of(lag.stream, lag.group))
    async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
        counts = await pipe.execute()
    for lag, count in zip(lags, counts, strict=True):
        metrics.DEAD_WAITING.labels(lag.group, lag.stream).set(count)


async def run_lags(redis: Redis, streams: Sequence[str], every_seconds: float = EVERY_SECONDS) -> None:
    """Keeps the gauges up to date until cancelled; while Redis is away they stay as they are."""
    while True:
        try:
            lags = await read_lags(redis, streams)
            await count_dead(redis, lags)
            for lag in lags:
                metrics.LAG.labels(lag.group, lag.stream).set(lag.waiting)
                metrics.PENDING.labels(lag.group, lag.stream).set(lag.pending)
                age = 0.0 if lag.oldest_ms is None else metrics.since(lag.oldest_ms)
                metrics.OLDEST_SECONDS.labels(lag.group, lag.stream).set(age)
        except (RedisError, OSError, TimeoutError):
            pass  # whoever appends meets the same, and says so
        await asyncio.sleep(every_seconds)
