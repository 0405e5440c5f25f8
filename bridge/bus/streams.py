"""What Redis knows of the streams: reads that many answers share, each a pipeline of single-key commands."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from services import contracts
from services.runtime.errors import NotFound, Unavailable

ANSWER_SECONDS = 5.0

Command = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class StreamId:
    """An entry's id. Both parts grow together, and the ordinals are dense."""

    ms: int
    ordinal: int

    @classmethod
    def parse(cls, text: bytes | str) -> "StreamId":
        """Reads `<ms>-<ordinal>`. Raises `ValueError`."""
        ms, _, ordinal = (text.decode() if isinstance(text, bytes) else text).partition("-")
        return cls(int(ms), int(ordinal))

    def __str__(self) -> str:
        return f"{self.ms}-{self.ordinal}"


@asynccontextmanager
async def answering() -> AsyncIterator[None]:
    """Gives Redis a deadline, and raises `Unavailable` when it is away or refuses."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable(
            f"Redis cannot be asked ({type(error).__name__}: {error}); try again when it is back",
            reason="REDIS_UNAVAILABLE",
        ) from error


async def ask_each(redis: Redis, commands: Sequence[Command]) -> list[Any]:
    """Sends commands together and returns their answers; None for a key or a group that is not there."""
    if not commands:
        return []
    async with answering():
        pipe: Any = redis.pipeline(transaction=False)
        for name, *arguments in commands:
            getattr(pipe, name)(*arguments)
        answers = await pipe.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, RedisError) and not _is_missing(answer):
                raise answer
    return [None if isinstance(answer, RedisError) else answer for answer in answers]


def chosen(streams: Sequence[str]) -> list[str]:
    """Returns these streams, or all if there are none. Raises `NotFound` for one that the catalogue has not."""
    known = sorted(contracts.events())
    for stream in streams:
        if stream not in contracts.events():
            raise NotFound(f"there is no stream {stream[:100]!r}; `status` shows them all", reason="STREAM_NOT_FOUND")
    return list(streams) or known


async def groups_of(redis: Redis, streams: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Returns what XINFO GROUPS says of each stream, sorted by group."""
    answers = await ask_each(redis, [("xinfo_groups", stream) for stream in streams])
    return {
        stream: sorted(answer or [], key=lambda group: bytes(group["name"]))
        for stream, answer in zip(streams, answers, strict=True)
    }


def _is_missing(error: RedisError) -> bool:
    return isinstance(error, ResponseError) and str(error).startswith(("no such key", "NOGROUP", "WRONGTYPE"))
