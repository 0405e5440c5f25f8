"""Tail repair: finds streams whose end Redis has lost, or that are gone, and has what is missing sent again.

A server that crashes loses the last second of its append-only file, a failover what the replica had not yet. Every
append that was acknowledged is remembered here for as long as this process lives; a stream that ends before it has
lost something. What is missing comes from the outbox by itself once the stream is asked anew where it ends.
"""

import asyncio
import itertools
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from bridge import metrics
from bridge.append import EMPTY
from bridge.ids import ordinal_of, parse
from bridge.lane import REDIS_TIMEOUT_SECONDS, Lane, Moved

EVERY_SECONDS = 1.0
"""How often the ends of all streams are compared with what was appended, also while nothing happens."""

GROUPS_EVERY = 5
"""Every so many looks the groups are asked for too: they hardly change, and consumers join again by themselves."""

log = structlog.get_logger()


@dataclass(slots=True)
class Found:
    """Where streams end."""

    last: dict[str, str] = field(default_factory=dict)
    """Last id ever generated, by stream; `0-0` for none."""
    groups: dict[str, set[str]] = field(default_factory=dict)
    unreadable: dict[str, ResponseError] = field(default_factory=dict)


class Ends:
    """What is known of the ends of one service's streams."""

    def __init__(self, redis: Redis) -> None:
        self.known: dict[str, str] = {}
        """Id that each stream ended with after the last append or look."""
        self._groups: dict[str, set[str]] = {}
        self._redis: Any = redis  # redis-py's annotations unite the sync and async answers

    async def read(self, streams: Sequence[str]) -> Found:
        """Asks Redis where streams end; at a loss, says so and brings back the groups of a stream that is gone."""
        found = await self._ask(streams)
        for stream, last in found.last.items():
            before = self.known.get(stream, EMPTY)
            if parse(last) < parse(before):
                await self._note_loss(stream, before=before, last=last, groups=found.groups[stream])
            self._groups.setdefault(stream, set()).update(found.groups[stream])
            self.known[stream] = last
        return found

    async def watch(self, lanes: Mapping[str, Lane], stopped: Container[str]) -> None:
        """Compares until cancelled. Raises `Moved` for the first stream that does not end as it must."""
        ahead: dict[str, str] = {}
        for look in itertools.count():
            await asyncio.sleep(EVERY_SECONDS)
            # Taken before the question: an append that is acknowledged in between only moves a stream forward.
            expected = {stream: lane.last for stream, lane in lanes.items() if stream not in stopped}
            found = await self._ask(list(expected), with_groups=look % GROUPS_EVERY == 0)
            for stream, last in found.last.items():
                self._groups.setdefault(stream, set()).update(found.groups[stream])
                behind = parse(last) < parse(expected[stream])
                # Ahead is another bridge, or a batch on its way; ahead twice with nothing on its way is a stray entry.
                strayed = lanes[stream].idle and ahead.get(stream) == last != expected[stream] == lanes[stream].last
                if behind or strayed:
                    raise Moved(stream, expected=expected[stream], found=last)
            ahead = found.last

    async def _ask(self, streams: Sequence[str], *, with_groups: bool = True) -> Found:
        pipe = self._redis.pipeline(transaction=False)
        for stream in streams:
            pipe.xinfo_stream(stream)
        for stream in streams if with_groups else ():
            pipe.xinfo_groups(stream)
        async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
            answers = await pipe.execute(raise_on_error=False)
        found = Found()
        infos, group_lists = answers[: len(streams)], answers[len(streams) :] or [()] * len(streams)
        for stream, info, groups in zip(streams, infos, group_lists, strict=True):
            if isinstance(info, ResponseError) and "no such key" in str(info):
                found.last[stream], found.groups[stream] = EMPTY, set()
            elif isinstance(info, ResponseError) and str(info).startswith("WRONGTYPE"):
                found.unreadable[stream] = info
            elif isinstance(info, Exception):
                raise info
            elif isinstance(groups, Exception):
                raise groups
            else:
                found.last[stream] = info["last-generated-id"].decode()
                found.groups[stream] = {group["name"].decode() for group in groups}
        return found

    async def _note_loss(self, stream: str, *, before: str, last: str, groups: set[str]) -> None:
        gone = sorted(self._groups.get(stream, set()) - groups) if last == EMPTY else []
        log.error(
            "stream.lost_its_end",
            stream=stream,
            ended_with=before,
            ends_with=last,
            sent_again=ordinal_of(before) - ordinal_of(last),
            groups_recreated=gone,
        )
        metrics.REPAIRED.labels(stream).inc(ordinal_of(before) - ordinal_of(last))
        for group in gone:
            # From the first entry on: the inbox of each group knows what it has done.
            try:
                async with asyncio.timeout(REDIS_TIMEOUT_SECONDS):
                    await self._redis.xgroup_create(stream, group, id="0", mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
