"""One consumer's dealings with Redis: its group on each stream, what it reads, holds and gives back."""

import asyncio
from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from bridge.append import Script
from bridge.entries import Entry, dead_letters_of

ANSWER_SECONDS = 10.0
"""How long Redis may take, beside the time it is asked to block."""

_DEAD_LETTER = Script("dead_letter.lua")
_FORGET = Script("forget_consumer.lua")

log = structlog.get_logger()
T = TypeVar("T")


class Membership:
    """A consumer of a group on several streams. Everything raises `RedisError` or `TimeoutError` when Redis is away."""

    def __init__(self, redis: Redis, group: str, consumer: str, streams: Sequence[str]) -> None:
        self.group = group
        self.consumer = consumer
        self._redis: Any = redis  # redis-py's annotations unite the sync and async answers
        self._streams = streams
        self.joined: list[str] = []
        """Streams that have the group; the others cannot be read for now."""

    async def join(self) -> None:
        """Creates the group where it is missing, from the first entry on, also before there is a stream."""
        joined = []
        answers = await self._pipelined(
            [("XGROUP", "CREATE", stream, self.group, "0", "MKSTREAM") for stream in self._streams]
        )
        for stream, answer in zip(self._streams, answers, strict=True):
            if not isinstance(answer, RedisError) or "BUSYGROUP" in str(answer) or await self._is_there(stream):
                joined.append(stream)
            else:
                log.error("group.not_created", group=self.group, stream=stream, error=str(answer))
        self.joined = joined

    async def _is_there(self, stream: str) -> bool:
        """Tells whether the group exists. A full server refuses to create even one that does."""
        try:
            groups = await _in_time(self._redis.xinfo_groups(stream))
        except ResponseError:
            return False
        return any(found["name"] == self.group.encode() for found in groups)

    @property
    def complete(self) -> bool:
        """Whether every stream has the group, as far as is known."""
        return len(self.joined) == len(self._streams)

    async def read(self, count: int, block_ms: int) -> list[Entry]:
        """Reads at most `count` new entries of each stream, waiting for the first."""
        answer = await _in_time(
            self._redis.xreadgroup(
                self.group, self.consumer, dict.fromkeys(self.joined, ">"), count=count, block=block_ms
            ),
            ANSWER_SECONDS + block_ms / 1000,
        )
        return [
            Entry(stream.decode(), id_.decode(), (fields or {}).get(b"e", b""), 1)
            for stream, entries in answer
            for id_, fields in entries
        ]

    async def pending(self, stream: str, *, idle_ms: int, count: int, after: str, own: bool = False) -> dict[str, int]:
        """Returns what has been pending for so long: deliveries by id, for the whole group or for this consumer."""
        rows = await _in_time(
            self._redis.xpending_range(
                stream,
                self.group,
                min=f"({after}",
                max="+",
                count=count,
                consumername=self.consumer if own else None,
                idle=idle_ms or None,
            )
        )
        return {row["message_id"].decode(): row["times_delivered"] for row in rows}

    async def with_idle(self, idle_ms: int) -> list[str]:
        """Returns the streams on which something has been pending for so long, asking about all of them at once."""
        pipe = self._redis.pipeline(transaction=False)
        for stream in self.joined:
            pipe.xpending_range(stream, self.group, min="-", max="+", count=1, idle=idle_ms or None)
        answers = await _in_time(pipe.execute())
        return [stream for stream, rows in zip(self.joined, answers, strict=True) if rows]

    async def claim(self, stream: str, deliveries: Mapping[str, int], idle_ms: int) -> list[Entry]:
        """Takes over entries that are still idle; counts as a delivery. Two that claim one do not both get it."""
        rows = await _in_time(
            self._redis.xclaim(stream, self.group, self.consumer, idle_ms, list(deliveries)),
        )
        return [
            Entry(stream, id_.decode(), (fields or {}).get(b"e", b""), deliveries[id_.decode()] + 1)
            for id_, fields in rows
            if id_ is not None
        ]

    async def renew(self, ids: Mapping[str, Sequence[str]]) -> None:
        """Keeps entries, by stream, from being claimed by others."""
        await self._pipelined(
            [("XCLAIM", stream, self.group, self.consumer, 0, *held, "JUSTID") for stream, held in ids.items()]
        )

    async def count_delivery(self, entry: Entry) -> None:
        """Stores the entry's number of deliveries, so that it outlives this process."""
        claim = ("XCLAIM", entry.stream, self.group, self.consumer, 0, entry.id)
        await self._pipelined([(*claim, "RETRYCOUNT", entry.deliveries, "JUSTID")])

    async def acknowledge(self, ids: Mapping[str, Sequence[str]]) -> None:
        """Gives back what is done, one XACK a stream. What is refused stays pending, and is claimed when idle."""
        answers = await self._pipelined([("XACK", stream, self.group, *done) for stream, done in ids.items()])
        for stream, answer in zip(ids, answers, strict=True):
            if isinstance(answer, RedisError):
                log.warning("group.not_acknowledged", group=self.group, stream=stream, error=str(answer))

    async def forget_silent(self, stream: str, own: Collection[str], idle_ms: int) -> list[str]:
        """Deletes consumers of the group, other than our own, that have long been silent and hold nothing."""
        forgotten = []
        for row in await _in_time(self._redis.xinfo_consumers(stream, self.group)):
            name = row["name"].decode()
            if name not in own and not row["pending"] and row["idle"] >= idle_ms:
                script = _FORGET.run(self._redis, [stream], [self.group, name, str(idle_ms)])
                if await _in_time(script):
                    forgotten.append(name)
        return forgotten

    async def bury(self, entry: Entry, error: Exception) -> None:
        """Moves an entry to the dead letters. Raises `RedisError` if Redis refuses; then it stays pending."""
        key, fields = dead_letter(entry, error, group=self.group, consumer=self.consumer, deliveries=entry.deliveries)
        arguments = [part for field in fields.items() for part in field]
        await _in_time(
            _DEAD_LETTER.run(
                self._redis,
                [entry.stream, key],
                [self.group, entry.id, *arguments],
            )
        )

    async def _pipelined(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Sends commands together. Each has its own answer, which may be an error."""
        if not commands:
            return []
        pipe = self._redis.pipeline(transaction=False)
        for command in commands:
            # The answers are not looked into, so none is parsed: JUSTID ones have another shape.
            pipe.execute_command(*command, parse_justid=True)
        answers: list[Any] = await _in_time(pipe.execute(raise_on_error=False))
        return answers


def dead_letter(
    entry: Entry, error: Exception, *, group: str, consumer: str, deliveries: int
) -> tuple[str, dict[str, str | bytes]]:
    """Returns the key and the fields of a dead letter."""
    fields: dict[str, str | bytes] = {
        "e": entry.envelope,
        "id": entry.id,
        "error": f"{type(error).__name__}: {error}"[:1000],
        "deliveries": str(deliveries),
        "consumer": consumer,
    }
    return dead_letters_of(entry.stream, group), fields


async def _in_time(answer: Awaitable[T], seconds: float = ANSWER_SECONDS) -> T:
    async with asyncio.timeout(seconds):
        return await answer
