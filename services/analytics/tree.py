"""The tree of a chain of events: each event right after its cause or an earlier effect of it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event, as far as its place in a chain goes."""

    event_id: str
    causation_id: str
    stream: str
    stream_id: str
    user_id: str
    subject: str
    ms: int


BY_TIME = attrgetter("ms", "event_id")
"""Sorts by time; the ids that one process makes in a millisecond are in order, too."""


def roots_of(events: Sequence[Event]) -> list[Event]:
    """Returns the events without a cause, or whose cause is not there (yet), by time."""
    ids = {event.event_id for event in events}
    return sorted((event for event in events if event.causation_id not in ids), key=BY_TIME)


def depth_first(events: Sequence[Event]) -> Iterator[tuple[Event, int]]:
    """Yields every event once with its depth, causes before effects, siblings by time.

    Events that cause each other in a circle, which no service records, come last, from the earliest on.
    """
    effects: dict[str, list[Event]] = defaultdict(list)
    for event in sorted(events, key=BY_TIME, reverse=True):
        effects[event.causation_id].append(event)
    seen: set[str] = set()
    for root in (*roots_of(events), *sorted(events, key=BY_TIME)):
        stack = [(root, 0)]
        while stack:
            event, depth = stack.pop()
            if event.event_id in seen:
                continue
            seen.add(event.event_id)
            yield event, depth
            # Latest first onto the stack, so that the earliest comes off it first.
            stack += [(effect, depth + 1) for effect in effects[event.event_id]]


def concerns(events: Sequence[Event], user_id: str) -> bool:
    """Returns whether a chain is a user's own: every event at its root level concerns that user."""
    roots = roots_of(events)
    return bool(roots) and all(root.user_id == user_id for root in roots)
