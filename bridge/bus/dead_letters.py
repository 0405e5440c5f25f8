"""Dead letters: what groups gave up on, to be looked at, tried again or dropped."""

from collections.abc import Mapping
from dataclasses import dataclass

from astra.bridge.v1 import bus_service_pb2 as pb
from astra.bridge.v1.bus_pb2 import DeadLetter
from redis.asyncio import Redis

from bridge.bus.decoded import decoded
from bridge.bus.streams import StreamId, answering, ask_each, chosen, groups_of
from bridge.entries import Entry, dead_letters_of
from services.runtime.errors import InvalidArgument, NotFound
from services.runtime.paging import page_key, page_size, page_token


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, and the entry it is of."""

    shown: DeadLetter
    entry: Entry


async def list_letters(redis: Redis, request: pb.ListDeadLettersRequest) -> pb.ListDeadLettersResponse:
    """Returns a page of dead letters, by stream, group and age."""
    size, key = page_size(request.page_size), page_key(request.page_token, str, str, str)
    streams = chosen([request.stream] if request.stream else ())
    after = tuple(key) if key else ("", "", "")
    places = [
        (stream, group["name"].decode())
        for stream, groups in (await groups_of(redis, streams)).items()
        for group in groups
        if not request.group or group["name"].decode() == request.group
    ]
    places = [place for place in places if place >= after[:2]]
    counts = await ask_each(redis, [("xlen", dead_letters_of(*place)) for place in places])
    found: list[DeadLetter] = []
    for place, count in zip(places, counts, strict=True):
        if count and len(found) <= size:
            start = f"({after[2]}" if place == after[:2] else "-"
            (rows,) = await ask_each(redis, [("xrange", dead_letters_of(*place), start, "+", size + 1 - len(found))])
            found += [_letter(*place, id_.decode(), fields, with_data=False).shown for id_, fields in rows]
    more = len(found) > size
    last = found[size - 1] if more else None
    return pb.ListDeadLettersResponse(
        dead_letters=found[:size], next_page_token=page_token(last.stream, last.group, last.id) if last else ""
    )


async def get_letter(redis: Redis, group: str, stream: str, id_: str) -> Letter:
    """Returns a dead letter. Raises `NotFound`."""
    chosen([stream])
    try:
        StreamId.parse(id_)
    except ValueError:
        raise InvalidArgument(f"{id_[:50]!r} is no id of a dead letter, <ms>-<number>", field="id") from None
    (rows,) = await ask_each(redis, [("xrange", dead_letters_of(stream, group), id_, id_, 1)])
    if not rows:
        raise NotFound(
            f"{group[:64]} has no dead letter {id_} of {stream}; it was retried or dropped, or never was one",
            reason="DEAD_LETTER_NOT_FOUND",
        )
    return _letter(stream, group, id_, rows[0][1], with_data=True)


async def remove(redis: Redis, letter: DeadLetter) -> bool:
    """Removes a dead letter. Returns False if it is gone already."""
    async with answering():
        return bool(await redis.xdel(dead_letters_of(letter.stream, letter.group), letter.id))


def _letter(stream: str, group: str, id_: str, fields: Mapping[bytes, bytes], *, with_data: bool) -> Letter:
    entry_id, envelope = fields.get(b"id", b"").decode(), fields.get(b"e", b"")
    shown = DeadLetter(
        group=group,
        stream=stream,
        id=id_,
        entry_id=entry_id,
        error=fields.get(b"error", b"").decode(errors="replace"),
        deliveries=int(fields.get(b"deliveries", b"0")),
        consumer=fields.get(b"consumer", b"").decode(errors="replace"),
        event=decoded(stream, entry_id, envelope, with_data=with_data),
    )
    shown.time.FromMilliseconds(StreamId.parse(id_).ms)
    return Letter(shown, Entry(stream, entry_id, envelope, max(1, shown.deliveries)))
