"""Steady calls through Envoy, with no retries of their own, and how each of them ended."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
from astra.gamification.v1.gamification_service_pb2 import AwardXpRequest
from astra.trading.v1.trading_service_pb2 import GetQuoteRequest

from services.mesh import Mesh
from services.runtime.door import Door

READ = "/astra.trading.v1.TradingService/GetQuote"
WRITE = "/astra.gamification.v1.GamificationService/AwardXp"
DEADLINE_SECONDS = 5.0
IN_FLIGHT = 64
QUOTE = GetQuoteRequest(symbol="BTC").SerializeToString()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one call ended."""

    call_id: str
    """Request id and correlation id of a write."""
    code: grpc.StatusCode
    seconds: float
    details: str = ""


@dataclass
class Traffic:
    """Reads and writes at a steady rate for as long as the `async with` block lasts."""

    channel: grpc.aio.Channel
    token: Callable[[], str]
    reads_per_second: float = 150
    writes_per_second: float = 50
    reads: list[Outcome] = field(default_factory=list)
    writes: list[Outcome] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._stopping = asyncio.Event()
        self._running = [
            asyncio.create_task(self._steadily(self.reads_per_second, self.read)),
            asyncio.create_task(self._steadily(self.writes_per_second, self.write)),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        await asyncio.gather(*self._running)

    async def read(self) -> None:
        self.reads.append(await self._call(READ, QUOTE, "read"))

    async def write(self) -> None:
        call_id = uuid.uuid4().hex
        request = AwardXpRequest(request_id=call_id, user_id=f"user-{call_id[0]}", xp=1)
        self.writes.append(await self._call(WRITE, request.SerializeToString(), call_id))

    def failed(self) -> dict[str, Counter[str]]:
        """Returns how the calls that failed ended, by kind."""
        kinds = {"reads": self.reads, "writes": self.writes}
        return {
            kind: Counter(f"{one.code.name} {one.details}" for one in outcomes if one.code is not grpc.StatusCode.OK)
            for kind, outcomes in kinds.items()
        }

    async def _steadily(self, per_second: float, call: Callable[[], Any]) -> None:
        """Starts calls when they are due, however long the earlier ones take, unless too many are under way.

        On a machine that is busy with other things calls would pile up until all of them are late.
        """
        begun, due = time.monotonic(), 0
        running: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as calls:
            while not self._stopping.is_set():
                passed, due = due, int((time.monotonic() - begun) * per_second)
                for _ in range(min(due - passed, IN_FLIGHT - len(running))):
                    task = calls.create_task(call())
                    running.add(task)
                    task.add_done_callback(running.discard)
                await asyncio.sleep(1 / per_second)

    async def _call(self, path: str, request: bytes, call_id: str) -> Outcome:
        metadata = (("authorization", f"Bearer {self.token()}"), ("x-correlation-id", call_id))
        begun = time.monotonic()
        method: Any = self.channel.unary_unary(path)
        try:
            await method(request, metadata=metadata, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            return Outcome(call_id, error.code(), time.monotonic() - begun, error.details() or "")
        return Outcome(call_id, grpc.StatusCode.OK, time.monotonic() - begun)


def channel_to(mesh: Mesh, *, resend_unsent: bool = False) -> grpc.aio.Channel:
    """Returns a channel to the internal listener that sends each call once.

    With `resend_unsent` it does what gRPC does unless told otherwise: a call that is still in the client when Envoy
    says farewell on its connection goes out on the next one. Nobody but the client can do that.
    """
    return Door.of(mesh, "operator").open([] if resend_unsent else [("grpc.enable_retries", 0)])
