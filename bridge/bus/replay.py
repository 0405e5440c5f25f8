"""Replays: a range of past events handed to one group again, at a bounded rate."""

import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any

from astra.bridge.v1 import bus_service_pb2 as pb
from astra.bridge.v1.bus_pb2 import Position, ReplayFailure
from astra.event.v1.group_service_pb2 import ApplyOutcome, ApplyResult

from bridge.backoff import Backoff
from bridge.bus.history import History
from bridge.bus.owners import Owned, Owners
from bridge.bus.stopping import Stopping
from bridge.bus.streams import StreamId
from bridge.bus.tokens import bad_token, from_token, to_token
from bridge.entries import Entry
from services.runtime.clock import uuid7
from services.runtime.errors import InvalidArgument, Unavailable

RATE_DEFAULT, RATE_MAX = 1_000, 100_000
BATCH_BYTES = 1_000_000
BATCHES_A_SECOND = 10
"""How finely a rate is spread, and so how often a caller hears of progress."""
PATIENCE_SECONDS = 10.0
"""How long an event that finds something away is tried again before the caller is told."""

COUNTED = ("applied", "already_applied", "failed", "gone")
_COUNTED_AS = {
    ApplyOutcome.APPLY_OUTCOME_APPLIED: "applied",
    ApplyOutcome.APPLY_OUTCOME_ALREADY_APPLIED: "already_applied",
    ApplyOutcome.APPLY_OUTCOME_FAILED: "failed",
}
_ENTRY_MATTERS = (ApplyOutcome.APPLY_OUTCOME_TRY_AGAIN, ApplyOutcome.APPLY_OUTCOME_FAILED)
"""Outcomes after which it matters which entry it was."""


@dataclass(slots=True)
class Progress:
    """How far a replay is: all that is needed to go on with it."""

    request_id: str
    left: list[tuple[str, int, int]]
    """What is still to do: stream, first and last ordinal."""
    total: int
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))

    @property
    def done(self) -> int:
        return sum(self.counts.values())

    def response(self, failures: Sequence[ReplayFailure] = ()) -> pb.ReplayEventsResponse:
        """Returns it as the caller is told."""
        return pb.ReplayEventsResponse(
            request_id=self.request_id,
            total=self.total,
            done=self.done,
            **self.counts,
            failures=failures,
            resume_token=to_token(asdict(self)),
        )

    def __str__(self) -> str:
        told = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in self.counts.items() if count)
        return f"{self.done} of {self.total} events" + (f": {told}" if told else "")


class Replay:
    """One replay, as it is asked for."""

    def __init__(self, request: pb.ReplayEventsRequest, history: History, owners: Owners, stopping: Stopping) -> None:
        self._request = request
        self._history = history
        self._owners = owners
        self._stopping = stopping
        self.progress = Progress(request.request_id, [], 0)

    async def run(self) -> AsyncGenerator[pb.ReplayEventsResponse, None]:
        """Hands the events over, and yields how far it is after each batch; at once, and at the end."""
        rate = _rate(self._request.rate_limit)
        owned = await self._owners.find(self._request.group)
        streams = _streams(self._request, owned)
        if self._request.resume_token:
            self.progress = _progress_of(self._request.resume_token, owned)
        else:
            self.progress = await self._plan(streams)
        progress = self.progress
        yield progress.response()
        began, handed = time.monotonic(), 0
        while progress.left:
            stream, first, last = progress.left[0]
            async with aclosing(self._history.pages(stream, first, last)) as pages:
                async for page in pages:
                    for batch in _batches(page, max(1, min(len(page), rate // BATCHES_A_SECOND))):
                        await self._stopping.pause(began + handed / rate - time.monotonic())
                        self._stopping.check()
                        failures = await self._hand_over(owned, batch)
                        handed += len(batch)
                        yield progress.response(failures)
            progress.counts["gone"] += last + 1 - progress.left[0][1]
            progress.left = progress.left[1:]
            yield progress.response()

    async def _plan(self, streams: Sequence[str]) -> Progress:
        """Resolves the range to ordinals. Its end is fixed now, or a group might be fed what the replay sets off."""
        left = []
        for stream in streams:
            last = await self._history.last_ordinal(stream)
            first = 1
            if self._request.HasField("start"):
                first = await self._ordinal(stream, self._request.start, after=False)
            if self._request.HasField("end"):
                last = min(last, await self._ordinal(stream, self._request.end, after=True) - 1)
            if first <= last:
                left.append((stream, first, last))
        total = sum(last - first + 1 for _, first, last in left)
        return Progress(self._request.request_id or uuid7(), left, total)

    async def _ordinal(self, stream: str, position: Position, *, after: bool) -> int:
        """Returns the ordinal at a position, or the next one after it."""
        if position.WhichOneof("position") == "ordinal":
            return max(1, position.ordinal + after)
        return await self._history.ordinal_from(stream, position.time.ToMilliseconds() + after)

    async def _hand_over(self, owned: Owned, batch: Sequence[Entry]) -> list[ReplayFailure]:
        """Applies a batch, what finds something away again and again for a while. Returns what failed."""
        progress = self.progress
        backoff = Backoff(0.1, 1.0, random.random)
        give_up = time.monotonic() + PATIENCE_SECONDS
        failures, open_entries = [], list(batch)
        while open_entries:
            results = await self._attempt(owned, open_entries)
            outcomes = [result.outcome for result in results]
            for outcome, name in _COUNTED_AS.items():
                progress.counts[name] += outcomes.count(outcome)
            again = []
            if any(outcome in _ENTRY_MATTERS for outcome in outcomes):
                for entry, result in zip(open_entries, results, strict=True):
                    if result.outcome == ApplyOutcome.APPLY_OUTCOME_TRY_AGAIN:
                        again.append(entry)
                    elif result.outcome == ApplyOutcome.APPLY_OUTCOME_FAILED:
                        failures.append(ReplayFailure(stream=entry.stream, id=entry.id, error=result.error))
            open_entries = again
            if again:
                if time.monotonic() > give_up:
                    raise Unavailable(f"{owned.owner}: {results[-1].error}; go on later", reason="OWNER_UNAVAILABLE")
                await self._stopping.pause(backoff.next_seconds())
                self._stopping.check()
        stream, first, last = progress.left[0]
        after = StreamId.parse(batch[-1].id).ordinal + 1
        # Ordinals are dense: what is between the entries is gone.
        progress.counts["gone"] += after - first - len(batch)
        progress.left[0] = (stream, after, last)
        return failures

    async def _attempt(self, owned: Owned, entries: Sequence[Entry]) -> Sequence[ApplyResult]:
        return await self._owners.apply(
            owned, entries, request_id=self.progress.request_id if self._request.force else ""
        )


def _streams(request: pb.ReplayEventsRequest, owned: Owned) -> Sequence[str]:
    for stream in request.streams:
        if stream not in owned.streams:
            raise InvalidArgument(
                f"{owned.group} does not read {stream[:100]!r}; it reads {', '.join(owned.streams)}", field="streams"
            )
    streams = list(dict.fromkeys(request.streams)) or list(owned.streams)
    for name in ("start", "end"):
        position = getattr(request, name)
        if position.WhichOneof("position") == "ordinal":
            if len(streams) > 1:
                raise InvalidArgument(
                    f"an ordinal counts within one stream, and {len(streams)} are meant: name one, or give times",
                    field=name,
                )
            if position.ordinal < 1:
                raise InvalidArgument("ordinals begin with 1", field=f"{name}.ordinal")
    return streams


def _rate(asked: int) -> int:
    if not 0 <= asked <= RATE_MAX:
        raise InvalidArgument(f"rate_limit must be 1–{RATE_MAX} events a second", field="rate_limit")
    return asked or RATE_DEFAULT


def _batches(page: Sequence[Entry], size: int) -> list[list[Entry]]:
    """Cuts a page into batches of at most so many entries, and of about a megabyte."""
    batches: list[list[Entry]] = []
    taken_bytes = 0
    for entry in page:
        taken_bytes += len(entry.envelope)
        if not batches or len(batches[-1]) >= size or taken_bytes > BATCH_BYTES:
            batches.append([])
            taken_bytes = len(entry.envelope)
        batches[-1].append(entry)
    return batches


def _progress_of(token: str, owned: Owned) -> Progress:
    read: Any = from_token(token)
    try:
        left = [(str(stream), int(first), int(last)) for stream, first, last in read["left"]]
        counts = {name: int(read["counts"][name]) for name in COUNTED}
        progress = Progress(str(read["request_id"]), left, int(read["total"]), counts)
    except (KeyError, TypeError, ValueError):
        raise bad_token() from None
    if not {stream for stream, _, _ in left} <= set(owned.streams):
        raise bad_token()
    return progress
