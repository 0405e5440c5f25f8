"""The only way an event gets into a stream: a chained append, so that the stream is always a prefix of the outbox."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

EMPTY = "0-0"
"""Last id of a stream that is not there or that only groups have made."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry to append: its id, fixed in the outbox, and the serialised envelope."""

    id: str
    envelope: bytes


class Appendable(Protocol):
    """An `Entry`, or what an outbox sends: taken as it comes, without a copy an entry."""

    @property
    def id(self) -> str: ...

    @property
    def envelope(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Appended:
    """The stream now ends with the batch."""

    count: int
    """How many of its entries were missing, from 0."""
    last: str


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The stream ends neither before the batch nor within it; nothing was written."""

    last: str


class Script:
    """A Lua script that is sent by its hash, and in full only to a server that does not know it."""

    def __init__(self, name: str) -> None:
        self._text = (Path(__file__).with_name(name)).read_text()
        self._sha = hashlib.sha1(self._text.encode()).hexdigest()  # noqa: S324 - the name Redis knows a script by

    async def run(self, redis: Redis, keys: Sequence[str], arguments: Sequence[str | bytes]) -> Any:
        """Runs it. Raises what Redis answers."""
        execute: Any = redis.execute_command
        try:
            return await execute("EVALSHA", self._sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return await execute("EVAL", self._text, len(keys), *keys, *arguments)


_APPEND = Script("append.lua")


async def append(redis: Redis, stream: str, prev: str, entries: Sequence[Appendable]) -> Appended | Elsewhere:
    """Appends a batch whose entry before the first is `prev`; may be repeated and run by several at once.

    Raises `RedisError`; then a part of the batch may be written, and repeating the call goes on after it.
    """
    arguments: list[str | bytes] = [prev]
    for entry in entries:
        arguments += (entry.id, entry.envelope)
    count, last = await _APPEND.run(redis, [stream], arguments)
    return Elsewhere(last.decode()) if count < 0 else Appended(count, last.decode())


async def last_id(redis: Redis, stream: str) -> str:
    """Returns the stream's last-generated-id: the only cursor there is."""
    try:
        info = await redis.xinfo_stream(stream)
    except ResponseError as error:
        if "no such key" in str(error):
            return EMPTY
        raise
    return str(info["last-generated-id"].decode())
