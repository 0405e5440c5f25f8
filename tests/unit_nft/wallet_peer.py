"""A gamification service of two rpcs to call by gRPC, which can be told to break."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from services.contracts import Rpc, rpcs
from services.nft.wallets import CREDIT, DEBIT
from services.runtime.errors import FailedPrecondition
from services.runtime.statuses import abort, status_of


class WalletPeer:
    """Notes what it was asked; refuses who has too few, and breaks if told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, str, str]] = []
        self.broken = False

    def handler(self, rpc: Rpc) -> Any:
        async def serve(request: Any, context: Any) -> Any:
            money = request.amount
            assert money.currency_code == "SHARDS"
            self.asked.append((rpc.name, request.user_id, money.amount, request.request_id, request.purpose))
            assert dict(context.invocation_metadata())["authorization"].startswith("Bearer ")
            if self.broken:
                raise RuntimeError("broken")
            if request.user_id == "poor":
                error = FailedPrecondition("too few", reason="INSUFFICIENT_SHARDS")
                await abort(context, status_of(error, service="gamification"))
            await self.move(rpc.name, request.user_id, int(money.amount), request.request_id)
            return rpc.response()

        return grpc.unary_unary_rpc_method_handler(
            serve, request_deserializer=rpc.request.FromString, response_serializer=rpc.response.SerializeToString
        )

    async def move(self, rpc: str, user_id: str, shards: int, request_id: str) -> None:
        """Moves the shards; here it is enough to have been asked."""


@asynccontextmanager
async def serving_wallets(peer: WalletPeer) -> AsyncIterator[str]:
    """Serves the two rpcs and yields the address."""
    server = grpc.aio.server()
    for path in (DEBIT, CREDIT):
        rpc = rpcs()[path]
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(rpc.service, {rpc.name: peer.handler(rpc)}),)
        )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
