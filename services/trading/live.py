"""Live trading up to the exchange: who may, with how much; the money is held and the order stands in the books.

What happens at the exchange is the worker's (`order_worker`), so no call waits for it and no crash loses it.
"""

from decimal import Decimal

from services.runtime.errors import FailedPrecondition, MeshError, Unavailable
from services.runtime.store import Store
from services.runtime.transaction import Tx
from services.trading import orders
from services.trading import store as sql
from services.trading.eligibility import Eligibility
from services.trading.exchange import Exchange, ExchangeAway
from services.trading.market import Market
from services.trading.model import Mode, Side, Stake


class LiveTrading:
    """Puts live orders into the books. Without an exchange it refuses everything."""

    def __init__(
        self, store: Store, market: Market, exchange: Exchange | None = None, eligibility: Eligibility | None = None
    ) -> None:
        self._store = store
        self._market = market
        self._exchange = exchange
        self._eligibility = eligibility

    async def admit(self, user_id: str) -> Decimal | MeshError:
        """Returns the user's funds at the exchange, or why it may not open a live trade.

        The refusal is returned so that a command can raise it where a repeat is known first.
        """
        try:
            exchange = self._configured()
            if self._eligibility is not None:
                await self._eligibility.check(user_id)
            return await _funds(exchange, user_id)
        except MeshError as refusal:
            return refusal

    async def funds(self, user_id: str) -> Decimal:
        """Returns the user's funds at the exchange. Raises `FailedPrecondition` without one, `Unavailable` if away."""
        return await _funds(self._configured(), user_id)

    def open(
        self, tx: Tx, user_id: str, stake: Stake, *, funds: Decimal, max_position_pct: Decimal | None, battle_id: str
    ) -> str:
        """Holds the money of a trade, puts its order into the books and returns its id. Raises `FailedPrecondition`."""
        portfolio = orders.load_portfolio(tx, user_id, funds)
        worth = portfolio.value(sql.open_stakes(tx, user_id, Mode.LIVE), self._market.prices(tx.now_ms))
        fee = portfolio.open(
            stake.amount,
            max_position_pct=max_position_pct,
            trades_today=sql.count_trades_today(tx, user_id, tx.now_ms),
        )
        trade_id = tx.new_id()
        orders.save_portfolio(tx, user_id, portfolio, funds)
        sql.insert_trade(
            tx,
            trade_id=trade_id,
            user_id=user_id,
            stake=stake,
            mode=Mode.LIVE,
            state=sql.PENDING,
            fee=fee,
            battle_id=battle_id,
        )
        orders.insert(tx, trade_id, trade_id, Side.OPEN, stake.amount, worth=worth)
        return trade_id

    def close(self, tx: Tx, trade_id: str, amount: Decimal) -> None:
        """Puts the order that closes an open trade into the books. Raises `FailedPrecondition`."""
        self._configured()
        if orders.is_closing(tx, trade_id):
            raise FailedPrecondition("the trade is being closed already", reason="CLOSE_PENDING", trade_id=trade_id)
        orders.insert(tx, orders.next_close_id(tx, trade_id), trade_id, Side.CLOSE, amount)

    def _configured(self) -> Exchange:
        if self._exchange is None:
            raise FailedPrecondition(
                "live trading needs an exchange and none is configured; use practice mode",
                reason="EXCHANGE_NOT_CONFIGURED",
            )
        return self._exchange


async def _funds(exchange: Exchange, user_id: str) -> Decimal:
    try:
        return await exchange.funds(user_id)
    except ExchangeAway as error:
        raise Unavailable("the exchange cannot be reached; try again", reason="EXCHANGE_UNAVAILABLE") from error
