"""TradingService: proto in, model call, proto out."""

from collections.abc import Mapping
from decimal import Decimal

from astra.trading.v1 import events_pb2 as events
from astra.trading.v1 import trading_service_pb2 as pb
from astra.trading.v1.market_pb2 import Market as MarketMessage
from astra.trading.v1.market_pb2 import Quote
from astra.trading.v1.trade_pb2 import TradingMode

from services.runtime.call import Call
from services.runtime.errors import FailedPrecondition, InvalidArgument
from services.runtime.money import USD, decimal_text, parse_decimal, parse_money, to_money
from services.runtime.paging import page_key, page_size, page_token
from services.runtime.store import Store
from services.runtime.transaction import Tx
from services.trading import store as sql
from services.trading.market import MARKETS, Market, change_24h_pct, listed
from services.trading.model import Direction, Position, Stake, battle_score, bonus_xp, fill_price
from services.trading.portfolio import portfolio_message, position_of

PRACTICE, LIVE = TradingMode.TRADING_MODE_PRACTICE, TradingMode.TRADING_MODE_LIVE


class TradingApi:
    """Serves the rpcs of trading."""

    def __init__(self, store: Store, market: Market) -> None:
        self._store = store
        self._market = market

    async def execute_trade(self, request: pb.ExecuteTradeRequest, call: Call) -> pb.ExecuteTradeResponse:
        amount = parse_money(request.amount, field="amount", currency=USD)
        limit_pct = _max_position_pct(request.max_position_pct)
        symbol = listed(request.symbol)
        if request.mode == LIVE:
            raise FailedPrecondition(
                "live trading needs an exchange and none is configured; use practice mode",
                reason="EXCHANGE_NOT_CONFIGURED",
            )
        prices = self._market.prices(self._store.clock())

        def work(tx: Tx) -> pb.ExecuteTradeResponse:
            portfolio = sql.load_portfolio(tx, request.user_id)
            worth = portfolio.value(sql.open_stakes(tx, request.user_id), prices)
            trades_today = sql.count_trades_today(tx, request.user_id)
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
                mode=PRACTICE,
                fee=fee,
                battle_id=request.battle_id,
            )
            executed = tx.record(
                events.TradeExecuted(
                    trade_id=trade_id,
                    user_id=request.user_id,
                    symbol=symbol,
                    direction=request.direction,
                    mode=PRACTICE,
                    amount=to_money(amount),
                    fee=to_money(fee),
                    entry_price=decimal_text(price),
                    portfolio_value=to_money(worth),
                    battle_id=request.battle_id,
                )
            )
            position = position_of(sql.open_stakes(tx, request.user_id), symbol, stake.direction)
            tx.record(
                events.PositionUpdated(
                    trade_id=trade_id,
                    user_id=request.user_id,
                    symbol=symbol,
                    direction=request.direction,
                    amount=to_money(position.amount),
                    entry_price=decimal_text(position.entry_price),
                ),
                cause=executed,
            )
            _record_battle_score(tx, request.battle_id, request.user_id, trade_id, cause=executed)
            return pb.ExecuteTradeResponse(trade=sql.trade_message(sql.load_trade(tx, request.user_id, trade_id)))

        return await call.write(self._store, work)

    async def close_trade(self, request: pb.CloseTradeRequest, call: Call) -> pb.CloseTradeResponse:
        prices = self._market.prices(self._store.clock())

        def work(tx: Tx) -> pb.CloseTradeResponse:
            row = sql.load_trade(tx, request.user_id, request.trade_id)
            if row["state"] != sql.ACTIVE:
                raise FailedPrecondition("the trade is not open", reason="TRADE_NOT_OPEN", trade_id=request.trade_id)
            stake, price = sql.stake_of(row), prices[row["symbol"]]
            portfolio = sql.load_portfolio(tx, request.user_id)
            pnl = portfolio.close(stake, price)
            sql.save_portfolio(tx, request.user_id, portfolio)
            sql.complete_trade(tx, request.trade_id, exit_price=price, pnl=pnl)
            stakes = sql.open_stakes(tx, request.user_id)
            remaining: Position = position_of(stakes, stake.symbol, stake.direction)
            closed = tx.record(
                events.PositionClosed(
                    trade_id=request.trade_id,
                    user_id=request.user_id,
                    symbol=stake.symbol,
                    direction=row["direction"],
                    mode=row["mode"],
                    amount=to_money(stake.amount),
                    pnl=to_money(pnl),
                    remaining_amount=to_money(remaining.amount),
                    portfolio_value=to_money(portfolio.value(stakes, prices)),
                )
            )
            if pnl > 0:
                tx.record(
                    events.TradingRewardsCalculated(
                        trade_id=request.trade_id,
                        user_id=request.user_id,
                        pnl=to_money(pnl),
                        bonus_xp=bonus_xp(pnl),
                    ),
                    cause=closed,
                )
            _record_battle_score(tx, row["battle_id"], request.user_id, request.trade_id, cause=closed)
            return pb.CloseTradeResponse(trade=sql.trade_message(sql.load_trade(tx, request.user_id, request.trade_id)))

        return await call.write(self._store, work)

    async def get_trade(self, request: pb.GetTradeRequest, call: Call) -> pb.GetTradeResponse:
        row = await self._store.read(lambda db: sql.load_trade(db, request.user_id, request.trade_id))
        return pb.GetTradeResponse(trade=sql.trade_message(row))

    async def list_trades(self, request: pb.ListTradesRequest, call: Call) -> pb.ListTradesResponse:
        size, key = page_size(request.page_size), page_key(request.page_token, str)
        rows = await self._store.read(
            lambda db: sql.list_trades(db, request.user_id, before=key[0] if key else None, limit=size + 1)
        )
        return pb.ListTradesResponse(
            trades=map(sql.trade_message, rows[:size]),
            next_page_token=page_token(rows[size - 1]["trade_id"]) if len(rows) > size else "",
        )

    async def get_portfolio(self, request: pb.GetPortfolioRequest, call: Call) -> pb.GetPortfolioResponse:
        prices = self._market.prices(self._store.clock())
        portfolio = await self._store.read(lambda db: portfolio_message(db, request.user_id, prices))
        return pb.GetPortfolioResponse(portfolio=portfolio)

    async def grant_practice_funds(
        self, request: pb.GrantPracticeFundsRequest, call: Call
    ) -> pb.GrantPracticeFundsResponse:
        amount = parse_money(request.amount, field="amount", currency=USD)
        prices: Mapping[str, Decimal] = self._market.prices(self._store.clock())

        def work(tx: Tx) -> pb.GrantPracticeFundsResponse:
            portfolio = sql.load_portfolio(tx, request.user_id)
            portfolio.grant(amount)
            sql.save_portfolio(tx, request.user_id, portfolio)
            return pb.GrantPracticeFundsResponse(portfolio=portfolio_message(tx, request.user_id, prices))

        return await call.write(self._store, work)

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


def _max_position_pct(text: str) -> Decimal | None:
    if not text:
        return None
    pct = parse_decimal(text, field="max_position_pct")
    if not 0 < pct <= 100:
        raise InvalidArgument("max_position_pct must be in (0, 100]", field="max_position_pct")
    return pct


def _record_battle_score(tx: Tx, battle_id: str, user_id: str, trade_id: str, *, cause: str) -> None:
    """Records the user's score in the battle that a trade counts for, if any."""
    if not battle_id:
        return
    score = battle_score(sql.battle_pnls(tx, battle_id, user_id))
    tx.record(
        events.ClanBattleScoreUpdated(
            battle_id=battle_id, user_id=user_id, trade_id=trade_id, score=decimal_text(score)
        ),
        cause=cause,
    )
