"""What one would write by hand instead of a gateway: FastAPI handlers that call by grpc.aio. Runs in `.bench/`."""

import asyncio
import sys
from decimal import Decimal
from typing import Any

import grpc
import uvicorn
from astra.trading.v1 import trading_service_pb2 as pb
from astra.trading.v1.trading_service_pb2_grpc import TradingServiceStub
from fastapi import FastAPI, Header, HTTPException
from google.protobuf.json_format import MessageToDict, ParseDict
from pydantic import BaseModel


class Money(BaseModel):
    currencyCode: str  # noqa: N815 - as JSON has it
    amount: Decimal


class NewTrade(BaseModel):
    requestId: str = ""  # noqa: N815
    symbol: str
    amount: Money
    direction: str
    mode: str = "TRADING_MODE_PRACTICE"


class Trade(BaseModel):
    tradeId: str  # noqa: N815
    userId: str  # noqa: N815
    symbol: str
    direction: str
    mode: str
    state: str
    amount: dict[str, Any]
    fee: dict[str, Any]
    entryPrice: str  # noqa: N815
    exitPrice: str = ""  # noqa: N815
    pnl: dict[str, Any] | None = None
    battleId: str = ""  # noqa: N815
    createTime: str  # noqa: N815
    closeTime: str | None = None  # noqa: N815


class Quote(BaseModel):
    symbol: str
    price: str
    time: str
    change24hPct: str  # noqa: N815


app = FastAPI()
stub: Any = None


@app.get("/v1/markets/{symbol}/quote")
async def get_quote(symbol: str, x_correlation_id: str = Header("none")) -> Quote:
    try:
        reply = await stub.GetQuote(
            pb.GetQuoteRequest(symbol=symbol), timeout=10, metadata=[("x-correlation-id", x_correlation_id)]
        )
    except grpc.aio.AioRpcError as error:
        raise HTTPException(500, error.details()) from None
    return Quote(**MessageToDict(reply.quote))


@app.post("/v1/users/{user_id}/trades")
async def execute_trade(user_id: str, trade: NewTrade, x_correlation_id: str = Header("none")) -> Trade:
    request = ParseDict({**trade.model_dump(mode="json"), "userId": user_id}, pb.ExecuteTradeRequest())
    try:
        reply = await stub.ExecuteTrade(request, timeout=10, metadata=[("x-correlation-id", x_correlation_id)])
    except grpc.aio.AioRpcError as error:
        raise HTTPException(500, error.details()) from None
    return Trade(**MessageToDict(reply.trade))


async def main(backend: str, port: int) -> None:
    global stub
    async with grpc.aio.insecure_channel(backend) as channel:
        stub = TradingServiceStub(channel)
        await uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port)).serve()


if __name__ == "__main__":
    import uvloop

    uvloop.install()
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
