"""Reads past events by ordinal: from the stream, and what was trimmed there from the outbox."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc
from redis.asyncio import Redis

from bridge.bus.streams import StreamId, ask_each
from bridge.entries import Entry
from bridge.ids import ordinal_of
from bridge.outbox_client import History as OutboxHistory
from services.runtime.errors import FailedPrecondition, Unavailable

PAGE_ENTRIES = 1_000


class History:
    """Every stream from its first event on, for as long as its outbox keeps it."""

    def __init__(self, redis: Redis, outboxes: OutboxHistory) -> None:
        self._redis = redis
        self._outboxes = outboxes

    async def last_ordinal(self, stream: str) -> int:
        """Returns the ordinal of the last event appended; 0 for none."""
        info = await self._info(stream)
        return StreamId.parse(info["last-generated-id"]).ordinal if info else 0

    async def ordinal_from(self, stream: str, ms: int) -> int:
        """Returns the ordinal of the first event recorded at a time or later; one after the last if there is none."""
        info = await self._info(stream)
        if info is None:
            return 1
        last = StreamId.parse(info["last-generated-id"])
        first = StreamId.parse(info["first-entry"][0]) if info["first-entry"] else StreamId(last.ms, last.ordinal + 1)
        if ms > first.ms or first.ordinal <= 1:
            at_or_after = await self._first(stream, str(ms))
            return at_or_after.ordinal if at_or_after else last.ordinal + 1
        async with aclosing(self._outbox(stream, 1, first.ordinal - 1)) as pages:
            async for page in pages:
                for entry in page:
                    if (found := StreamId.parse(entry.id)).ms >= ms:
                        return found.ordinal
        return first.ordinal

    async def pages(self, stream: str, first: int, last: int) -> AsyncGenerator[list[Entry], None]:
        """Yields the events of a range of ordinals in order. Some are missing only if the outbox has purged them."""
        at, start = first, ""
        while at <= last:
            start = start or await self._seek(stream, at)
            (rows,) = await ask_each(self._redis, [("xrange", stream, start, "+", PAGE_ENTRIES)])
            page = [Entry(stream, id_.decode(), fields.get(b"e", b""), 1) for id_, fields in rows or ()]
            if page and not at <= ordinal_of(page[0].id) <= ordinal_of(page[-1].id) <= last:
                page = [entry for entry in page if at <= ordinal_of(entry.id) <= last]
            begins = ordinal_of(page[0].id) if page else last + 1
            if begins > at:
                async with aclosing(self._outbox(stream, at, begins - 1)) as older:
                    async for trimmed in older:
                        yield trimmed
            if page:
                yield page
                start = f"({page[-1].id}"
            at = ordinal_of(page[-1].id) + 1 if page else last + 1

    async def _seek(self, stream: str, ordinal: int) -> str:
        """Returns where to read an ordinal, or the first one that is left after it. Ids are ordered by time first, so
        its millisecond is searched."""
        info = await self._info(stream)
        if info is None or not info["first-entry"]:
            return "-"
        low, high = StreamId.parse(info["first-entry"][0]), StreamId.parse(info["last-generated-id"])
        if ordinal <= low.ordinal:
            return str(low)
        from_ms, to_ms = low.ms, high.ms
        while from_ms < to_ms:
            middle = (from_ms + to_ms + 1) // 2
            entry = await self._first(stream, str(middle))
            if entry is not None and entry.ordinal <= ordinal:
                from_ms = middle
            else:
                to_ms = middle - 1
        return f"{from_ms}-{ordinal}"

    async def _outbox(self, stream: str, first: int, last: int) -> AsyncGenerator[list[Entry], None]:
        """Yields the rows of a range that the outbox still has. Raises `Unavailable` while its service is away."""
        # Any id of the stream tells whose history is meant; its last one is never before the range's end.
        through = (await self._info(stream))["last-generated-id"].decode()
        try:
            async with aclosing(self._outboxes.read(stream, first, through)) as pieces:
                async for _, rows in pieces:
                    page = [Entry(stream, row.id, row.envelope, 1) for row in rows]
                    page = [entry for entry in page if StreamId.parse(entry.id).ordinal <= last]
                    if page:
                        yield page
                    if len(page) < len(rows) or (page and StreamId.parse(page[-1].id).ordinal == last):
                        return
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                raise FailedPrecondition(error.details() or stream, reason="HISTORY_DIVERGED") from error
            raise Unavailable(
                f"the outbox of {stream}, whose older events are not in Redis any more, cannot be read"
                f" ({error.code().name}: {error.details()}); try again when its service is back",
                reason="OUTBOX_UNAVAILABLE",
            ) from error

    async def _first(self, stream: str, start: str) -> StreamId | None:
        (rows,) = await ask_each(self._redis, [("xrange", stream, start, "+", 1)])
        return StreamId.parse(rows[0][0]) if rows else None

    async def _info(self, stream: str) -> Any:
        (info,) = await ask_each(self._redis, [("xinfo_stream", stream)])
        return info
