"""People who trade, and keep a journal of what they were promised. They repeat a request until it is answered."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import Any

import grpc
from astra.trading.v1.trade_pb2 import Direction
from astra.trading.v1.trading_service_pb2 import ExecuteTradeRequest, ExecuteTradeResponse
from astra.type.v1.money_pb2 import Money

PATH = "/astra.trading.v1.TradingService/ExecuteTrade"
CALLERS = 12
TRADES_A_USER = 10
"""Below the limit of trades a day."""
CALL_SECONDS = 3.0
PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
OPTIONS = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200))


class Callers:
    """Trade at a rate for as long as they are asked to."""

    def __init__(self, address: str, chance: random.Random, per_second: float) -> None:
        self.journal: dict[str, str] = {}
        """Trades acknowledged, by request id."""
        self.refused: Counter[str] = Counter()
        self.repeats = 0
        self._address = address
        self._chance = chance
        self._pause_seconds = CALLERS / per_second
        self._closing = asyncio.Event()
        self._begun = 0

    async def run(self) -> None:
        """Trades until told to finish; what was begun is repeated until it is acknowledged."""
        async with grpc.aio.insecure_channel(self._address, options=OPTIONS) as channel, asyncio.TaskGroup() as tasks:
            call = channel.unary_unary(
                PATH,
                request_serializer=ExecuteTradeRequest.SerializeToString,
                response_deserializer=ExecuteTradeResponse.FromString,
            )
            for _ in range(CALLERS):
                tasks.create_task(self._trade(call))

    def finish(self) -> None:
        self._closing.set()

    async def _trade(self, call: Any) -> None:
        while not self._closing.is_set():
            self._begun += 1
            number = self._begun
            user_id = f"user-{number // TRADES_A_USER}"
            request = ExecuteTradeRequest(
                request_id=f"request-{number}",
                user_id=user_id,
                symbol="STRK",
                direction=Direction.DIRECTION_LONG,
                amount=Money(currency_code="USD", amount=str(self._chance.randrange(50, 500))),
            )
            await self._insist(call, request)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_seconds * 2 * self._chance.random()):
                    await self._closing.wait()

    async def _insist(self, call: Any, request: ExecuteTradeRequest) -> None:
        """Asks until there is an answer: whether the last try had its effect, only the service knows."""
        metadata = (("x-astra-user", request.user_id), ("x-astra-roles", "user"))
        while True:
            try:
                reply = await call(request, timeout=CALL_SECONDS, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                if error.code() not in PASSING:
                    self.refused[f"{error.code().name}: {error.details()}"] += 1
                    return
                self.repeats += 1
                await asyncio.sleep(0.05)
            else:
                self.journal[request.request_id] = reply.trade.trade_id
                return
