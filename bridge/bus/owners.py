"""Finds the service that owns a consumer group and hands it events, through Envoy's internal listener."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from astra.event.v1 import group_service_pb2 as pb
from google.protobuf.message import Message

from bridge.entries import Entry
from services.runtime.context import current_context
from services.runtime.door import Door
from services.runtime.errors import NotFound, Unavailable

GET_GROUPS = "/astra.event.v1.GroupService/GetGroups"
APPLY_EVENTS = "/astra.event.v1.GroupService/ApplyEvents"

ASK_SECONDS = 3.0
APPLY_SECONDS = 20.0

Reply = TypeVar("Reply", bound=Message)


@dataclass(frozen=True, slots=True)
class Owned:
    """A group, and who owns it."""

    group: str
    owner: str
    """Name of the service on the map."""
    streams: Sequence[str]


class Owners:
    """The services as owners of groups. Knows none of them beforehand: each is asked."""

    def __init__(self, door: Door, token: Callable[[], str], services: Sequence[str]) -> None:
        self._token = token
        # The path is the same in every service; the authority says which is meant.
        self._lines = {name: door.line(f"{name}.mesh", [("grpc.enable_retries", 0)]) for name in services}

    async def find(self, group: str) -> Owned:
        """Returns a group. Raises `NotFound` if no service owns it, `Unavailable` if one that may was not reached."""
        answers = await asyncio.gather(*(self._groups_of(name) for name in self._lines))
        found = {owned.group: owned for answer in answers for owned in answer or ()}
        if group in found:
            return found[group]
        away = [name for name, answer in zip(self._lines, answers, strict=True) if answer is None]
        if away:
            raise Unavailable(
                f"no service that answers owns the group {group[:64]!r}, and {', '.join(away)} cannot be reached;"
                " try again when it is back",
                reason="OWNER_UNAVAILABLE",
            )
        known = ", ".join(sorted(found))
        raise NotFound(f"there is no group {group[:64]!r}; the groups are {known}", reason="GROUP_NOT_FOUND")

    async def apply(self, owned: Owned, entries: Sequence[Entry], *, request_id: str = "") -> Sequence[pb.ApplyResult]:
        """Hands events to a group and returns a result each. Raises `Unavailable`; repeating it harms nothing."""
        request = pb.ApplyEventsRequest(
            request_id=request_id,
            group=owned.group,
            entries=[pb.AppliedEntry(stream=e.stream, id=e.id, envelope=e.envelope) for e in entries],
        )
        try:
            reply = await self._call(owned.owner, APPLY_EVENTS, request, pb.ApplyEventsResponse, APPLY_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise Unavailable(
                f"{owned.owner}, which owns {owned.group}, does not answer ({error.code().name}: {error.details()});"
                " try again",
                reason="OWNER_UNAVAILABLE",
            ) from error
        return list(reply.results)

    async def close(self) -> None:
        for line in self._lines.values():
            await line.close()

    async def _groups_of(self, service: str) -> list[Owned] | None:
        """Returns a service's groups; None if it does not answer."""
        try:
            reply = await self._call(service, GET_GROUPS, pb.GetGroupsRequest(), pb.GetGroupsResponse, ASK_SECONDS)
        except grpc.aio.AioRpcError:
            return None
        return [Owned(group.group, service, tuple(group.streams)) for group in reply.groups]

    async def _call(self, service: str, path: str, request: Message, reply: type[Reply], seconds: float) -> Reply:
        send: Any = self._lines[service].channel.unary_unary(
            path, request_serializer=type(request).SerializeToString, response_deserializer=reply.FromString
        )
        metadata = (
            ("authorization", f"Bearer {self._token()}"),
            ("x-correlation-id", current_context().correlation_id),
        )
        answer: Reply = await send(request, metadata=metadata, timeout=seconds)
        return answer
