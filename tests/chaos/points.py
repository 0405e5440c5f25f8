"""The steps between which a process may die: real functions, wrapped in a process under test to end it there.

Nothing in the product knows of this. A process is given one point and how often it may be passed.
"""

import os
import signal
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from redis.asyncio.connection import AbstractConnection

from bridge import lane
from bridge.membership import Membership
from services.runtime.transaction import Tx
from services.runtime.writer import Writer

SERVICE_POINTS = (
    "before stamp",
    "after stamp",
    "after commit, before the reply",
    "before effect commit",
    "after effect commit",
    "before ack",
    "after ack",
    "before dead letter",
    "after dead letter",
)
BRIDGE_POINTS = ("before send", "after send, before reply", "after reply")


@dataclass(slots=True)
class Point:
    """Ends the process at the nth pass of one step."""

    name: str
    left: int

    def reach(self, name: str) -> None:
        if name == self.name:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def install(point: Point) -> None:
    """Wraps the steps of this process."""
    _wrap_outbox(point)
    _wrap_acknowledgement(point)
    _wrap_append(point)


def patch(owner: Any, **functions: Any) -> None:
    """Puts functions into the place of a class's or module's own."""
    for name, function in functions.items():
        setattr(owner, name, function)


def _wrap_outbox(point: Point) -> None:
    record, deliver = Tx.record, Writer._deliver

    def recording(self: Tx, *args: Any, **options: Any) -> str:
        point.reach("before stamp")
        event_id = record(self, *args, **options)
        point.reach("after stamp")
        return event_id

    def delivering(self: Writer, done: Any) -> None:
        point.reach("after commit, before the reply")
        deliver(self, done)

    patch(Tx, record=recording)
    patch(Writer, _deliver=delivering)


def _wrap_acknowledgement(point: Point) -> None:
    acknowledge, bury = Membership.acknowledge, Membership.bury

    async def acknowledging(self: Membership, ids: Any) -> None:
        point.reach("before ack")
        await acknowledge(self, ids)
        point.reach("after ack")

    async def burying(self: Membership, *args: Any) -> None:
        point.reach("before dead letter")
        await bury(self, *args)
        point.reach("after dead letter")

    patch(Membership, acknowledge=acknowledging, bury=burying)


def _wrap_append(point: Point) -> None:
    append, read_response = vars(lane)["append"], AbstractConnection.read_response
    appending: ContextVar[bool] = ContextVar("appending", default=False)

    async def counted_append(*args: Any, **options: Any) -> Any:
        point.reach("before send")
        appending.set(True)
        result = await append(*args, **options)
        point.reach("after reply")
        return result

    async def reading(self: AbstractConnection, *args: Any, **options: Any) -> Any:
        if appending.get():
            point.reach("after send, before reply")
        return await read_response(self, *args, **options)

    patch(lane, append=counted_append)
    patch(AbstractConnection, read_response=reading)
