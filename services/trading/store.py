"""Portfolios and trades in SQL."""

from collections.abc import Sequence
from decimal import Decimal
from sqlite3 import Row

from astra.trading.v1.trade_pb2 import Direction as DirectionProto
from astra.trading.v1.trade_pb2 import Trade, TradeState, TradingMode

from services.runtime.errors import NotFound
from services.runtime.money import decimal_text, from_minor, to_minor, to_money
from services.runtime.transaction import Reader, Tx
from services.trading.model import DAY_MS, Direction, Portfolio, Stake

ACTIVE = TradeState.TRADE_STATE_ACTIVE


def load_portfolio(db: Reader, user_id: str) -> Portfolio:
    """Returns a user's portfolio; a fresh one at first use."""
    row = db.one("SELECT balance_cents, realized_cents FROM portfolio WHERE user_id = ?", user_id)
    if row is None:
        return Portfolio()
    return Portfolio(balance=from_minor(row["balance_cents"]), realized_pnl=from_minor(row["realized_cents"]))


def save_portfolio(tx: Tx, user_id: str, portfolio: Portfolio) -> None:
    balance, realized = to_minor(portfolio.balance), to_minor(portfolio.realized_pnl)
    tx.execute("INSERT OR REPLACE INTO portfolio VALUES (?, ?, ?)", user_id, balance, realized)


def count_trades_today(tx: Tx, user_id: str) -> int:
    """Counts a user's trades of the last 24 hours."""
    return int(tx.value("SELECT count(*) FROM trade WHERE user_id = ? AND create_ms > ?", user_id, tx.now_ms - DAY_MS))


def open_stakes(db: Reader, user_id: str) -> Sequence[Stake]:
    """Returns a user's open trades, as far as their worth goes."""
    rows = db.all("SELECT * FROM trade WHERE user_id = ? AND state = ? ORDER BY trade_id", user_id, ACTIVE)
    return [stake_of(row) for row in rows]


def stake_of(row: Row) -> Stake:
    return Stake(
        symbol=row["symbol"],
        direction=Direction(row["direction"]),
        amount=from_minor(row["amount_cents"]),
        entry_price=Decimal(row["entry_price"]),
    )


def insert_trade(tx: Tx, *, trade_id: str, user_id: str, stake: Stake, mode: int, fee: Decimal, battle_id: str) -> None:
    """Adds an open trade."""
    tx.execute(
        "INSERT INTO trade (trade_id, user_id, symbol, direction, mode, state, amount_cents, fee_cents, entry_price,"
        " battle_id, create_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        trade_id,
        user_id,
        stake.symbol,
        int(stake.direction),
        mode,
        ACTIVE,
        to_minor(stake.amount),
        to_minor(fee),
        decimal_text(stake.entry_price),
        battle_id,
        tx.now_ms,
    )


def complete_trade(tx: Tx, trade_id: str, *, exit_price: Decimal, pnl: Decimal) -> None:
    """Closes an open trade."""
    tx.execute(
        "UPDATE trade SET state = ?, exit_price = ?, pnl_cents = ?, close_ms = ? WHERE trade_id = ?",
        TradeState.TRADE_STATE_COMPLETED,
        decimal_text(exit_price),
        to_minor(pnl),
        tx.now_ms,
        trade_id,
    )


def load_trade(db: Reader, user_id: str, trade_id: str) -> Row:
    """Returns a user's trade. Raises `NotFound` if there is none."""
    row = db.one("SELECT * FROM trade WHERE trade_id = ? AND user_id = ?", trade_id, user_id)
    if row is None:
        raise NotFound(f"there is no trade {trade_id} of this user", reason="TRADE_NOT_FOUND", trade_id=trade_id)
    return row


def list_trades(db: Reader, user_id: str, *, before: str | None, limit: int) -> list[Row]:
    """Returns trades newest first (ids are time-ordered), after the one with the id `before`."""
    return db.all(
        "SELECT * FROM trade WHERE user_id = ? AND (? IS NULL OR trade_id < ?) ORDER BY trade_id DESC LIMIT ?",
        user_id,
        before,
        before,
        limit,
    )


def battle_pnls(db: Reader, battle_id: str, user_id: str) -> list[Decimal | None]:
    """Returns the PnL of each trade of a user in a battle, None while it is open."""
    rows = db.all("SELECT pnl_cents FROM trade WHERE battle_id = ? AND user_id = ?", battle_id, user_id)
    return [None if row["pnl_cents"] is None else from_minor(row["pnl_cents"]) for row in rows]


def trade_message(row: Row) -> Trade:
    """Returns a trade as callers see it."""
    trade = Trade(
        trade_id=row["trade_id"],
        user_id=row["user_id"],
        symbol=row["symbol"],
        direction=DirectionProto.Name(row["direction"]),
        mode=TradingMode.Name(row["mode"]),
        state=TradeState.Name(row["state"]),
        amount=to_money(from_minor(row["amount_cents"])),
        fee=to_money(from_minor(row["fee_cents"])),
        entry_price=row["entry_price"],
        exit_price=row["exit_price"] or "",
        battle_id=row["battle_id"],
    )
    if row["pnl_cents"] is not None:
        trade.pnl.CopyFrom(to_money(from_minor(row["pnl_cents"])))
        trade.close_time.FromMilliseconds(row["close_ms"])
    trade.create_time.FromMilliseconds(row["create_ms"])
    return trade
