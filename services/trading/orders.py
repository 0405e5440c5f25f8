"""Orders for the exchange in SQL, and what becomes of a trade and its money when the exchange has answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from sqlite3 import Row

from astra.trading.v1.events_pb2 import TradeFailed
from astra.trading.v1.trade_pb2 import TradeState

from services.runtime.context import Context
from services.runtime.money import decimal_text, from_minor, round_money, to_minor, to_money
from services.runtime.transaction import Reader, Tx
from services.trading import booking
from services.trading import store as sql
from services.trading.exchange import Order, Report
from services.trading.model import PRICE_STEP, Direction, OrderState, Portfolio, Side, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An order in the hands of a worker."""

    order: Order
    trade_id: str
    step: Step
    create_ms: int
    context: Context
    """The chain of the call that asked for it."""


def insert(
    tx: Tx,
    client_order_id: str,
    trade_id: str,
    side: Side,
    amount: Decimal,
    *,
    worth: Decimal = Decimal(0),
    carried: Decimal = Decimal(0),
    carried_price: Decimal = Decimal(0),
) -> None:
    """Adds an order, due at once, in the chain of the running call."""
    tx.execute(
        "INSERT INTO live_order (client_order_id, trade_id, side, step, amount_cents, worth_cents, carried_cents,"
        " carried_price, correlation_id, traceparent, create_ms, due_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        client_order_id,
        trade_id,
        side,
        Step.NEW,
        to_minor(amount),
        to_minor(worth),
        to_minor(carried),
        decimal_text(carried_price),
        tx.context.correlation_id,
        tx.context.traceparent,
        tx.now_ms,
        tx.now_ms,
    )


def is_closing(db: Reader, trade_id: str) -> bool:
    sql = "SELECT 1 FROM live_order WHERE trade_id = ? AND side = ? AND step <> ?"
    return bool(db.value(sql, trade_id, Side.CLOSE, Step.DONE))


def next_close_id(db: Reader, trade_id: str) -> str:
    """Returns the client order id of a trade's next attempt to close it."""
    count = db.value("SELECT count(*) FROM live_order WHERE trade_id = ? AND side = ?", trade_id, Side.CLOSE)
    return f"{trade_id}-c{count + 1}"


def load_portfolio(db: Reader, user_id: str, funds: Decimal) -> Portfolio:
    """Returns a user's real money: what it has paid in, and what its trades made of it."""
    row = db.one("SELECT moved_cents, realized_cents FROM live_portfolio WHERE user_id = ?", user_id)
    moved, realized = (from_minor(row["moved_cents"]), from_minor(row["realized_cents"])) if row else (0, Decimal(0))
    return Portfolio(balance=funds + moved, realized_pnl=realized)


def save_portfolio(tx: Tx, user_id: str, portfolio: Portfolio, funds: Decimal) -> None:
    moved, realized = to_minor(portfolio.balance - funds), to_minor(portfolio.realized_pnl)
    tx.execute("INSERT OR REPLACE INTO live_portfolio VALUES (?, ?, ?)", user_id, moved, realized)


def next_due_ms(db: Reader) -> int | None:
    """Returns when the next order is to be looked after; None if none waits."""
    due = db.value("SELECT min(due_ms) FROM live_order WHERE step <> 3")
    return None if due is None else int(due)


def take_due(tx: Tx, *, lease_ms: int, limit: int) -> Sequence[Held]:
    """Takes orders that are due, and notes that they are about to be sent: whoever finds them later asks first."""
    rows = tx.all(
        "SELECT live_order.*, trade.user_id, trade.symbol, trade.direction FROM live_order JOIN trade USING (trade_id)"
        " WHERE step <> 3 AND due_ms <= ? ORDER BY due_ms LIMIT ?",
        tx.now_ms,
        limit,
    )
    for row in rows:
        tx.execute(
            "UPDATE live_order SET step = ?, due_ms = ? WHERE client_order_id = ?",
            Step.SENT,
            tx.now_ms + lease_ms,
            row["client_order_id"],
        )
    return [_held(row) for row in rows]


def postpone(tx: Tx, client_order_id: str, ms: int) -> None:
    """Gives an order back, to be looked after in a while."""
    due = tx.now_ms + ms
    tx.execute("UPDATE live_order SET due_ms = ? WHERE client_order_id = ? AND step <> 3", due, client_order_id)


def apply_report(
    tx: Tx, client_order_id: str, report: Report, *, prices: Mapping[str, Decimal], funds: Decimal, again_ms: int
) -> None:
    """Books what the exchange says of an order; once only for what is final."""
    order = tx.one("SELECT * FROM live_order WHERE client_order_id = ? AND step <> 3", client_order_id)
    if order is None:
        return
    # What it says it filled is never more than it was asked to.
    filled = min(round_money(report.filled), from_minor(order["amount_cents"]))
    cents = to_minor(filled)
    if report.state is OrderState.OPEN:
        postpone(tx, client_order_id, again_ms)
        if cents > order["filled_cents"]:
            tx.execute("UPDATE live_order SET filled_cents = ? WHERE client_order_id = ?", cents, client_order_id)
            if order["side"] == Side.OPEN:
                sql.set_state(tx, order["trade_id"], TradeState.TRADE_STATE_PARTIALLY_FILLED)
        return
    reason = "" if report.state is OrderState.FILLED else report.reason or f"ORDER_{report.state.name}"
    tx.execute(
        "UPDATE live_order SET step = ?, filled_cents = ?, failure_reason = ? WHERE client_order_id = ?",
        Step.DONE,
        cents,
        reason,
        client_order_id,
    )
    if order["side"] == Side.OPEN:
        _opened(tx, order, filled, report, reason)
    else:
        _closed(tx, order, filled, report, prices, funds)


def _opened(tx: Tx, order: Row, filled: Decimal, report: Report, reason: str) -> None:
    """Opens the trade with what was filled and returns the rest of its money; all of it if nothing was."""
    trade_id = order["trade_id"]
    user_id = str(tx.value("SELECT user_id FROM trade WHERE trade_id = ?", trade_id))
    trade = sql.load_trade(tx, user_id, trade_id)
    held = from_minor(order["amount_cents"])
    # What the user has paid in is of no matter here: only what moves is booked.
    portfolio = load_portfolio(tx, user_id, Decimal(0))
    fee = portfolio.give_back(held, filled)
    save_portfolio(tx, user_id, portfolio, Decimal(0))
    if filled:
        sql.fill_trade(tx, trade_id, amount=filled, fee=fee, price=report.price.quantize(PRICE_STEP))
        booking.record_opened(tx, sql.load_trade(tx, user_id, trade_id), worth=from_minor(order["worth_cents"]))
        return
    failed = report.state is OrderState.REJECTED
    sql.set_state(tx, trade_id, TradeState.TRADE_STATE_FAILED if failed else TradeState.TRADE_STATE_CANCELLED)
    tx.record(
        TradeFailed(trade_id=trade_id, user_id=user_id, symbol=trade["symbol"], amount=to_money(held), reason=reason)
    )


def _closed(tx: Tx, order: Row, filled: Decimal, report: Report, prices: Mapping[str, Decimal], funds: Decimal) -> None:
    """Closes the trade once all of it is closed; asks on for what is left of a close that was cut short."""
    trade_id = order["trade_id"]
    user_id = str(tx.value("SELECT user_id FROM trade WHERE trade_id = ?", trade_id))
    trade = sql.load_trade(tx, user_id, trade_id)
    before = from_minor(order["carried_cents"])
    done = before + filled
    price = (
        ((Decimal(order["carried_price"]) * before + report.price * filled) / done).quantize(PRICE_STEP)
        if done
        else Decimal(0)
    )
    left = from_minor(trade["amount_cents"]) - done
    if left <= 0:
        portfolio = load_portfolio(tx, user_id, funds)
        booking.close(tx, trade, portfolio, price, prices)
        save_portfolio(tx, user_id, portfolio, funds)
    elif done:
        insert(tx, next_close_id(tx, trade_id), trade_id, Side.CLOSE, left, carried=done, carried_price=price)
    else:
        sql.note_change(tx, trade_id)  # refused as a whole: it is open as before, and may be closed again


def _held(row: Row) -> Held:
    return Held(
        order=Order(
            client_order_id=row["client_order_id"],
            user_id=row["user_id"],
            symbol=row["symbol"],
            direction=Direction(row["direction"]),
            side=Side(row["side"]),
            amount=from_minor(row["amount_cents"]),
        ),
        trade_id=row["trade_id"],
        step=Step(row["step"]),
        create_ms=row["create_ms"],
        context=Context(correlation_id=row["correlation_id"], traceparent=row["traceparent"]),
    )
