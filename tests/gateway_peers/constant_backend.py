"""A gRPC backend that answers at once, with the same bytes: the gateways before it are what is measured.

It speaks HTTP/2 itself, because any server made with gRPC's Python costs more a call than the gateways do.
"""

import asyncio
import sys
from functools import partial
from typing import cast

import uvloop
from astra.trading.v1.trading_service_pb2 import ExecuteTradeResponse, GetQuoteResponse
from google.protobuf.json_format import ParseDict

from gateway.http2 import Limits, frames, hpack
from gateway.http2.messages import prefixed
from gateway.http2.outlet import Outlet
from gateway.http2.reading import Reader

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
_WINDOW_BYTES = 2**30
_HEAD = b"\x88" + hpack.encoded("content-type", "application/grpc")
_TRAILERS = hpack.encoded("grpc-status", "0")


class Backend(asyncio.Protocol):
    """One connection: every request whose end has come is answered in one write."""

    def __init__(self) -> None:
        self._reader = Reader(Limits())
        self._preface = len(frames.PREFACE)
        self._asked: dict[int, str] = {}
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._outlet = Outlet(cast(asyncio.Transport, transport))
        wide = {frames.INITIAL_WINDOW_SIZE: _WINDOW_BYTES, frames.MAX_FRAME_SIZE: Limits().max_frame_bytes}
        self._outlet.write(frames.settings(wide) + frames.window_update(0, _WINDOW_BYTES))

    def data_received(self, data: bytes) -> None:
        skipped = min(self._preface, len(data))
        self._preface -= skipped
        for kind, flags, stream, payload, headers in self._reader.feed(data[skipped:]):
            if kind == frames.HEADERS:
                self._asked[stream] = dict(headers)[":path"].rpartition("/")[2]
            elif kind == frames.DATA:
                self._received += len(payload)
            elif kind in (frames.SETTINGS, frames.PING) and not flags & frames.ACK:
                self._outlet.write(frames.frame(kind, frames.ACK, 0, payload if kind == frames.PING else b""))
            if kind in (frames.HEADERS, frames.DATA) and flags & frames.END_STREAM:
                self._answer(stream)
        if self._received * 2 > _WINDOW_BYTES:
            self._outlet.write(frames.window_update(0, self._received))
            self._received = 0

    def _answer(self, stream: int) -> None:
        head = partial(frames.frame, frames.HEADERS)
        self._outlet.write(
            head(frames.END_HEADERS, stream, _HEAD)
            + frames.frame(frames.DATA, 0, stream, prefixed(REPLIES[self._asked.pop(stream)]))
            + head(frames.END_HEADERS | frames.END_STREAM, stream, _TRAILERS)
        )


async def main() -> None:
    """Serves, prints its port, and ends with its standard input."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Backend, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
