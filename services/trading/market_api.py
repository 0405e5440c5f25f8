"""The market as anyone may see it."""

from astra.trading.v1 import trading_service_pb2 as pb
from astra.trading.v1.market_pb2 import Market as MarketMessage
from astra.trading.v1.market_pb2 import Quote

from services.runtime.call import Call
from services.runtime.money import decimal_text
from services.runtime.paging import page_key, page_size, page_token
from services.runtime.store import Store
from services.trading.market import MARKETS, Market, change_24h_pct, listed


class MarketApi:
    """Serves ListMarkets and GetQuote."""

    _store: Store
    _market: Market

    async def list_markets(self, request: pb.ListMarketsRequest, call: Call) -> pb.ListMarketsResponse:
        size, key = page_size(request.page_size), page_key(request.page_token, str)
        symbols = sorted(symbol for symbol in MARKETS if key is None or symbol > key[0])
        return pb.ListMarketsResponse(
            markets=[MarketMessage(symbol=symbol, display_name=MARKETS[symbol].name) for symbol in symbols[:size]],
            next_page_token=page_token(symbols[size - 1]) if len(symbols) > size else "",
        )

    async def get_quote(self, request: pb.GetQuoteRequest, call: Call) -> pb.GetQuoteResponse:
        symbol, at_ms = listed(request.symbol), self._store.clock()
        quote = Quote(
            symbol=symbol,
            price=decimal_text(self._market.prices(at_ms)[symbol]),
            change_24h_pct=decimal_text(change_24h_pct(self._market, symbol, at_ms)),
        )
        quote.time.FromMilliseconds(at_ms)
        return pb.GetQuoteResponse(quote=quote)
