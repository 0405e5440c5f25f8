"""Calls between domains: answers, refusals and outages as errors of ours."""

from dataclasses import replace
from pathlib import Path

import pytest
from astra.trading.v1 import trading_service_pb2 as pb

from services import trading
from services.mesh import Mesh
from services.runtime.credentials import make_credentials
from services.runtime.errors import Unavailable
from services.runtime.peers import PeerError, Peers
from tests.serving import served

SERVICE = "/astra.trading.v1.TradingService"


async def test_a_peer_answers_refuses_or_is_away(tmp_path: Path) -> None:
    mesh = Mesh.at(tmp_path, free_ports=True)
    make_credentials(mesh)
    async with served(trading.build(mesh)) as address:
        peers = Peers(replace(mesh, addresses={**mesh.addresses, "envoy-internal": address}), "nft")
        quote = await peers.call(f"{SERVICE}/GetQuote", pb.GetQuoteRequest(symbol="BTC"), pb.GetQuoteResponse)
        assert quote.quote.symbol == "BTC"
        with pytest.raises(PeerError) as caught:
            await peers.call(f"{SERVICE}/GetQuote", pb.GetQuoteRequest(symbol="DOGE"), pb.GetQuoteResponse)
        assert (caught.value.code, caught.value.reason) == ("NOT_FOUND", "MARKET_NOT_FOUND")
        await peers.close()
    away = Peers(mesh, "nft")
    with pytest.raises(Unavailable):
        await away.call(f"{SERVICE}/GetQuote", pb.GetQuoteRequest(symbol="BTC"), pb.GetQuoteResponse)
    await away.close()


async def test_a_write_without_a_request_id_is_not_sent(tmp_path: Path) -> None:
    mesh = Mesh.at(tmp_path, free_ports=True)
    make_credentials(mesh)
    peers = Peers(mesh, "nft")
    with pytest.raises(ValueError, match="give it a request_id"):
        await peers.call(f"{SERVICE}/CloseTrade", pb.CloseTradeRequest(trade_id="t"), pb.CloseTradeResponse)
    await peers.close()
