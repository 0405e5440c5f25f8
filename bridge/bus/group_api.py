"""Lets the bridge hand events to a domain's groups past their streams. Served by every domain, in any role."""

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import structlog
from astra.event.v1 import group_service_pb2 as pb

from bridge.applying import apply_entries
from bridge.entries import Entry, is_transient
from bridge.groups import Group, routes
from bridge.ids import ordinal_of
from services.runtime import inbox
from services.runtime.call import Call
from services.runtime.errors import InvalidArgument, NotFound
from services.runtime.inbox import Effect
from services.runtime.store import Store
from services.runtime.transaction import Reader

MAX_ENTRIES = 1000
ENTRY_ID = re.compile(r"\d{1,18}-\d{1,18}", re.ASCII)

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
            if not ENTRY_ID.fullmatch(entry.id):
                raise InvalidArgument(f"{entry.id[:50]!r} is no stream id <ms>-<ordinal>", field="entries.id")
        key = inbox_key(request.group, request.request_id)
        is_open = self._store.read_now(partial(_open, key=key, entries=request.entries))
        # Most of a replay was applied before, as a rule: that is told undecoded, and without a turn of the writer.
        entries = [
            Entry(given.stream, given.id, given.envelope, 1)
            for given, open_ in zip(request.entries, is_open, strict=True)
            if open_
        ]
        effects = iter(await apply_entries(self._store, key, by_stream, entries))
        results = [
            _result(key, given, next(effects)) if open_ else _BEFORE
            for given, open_ in zip(request.entries, is_open, strict=True)
        ]
        return pb.ApplyEventsResponse(results=results)


def _open(db: Reader, key: str, entries: Sequence[pb.AppliedEntry]) -> list[bool]:
    """Tells of each entry whether the group still has to apply it."""
    places = [(entry.stream, ordinal_of(entry.id)) for entry in entries]
    by_stream: dict[str, list[int]] = defaultdict(list)
    for stream, ordinal in places:
        by_stream[stream].append(ordinal)
    found = {stream: inbox.standing(db, key, stream, ordinals).open for stream, ordinals in by_stream.items()}
    return [ordinal in found[stream] for stream, ordinal in places]


_NOW = pb.ApplyResult(outcome=pb.APPLY_OUTCOME_APPLIED)
_BEFORE = pb.ApplyResult(outcome=pb.APPLY_OUTCOME_ALREADY_APPLIED)


def _result(key: str, given: pb.AppliedEntry, effect: Effect) -> pb.ApplyResult:
    if not isinstance(effect, Exception):
        return _NOW if effect else _BEFORE
    transient = is_transient(effect)
    log.warning("entry.failed", group=key, stream=given.stream, id=given.id, transient=transient, error=repr(effect))
    outcome = pb.APPLY_OUTCOME_TRY_AGAIN if transient else pb.APPLY_OUTCOME_FAILED
    return pb.ApplyResult(outcome=outcome, error=f"{type(effect).__name__}: {effect}"[:1000])


def inbox_key(group: str, request_id: str) -> str:
    """Returns the name a group has in the inbox: its own, and in a forced replay one that the replay has alone."""
    return f"{group}#{request_id}" if request_id else group
