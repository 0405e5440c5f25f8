"""The outbox as rows: what was recorded per stream, where it begins since the last purge, and where it ends."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from astra.event.v1.outbox_service_pb2 import Batch, Divergence, Entry

from services.runtime.transaction import Reader, Tx

BATCH_ENTRIES = 256
BATCH_BYTES = 1_000_000
"""A batch ends with so many entries, or with the one that makes it so long."""
PURGE_ROWS = 1_000
"""Most rows that one purge drops, so that no command waits long behind it."""
OUTBOX_RETENTION_MS = 30 * 24 * 3600 * 1000
"""How long rows stay at least; a group may begin anew, or miss what was trimmed, within it."""
START = (0, 0)
"""The id before the first entry, as (ms, ordinal)."""

Id = tuple[int, int]


def parse_id(text: str) -> Id:
    """Returns `<ms>-<ordinal>` as numbers. Raises `ValueError`."""
    ms, _, ordinal = text.partition("-")
    return int(ms), int(ordinal)


def id_text(position: Id) -> str:
    return f"{position[0]}-{position[1]}"


def purged_through(db: Reader, stream: str) -> Id:
    """Returns the id up to which rows are gone; START for none."""
    row = db.one("SELECT ms, ordinal FROM outbox_purged WHERE stream = ?", stream)
    return (row["ms"], row["ordinal"]) if row else START


def begin(db: Reader, stream: str, position: Id) -> Id:
    """Returns where a reader goes on: one that has nothing begins after what is purged."""
    return purged_through(db, stream) if position == START else position


def is_of(db: Reader, stream: str, position: Id) -> bool:
    """Tells whether an id is one of the stream's: in the outbox, or the one it was purged through."""
    ms, ordinal = position
    row = db.one("SELECT 1 FROM outbox WHERE stream = ? AND ordinal = ? AND ms = ?", stream, ordinal, ms)
    return row is not None or position in (START, purged_through(db, stream))


def divergence(db: Reader, stream: str, position: Id) -> Divergence | None:
    """Returns a divergence if the outbox never gave that id to an entry of the stream."""
    if is_of(db, stream, position):
        return None
    last = db.one("SELECT ms, ordinal FROM outbox_stream WHERE stream = ?", stream)
    return Divergence(id=id_text(position), last=id_text(tuple(last) if last else START))


def new_batches(db: Reader, cursors: Mapping[str, Id]) -> list[tuple[str, Batch]]:
    """Reads what comes after each cursor, at most a batch a stream."""
    batches = []
    for stream, last in db.all("SELECT stream, ordinal FROM outbox_stream"):
        cursor = cursors.get(stream)
        if cursor is not None and last > cursor[1]:
            entries = entries_after(db, stream, cursor[1])
            batches.append((stream, Batch(prev=id_text(cursor), entries=entries)))
    return batches


def entries_after(db: Reader, stream: str, after: int, through: int | None = None) -> list[Entry]:
    """Reads the next entries after an ordinal. Raises `RuntimeError` for a gap, which would lose entries silently."""
    rows = db.all(
        "SELECT ms, ordinal, envelope FROM outbox WHERE stream = ? AND ordinal > ? AND ordinal <= ?"
        " ORDER BY ordinal LIMIT ?",
        stream,
        after,
        through if through is not None else 1 << 62,
        BATCH_ENTRIES,
    )
    if any(later != earlier + 1 for earlier, later in pairwise([after, *(row["ordinal"] for row in rows)])):
        raise RuntimeError(f"the outbox of {stream} has a gap after {after}")
    entries, size = [], 0
    for row in rows:
        entries.append(Entry(id=id_text((row["ms"], row["ordinal"])), envelope=row["envelope"]))
        size += len(row["envelope"])
        if size >= BATCH_BYTES:
            break
    return entries


def purge(tx: Tx, stream: str, *, below: int) -> int:
    """Drops rows below an ordinal that are past their retention, some of them at a time. Returns how many."""
    old = tx.all(
        "SELECT ordinal, ms FROM outbox WHERE stream = ? AND ordinal < ? AND ms < ? ORDER BY ordinal LIMIT ?",
        stream,
        below,
        tx.now_ms - OUTBOX_RETENTION_MS,
        PURGE_ROWS,
    )
    if old:
        last = old[-1]
        tx.execute("INSERT OR REPLACE INTO outbox_purged VALUES (?, ?, ?)", stream, last["ordinal"], last["ms"])
        tx.execute("DELETE FROM outbox WHERE stream = ? AND ordinal <= ?", stream, last["ordinal"])
    return len(old)


def adopt(tx: Tx, stream: str, after: Id, last: Id, rows: Sequence[tuple[Id, bytes]]) -> int:
    """Puts rows behind an id, and what was recorded behind it behind those. Returns how many rows moved.

    Where rows are missing in between, because the stream was trimmed, the outbox begins after them.
    """
    by = last[1] - after[1]
    # By way of negative ordinals: one that moves would meet another that has not yet.
    moved = tx.execute(
        "UPDATE outbox SET ordinal = -(ordinal + ?), ms = max(ms, ?) WHERE stream = ? AND ordinal > ?",
        by,
        last[0],
        stream,
        after[1],
    )
    tx.execute("UPDATE outbox SET ordinal = -ordinal WHERE stream = ? AND ordinal < 0", stream)
    first = rows[0][0] if rows else (last[0], last[1] + 1)
    if first[1] > after[1] + 1:
        tx.execute("DELETE FROM outbox WHERE stream = ? AND ordinal <= ?", stream, after[1])
        # An id that none of its entries has had is as good here: readers begin behind it.
        ms = first[0] if rows else last[0]
        tx.execute("INSERT OR REPLACE INTO outbox_purged VALUES (?, ?, ?)", stream, first[1] - 1, ms)
    for (ms, ordinal), envelope in rows:
        tx.execute("INSERT INTO outbox VALUES (?, ?, ?, ?)", stream, ordinal, ms, envelope)
    tx.execute(
        "INSERT INTO outbox_stream VALUES (?1, ?2, ?3)"
        " ON CONFLICT DO UPDATE SET ordinal = ordinal + ?4, ms = max(ms, ?3)",
        stream,
        last[1],
        last[0],
        by,
    )
    return moved.rowcount
