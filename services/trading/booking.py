"""Opening and closing of trades in the books: state, money and events together, for practice and real trades alike."""

from collections.abc import Mapping
from decimal import Decimal
from sqlite3 import Row

from astra.trading.v1 import events_pb2 as events

from services.runtime.money import decimal_text, from_minor, to_money
from services.runtime.transaction import Tx
from services.trading import store as sql
from services.trading.model import Mode, Portfolio, battle_score, bonus_xp
from services.trading.portfolio import position_of


def record_opened(tx: Tx, row: Row, *, worth: Decimal) -> None:
    """Records that a trade is open: what it is, the position after it, and its battle's score."""
    stake = sql.stake_of(row)
    executed = tx.record(
        events.TradeExecuted(
            trade_id=row["trade_id"],
            user_id=row["user_id"],
            symbol=stake.symbol,
            direction=row["direction"],
            mode=row["mode"],
            amount=to_money(stake.amount),
            fee=to_money(from_minor(row["fee_cents"])),
            entry_price=decimal_text(stake.entry_price),
            portfolio_value=to_money(worth),
            battle_id=row["battle_id"],
        )
    )
    position = position_of(sql.open_stakes(tx, row["user_id"], Mode(row["mode"])), stake.symbol, stake.direction)
    tx.record(
        events.PositionUpdated(
            trade_id=row["trade_id"],
            user_id=row["user_id"],
            symbol=stake.symbol,
            direction=row["direction"],
            amount=to_money(position.amount),
            entry_price=decimal_text(position.entry_price),
        ),
        cause=executed,
    )
    _record_battle_score(tx, row, cause=executed)


def close(tx: Tx, row: Row, portfolio: Portfolio, price: Decimal, prices: Mapping[str, Decimal]) -> None:
    """Closes an open trade at a price: stake and PnL go to the portfolio, once, and everyone is told."""
    stake = sql.stake_of(row)
    pnl = portfolio.close(stake, price)
    sql.complete_trade(tx, row["trade_id"], exit_price=price, pnl=pnl)
    stakes = sql.open_stakes(tx, row["user_id"], Mode(row["mode"]))
    closed = tx.record(
        events.PositionClosed(
            trade_id=row["trade_id"],
            user_id=row["user_id"],
            symbol=stake.symbol,
            direction=row["direction"],
            mode=row["mode"],
            amount=to_money(stake.amount),
            pnl=to_money(pnl),
            remaining_amount=to_money(position_of(stakes, stake.symbol, stake.direction).amount),
            portfolio_value=to_money(portfolio.value(stakes, prices)),
        )
    )
    if pnl > 0:
        tx.record(
            events.TradingRewardsCalculated(
                trade_id=row["trade_id"], user_id=row["user_id"], pnl=to_money(pnl), bonus_xp=bonus_xp(pnl)
            ),
            cause=closed,
        )
    _record_battle_score(tx, row, cause=closed)


def _record_battle_score(tx: Tx, row: Row, *, cause: str) -> None:
    """Records the user's score in the battle that a trade counts for, if any."""
    if not row["battle_id"]:
        return
    score = battle_score(sql.battle_pnls(tx, row["battle_id"], row["user_id"]))
    tx.record(
        events.ClanBattleScoreUpdated(
            battle_id=row["battle_id"], user_id=row["user_id"], trade_id=row["trade_id"], score=decimal_text(score)
        ),
        cause=cause,
    )
