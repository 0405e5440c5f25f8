"""Reconciles a stream and an outbox whose histories differ. It never guesses: it shows both, and does what it is told.

Two things happen in practice. Somebody wrote to the stream: then the outbox is right, and the stream is filled from it
anew (`take outbox`). Or a service's database was restored, or begun anew: then the stream has what the outbox has lost,
and the outbox takes it over before it goes on (`take stream`). Each is refused where it would lose events.
"""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from astra.event.v1.outbox_service_pb2 import Entry
from redis.asyncio import Redis

from bridge.append import EMPTY, Script, last_id
from bridge.ids import ordinal_of, parse
from bridge.outbox_client import OutboxClient
from bridge.tail import Tail

PAGE = 200
ANSWER_SECONDS = 3.0
"""How long an outbox may take to say that it does not know where the stream ends."""

READ_SECONDS = 300.0
"""How long it may take to hand over all it has."""

_REBUILD = Script("rebuild.lua")


class CannotReconcile(Exception):
    """What was asked for would lose events, or is not needed; says what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histories:
    """A stream and its outbox, side by side."""

    stream: str
    stream_last: str
    outbox_last: str
    fork: str
    """Last id that both have; `0-0` for none."""
    only_in_stream: list[tuple[str, dict[bytes, bytes]]]
    """Ids and fields of the stream's entries after the fork."""
    only_in_outbox: int
    """Number of the outbox's entries after the fork."""

    @property
    def continues(self) -> bool:
        """Whether the stream goes on from the fork as an outbox numbers: then the outbox has lost that."""
        ids = [parse(id_) for id_, _ in self.only_in_stream]
        if not ids:
            return parse(self.stream_last) > parse(self.fork)
        dense = all(later[1] == earlier[1] + 1 for earlier, later in pairwise(ids))
        return dense and ids[0][1] > ordinal_of(self.fork) and ids[-1] == parse(self.stream_last)

    def describe(self) -> str:
        """Returns both histories in words, for whoever decides."""
        lines = [
            f"{self.stream}",
            f"  both have entries up to   {self.fork}" if self.fork != EMPTY else "  they have no entry in common",
            f"  the stream ends with      {self.stream_last}, {len(self.only_in_stream)} present that the outbox lacks",
            f"  the outbox ends with      {self.outbox_last}, {self.only_in_outbox} that the stream lacks",
        ]
        for id_, fields in [*self.only_in_stream[:3], *self.only_in_stream[3:][-1:]]:
            lines.append(f"    only in the stream: {id_}  {sum(map(len, fields.values()))} bytes")
        return "\n".join(lines)


async def read_histories(redis: Redis, tail: Tail, stream: str) -> Histories | None:
    """Reads both. Returns None if they do not differ: the outbox knows where the stream ends."""
    last = await last_id(redis, stream)
    outbox_last = await _divergence(tail, stream, last)
    if outbox_last is None:
        return None
    present = {id_: fields async for id_, fields in _entries(redis, stream)}
    fork, behind = EMPTY, 0
    async for id_ in _outbox_ids(tail, stream, outbox_last):
        behind += 1
        if id_ in present:
            fork, behind = id_, 0
    return Histories(
        stream=stream,
        stream_last=last,
        outbox_last=outbox_last,
        fork=fork,
        only_in_stream=[(id_, fields) for id_, fields in present.items() if parse(id_) > parse(fork)],
        only_in_outbox=behind,
    )


async def take_outbox(redis: Redis, histories: Histories, folder: Path) -> Path:
    """Empties the stream, for the bridge to fill it from the outbox. Returns the file with what only the stream had.

    Raises `CannotReconcile` where groups may have applied other events under ordinals that the outbox will use.
    """
    if histories.continues:
        raise CannotReconcile(
            "the stream goes on where the outbox was: the outbox has lost events, and would number others as those."
            " Groups that applied the lost ones would take the others for done. Take the stream"
        )
    file = _save(histories, folder)
    if not await _REBUILD.run(redis, [histories.stream], [histories.stream_last]):
        raise CannotReconcile("the stream has changed meanwhile: look at both histories again")
    return file


async def take_stream(outboxes: OutboxClient, histories: Histories) -> int:
    """Has the outbox take over what only the stream has. Returns how many entries.

    Raises `CannotReconcile` for entries that no outbox can have recorded.
    """
    if not histories.continues:
        raise CannotReconcile("the stream's own entries are not numbered as an outbox numbers: take the outbox")
    after, entries = histories.fork, histories.only_in_stream
    if not entries:
        await outboxes.adopt(histories.stream, after=after, last=histories.stream_last, entries=[])
    for begin in range(0, len(entries), PAGE):
        page = [Entry(id=id_, envelope=fields.get(b"e", b"")) for id_, fields in entries[begin : begin + PAGE]]
        await outboxes.adopt(histories.stream, after=after, last=page[-1].id, entries=page)
        after = page[-1].id
    return len(entries)


def _save(histories: Histories, folder: Path) -> Path:
    """Writes what only the stream has to a file of its own, a line an entry."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{histories.stream}-{histories.stream_last}.jsonl"
    with file.open("w") as lines:
        for id_, fields in histories.only_in_stream:
            coded = {name.decode(): base64.b64encode(value).decode() for name, value in fields.items()}
            lines.write(json.dumps({"id": id_, "fields_base64": coded}) + "\n")
    return file


async def _divergence(tail: Tail, stream: str, last: str) -> str | None:
    """Returns the outbox's last id if it does not know the stream's."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS), aclosing(tail({stream: last})) as responses:
            async for response in responses:
                return str(response.divergence.last) if response.HasField("divergence") else None
    except TimeoutError:
        pass  # it knows, and has nothing more
    return None


async def _entries(redis: Redis, stream: str) -> AsyncGenerator[tuple[str, dict[bytes, bytes]], None]:
    after = "-"
    while True:
        found: Any = await redis.xrange(stream, min=after, count=1000)
        for id_, fields in found:
            yield id_.decode(), fields
        if not found:
            return
        after = f"({found[-1][0].decode()}"


async def _outbox_ids(tail: Tail, stream: str, last: str) -> AsyncGenerator[str, None]:
    if last == EMPTY:
        return
    async with asyncio.timeout(READ_SECONDS), aclosing(tail({stream: EMPTY})) as responses:
        async for response in responses:
            for entry in response.batch.entries:
                yield entry.id
                if ordinal_of(entry.id) >= ordinal_of(last):
                    return
