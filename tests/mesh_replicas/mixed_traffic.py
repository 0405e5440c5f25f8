"""Steady calls to every service at once: reads of all of them, and writes that are repeated until they are answered."""

import asyncio
import itertools
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
from google.protobuf.json_format import ParseDict

from services.contracts import Rpc, rpcs

READS_PER_SECOND, WRITES_PER_SECOND = 180, 20
DEADLINE_SECONDS = 5.0
REPEAT_SECONDS = 0.1
IN_FLIGHT = 96
SEED = "mesh-seed"
"""Correlation id of a chain that is there to be read."""

READS: dict[str, dict[str, Any]] = {
    "GetQuote": {"symbol": "BTC"},
    "GetLeaderboard": {"board": "BOARD_ALL_TIME"},
    "ListClans": {},
    "GetAccount": {"userId": "reader"},
    "ListListings": {},
    "ListNotifications": {"userId": "reader"},
    "TraceCorrelation": {"correlationId": SEED},
}
"""A read of each service."""

USD = {"currencyCode": "USD", "amount": "10"}
CARD = {"number": "4242424242424242", "expireMonth": 12, "expireYear": 2090, "cvc": "123"}
WRITES: dict[str, tuple[str, dict[str, Any]]] = {
    "AwardXp": ("astra.gamification.xp_gained.v1", {"xp": "1"}),
    "Interact": ("astra.social.social_interaction.v1", {"kind": "INTERACTION_KIND_LIKE"}),
    "Deposit": ("astra.financial.payment_completed.v1", {"amount": USD, "card": CARD}),
    "ExecuteTrade": (
        "astra.trading.trade_executed.v1",
        {"symbol": "STRK", "direction": "DIRECTION_LONG", "amount": USD},
    ),
}
"""Writes, with the stream that tells how often each was applied."""

BY_NAME: dict[str, Rpc] = {rpc.name: rpc for rpc in rpcs().values()}


@dataclass
class Mixed:
    """Calls for as long as the `async with` block lasts. No call is sent twice but for writes that failed."""

    channel: grpc.aio.Channel
    token: str
    failed: Counter[str] = field(default_factory=Counter)
    """Calls that failed, by rpc and how."""
    reads: Counter[str] = field(default_factory=Counter)
    """Reads by rpc."""
    slowest_seconds: float = 0.0
    applied: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in WRITES})
    """Request ids of the writes that were acknowledged, by rpc."""

    async def __aenter__(self) -> Self:
        self._stopping = asyncio.Event()
        reads, writes = itertools.cycle(READS), itertools.cycle(WRITES)
        self._running = [
            asyncio.create_task(self._steadily(READS_PER_SECOND, reads, self.read)),
            asyncio.create_task(self._steadily(WRITES_PER_SECOND, writes, self.write)),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        await asyncio.gather(*self._running)

    def failed_reads(self) -> Counter[str]:
        return Counter({how: count for how, count in self.failed.items() if how.split()[0] in READS})

    async def read(self, name: str) -> None:
        begun = time.monotonic()
        await self._call(name, ParseDict(READS[name], BY_NAME[name].request()).SerializeToString(), "read")
        self.reads[name] += 1
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - begun)

    async def write(self, name: str, call_id: str = "") -> None:
        """Writes for a user of its own, with the same request again until it is acknowledged."""
        call_id = call_id or uuid.uuid4().hex
        rpc = BY_NAME[name]
        request = ParseDict({"requestId": call_id, "userId": f"u-{call_id}", **WRITES[name][1]}, rpc.request())
        if name == "Interact":
            request.target_user_id = f"t-{call_id}"  # type: ignore[attr-defined]
        while not await self._call(name, request.SerializeToString(), call_id):  # noqa: ASYNC110 -- it is a repeat
            await asyncio.sleep(REPEAT_SECONDS)
        self.applied[name].add(call_id)

    async def _call(self, name: str, request: bytes, call_id: str) -> bool:
        metadata = (("authorization", f"Bearer {self.token}"), ("x-correlation-id", call_id))
        method: Any = self.channel.unary_unary(BY_NAME[name].path)
        try:
            await method(request, metadata=metadata, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            self.failed[f"{name} {error.code().name} {error.details()}"] += 1
            return False
        return True

    async def _steadily(self, per_second: float, names: Iterator[str], call: Callable[[str], Any]) -> None:
        """Starts calls when they are due, however long the earlier ones take, unless too many are under way."""
        begun, due = time.monotonic(), 0
        running: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as calls:
            while not self._stopping.is_set():
                passed, due = due, int((time.monotonic() - begun) * per_second)
                for _ in range(min(due - passed, IN_FLIGHT - len(running))):
                    task = calls.create_task(call(next(names)))
                    running.add(task)
                    task.add_done_callback(running.discard)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), 1 / per_second)
