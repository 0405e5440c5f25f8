"""A long time at OOM: Redis refuses whatever needs memory, and people go on trading and looking at what they have."""

import asyncio
from contextlib import suppress
from typing import Any

import grpc
from astra.trading.v1.trading_service_pb2 import GetPortfolioRequest, GetPortfolioResponse
from redis.exceptions import RedisError

from tests.chaos.callers import Callers
from tests.chaos.faults import Faults

PATH = "/astra.trading.v1.TradingService/GetPortfolio"
READ_EVERY_SECONDS = 0.05
READ_SECONDS = 3.0
BEFORE_SECONDS = 2.0
"""How long everything is well before memory ends."""


class FullRedis(Faults):
    """One fault, from soon after the beginning to the end; nobody is killed. Readers watch it."""

    def watch(self, callers: Callers, address: str) -> None:
        """Says whose trades are counted, and where reads go."""
        self._callers = callers
        self._address = address
        self._fleet.disarm()
        self.reads = 0
        self.failed_reads: list[str] = []
        self.trades_before = 0
        self.trades_at_oom = 0
        """Trades acknowledged before memory ended, and while there was none."""

    def notes(self) -> list[str]:
        return [
            f"at OOM: {self.reads:,} reads, {len(self.failed_reads)} failed; {self.trades_at_oom:,} trades accepted"
        ]

    async def kill_members(self) -> None:
        """Reads instead, until cancelled."""
        async with grpc.aio.insecure_channel(self._address) as channel:
            call: Any = channel.unary_unary(
                PATH,
                request_serializer=GetPortfolioRequest.SerializeToString,
                response_deserializer=GetPortfolioResponse.FromString,
            )
            await channel.channel_ready()
            while True:
                await asyncio.sleep(READ_EVERY_SECONDS)
                if self.done["redis full"]:
                    await self._read(call)

    async def deal(self) -> None:
        """Fills Redis, and frees it when cancelled."""
        await asyncio.sleep(BEFORE_SECONDS)
        self.trades_before = len(self._callers.journal)
        await self._server.fill()
        self.done["redis full"] += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.trades_at_oom = len(self._callers.journal) - self.trades_before
            with suppress(RedisError, OSError):
                await self._server.free()

    async def _read(self, call: Any) -> None:
        user_id = f"user-{self.reads % 10}"
        self.reads += 1
        metadata = (("x-astra-user", user_id), ("x-astra-roles", "user"))
        try:
            await call(GetPortfolioRequest(user_id=user_id), timeout=READ_SECONDS, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            self.failed_reads.append(f"{error.code().name}: {error.details()}")
