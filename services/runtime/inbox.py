"""What groups have done already: events applied and given up, noted in the same transaction as their effect."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from google.protobuf.message import Message

from services.runtime.context import Context
from services.runtime.delivery import Delivery
from services.runtime.transaction import Reader, Tx
from services.telemetry import spans, tracing

Apply = Callable[[Tx, Any], object]
"""What a group does about an event."""

Effect = bool | Exception
"""What became of one event: True for applied, False for applied before, or why it could not be."""

LEAST_WORKS = 32
"""Events that share a commit, if there are so many, even where the machine is so busy that they take long."""


def apply_all(tx: Tx, group: str, given: Sequence[tuple[Delivery, Apply]], *, seconds: float) -> list[Effect]:
    """Applies events for a group until the time is up, but some in any case. Returns what became of those it came to.

    Raises only if the transaction, and so all of them, is lost.
    """
    if len(given) > 1:
        try:
            return tx.part(lambda part: _apply_all(part, group, given, seconds=seconds, each_alone=False), tx.context)
        except Exception:
            if not tx.is_open:
                raise
    # One of them fails. Again, each so that it can be undone alone: too costly to be done every time.
    return _apply_all(tx, group, given, seconds=seconds, each_alone=True)


def _apply_all(
    tx: Tx, group: str, given: Sequence[tuple[Delivery, Apply]], *, seconds: float, each_alone: bool
) -> list[Effect]:
    end = time.monotonic() + seconds
    by_stream: dict[str, list[int]] = defaultdict(list)
    for delivery, _ in given:
        by_stream[delivery.stream].append(delivery.ordinal)
        if older := delivery.older:
            by_stream[older[0]].append(older[1])
    standings = {stream: standing(tx, group, stream, ordinals) for stream, ordinals in by_stream.items()}
    effects: list[Effect] = []
    for delivery, apply in given:
        if len(effects) >= LEAST_WORKS and time.monotonic() >= end:
            break
        of_stream = standings[delivery.stream]
        if delivery.ordinal not in of_stream.open:
            effects.append(False)
            continue
        older = delivery.older
        if older and older[1] not in standings[older[0]].open:
            # It had its effect in its older version.
            of_stream.take(delivery.ordinal)
            effects.append(False)
            continue
        context = Context.of(delivery)
        span = spans.processed(group, delivery.stream, context.traceparent)
        if tracing.on():
            spans.message(span, delivery.envelope.id, context.correlation_id)
            context = replace(context, traceparent=span.traceparent)
        if each_alone:
            try:
                tx.part(partial(_apply, apply, delivery.event), context)
            except Exception as error:
                if not tx.is_open:
                    raise
                span.end(repr(error))
                effects.append(error)
                continue
        else:
            apply(tx.within(context), delivery.event)
        if tracing.on():
            tx.on_commit.append(span.end)  # what is rolled back is applied again
        effects.append(True)
        of_stream.take(delivery.ordinal)
        if older:
            standings[older[0]].take(older[1])
    for stream, of_stream in standings.items():
        _mark_applied(tx, group, stream, of_stream)
    return effects


def _apply(apply: Apply, event: Message, tx: Tx) -> None:
    apply(tx, event)


@dataclass(slots=True)
class Standing:
    """How some events of a stream stand with a group."""

    open: set[int]
    """Ordinals that are not applied. What the group gave up is among them: when that comes again, an operator has its
    dead letter tried again."""
    given_up: set[int]
    applied: list[int] = field(default_factory=list)
    """Those that are applied now, and not yet noted."""

    def take(self, ordinal: int) -> None:
        """Counts one as applied now."""
        self.open.discard(ordinal)
        self.applied.append(ordinal)


def mark_dead(tx: Tx, group: str, stream: str, ordinal: int) -> None:
    """Notes that a group gives an event up, so that the watermark passes it."""
    if _note(tx, group, stream, ordinal):
        tx.execute("INSERT OR IGNORE INTO inbox_dead VALUES (?, ?, ?)", group, stream, ordinal)


def skip_below(tx: Tx, group: str, stream: str, ordinal: int) -> int:
    """Moves the watermark up over events that exist nowhere any more. Returns how many are lost to the group."""
    below = done_below(tx, group, stream)
    if ordinal <= below:
        return 0
    known = tx.value(
        "SELECT count(*) FROM inbox_event WHERE consumer_group = ? AND stream = ? AND ordinal < ?",
        group,
        stream,
        ordinal,
    )
    _move(tx, group, stream, ordinal - 1)
    return int(ordinal - below - known)


def done_below(db: Reader, group: str, stream: str) -> int:
    """Returns the watermark: every ordinal below it is applied or given up."""
    row = db.one("SELECT done_below FROM inbox_watermark WHERE consumer_group = ? AND stream = ?", group, stream)
    return int(row["done_below"]) if row else 1


def standing(db: Reader, group: str, stream: str, ordinals: Sequence[int]) -> Standing:
    """Returns how events stand with a group, by one query for all of them."""
    rows = db.all(
        "SELECT 'below', done_below FROM inbox_watermark WHERE consumer_group = ?1 AND stream = ?2"
        " UNION ALL SELECT 'done', ordinal FROM inbox_event"
        " WHERE consumer_group = ?1 AND stream = ?2 AND ordinal BETWEEN ?3 AND ?4"
        " UNION ALL SELECT 'dead', ordinal FROM inbox_dead"
        " WHERE consumer_group = ?1 AND stream = ?2 AND ordinal BETWEEN ?3 AND ?4",
        group,
        stream,
        min(ordinals),
        max(ordinals),
    )
    below = max((number for kind, number in rows if kind == "below"), default=1)
    done = {number for kind, number in rows if kind == "done"}
    given_up = {number for kind, number in rows if kind == "dead"}.intersection(ordinals)
    return Standing({n for n in ordinals if n >= below and n not in done} | given_up, given_up)


def _mark_applied(tx: Tx, group: str, stream: str, events: Standing) -> None:
    """Notes what is applied now."""
    if again := events.given_up.intersection(events.applied):
        tx.execute_many(
            "DELETE FROM inbox_dead WHERE consumer_group = ? AND stream = ? AND ordinal = ?",
            [(group, stream, ordinal) for ordinal in again],
        )
    new = sorted(ordinal for ordinal in events.applied if ordinal not in again)
    if not new:
        return
    # All in a row, the next ones in order, with nothing done above: the most frequent case by far.
    if new[-1] - new[0] + 1 == len(new) and _pass(tx, group, stream, new[0], new[-1]):
        return
    tx.execute_many("INSERT INTO inbox_event VALUES (?, ?, ?)", [(group, stream, ordinal) for ordinal in new])
    if (below := done_below(tx, group, stream)) == new[0]:
        _move(tx, group, stream, below)


def _note(tx: Tx, group: str, stream: str, ordinal: int) -> bool:
    """Notes an ordinal as done. Returns False if it is already."""
    if _pass(tx, group, stream, ordinal, ordinal):
        return True
    below = done_below(tx, group, stream)
    if ordinal < below:
        return False
    if ordinal > below:
        added = tx.execute("INSERT OR IGNORE INTO inbox_event VALUES (?, ?, ?)", group, stream, ordinal)
        return added.rowcount == 1
    _move(tx, group, stream, ordinal)
    return True


def _pass(tx: Tx, group: str, stream: str, first: int, last: int) -> bool:
    """Moves the watermark over ordinals in a row, if it stands at the first and nothing is done above."""
    moved = tx.execute(
        "UPDATE inbox_watermark SET done_below = ?4 + 1 WHERE consumer_group = ?1 AND stream = ?2 AND done_below = ?3"
        " AND NOT EXISTS (SELECT 1 FROM inbox_event WHERE consumer_group = ?1 AND stream = ?2 AND ordinal > ?3)",
        group,
        stream,
        first,
        last,
    )
    return moved.rowcount == 1


def _move(tx: Tx, group: str, stream: str, ordinal: int) -> None:
    """Moves the watermark over an ordinal and over the run of single ones right above it."""
    end = tx.one(
        "WITH RECURSIVE run(n) AS (SELECT ?3 + 1 UNION ALL SELECT n + 1 FROM run WHERE EXISTS (SELECT 1"
        " FROM inbox_event WHERE consumer_group = ?1 AND stream = ?2 AND ordinal = n)) SELECT max(n) FROM run",
        group,
        stream,
        ordinal,
    )
    assert end is not None  # noqa: S101 - an aggregate always has a row
    tx.execute("INSERT OR REPLACE INTO inbox_watermark VALUES (?, ?, ?)", group, stream, end[0])
    tx.execute("DELETE FROM inbox_event WHERE consumer_group = ? AND stream = ? AND ordinal < ?", group, stream, end[0])
