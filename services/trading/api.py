"""TradingService: proto in, model call, proto out."""

from collections.abc import AsyncIterator
from decimal import Decimal

from astra.trading.v1 import trading_service_pb2 as pb

from services.runtime.call import Call
from services.runtime.errors import FailedPrecondition, InvalidArgument, MeshError
from services.runtime.money import USD, parse_money
from services.runtime.paging import page_key, page_size, page_token
from services.runtime.store import Store
from services.runtime.transaction import Tx
from services.runtime.watching import watch
from services.trading import booking, orders
from services.trading import store as sql
from services.trading.insight import Insight, max_position_pct, mode_of
from services.trading.live import LiveTrading
from services.trading.market import Market, listed
from services.trading.market_api import MarketApi
from services.trading.model import Direction, Mode, Stake, fill_price
from services.trading.portfolio import portfolio_message

WATCH_PAGE = 100
"""Changes a stream reads at once."""


class TradingApi(MarketApi, Insight):
    """Serves the rpcs of trading; those that only look are in what it inherits."""

    def __init__(self, store: Store, market: Market, live: LiveTrading) -> None:
        self._store = store
        self._market = market
        self._live = live

    async def execute_trade(self, request: pb.ExecuteTradeRequest, call: Call) -> pb.ExecuteTradeResponse:
        amount = parse_money(request.amount, field="amount", currency=USD)
        limit_pct = max_position_pct(request.max_position_pct)
        symbol = listed(request.symbol)
        if mode_of(request.mode) is Mode.LIVE:
            stake = Stake(symbol=symbol, direction=Direction(request.direction), amount=amount, entry_price=Decimal(0))
            return await self._execute_live(request, call, stake, limit_pct)
        prices = self._market.prices(self._store.clock())

        def work(tx: Tx) -> pb.ExecuteTradeResponse:
            portfolio = sql.load_portfolio(tx, request.user_id)
            worth = portfolio.value(sql.open_stakes(tx, request.user_id), prices)
            trades_today = sql.count_trades_today(tx, request.user_id, tx.now_ms)
            fee = portfolio.open(amount, max_position_pct=limit_pct, trades_today=trades_today)
            trade_id = tx.new_id()
            price = fill_price(prices[symbol], luck=int(trade_id.replace("-", "")[-8:], 16))
            stake = Stake(symbol=symbol, direction=Direction(request.direction), amount=amount, entry_price=price)
            sql.save_portfolio(tx, request.user_id, portfolio)
            sql.insert_trade(
                tx,
                trade_id=trade_id,
                user_id=request.user_id,
                stake=stake,
                mode=Mode.PRACTICE,
                fee=fee,
                battle_id=request.battle_id,
            )
            row = sql.load_trade(tx, request.user_id, trade_id)
            booking.record_opened(tx, row, worth=worth)
            return pb.ExecuteTradeResponse(trade=sql.trade_message(row))

        return await call.write(self._store, work)

    async def _execute_live(
        self, request: pb.ExecuteTradeRequest, call: Call, stake: Stake, limit_pct: Decimal | None
    ) -> pb.ExecuteTradeResponse:
        funds = await self._live.admit(request.user_id)

        def work(tx: Tx) -> pb.ExecuteTradeResponse:
            if isinstance(funds, MeshError):
                raise funds
            trade_id = self._live.open(
                tx,
                request.user_id,
                stake,
                funds=funds,
                max_position_pct=limit_pct,
                battle_id=request.battle_id,
            )
            return pb.ExecuteTradeResponse(trade=sql.trade_message(sql.load_trade(tx, request.user_id, trade_id)))

        return await call.write(self._store, work)

    async def close_trade(self, request: pb.CloseTradeRequest, call: Call) -> pb.CloseTradeResponse:
        prices = self._market.prices(self._store.clock())

        def work(tx: Tx) -> pb.CloseTradeResponse:
            row = sql.load_trade(tx, request.user_id, request.trade_id)
            if row["state"] != sql.ACTIVE:
                raise FailedPrecondition("the trade is not open", reason="TRADE_NOT_OPEN", trade_id=request.trade_id)
            if row["mode"] == Mode.LIVE:
                self._live.close(tx, request.trade_id, sql.stake_of(row).amount)
            else:
                portfolio = sql.load_portfolio(tx, request.user_id)
                booking.close(tx, row, portfolio, prices[row["symbol"]], prices)
                sql.save_portfolio(tx, request.user_id, portfolio)
            return pb.CloseTradeResponse(trade=sql.trade_message(sql.load_trade(tx, request.user_id, request.trade_id)))

        return await call.write(self._store, work)

    async def get_trade(self, request: pb.GetTradeRequest, call: Call) -> pb.GetTradeResponse:
        row = await self._store.read(lambda db: sql.load_trade(db, request.user_id, request.trade_id))
        return pb.GetTradeResponse(trade=sql.trade_message(row))

    async def list_trades(self, request: pb.ListTradesRequest, call: Call) -> pb.ListTradesResponse:
        size, key = page_size(request.page_size), page_key(request.page_token, str)
        symbol = listed(request.symbol) if request.symbol else ""
        rows = await self._store.read(
            lambda db: sql.list_trades(
                db,
                request.user_id,
                symbol=symbol,
                mode=request.mode,
                states=request.states,
                before=key[0] if key else None,
                limit=size + 1,
            )
        )
        return pb.ListTradesResponse(
            trades=map(sql.trade_message, rows[:size]),
            next_page_token=page_token(rows[size - 1]["trade_id"]) if len(rows) > size else "",
        )

    async def watch_trades(self, request: pb.WatchTradesRequest, call: Call) -> AsyncIterator[pb.WatchTradesResponse]:
        start = _position(request.resume_token)
        if start is None:
            start = self._store.read_now(sql.last_change)
        changes = watch(
            self._store, lambda db, after: sql.changes_after(db, request.user_id, after, limit=WATCH_PAGE), start
        )
        async for number, trade in changes:
            yield pb.WatchTradesResponse(trade=trade, resume_token=page_token(number))

    async def get_portfolio(self, request: pb.GetPortfolioRequest, call: Call) -> pb.GetPortfolioResponse:
        prices, mode, user_id = self._market.prices(self._store.clock()), mode_of(request.mode), request.user_id
        if mode is Mode.LIVE:
            funds = await self._live.funds(user_id)
            portfolio = await self._store.read(
                lambda db: portfolio_message(db, user_id, prices, orders.load_portfolio(db, user_id, funds), mode)
            )
        else:
            portfolio = await self._store.read(
                lambda db: portfolio_message(db, user_id, prices, sql.load_portfolio(db, user_id), mode)
            )
        return pb.GetPortfolioResponse(portfolio=portfolio)

    async def grant_practice_funds(
        self, request: pb.GrantPracticeFundsRequest, call: Call
    ) -> pb.GrantPracticeFundsResponse:
        amount = parse_money(request.amount, field="amount", currency=USD)
        prices = self._market.prices(self._store.clock())

        def work(tx: Tx) -> pb.GrantPracticeFundsResponse:
            portfolio = sql.load_portfolio(tx, request.user_id)
            portfolio.grant(amount)
            sql.save_portfolio(tx, request.user_id, portfolio)
            message = portfolio_message(tx, request.user_id, prices, portfolio, Mode.PRACTICE)
            return pb.GrantPracticeFundsResponse(portfolio=message)

        return await call.write(self._store, work)


def _position(resume_token: str) -> int | None:
    try:
        key = page_key(resume_token, int)
    except InvalidArgument:
        raise InvalidArgument("resume_token is not one that this stream returned", field="resume_token") from None
    return key[0] if key else None
