"""Serves the outbox to the bridge: entries in order, pushed as soon as they are committed, by whichever process."""

from collections.abc import AsyncIterator, Mapping
from functools import partial
from itertools import pairwise

from astra.event.v1.outbox_service_pb2 import Batch, Divergence, Entry, TailRequest, TailResponse

from services import contracts
from services.runtime.call import Call
from services.runtime.errors import InvalidArgument
from services.runtime.store import Store
from services.runtime.transaction import Reader

BATCH_ENTRIES = 256
"""Most entries in one batch."""
START = (0, 0)
"""The cursor before the first entry, as (ms, ordinal)."""

Id = tuple[int, int]


class OutboxApi:
    """The OutboxService of one domain."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def tail(self, request: TailRequest, call: Call) -> AsyncIterator[TailResponse]:
        """Streams entries after the cursors for as long as the caller stays."""
        cursors = {}
        for cursor in request.cursors:
            position = self._parse(cursor.stream, cursor.id)
            diverged = self._store.read_now(partial(_divergence, stream=cursor.stream, position=position))
            if diverged is None:
                cursors[cursor.stream] = position
            else:
                yield TailResponse(stream=cursor.stream, divergence=diverged)
        while cursors:
            seen = self._store.wakeups.version
            batches = self._store.read_now(lambda db: _new_batches(db, cursors))
            for stream, batch in batches:
                cursors[stream] = _id(batch.entries[-1].id)
                yield TailResponse(stream=stream, batch=batch)
            if not batches:
                await self._store.wakeups.after(seen)

    def _parse(self, stream: str, text: str) -> Id:
        if stream not in contracts.streams_of(self._store.domain):
            raise InvalidArgument(f"{self._store.domain} does not publish {stream[:100]!r}", field="cursors.stream")
        try:
            return _id(text)
        except ValueError:
            raise InvalidArgument(f"{text[:50]!r} is no stream id <ms>-<ordinal>", field="cursors.id") from None


def _divergence(db: Reader, stream: str, position: Id) -> Divergence | None:
    """Returns a divergence if the outbox never gave that id to an entry of the stream."""
    if position == START:
        return None
    ms, ordinal = position
    if db.one("SELECT 1 FROM outbox WHERE stream = ? AND ordinal = ? AND ms = ?", stream, ordinal, ms):
        return None
    last = db.one("SELECT ms, ordinal FROM outbox_stream WHERE stream = ?", stream)
    return Divergence(id=_text(position), last=_text(tuple(last) if last else START))


def _new_batches(db: Reader, cursors: Mapping[str, Id]) -> list[tuple[str, Batch]]:
    """Reads what comes after each cursor. Raises `RuntimeError` for a gap, which would lose entries silently."""
    batches = []
    for stream, last in db.all("SELECT stream, ordinal FROM outbox_stream"):
        cursor = cursors.get(stream)
        if cursor is None or last <= cursor[1]:
            continue
        rows = db.all(
            "SELECT ms, ordinal, envelope FROM outbox WHERE stream = ? AND ordinal > ? ORDER BY ordinal LIMIT ?",
            stream,
            cursor[1],
            BATCH_ENTRIES,
        )
        ordinals = [cursor[1], *(row["ordinal"] for row in rows)]
        if any(later != earlier + 1 for earlier, later in pairwise(ordinals)):
            raise RuntimeError(f"the outbox of {stream} has a gap after {_text(cursor)}")
        entries = [Entry(id=_text((row["ms"], row["ordinal"])), envelope=row["envelope"]) for row in rows]
        batches.append((stream, Batch(prev=_text(cursor), entries=entries)))
    return batches


def _id(text: str) -> Id:
    ms, _, ordinal = text.partition("-")
    return int(ms), int(ordinal)


def _text(position: Id) -> str:
    return f"{position[0]}-{position[1]}"
