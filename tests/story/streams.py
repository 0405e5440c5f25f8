"""Reads the event streams as an onlooker: who caused what, when, and whether every group is done."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from astra.event.v1.envelope_pb2 import Envelope
from google.protobuf.message import Message
from redis.exceptions import RedisError

from services import contracts
from services.mesh import Mesh
from services.runtime.redis_client import connect

BLOCK_MS = 100
QUIET_SECONDS = 0.5
"""How long nothing may come before the streams count as quiet: many times what an event needs from outbox to stream."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One entry of a stream."""

    stream: str
    stream_id: str
    envelope: Envelope
    event: Message
    seen_ms: float
    """When the onlooker had it, on the clock of this machine."""

    @property
    def recorded_ms(self) -> int:
        return int(self.stream_id.split("-")[0])

    @property
    def ordinal(self) -> int:
        return int(self.stream_id.split("-")[1])

    @property
    def name(self) -> str:
        """The event's name, and for a changed profile what changed: a level-up and a share both change one."""
        name = self.event.DESCRIPTOR.name
        return " ".join([name, *getattr(self.event, "changed_fields", ())])


class Onlooker:
    """Follows every stream of the catalogue from its beginning and keeps what it saw."""

    def __init__(self, mesh: Mesh) -> None:
        self._redis: Any = connect(mesh, "reader")
        self._positions = dict.fromkeys(contracts.events(), "0-0")
        self.seen: list[Observed] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._redis.aclose()

    def of(self, correlation_id: str) -> list[Observed]:
        """Returns what was seen of one chain, as it was seen."""
        return [entry for entry in self.seen if entry.envelope.correlation_id == correlation_id]

    async def look_until(self, arrived: Callable[[], bool], deadline: float) -> bool:
        """Reads on until a condition holds; False when the deadline (`time.monotonic`) passes first."""
        while not arrived():
            if time.monotonic() > deadline:
                return False
            await self._look()
        return True

    async def look_until_quiet(self, deadline: float, *, ignore: Iterable[str] = ()) -> bool:
        """Reads on until every group has finished what there is and nothing came for QUIET_SECONDS.

        Streams in `ignore` may go on. False when the deadline passes first.
        """
        ignored = set(ignore)
        count, since = -1, time.monotonic()
        while time.monotonic() < deadline:
            await self._look()
            now = sum(entry.stream not in ignored for entry in self.seen)
            if now != count or await self.unfinished():
                count, since = now, time.monotonic()
            elif time.monotonic() - since > QUIET_SECONDS:
                return True
        return False

    async def reread(self) -> None:
        """Replaces what was seen by what the streams hold now, from their beginning; keeps when each was first seen."""
        first_seen = {(entry.stream, entry.stream_id): entry.seen_ms for entry in self.seen}
        self.seen = []
        for stream in await self._existing():
            for entry_id, fields in await self._redis.xrange(stream):
                entry = _observed(stream.encode(), entry_id, fields, time.time() * 1000)
                seen_ms = first_seen.get((stream, entry.stream_id), entry.seen_ms)
                self.seen.append(replace(entry, seen_ms=seen_ms))

    async def unfinished(self) -> Mapping[str, str]:
        """Returns what groups still have to do, by `group stream`; lag is the difference of ordinals."""
        left = {}
        try:
            for stream in await self._existing():
                info = await self._redis.xinfo_stream(stream)
                last = info["last-generated-id"].decode()
                for group in await self._redis.xinfo_groups(stream):
                    delivered = group["last-delivered-id"].decode()
                    lag = _ordinal(last) - _ordinal(delivered)
                    if group["pending"] or lag:
                        left[f"{group['name'].decode()} {stream}"] = f"{group['pending']} pending, {lag} behind"
        except (RedisError, OSError) as error:
            # It is being restarted: nobody is done then.
            return {"redis": str(error)}
        return left

    async def _look(self) -> None:
        try:
            answer = await self._redis.xread(self._positions, count=1000, block=BLOCK_MS)
        except (RedisError, OSError):
            await asyncio.sleep(BLOCK_MS / 1000)
            return
        seen_ms = time.time() * 1000
        for name, entries in answer or []:
            for entry_id, fields in entries:
                self._positions[name.decode()] = entry_id.decode()
                self.seen.append(_observed(name, entry_id, fields, seen_ms))

    async def _existing(self) -> Sequence[str]:
        async with self._redis.pipeline(transaction=False) as pipe:
            streams = list(contracts.events())
            for stream in streams:
                pipe.exists(stream)
            return [stream for stream, there in zip(streams, await pipe.execute(), strict=True) if there]


def _ordinal(stream_id: str) -> int:
    return int(stream_id.split("-")[1])


def _observed(name: bytes, entry_id: bytes, fields: Mapping[bytes, bytes], seen_ms: float) -> Observed:
    stream, envelope = name.decode(), Envelope.FromString(fields[b"e"])
    event = contracts.events()[stream].message.FromString(envelope.data)
    return Observed(stream, entry_id.decode(), envelope, event, seen_ms)
