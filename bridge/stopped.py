"""Looks after streams that are left alone: whether somebody has repaired them, so that they go on by themselves."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing, suppress

import grpc
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from bridge.append import last_id
from bridge.lane import REDIS_TIMEOUT_SECONDS
from bridge.tail import Tail

LOOK_SECONDS = 2.0
"""How often stopped streams are looked at."""

ANSWER_SECONDS = 1.0
"""How long an outbox may take to say that it does not know where a stream ends. It says nothing if it does."""


class Repaired(Exception):
    """Streams that were stopped can go on: their outbox knows where they end."""

    def __init__(self, streams: list[str]) -> None:
        super().__init__(", ".join(streams))
        self.streams = streams


async def watch_stopped(stopped: Mapping[str, str], redis: Redis, tail: Tail) -> None:
    """Looks until cancelled. Raises `Repaired` for streams that are stopped no longer with reason."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        with suppress(RedisError, OSError, TimeoutError, grpc.aio.AioRpcError):  # the next look goes on
            if stopped and (repaired := await _repaired(list(stopped), redis, tail)):
                raise Repaired(repaired)


async def _repaired(streams: list[str], redis: Redis, tail: Tail) -> list[str]:
    ends: dict[str, str] = {}
    for stream in streams:
        with suppress(ResponseError):  # its key is still no stream
            async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                ends[stream] = await last_id(redis, stream)
    if not ends:
        return []
    diverged: set[str] = set()
    with suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS), aclosing(tail(ends)) as responses:
            # All divergences are told before any batch.
            async for response in responses:
                if not response.HasField("divergence"):
                    break
                diverged.add(response.stream)
    return sorted(ends.keys() - diverged)
