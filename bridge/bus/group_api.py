"""Lets the bridge hand events to a domain's groups past their streams. Served by every domain, in any role."""

import asyncio
from collections.abc import Sequence

import structlog
from astra.event.v1 import group_service_pb2 as pb

from bridge.entries import Entry, decode, is_transient
from bridge.groups import Group, Route, routes
from bridge.ids import ordinal_of
from services.runtime import inbox
from services.runtime.call import Call
from services.runtime.errors import InvalidArgument, NotFound
from services.runtime.store import Store

MAX_ENTRIES = 1000

log = structlog.get_logger()


class GroupApi:
    """The GroupService of one domain. Applies through the same inbox as the consumers, so an effect comes once."""

    def __init__(self, store: Store, groups: Sequence[Group]) -> None:
        self._store = store
        self._routes = {group.name: routes(group, store.domain) for group in groups}

    async def get_groups(self, request: pb.GetGroupsRequest, call: Call) -> pb.GetGroupsResponse:
        """Returns the groups and what they read."""
        return pb.GetGroupsResponse(
            groups=[
                pb.ConsumerGroup(group=group, streams=sorted(by_stream)) for group, by_stream in self._routes.items()
            ]
        )

    async def apply_events(self, request: pb.ApplyEventsRequest, call: Call) -> pb.ApplyEventsResponse:
        """Applies events. Each has a result of its own: one that fails holds up no other."""
        by_stream = self._routes.get(request.group)
        if by_stream is None:
            raise NotFound(f"{self._store.domain} has no group {request.group[:64]!r}", reason="GROUP_NOT_FOUND")
        if len(request.entries) > MAX_ENTRIES:
            raise InvalidArgument(f"at most {MAX_ENTRIES} entries at once", field="entries")
        for entry in request.entries:
            if entry.stream not in by_stream:
                raise InvalidArgument(f"{request.group} does not read {entry.stream[:100]!r}", field="entries.stream")
        key = inbox_key(request.group, request.request_id)
        applying = (self._apply(key, by_stream[entry.stream], entry) for entry in request.entries)
        return pb.ApplyEventsResponse(results=await asyncio.gather(*applying))

    async def _apply(self, key: str, route: Route, given: pb.AppliedEntry) -> pb.ApplyResult:
        try:
            if self._store.read_now(lambda db: inbox.is_applied(db, key, given.stream, ordinal_of(given.id))):
                # Most of a replay, as a rule: told without a turn of the writer.
                return pb.ApplyResult(outcome=pb.APPLY_OUTCOME_ALREADY_APPLIED)
            delivery = decode(Entry(given.stream, given.id, given.envelope, 1), route.kind)
            applied = await self._store.react(key, delivery, route.reaction)
        except Exception as error:
            transient = is_transient(error)
            log.warning(
                "entry.failed", group=key, stream=given.stream, id=given.id, transient=transient, error=repr(error)
            )
            outcome = pb.APPLY_OUTCOME_TRY_AGAIN if transient else pb.APPLY_OUTCOME_FAILED
            return pb.ApplyResult(outcome=outcome, error=f"{type(error).__name__}: {error}"[:1000])
        return pb.ApplyResult(outcome=pb.APPLY_OUTCOME_APPLIED if applied else pb.APPLY_OUTCOME_ALREADY_APPLIED)


def inbox_key(group: str, request_id: str) -> str:
    """Returns the name a group has in the inbox: its own, and in a forced replay one that the replay has alone."""
    return f"{group}#{request_id}" if request_id else group
