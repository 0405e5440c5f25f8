"""What the bus counts and measures, by stream and by group: names come from the catalogue, so labels are bounded.

They are in prometheus_client's default registry, one a process. Times run from an event's commit: the ms in its id.
"""

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cache

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 300)


class Latencies(Histogram):
    """A histogram that takes many observations at once: one by one they cost more than the appends they are about."""

    def observe_all(self, seconds: Sequence[float]) -> None:
        """Counts every value exactly as `observe` would."""
        counts = [0] * len(self._upper_bounds)
        for value in seconds:
            counts[bisect_left(self._upper_bounds, value)] += 1
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(sum(seconds))


# The bridge, by stream.
PUBLISHED = Counter("astra_bus_published_entries", "Entries that outboxes handed to the bridge.", ["stream"])
APPENDED = Counter("astra_bus_appended_entries", "Entries appended to streams.", ["stream"])
REPAIRED = Counter("astra_bus_repaired_entries", "Entries that Redis had lost and that are sent again.", ["stream"])
LOST = Counter("astra_bus_lost_entries", "Entries that were in neither stream nor outbox when needed.", ["stream"])
CUT = Counter("astra_bus_cut_entries", "Entries that were trimmed because their stream reached its cap.", ["stream"])
STOPPED = Gauge("astra_bus_stream_stopped", "1 for a stream that is left alone: its history diverged.", ["stream"])
APPEND_SECONDS = Latencies(
    "astra_bus_append_latency_seconds", "From an event's commit to its append.", ["stream"], buckets=_SECONDS
)
LAST = Gauge("astra_bus_last_ordinal", "Number of the last entry of the stream.", ["stream"])
TRIMMED = Counter("astra_bus_trimmed_entries", "Entries that were trimmed because every group had finished them.")
PURGED = Counter("astra_bus_purged_rows", "Outbox rows that were dropped after their retention.")
PAUSED = Gauge("astra_bus_paused", "1 while appends wait because Redis is full or not safe.")
FULL = Gauge("astra_bus_redis_memory_ratio", "Part of maxmemory that Redis uses; 0 without a bound.")

REDIS_UP = Gauge("astra_bus_redis_up", "1 while Redis answers the bridge.")
REDIS_PERSISTS = Gauge("astra_bus_redis_persists", "1 while what Redis writes reaches its disk.")

# Groups as the bridge sees them.
DEAD_WAITING = Gauge("astra_bus_dead_letter_entries", "Dead letters that wait for an operator.", ["group", "stream"])
LAG = Gauge("astra_bus_group_lag_entries", "Entries that a group has not been given yet.", ["group", "stream"])
PENDING = Gauge("astra_bus_group_pending_entries", "Entries that a group has in hand.", ["group", "stream"])
OLDEST_SECONDS = Gauge(
    "astra_bus_group_oldest_unfinished_seconds",
    "Age of the oldest unfinished entry; 0 for none.",
    ["group", "stream"],
)

# Consumers.
CONSUMED = Counter("astra_bus_consumed_entries", "Entries whose effect is committed.", ["group", "stream"])
RETRIED = Counter("astra_bus_retried_entries", "Attempts that failed and are made again.", ["group", "stream"])
DEAD = Counter("astra_bus_dead_letters", "Entries that became dead letters.", ["group", "stream"])
FILLED = Counter("astra_bus_filled_entries", "Trimmed entries taken from the outbox instead.", ["group", "stream"])
SKIPPED = Counter("astra_bus_skipped_entries", "Entries a group never saw: trimmed and purged.", ["group", "stream"])
EFFECT_SECONDS = Latencies(
    "astra_bus_effect_latency_seconds", "From an event's commit to its effect's.", ["group", "stream"], buckets=_SECONDS
)


@cache
def of_effects(group: str, stream: str) -> tuple[Counter, Latencies]:
    """Returns the two that every effect moves, with their labels: to look labels up costs more than to count."""
    return CONSUMED.labels(group, stream), EFFECT_SECONDS.labels(group, stream)


def since(ms: int) -> float:
    """Returns the seconds since a time in milliseconds since the epoch; never less than 0, clocks differ."""
    return max(0.0, time.time() - ms / 1000)


def since_all(times_ms: Sequence[int]) -> list[float]:
    """Returns the seconds since each of some times, as `since` does."""
    now_ms = time.time() * 1000
    return [max(0.0, now_ms - ms) / 1000 for ms in times_ms]


def known_streams(streams: Iterable[str]) -> None:
    """Begins to count at 0 what the bridge does with streams: an increase from nothing would not be seen as one."""
    for stream in streams:
        for counter in (PUBLISHED, APPENDED, REPAIRED, LOST, CUT):
            counter.labels(stream)


def known_group(group: str, streams: Iterable[str]) -> None:
    """Same of what a group does."""
    for stream in streams:
        for counter in (CONSUMED, RETRIED, DEAD, FILLED, SKIPPED):
            counter.labels(group, stream)
