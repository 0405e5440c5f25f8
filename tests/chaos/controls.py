"""Three ways that others do it. The harness must catch each, else its silence about ours is worth nothing."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from bridge import lane
from bridge.append import EMPTY, Appended, Entry
from bridge.settling import Settler
from bridge.tail_repair import Ends, Found
from tests.chaos.points import BRIDGE_POINTS, SERVICE_POINTS, patch


class Cursors:
    """The last id sent, by stream, in files of the bridge's own: right until Redis loses what it had acknowledged."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def read(self, stream: str) -> str:
        file = self._folder / stream
        return str(json.loads(file.read_text())) if file.exists() else EMPTY

    def write(self, stream: str, id_: str) -> None:
        temporary = self._folder / f".{stream}"
        temporary.write_text(json.dumps(id_))
        temporary.rename(self._folder / stream)


def xadd_star(folder: Path) -> None:
    """`XADD *`: Redis makes the ids, and a batch whose reply was lost is sent again as something new."""
    _append_with(folder, id_of=lambda entry: "*")


def cursor_elsewhere(folder: Path) -> None:
    """Ids of the outbox, so nothing is doubled; but what Redis loses is behind the cursor for ever."""
    _append_with(folder, id_of=lambda entry: entry.id)


def ack_before_effect(folder: Path) -> None:
    """At most once: an entry is acknowledged, then the process dies before its effect."""
    settle_all = Settler.settle_all

    async def hasty(self: Settler, entries: Sequence[Any]) -> Any:
        with suppress(RedisError, OSError, TimeoutError):
            for entry in entries:
                await self._membership.acknowledge({entry.stream: [entry.id]})
        return await settle_all(self, entries)

    patch(Settler, settle_all=hasty)


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A part of the product, replaced."""

    install: Callable[[Path], None]
    """Replaces it in this process; may keep files in the folder given."""
    points: tuple[str, ...]
    """Where processes are killed in its runs: where it is weak, so that a short run is enough."""


CONTROLS = {
    "xadd-star": Control(install=xadd_star, points=BRIDGE_POINTS),
    "cursor-elsewhere": Control(install=cursor_elsewhere, points=BRIDGE_POINTS),
    "ack-before-effect": Control(install=ack_before_effect, points=SERVICE_POINTS[3:4]),
}


def _append_with(folder: Path, *, id_of: Callable[[Entry], str]) -> None:
    cursors = Cursors(folder)

    async def append(redis: Redis, stream: str, prev: str, entries: Sequence[Entry]) -> Appended:
        pipe = redis.pipeline(transaction=False)
        for entry in entries:
            pipe.execute_command("XADD", stream, id_of(entry), "e", entry.envelope)
        for answer in await pipe.execute(raise_on_error=False):
            there_already = isinstance(answer, ResponseError) and "equal or smaller" in str(answer)
            if isinstance(answer, Exception) and not there_already:
                raise answer
        cursors.write(stream, entries[-1].id)
        return Appended(len(entries), entries[-1].id)

    async def read(self: Ends, streams: Sequence[str]) -> Found:
        return Found(last={stream: cursors.read(stream) for stream in streams})

    async def watch(self: Ends, *_: object) -> None:
        """Nothing: a cursor of one's own is believed."""

    patch(lane, append=append)
    patch(Ends, read=read, watch=watch)
