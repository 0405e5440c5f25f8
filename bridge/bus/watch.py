"""Follows the streams for whoever looks on: decoded events as they are appended."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from astra.bridge.v1 import bus_service_pb2 as pb
from redis.asyncio import Redis

from bridge.append import EMPTY
from bridge.bus.decoded import decoded
from bridge.bus.stopping import Stopping
from bridge.bus.streams import StreamId, ask_each, chosen
from bridge.bus.tokens import bad_token, from_token, to_token
from services import contracts

POLL_SECONDS = 0.1
"""How often the streams are asked. A blocking read would name them all at once, which a cluster refuses."""
PAGE_ENTRIES = 200
"""Most entries read of one stream at once."""
LAST_ORDINAL = 2**64 - 1

Cursors = dict[str, str]
"""Id of the last entry seen, by stream."""


async def watch_events(
    redis: Redis, request: pb.WatchEventsRequest, stopping: Stopping
) -> AsyncGenerator[pb.WatchEventsResponse, None]:
    """Yields the events that pass the request's filters, for as long as the caller stays."""
    cursors = await _begin(redis, request)
    while True:
        pages = await ask_each(
            redis, [("xrange", stream, f"({after}", "+", PAGE_ENTRIES) for stream, after in cursors.items()]
        )
        found = [
            (StreamId.parse(id_), stream, fields)
            for stream, page in zip(cursors, pages, strict=True)
            for id_, fields in page or ()
        ]
        # Order holds within a stream. Across streams the time of recording tells the story best.
        for id_, stream, fields in sorted(found, key=lambda entry: (entry[0].ms, entry[1], entry[0].ordinal)):
            cursors[stream] = str(id_)
            event = decoded(stream, str(id_), fields.get(b"e", b""))
            if _passes(event, request):
                yield pb.WatchEventsResponse(event=event, resume_token=_token(cursors))
        if not found:
            await stopping.pause(POLL_SECONDS)
        stopping.check()


async def _begin(redis: Redis, request: pb.WatchEventsRequest) -> Cursors:
    streams = chosen(request.streams)
    if request.resume_token:
        return dict.fromkeys(streams, EMPTY) | _cursors_of(request.resume_token)
    if request.HasField("start_time"):
        before = StreamId(max(0, request.start_time.ToMilliseconds() - 1), LAST_ORDINAL)
        return dict.fromkeys(streams, str(before))
    infos = await ask_each(redis, [("xinfo_stream", stream) for stream in streams])
    return {
        stream: info["last-generated-id"].decode() if info else EMPTY
        for stream, info in zip(streams, infos, strict=True)
    }


def _passes(event: Any, request: pb.WatchEventsRequest) -> bool:
    return (not request.correlation_id or event.correlation_id == request.correlation_id) and (
        not request.user_id or event.user_id == request.user_id
    )


def _token(cursors: Mapping[str, str]) -> str:
    return to_token({stream: id_ for stream, id_ in cursors.items() if id_ != EMPTY})


def _cursors_of(token: str) -> Cursors:
    cursors = from_token(token)
    if not isinstance(cursors, dict) or not cursors.keys() <= contracts.events().keys():
        raise bad_token()
    try:
        return {stream: str(StreamId.parse(id_)) for stream, id_ in cursors.items()}
    except (ValueError, TypeError, AttributeError):
        raise bad_token() from None
