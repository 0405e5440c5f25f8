"""Blocking reads over streams that lie in different slots of a cluster: each stream has a read of its own."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from redis.exceptions import DataError

LATE_SECONDS = 5.0
"""How much longer than it was asked to block a node may take; then the read is given up."""


@dataclass(frozen=True, slots=True)
class Read:
    """One XREADGROUP or XREAD: what stands before the streams, and where each is read from."""

    head: tuple[Any, ...]
    places: Mapping[Any, Any]
    block_ms: int | None
    """How long to wait, 0 for ever; None for not at all."""

    @classmethod
    def of(cls, command: tuple[Any, ...]) -> "Read":
        """Reads a command. Raises `DataError` for one without streams."""
        words = [str(_text(word)).upper() for word in command]
        if "STREAMS" not in words:
            raise DataError(f"{words[0]} names no streams")
        at = words.index("STREAMS")
        names = command[at + 1 :]
        half = len(names) // 2
        block_ms = int(_text(command[words.index("BLOCK") + 1])) if "BLOCK" in words[:at] else None
        return cls(command[: at + 1], dict(zip(names[:half], names[half:], strict=True)), block_ms)

    def of_one(self, stream: Any) -> tuple[Any, ...]:
        """Returns the command that reads one of the streams."""
        return (*self.head, stream, self.places[stream])


class StandingReads:
    """Reads that are under way. One that finds nothing in its call's time stays, and answers a later call.

    A blocking read must not be given up half-way: what it was given then would be pending, and nobody would know.
    """

    def __init__(self, read_one: Callable[..., Awaitable[Any]]) -> None:
        self._read_one = read_one
        self._under_way: dict[Any, asyncio.Task[Any]] = {}

    async def read(self, read: Read, block_ms: int) -> list[Any]:
        """Returns what the first streams that have something gave; nothing when the time, 0 for endless, is over.

        Raises what a stream's read raised, unless others gave entries: then at the next call.
        """
        end = time.monotonic() + block_ms / 1000 if block_ms else float("inf")
        keys = {stream: (_reader(read.head), stream, place) for stream, place in read.places.items()}
        while True:
            for stream, key in keys.items():
                if key not in self._under_way:
                    self._under_way[key] = asyncio.create_task(self._one(read, stream, block_ms))
            mine = [self._under_way[key] for key in keys.values()]
            left = None if end == float("inf") else max(0.0, end - time.monotonic())
            await asyncio.wait(mine, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            found: list[Any] = []
            failed = []
            for key in keys.values():
                task = self._under_way[key]
                if task.done() and task.exception() is None:
                    found += self._under_way.pop(key).result() or ()
                elif task.done():
                    failed.append(key)
            if found or (not failed and time.monotonic() >= end):
                return found
            if failed:
                errors = [self._under_way.pop(key).exception() for key in failed]
                raise next(error for error in errors if error is not None)

    async def _one(self, read: Read, stream: Any, block_ms: int) -> Any:
        async with asyncio.timeout(block_ms / 1000 + LATE_SECONDS if block_ms else None):
            return await self._read_one(*read.of_one(stream))

    async def aclose(self) -> None:
        """Gives up what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._under_way.clear()


def _reader(head: tuple[Any, ...]) -> tuple[str, ...]:
    """Returns who reads: group and consumer, whatever the count and the time are."""
    words = [str(_text(word)) for word in head]
    return (words[0].upper(), *words[2:4]) if words[0].upper() == "XREADGROUP" else (words[0].upper(),)


def _text(word: Any) -> Any:
    return word.decode() if isinstance(word, bytes) else word
