"""Books what the platform earns and tells of it."""

from astra.financial.v1.events_pb2 import RevenueRecorded
from astra.financial.v1.revenue_pb2 import RevenueMode as RevenueModeProto
from astra.financial.v1.revenue_pb2 import RevenueStream as RevenueStreamProto

from services.financial import store as sql
from services.financial.model import Earning
from services.runtime.money import to_money
from services.runtime.transaction import Tx


def record_earning(tx: Tx, earning: Earning, *, cause: str | None = None) -> None:
    """Books an earning and tells of it, once for its trade, listing or payment; nothing for 0."""
    if earning.amount == 0 or sql.was_earned(tx, earning):
        return
    revenue_id = sql.book(tx, earning.transfer)
    earn_ms = tx.context.delivery.ms if tx.context.delivery else tx.now_ms
    sql.insert_revenue(tx, revenue_id, earning, earn_ms=earn_ms)
    tx.record(
        RevenueRecorded(
            revenue_id=revenue_id,
            user_id=earning.user_id,
            stream=RevenueStreamProto.Name(earning.stream),
            mode=RevenueModeProto.Name(earning.mode),
            amount=to_money(earning.amount, earning.currency),
        ),
        cause=cause,
    )
