"""Portfolios and trades in SQL."""

from collections.abc import Sequence
from decimal import Decimal
from sqlite3 import Row

from astra.trading.v1.trade_pb2 import Direction as DirectionProto
from astra.trading.v1.trade_pb2 import Trade, TradeState, TradingMode

from services.runtime.errors import NotFound
from services.runtime.money import decimal_text, from_minor, to_minor, to_money
from services.runtime.transaction import Reader, Tx
from services.trading.model import DAY_MS, Direction, Mode, Portfolio, Stake

ACTIVE = TradeState.TRADE_STATE_ACTIVE
PENDING = TradeState.TRADE_STATE_PENDING
_WAITING = (PENDING, TradeState.TRADE_STATE_PARTIALLY_FILLED)
_UNFILLED = (*_WAITING, TradeState.TRADE_STATE_FAILED, TradeState.TRADE_STATE_CANCELLED)


def load_portfolio(db: Reader, user_id: str) -> Portfolio:
    """Returns a user's portfolio; a fresh one at first use."""
    row = db.one("SELECT balance_cents, realized_cents FROM portfolio WHERE user_id = ?", user_id)
    if row is None:
        return Portfolio()
    return Portfolio(balance=from_minor(row["balance_cents"]), realized_pnl=from_minor(row["realized_cents"]))


def save_portfolio(tx: Tx, user_id: str, portfolio: Portfolio) -> None:
    balance, realized = to_minor(portfolio.balance), to_minor(portfolio.realized_pnl)
    tx.execute("INSERT OR REPLACE INTO portfolio VALUES (?, ?, ?)", user_id, balance, realized)


def count_trades_today(db: Reader, user_id: str, now_ms: int) -> int:
    """Counts a user's trades of the last 24 hours."""
    return int(db.value("SELECT count(*) FROM trade WHERE user_id = ? AND create_ms > ?", user_id, now_ms - DAY_MS))


def open_stakes(db: Reader, user_id: str, mode: Mode = Mode.PRACTICE) -> Sequence[Stake]:
    """Returns a user's open trades in a mode, as far as their worth goes."""
    sql = "SELECT * FROM trade WHERE user_id = ? AND state = ? AND mode = ? ORDER BY trade_id"
    return [stake_of(row) for row in db.all(sql, user_id, ACTIVE, mode)]


def stake_of(row: Row) -> Stake:
    return Stake(
        symbol=row["symbol"],
        direction=Direction(row["direction"]),
        amount=from_minor(row["amount_cents"]),
        entry_price=Decimal(row["entry_price"]),
    )


def insert_trade(
    tx: Tx,
    *,
    trade_id: str,
    user_id: str,
    stake: Stake,
    mode: Mode,
    state: TradeState = ACTIVE,
    fee: Decimal,
    battle_id: str,
) -> None:
    """Adds a trade: an open one, or one that waits for the exchange."""
    tx.execute(
        "INSERT INTO trade (trade_id, user_id, symbol, direction, mode, state, amount_cents, fee_cents, entry_price,"
        " battle_id, create_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        trade_id,
        user_id,
        stake.symbol,
        int(stake.direction),
        mode,
        state,
        to_minor(stake.amount),
        to_minor(fee),
        decimal_text(stake.entry_price),
        battle_id,
        tx.now_ms,
    )
    note_change(tx, trade_id)


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
    note_change(tx, trade_id)


def set_state(tx: Tx, trade_id: str, state: TradeState) -> None:
    tx.execute("UPDATE trade SET state = ? WHERE trade_id = ?", state, trade_id)
    note_change(tx, trade_id)


def fill_trade(tx: Tx, trade_id: str, *, amount: Decimal, fee: Decimal, price: Decimal) -> None:
    """Opens a trade that waited, with what the exchange filled of it."""
    tx.execute(
        "UPDATE trade SET amount_cents = ?, fee_cents = ?, entry_price = ? WHERE trade_id = ?",
        to_minor(amount),
        to_minor(fee),
        decimal_text(price),
        trade_id,
    )
    set_state(tx, trade_id, ACTIVE)


def note_change(tx: Tx, trade_id: str) -> None:
    """Gives a trade the next number of a change."""
    tx.execute(
        "INSERT INTO trade_change SELECT ?1, (SELECT user_id FROM trade WHERE trade_id = ?1),"
        " coalesce(max(number), 0) + 1 FROM trade_change WHERE true"
        " ON CONFLICT (trade_id) DO UPDATE SET number = excluded.number",
        trade_id,
    )


def last_change(db: Reader) -> int:
    """Returns the number of the last change of any trade; 0 before the first."""
    return int(db.value("SELECT coalesce(max(number), 0) FROM trade_change"))


def changes_after(db: Reader, user_id: str, number: int, *, limit: int) -> list[tuple[int, Trade]]:
    """Returns a user's trades that changed after a number, in the order they did."""
    rows = db.all(
        "SELECT trade_shown.*, number FROM trade_change JOIN trade_shown USING (trade_id)"
        " WHERE trade_change.user_id = ? AND number > ? ORDER BY number LIMIT ?",
        user_id,
        number,
        limit,
    )
    return [(row["number"], trade_message(row)) for row in rows]


def load_trade(db: Reader, user_id: str, trade_id: str) -> Row:
    """Returns a user's trade. Raises `NotFound` if there is none."""
    row = db.one("SELECT * FROM trade_shown WHERE trade_id = ? AND user_id = ?", trade_id, user_id)
    if row is None:
        raise NotFound(f"there is no trade {trade_id} of this user", reason="TRADE_NOT_FOUND", trade_id=trade_id)
    return row


def list_trades(
    db: Reader, user_id: str, *, symbol: str, mode: int, states: Sequence[int], before: str | None, limit: int
) -> list[Row]:
    """Returns trades newest first (ids are time-ordered), after the one with the id `before`. Empty filters let all."""
    chosen = f"AND state IN ({', '.join('?' * len(states))})" if states else ""
    return db.all(
        "SELECT * FROM trade_shown WHERE user_id = ?1 AND (?2 IS NULL OR trade_id < ?2) AND ?3 IN ('', symbol)"  # noqa: S608
        f" AND ?4 IN (0, mode) {chosen} ORDER BY trade_id DESC LIMIT {limit}",
        user_id,
        before,
        symbol,
        mode,
        *states,
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
        entry_price="" if row["state"] in _UNFILLED else row["entry_price"],
        exit_price=row["exit_price"] or "",
        battle_id=row["battle_id"],
    )
    if row["filled_cents"] is not None:
        trade.failure_reason = row["failure_reason"]
        if row["state"] in _WAITING:
            trade.filled_amount.CopyFrom(to_money(from_minor(row["filled_cents"])))
    if row["pnl_cents"] is not None:
        trade.pnl.CopyFrom(to_money(from_minor(row["pnl_cents"])))
        trade.close_time.FromMilliseconds(row["close_ms"])
    trade.create_time.FromMilliseconds(row["create_ms"])
    return trade
