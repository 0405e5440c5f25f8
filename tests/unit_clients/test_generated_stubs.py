"""The generated client stubs, with grpcio-testing's channel: what a user's program sends and gets."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc_testing
import pytest
from astra.trading.v1 import trading_service_pb2 as pb
from astra.trading.v1.trading_service_pb2_grpc import TradingServiceStub

SERVICE = pb.DESCRIPTOR.services_by_name["TradingService"]
GET_QUOTE = SERVICE.methods_by_name["GetQuote"]


def test_a_stub_sends_the_request_to_its_rpc_and_returns_the_answer() -> None:
    channel = grpc_testing.channel([SERVICE], grpc_testing.strict_real_time())
    with ThreadPoolExecutor(1) as caller:
        answer = caller.submit(TradingServiceStub(channel).GetQuote, pb.GetQuoteRequest(symbol="BTC"))
        _, request, rpc = channel.take_unary_unary(GET_QUOTE)
        assert request == pb.GetQuoteRequest(symbol="BTC")
        response = pb.GetQuoteResponse()
        response.quote.price = "65000"
        rpc.send_initial_metadata(())
        rpc.terminate(response, (), grpc.StatusCode.OK, "")
        assert answer.result(5).quote.price == "65000"


def test_a_stub_raises_the_status_of_a_refused_call() -> None:
    channel = grpc_testing.channel([SERVICE], grpc_testing.strict_real_time())
    with ThreadPoolExecutor(1) as caller:
        answer = caller.submit(TradingServiceStub(channel).GetQuote, pb.GetQuoteRequest(symbol="DOGE"))
        _, _, rpc = channel.take_unary_unary(GET_QUOTE)
        rpc.send_initial_metadata(())
        rpc.terminate(None, (("x-correlation-id", "c"),), grpc.StatusCode.NOT_FOUND, "there is no market")
        with pytest.raises(grpc.RpcError) as caught:
            answer.result(5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
