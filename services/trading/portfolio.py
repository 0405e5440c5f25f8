"""Portfolios as callers see them: positions are the open trades of a market and direction taken together."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from astra.trading.v1 import portfolio_pb2 as pb
from astra.trading.v1.trade_pb2 import Direction as DirectionProto
from astra.trading.v1.trade_pb2 import TradingMode

from services.runtime.money import decimal_text, to_money
from services.runtime.transaction import Reader
from services.trading import store as sql
from services.trading.model import Direction, Mode, Portfolio, Position, Stake


def position_of(stakes: Sequence[Stake], symbol: str, direction: Direction) -> Position:
    """Returns the position in one market and direction; an empty one if nothing is open there."""
    return Position(stakes=[stake for stake in stakes if (stake.symbol, stake.direction) == (symbol, direction)])


def portfolio_message(
    db: Reader, user_id: str, prices: Mapping[str, Decimal], portfolio: Portfolio, mode: Mode
) -> pb.Portfolio:
    """Returns a user's portfolio of a mode, valued at the prices given."""
    stakes = sql.open_stakes(db, user_id, mode)
    unrealized = sum((stake.pnl_at(prices[stake.symbol]) for stake in stakes), Decimal(0))
    keys = sorted({(stake.symbol, stake.direction) for stake in stakes})
    return pb.Portfolio(
        user_id=user_id,
        balance=to_money(portfolio.balance),
        total_value=to_money(portfolio.value(stakes, prices)),
        realized_pnl=to_money(portfolio.realized_pnl),
        unrealized_pnl=to_money(unrealized),
        mode=TradingMode.Name(mode),
        positions=[_position_message(position_of(stakes, *key), *key, prices[key[0]]) for key in keys],
    )


def _position_message(position: Position, symbol: str, direction: Direction, price: Decimal) -> pb.Position:
    return pb.Position(
        symbol=symbol,
        direction=DirectionProto.Name(direction),
        amount=to_money(position.amount),
        entry_price=decimal_text(position.entry_price),
        unrealized_pnl=to_money(position.pnl_at(price)),
        trade_count=len(position.stakes),
    )
