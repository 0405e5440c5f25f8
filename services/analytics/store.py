"""Counts, latencies and chains of events in SQL.

What is only of use for a while goes in small steps, two rows out for each one in, without a sweep of its own.
"""

from collections.abc import Mapping

from astra.analytics.v1.kpi_pb2 import StreamMetrics

from services.analytics.model import DAY_MS, RATE_SECONDS, Counter
from services.analytics.tree import Event
from services.runtime.delivery import Delivery
from services.runtime.transaction import Reader, Tx

RETENTION_MS = 30 * DAY_MS
"""How long events can be traced, and who was active is known."""
SECONDS_KEPT = 10 * RATE_SECONDS
MAX_TRACED = 5000
"""Most events of a chain that are read, the earliest; some 200 bytes each, and a message may have 4 MB."""


def count_arrival(tx: Tx, delivery: Delivery) -> None:
    """Counts an event of a stream and how long after its recording it is seen."""
    latency_ms = max(0, tx.now_ms - delivery.ms)
    tx.execute(
        "INSERT INTO stream_metric VALUES (?1, 1, ?2, ?2) ON CONFLICT DO UPDATE SET count = count + 1,"
        " sum_latency_ms = sum_latency_ms + ?2, max_latency_ms = max(max_latency_ms, ?2)",
        delivery.stream,
        latency_ms,
    )


def add_to_day(tx: Tx, ms: int, counter: Counter, amount: int = 1) -> None:
    """Adds to a counter of the UTC day in which the event was recorded, however late it is seen."""
    tx.execute(
        "INSERT INTO day_count VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET total = total + ?3",
        ms // DAY_MS,
        str(counter),
        amount,
    )


def count_active_user(tx: Tx, ms: int, user_id: str) -> None:
    """Counts a user as active on the event's day, once."""
    added = tx.execute("INSERT OR IGNORE INTO active_user VALUES (?, ?)", ms // DAY_MS, user_id)
    if added.rowcount:
        add_to_day(tx, ms, Counter.ACTIVE_USERS)
        tx.execute(
            "DELETE FROM active_user WHERE (day, user_id) IN"
            " (SELECT day, user_id FROM active_user WHERE day < ? LIMIT 2)",
            (tx.now_ms - RETENTION_MS) // DAY_MS,
        )


def count_trade(tx: Tx, ms: int) -> None:
    """Counts a trade in the second in which it was made."""
    second = ms // 1000
    tx.execute("INSERT INTO trade_second VALUES (?, 1) ON CONFLICT DO UPDATE SET count = count + 1", second)
    tx.execute(
        "DELETE FROM trade_second WHERE second IN (SELECT second FROM trade_second WHERE second < ? LIMIT 2)",
        tx.now_ms // 1000 - SECONDS_KEPT,
    )


def keep_trace(tx: Tx, delivery: Delivery) -> None:
    """Keeps what TraceCorrelation tells of an event."""
    envelope = delivery.envelope
    tx.execute(
        "INSERT OR IGNORE INTO trace_event VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        envelope.correlation_id,
        delivery.ms,
        envelope.id,
        envelope.causation_id,
        delivery.stream,
        delivery.ordinal,
        envelope.user_id,
        envelope.subject,
    )
    tx.execute(
        "DELETE FROM trace_event WHERE (correlation_id, ms, event_id) IN"
        " (SELECT correlation_id, ms, event_id FROM trace_event WHERE ms < ? ORDER BY ms LIMIT 2)",
        tx.now_ms - RETENTION_MS,
    )


def load_chain(db: Reader, correlation_id: str) -> list[Event]:
    """Returns the events of a chain by time, at most MAX_TRACED."""
    rows = db.all(
        "SELECT * FROM trace_event WHERE correlation_id = ? ORDER BY ms, event_id LIMIT ?", correlation_id, MAX_TRACED
    )
    return [
        Event(
            event_id=row["event_id"],
            causation_id=row["causation_id"],
            stream=row["stream"],
            stream_id=f"{row['ms']}-{row['ordinal']}",
            user_id=row["user_id"],
            subject=row["subject"],
            ms=row["ms"],
        )
        for row in rows
    ]


def day_counts(db: Reader, at_ms: int) -> Mapping[Counter, int]:
    """Returns the counts of a UTC day."""
    rows = db.all("SELECT counter, total FROM day_count WHERE day = ?", at_ms // DAY_MS)
    return {Counter(row["counter"]): row["total"] for row in rows}


def recent_trades(db: Reader, at_ms: int) -> int:
    """Counts the trades of the last RATE_SECONDS."""
    second = at_ms // 1000
    sql = "SELECT coalesce(sum(count), 0) FROM trade_second WHERE second > ? AND second <= ?"
    return int(db.value(sql, second - RATE_SECONDS, second))


def stream_metrics(db: Reader) -> list[StreamMetrics]:
    """Returns counts and latencies of the streams that had events, by name."""
    found = []
    for row in db.all("SELECT * FROM stream_metric ORDER BY stream"):
        metrics = StreamMetrics(stream=row["stream"], count=row["count"])
        metrics.mean_latency.FromMicroseconds(row["sum_latency_ms"] * 1000 // row["count"])
        metrics.max_latency.FromMilliseconds(row["max_latency_ms"])
        found.append(metrics)
    return found
