"""How the bus stands: every stream, and how far behind each of its groups is."""

from collections.abc import Mapping
from typing import Any

from astra.bridge.v1.bus_pb2 import GroupStatus, StreamStatus
from redis.asyncio import Redis

from bridge.bus.streams import StreamId, ask_each, chosen, groups_of
from bridge.entries import dead_letters_of


async def read_status(redis: Redis, *, stopped: Mapping[str, str], now_ms: int) -> list[StreamStatus]:
    """Returns the status of every stream. `stopped` says which the bridge leaves alone, and why."""
    streams = chosen(())
    infos = await ask_each(redis, [("xinfo_stream", stream) for stream in streams])
    groups = await groups_of(redis, streams)
    members = [(stream, group) for stream in streams for group in groups[stream]]
    names = [group["name"].decode() for _, group in members]
    pendings = await ask_each(
        redis, [("xpending", stream, name) for (stream, _), name in zip(members, names, strict=True)]
    )
    waiting = await ask_each(
        redis, [("xrange", stream, f"({group['last-delivered-id'].decode()}", "+", 1) for stream, group in members]
    )
    dead = await ask_each(
        redis, [("xlen", dead_letters_of(stream, name)) for (stream, _), name in zip(members, names, strict=True)]
    )
    statuses = {
        stream: _stream_status(stream, info, stopped.get(stream, ""))
        for stream, info in zip(streams, infos, strict=True)
    }
    for (stream, group), pending, next_entry, letters in zip(members, pendings, waiting, dead, strict=True):
        of_stream = statuses[stream]
        of_stream.groups.append(_group_status(group, of_stream.last_ordinal, pending, next_entry, letters, now_ms))
    return list(statuses.values())


def _stream_status(stream: str, info: Any, stopped: str) -> StreamStatus:
    status = StreamStatus(stream=stream, stopped=stopped)
    if info is not None:
        last = StreamId.parse(info["last-generated-id"])
        status.length, status.last_ordinal = info["length"], last.ordinal
        if last.ordinal:
            status.last_time.FromMilliseconds(last.ms)
    return status


def _group_status(
    group: Mapping[str, Any], last_ordinal: int, pending: Any, next_entry: Any, letters: int | None, now_ms: int
) -> GroupStatus:
    """Makes a group's status. Its lag is counted in ordinals: Redis' own is NULL or wrong once a stream was trimmed."""
    delivered = StreamId.parse(group["last-delivered-id"])
    count = pending["pending"] if pending else 0
    status = GroupStatus(
        group=group["name"].decode(),
        consumers=group["consumers"],
        # What was asked later may know more than what was asked first.
        lag=max(0, last_ordinal - delivered.ordinal),
        pending=count,
        dead_letters=letters or 0,
    )
    unacked = [pending["min"]] if count else []
    if status.lag and next_entry:
        unacked.append(next_entry[0][0])
    if unacked:
        oldest_ms = min(StreamId.parse(id_).ms for id_ in unacked)
        status.oldest_age.FromMilliseconds(max(0, now_ms - oldest_ms))
    return status
