"""What a run left behind: outboxes and ledgers from the databases, streams and dead letters from Redis."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astra.event.v1.envelope_pb2 import Envelope
from redis.asyncio import Redis

from bridge.entries import dead_letters_of
from services.mesh import Mesh

PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Row:
    """One event, in an outbox or in a stream."""

    id: str
    envelope: bytes

    @property
    def event_id(self) -> str:
        return Envelope.FromString(self.envelope).id

    @property
    def ordinal(self) -> int:
        return int(self.id.partition("-")[2])


def outboxes(mesh: Mesh, services: Sequence[str]) -> dict[str, list[Row]]:
    """Returns every outbox row, by stream, in order."""
    found: dict[str, list[Row]] = defaultdict(list)
    for service in services:
        with _open(mesh.database(service)) as db:
            rows = db.execute("SELECT stream, ms, ordinal, envelope FROM outbox ORDER BY stream, ordinal")
            for stream, ms, ordinal, envelope in rows:
                found[stream].append(Row(f"{ms}-{ordinal}", envelope))
    return dict(found)


def ends(mesh: Mesh, services: Sequence[str]) -> dict[str, str]:
    """Returns the id of the last outbox row, by stream."""
    found: dict[str, str] = {}
    for service in services:
        with _open(mesh.database(service)) as db:
            for stream, ms, ordinal in db.execute("SELECT stream, ms, ordinal FROM outbox_stream"):
                found[stream] = f"{ms}-{ordinal}"
    return found


def reads(mesh: Mesh, services: Sequence[str]) -> list[tuple[str, str, str]]:
    """Returns which group of which service reads which stream."""
    found = []
    for service in services:
        with _open(mesh.database(service)) as db:
            rows = db.execute("SELECT consumer_group, stream FROM chaos_reads ORDER BY 1, 2")
            found += [(service, group, stream) for group, stream in rows]
    return found


def effects(mesh: Mesh, service: str, group: str, stream: str) -> list[tuple[int, str]]:
    """Returns the ordinals and event ids that a group's effects are noted for."""
    with _open(mesh.database(service)) as db:
        where = "consumer_group = ? AND stream = ?"
        return db.execute(f"SELECT ordinal, event_id FROM chaos_effect WHERE {where}", (group, stream)).fetchall()


async def stream_rows(redis: Redis, stream: str) -> list[Row]:
    """Returns a stream, whole."""
    rows: list[Row] = []
    while page := await _page(redis, stream, f"({rows[-1].id}" if rows else "-"):
        rows += [Row(id_.decode(), fields[b"e"]) for id_, fields in page]
    return rows


async def dead_letters(redis: Redis, stream: str, group: str) -> list[int]:
    """Returns the ordinals of a group's dead letters."""
    page: Any = await redis.xrange(dead_letters_of(stream, group))
    return [int(fields[b"id"].decode().partition("-")[2]) for _, fields in page]


async def groups(redis: Redis, stream: str) -> dict[str, tuple[str, int]]:
    """Returns how far each group of a stream is: the last id it was given, and how many it still holds."""
    found: Any = await redis.xinfo_groups(stream)
    return {info["name"].decode(): (info["last-delivered-id"].decode(), info["pending"]) for info in found}


async def _page(redis: Redis, stream: str, start: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    found: Any = await redis.xrange(stream, start, "+", PAGE)
    return list(found)


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
        yield connection
