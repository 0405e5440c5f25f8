"""Serves BusService: the operators' face of the bus."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from astra.bridge.v1 import bus_service_pb2 as pb
from astra.event.v1.group_service_pb2 import ApplyOutcome
from google.protobuf.message import Message
from redis.asyncio import Redis

from bridge.bus import dead_letters
from bridge.bus.actions import Outcome, kept, list_actions
from bridge.bus.history import History
from bridge.bus.owners import Owners
from bridge.bus.replay import Replay
from bridge.bus.status import read_status
from bridge.bus.stopping import Stopping
from bridge.bus.watch import watch_events
from services.runtime.call import Call
from services.runtime.errors import FailedPrecondition, NotFound, Unavailable
from services.runtime.store import Store
from services.runtime.transaction import Tx

Reply = TypeVar("Reply", bound=Message)


class BusApi:
    """What admins may do with the bus of one mesh. `stopped` tells which streams the bridge leaves alone, and why."""

    def __init__(
        self, redis: Redis, store: Store, owners: Owners, history: History, stopped: Callable[[], Mapping[str, str]]
    ) -> None:
        self._redis = redis
        self._store = store
        self._owners = owners
        self._history = history
        self._stopped = stopped
        self._stopping = Stopping()

    def stop(self) -> None:
        """Ends the streams, which would not end by themselves."""
        self._stopping.begin()

    async def close(self) -> None:
        await self._owners.close()
        await self._store.close()

    async def get_bus_status(self, request: pb.GetBusStatusRequest, call: Call) -> pb.GetBusStatusResponse:
        streams = await read_status(self._redis, stopped=self._stopped(), now_ms=self._store.clock())
        return pb.GetBusStatusResponse(streams=streams)

    async def watch_events(self, request: pb.WatchEventsRequest, call: Call) -> AsyncIterator[pb.WatchEventsResponse]:
        async with kept(self._store, call) as outcome:
            shown = 0
            async with aclosing(watch_events(self._redis, request, self._stopping)) as events:
                async for event in events:
                    yield event
                    shown += 1
                    outcome.text = f"{shown} events shown"

    async def list_dead_letters(self, request: pb.ListDeadLettersRequest, call: Call) -> pb.ListDeadLettersResponse:
        return await dead_letters.list_letters(self._redis, request)

    async def get_dead_letter(self, request: pb.GetDeadLetterRequest, call: Call) -> pb.GetDeadLetterResponse:
        async with kept(self._store, call):
            letter = await dead_letters.get_letter(self._redis, request.group, request.stream, request.id)
        return pb.GetDeadLetterResponse(dead_letter=letter.shown)

    async def retry_dead_letter(self, request: pb.RetryDeadLetterRequest, call: Call) -> pb.RetryDeadLetterResponse:
        async def retry(outcome: Outcome) -> pb.RetryDeadLetterResponse:
            letter = await dead_letters.get_letter(self._redis, request.group, request.stream, request.id)
            owned = await self._owners.find(request.group)
            (result,) = await self._owners.apply(owned, [letter.entry])
            if result.outcome == ApplyOutcome.APPLY_OUTCOME_TRY_AGAIN:
                raise Unavailable(f"{owned.owner}: {result.error}; try again", reason="OWNER_UNAVAILABLE")
            if result.outcome == ApplyOutcome.APPLY_OUTCOME_FAILED:
                raise FailedPrecondition(
                    f"{request.group} fails on it again, and it stays a dead letter: {result.error}",
                    reason="REACTION_FAILED",
                )
            # Killed before this, the dead letter stays, and another retry finds its event applied.
            await dead_letters.remove(self._redis, letter.shown)
            already = result.outcome == ApplyOutcome.APPLY_OUTCOME_ALREADY_APPLIED
            outcome.text = f"{letter.shown.entry_id} {'was applied before' if already else 'applied'}"
            return pb.RetryDeadLetterResponse(dead_letter=letter.shown, already_applied=already)

        return await self._once(call, retry)

    async def drop_dead_letter(self, request: pb.DropDeadLetterRequest, call: Call) -> pb.DropDeadLetterResponse:
        async def drop(outcome: Outcome) -> pb.DropDeadLetterResponse:
            letter = await dead_letters.get_letter(self._redis, request.group, request.stream, request.id)
            if not await dead_letters.remove(self._redis, letter.shown):
                raise NotFound("somebody else was faster: it is gone", reason="DEAD_LETTER_NOT_FOUND")
            outcome.text = f"{letter.shown.entry_id} dropped, event {letter.shown.event.event_id}"
            return pb.DropDeadLetterResponse(dead_letter=letter.shown)

        return await self._once(call, drop)

    async def replay_events(
        self, request: pb.ReplayEventsRequest, call: Call
    ) -> AsyncIterator[pb.ReplayEventsResponse]:
        replay = Replay(request, self._history, self._owners, self._stopping)
        async with kept(self._store, call) as outcome, aclosing(replay.run()) as progress:
            async for response in progress:
                outcome.text = str(replay.progress)
                yield response

    async def list_bus_actions(self, request: pb.ListBusActionsRequest, call: Call) -> pb.ListBusActionsResponse:
        return await list_actions(self._store, request)

    async def _once(self, call: Call, act: Callable[[Outcome], Awaitable[Reply]]) -> Reply:
        """Does something to Redis once per request id, as an action. The reply is stored after it: who is killed in
        between, and repeats, is told that the dead letter is gone."""
        try:
            return await call.write(self._store, _nothing_yet)
        except _NotDone:
            pass
        async with kept(self._store, call) as outcome:
            reply = await act(outcome)
        return await call.write(self._store, lambda tx: reply)


class _NotDone(Exception):
    """The request id is new."""


def _nothing_yet(tx: Tx) -> Any:
    raise _NotDone
