"""Serves the outbox to the bridge: entries in order, pushed as soon as they are committed, by whichever process."""

from collections.abc import AsyncIterator
from functools import partial
from itertools import pairwise

from astra.event.v1.envelope_pb2 import Envelope
from astra.event.v1.outbox_service_pb2 import (
    AdoptRequest,
    AdoptResponse,
    PurgeRequest,
    PurgeResponse,
    ReadRequest,
    ReadResponse,
    TailRequest,
    TailResponse,
)
from google.protobuf.message import DecodeError

from services import contracts
from services.runtime import outbox
from services.runtime.call import Call
from services.runtime.errors import FailedPrecondition, InvalidArgument
from services.runtime.outbox import Id, id_text, parse_id
from services.runtime.store import Store
from services.runtime.transaction import Reader, Tx


class OutboxApi:
    """The OutboxService of one domain."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def tail(self, request: TailRequest, call: Call) -> AsyncIterator[TailResponse]:
        """Streams entries after the cursors for as long as the caller stays."""
        cursors = {}
        for cursor in request.cursors:
            self._check_stream(cursor.stream, "cursors.stream")
            position = _parsed(cursor.id, "cursors.id")
            diverged = self._store.read_now(partial(outbox.divergence, stream=cursor.stream, position=position))
            if diverged is None:
                cursors[cursor.stream] = self._store.read_now(
                    partial(outbox.begin, stream=cursor.stream, position=position)
                )
            else:
                yield TailResponse(stream=cursor.stream, divergence=diverged)
        while cursors:
            seen = self._store.wakeups.version
            batches = self._store.read_now(lambda db: outbox.new_batches(db, cursors))
            for stream, batch in batches:
                cursors[stream] = parse_id(batch.entries[-1].id)
                yield TailResponse(stream=stream, batch=batch)
            if not batches:
                await self._store.wakeups.after(seen)

    async def read(self, request: ReadRequest, call: Call) -> AsyncIterator[ReadResponse]:
        """Streams the entries of a range, after saying up to where entries are purged."""
        self._check_stream(request.stream, "stream")
        through = _parsed(request.through, "through")
        if request.from_ordinal < 1:
            raise InvalidArgument("from_ordinal must be at least 1", field="from_ordinal")

        def page(db: Reader, after: int) -> ReadResponse:
            # Looked up for every page: a purge may run beside this.
            purged = outbox.purged_through(db, request.stream)
            _check_history(db, request.stream, through)
            entries = outbox.entries_after(db, request.stream, max(after, purged[1]), through[1])
            return ReadResponse(purged_through=id_text(purged), entries=entries)

        after = request.from_ordinal - 1
        first = self._store.read_now(lambda db: id_text(outbox.purged_through(db, request.stream)))
        yield ReadResponse(purged_through=first)
        while True:
            response = await self._store.read(partial(page, after=after))
            if not response.entries:
                return
            after = parse_id(response.entries[-1].id)[1]
            yield response

    async def purge(self, request: PurgeRequest, call: Call) -> PurgeResponse:
        """Drops what every group has finished and what is old enough."""
        self._check_stream(request.stream, "stream")

        def work(tx: Tx) -> PurgeResponse:
            anchor = _parsed(request.anchor, "anchor")
            _check_history(tx, request.stream, anchor)
            purged = outbox.purge(tx, request.stream, below=min(request.finished_below, anchor[1] + 1))
            return PurgeResponse(purged=purged, purged_through=id_text(outbox.purged_through(tx, request.stream)))

        return await call.write(self._store, work)

    async def adopt(self, request: AdoptRequest, call: Call) -> AdoptResponse:
        """Takes over what the stream has and this outbox has lost."""
        self._check_stream(request.stream, "stream")
        kind = contracts.events()[request.stream].full_name

        def work(tx: Tx) -> AdoptResponse:
            after, last = _parsed(request.after, "after"), _parsed(request.last, "last")
            rows = [(_parsed(entry.id, "entries"), entry.envelope) for entry in request.entries]
            ids = [id_ for id_, _ in rows] or [last]
            if ids[-1] != last or any(b[1] != a[1] + 1 or b[0] < a[0] for a, b in pairwise(ids)) or ids[0] <= after:
                raise InvalidArgument("entries must follow `after` and each other, through `last`", field="entries")
            if any(_type_of(envelope) != kind for _, envelope in rows):
                raise InvalidArgument(f"entries must be envelopes of {kind}", field="entries")
            if not outbox.is_of(tx, request.stream, after):
                raise FailedPrecondition(f"{request.stream} never had {request.after}", reason="HISTORY_DIVERGED")
            return AdoptResponse(moved=outbox.adopt(tx, request.stream, after, last, rows))

        return await call.write(self._store, work)

    def _check_stream(self, stream: str, field: str) -> None:
        if stream not in contracts.streams_of(self._store.domain):
            raise InvalidArgument(f"{self._store.domain} does not publish {stream[:100]!r}", field=field)


def _check_history(db: Reader, stream: str, position: Id) -> None:
    """Refuses an id of another history: what is read or dropped by its ordinal would be something else."""
    if position[1] > outbox.purged_through(db, stream)[1] and not outbox.is_of(db, stream, position):
        raise FailedPrecondition(
            f"{stream} never had {id_text(position)}; `python -m bridge reconcile {stream}` shows both histories",
            reason="HISTORY_DIVERGED",
        )


def _parsed(text: str, field: str) -> Id:
    try:
        return parse_id(text)
    except ValueError:
        raise InvalidArgument(f"{text[:50]!r} is no stream id <ms>-<ordinal>", field=field) from None


def _type_of(envelope: bytes) -> str:
    try:
        return str(Envelope.FromString(envelope).type)
    except DecodeError:
        return ""
