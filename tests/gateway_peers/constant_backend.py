"""A gRPC backend that answers at once, with the same bytes: the gateways before it are what is measured."""

import asyncio
import sys
from typing import Any

import grpc
import uvloop
from astra.trading.v1.trading_service_pb2 import ExecuteTradeResponse, GetQuoteResponse
from google.protobuf.json_format import ParseDict
from grpc import aio

USD = {"currencyCode": "USD", "amount": "1500.00"}
TRADE = {
    "tradeId": "01981f2a-7d0c-7c9e-8a55-0d6c0a1b2c3d", "userId": "u-123", "symbol": "STRK",
    "direction": "DIRECTION_LONG", "mode": "TRADING_MODE_PRACTICE", "state": "TRADE_STATE_COMPLETED", "amount": USD,
    "fee": USD, "entryPrice": "1.23456789", "exitPrice": "1.33456789", "pnl": USD, "battleId": "b-1",
    "createTime": "2026-01-31T12:00:00.123456Z", "closeTime": "2026-01-31T13:00:00.123456Z",
}  # fmt: skip
QUOTE = {"symbol": "STRK", "price": "1.23456789", "time": "2026-01-31T12:00:00Z", "change24hPct": "-1.5"}
REPLIES = {
    "ExecuteTrade": ParseDict({"trade": TRADE}, ExecuteTradeResponse()).SerializeToString(),
    "GetQuote": ParseDict({"quote": QUOTE}, GetQuoteResponse()).SerializeToString(),
}


def _answering(reply: bytes) -> Any:
    async def answer(request: bytes, context: Any) -> bytes:
        return reply

    return answer


async def main() -> None:
    """Serves, prints its port, and ends with its standard input."""

    handlers: Any = {name: grpc.unary_unary_rpc_method_handler(_answering(reply)) for name, reply in REPLIES.items()}
    server = aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("astra.trading.v1.TradingService", handlers),)
    )
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(main())
