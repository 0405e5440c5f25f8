"""Read models kept from trading's own events: open money by market, results by day.

Events are added up, so their order does not matter: a close may be seen before its trade.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from astra.trading.v1.events_pb2 import PositionClosed, TradeExecuted
from astra.trading.v1.performance_pb2 import DayResult, Exposure, Performance
from astra.trading.v1.trade_pb2 import Direction as DirectionProto
from astra.type.v1.money_pb2 import Money
from google.protobuf.message import Message

from services.runtime.money import from_minor, to_minor, to_money
from services.runtime.transaction import Reader, Tx
from services.trading.model import DAY_MS, Mode


def keep_performance(tx: Tx, event: Message) -> None:
    """Adds a trade, or a close, to its user's exposure and day."""
    delivery = tx.context.delivery
    assert delivery is not None  # noqa: S101 - reactions have one
    day = delivery.ms // DAY_MS
    match event:
        case TradeExecuted():
            _add_exposure(tx, event, _cents(event.amount))
            _add_to_day(tx, event, day, opened=1, volume_cents=_cents(event.amount), fees_cents=_cents(event.fee))
        case PositionClosed():
            pnl = _cents(event.pnl)
            _add_exposure(tx, event, -_cents(event.amount))
            _add_to_day(tx, event, day, closed=1, won=int(pnl > 0), pnl_cents=pnl)


def performance_of(db: Reader, user_id: str, mode: Mode, *, first_day: int) -> Performance:
    """Returns what a user's trading came to from a day on (days since the epoch)."""
    days = db.all(
        "SELECT * FROM day_result WHERE user_id = ? AND mode = ? AND day >= ? ORDER BY day DESC",
        user_id,
        mode,
        first_day,
    )
    exposures = db.all(
        "SELECT * FROM exposure WHERE user_id = ? AND mode = ? AND amount_cents > 0 ORDER BY amount_cents DESC, symbol",
        user_id,
        mode,
    )
    return Performance(
        user_id=user_id,
        pnl=_money(sum(row["pnl_cents"] for row in days)),
        fees=_money(sum(row["fees_cents"] for row in days)),
        days=[
            DayResult(
                date=datetime.fromtimestamp(row["day"] * DAY_MS / 1000, UTC).date().isoformat(),
                opened=row["opened"],
                closed=row["closed"],
                won=row["won"],
                volume=_money(row["volume_cents"]),
                fees=_money(row["fees_cents"]),
                pnl=_money(row["pnl_cents"]),
            )
            for row in days
        ],
        exposures=[
            Exposure(
                symbol=row["symbol"],
                direction=DirectionProto.Name(row["direction"]),
                amount=_money(row["amount_cents"]),
            )
            for row in exposures
        ],
    )


def _add_exposure(tx: Tx, event: TradeExecuted | PositionClosed, cents: int) -> None:
    key: Sequence[object] = (event.user_id, event.mode, event.symbol, event.direction)
    tx.execute(
        "INSERT INTO exposure VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET amount_cents = amount_cents + excluded.amount_cents",
        *key,
        cents,
    )
    tx.execute(
        "DELETE FROM exposure WHERE (user_id, mode, symbol, direction) = (?, ?, ?, ?) AND amount_cents = 0", *key
    )


def _add_to_day(tx: Tx, event: TradeExecuted | PositionClosed, day: int, **sums: int) -> None:
    key = (event.user_id, event.mode, day)
    tx.execute("INSERT OR IGNORE INTO day_result (user_id, mode, day) VALUES (?, ?, ?)", *key)
    added = ", ".join(f"{column} = {column} + ?" for column in sums)
    tx.execute(
        f"UPDATE day_result SET {added} WHERE (user_id, mode, day) = (?, ?, ?)",  # noqa: S608
        *sums.values(),
        *key,
    )


def _cents(money: Money) -> int:
    return to_minor(Decimal(money.amount))


def _money(cents: int) -> Money:
    return to_money(from_minor(cents))
