"""Signs in and buys, over gRPC: PYTHONPATH=generated python3 client.py localhost:10000 NAME PASSWORD"""

import json
import sys
import uuid

import grpc
from astra.trading.v1 import trade_pb2, trading_service_pb2, trading_service_pb2_grpc
from astra.type.v1 import money_pb2
from astra.user.v1 import user_service_pb2, user_service_pb2_grpc

TIMEOUT_SECONDS = 10


def main(address: str, username: str, password: str) -> None:
    """Prints what came of it, as JSON."""
    with grpc.insecure_channel(address) as channel:
        users = user_service_pb2_grpc.UserServiceStub(channel)
        trading = trading_service_pb2_grpc.TradingServiceStub(channel)
        sign_in = user_service_pb2.LoginRequest(username=username, password=password)
        session = users.Login(sign_in, timeout=TIMEOUT_SECONDS)
        signed_in = (("authorization", f"Bearer {session.access_token}"),)
        order = trading_service_pb2.ExecuteTradeRequest(
            request_id=uuid.uuid4().hex,  # a repeat with the same one changes nothing
            user_id=session.user_id,
            symbol="STRK",
            direction=trade_pb2.DIRECTION_LONG,
            amount=money_pb2.Money(currency_code="USD", amount="150"),
        )
        trade = trading.ExecuteTrade(order, metadata=signed_in, timeout=TIMEOUT_SECONDS).trade
        refusal = ""
        order.symbol, order.request_id = "NOPE", uuid.uuid4().hex
        try:
            trading.ExecuteTrade(order, metadata=signed_in, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            refusal = error.code().name
    print(json.dumps({"tradeId": trade.trade_id, "fee": trade.fee.amount, "refusal": refusal}))


if __name__ == "__main__":
    main(*sys.argv[1:])
