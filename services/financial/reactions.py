"""What financial does about events: it records what the platform earns with them."""

from decimal import Decimal

from astra.financial.v1.events_pb2 import RevenueRecorded
from astra.financial.v1.revenue_pb2 import RevenueMode as RevenueModeProto
from astra.financial.v1.revenue_pb2 import RevenueStream as RevenueStreamProto
from astra.nft.v1.events_pb2 import MarketplaceSale
from astra.trading.v1.events_pb2 import TradeExecuted
from astra.trading.v1.trade_pb2 import TradingMode
from astra.type.v1.money_pb2 import Money

from bridge.groups import Group
from services.financial import store as sql
from services.financial.model import Earning, Held, RevenueMode, RevenueStream
from services.runtime.money import USD, parse_decimal, parse_money, to_money
from services.runtime.transaction import Tx

SHARDS = "SHARDS"


def record_trading_fee(tx: Tx, event: TradeExecuted) -> None:
    """Records the fee of a trade as revenue of its mode."""
    live = event.mode == TradingMode.TRADING_MODE_LIVE
    earning = Earning(
        stream=RevenueStream.TRADING_FEES,
        mode=RevenueMode.LIVE if live else RevenueMode.PRACTICE,
        amount=_fee(event.fee, field="fee", currency=USD),
        currency=USD,
        user_id=event.user_id,
        source_id=event.trade_id,
        held=Held.EXCHANGE if live else Held.PRACTICE,
    )
    _record(tx, earning)


def record_marketplace_fee(tx: Tx, event: MarketplaceSale) -> None:
    """Records the platform's fee of a sale, in SHARDS; it is earned from the seller."""
    earning = Earning(
        stream=RevenueStream.NFT_MARKETPLACE,
        mode=RevenueMode.LIVE,
        amount=_fee(event.platform_fee, field="platform_fee", currency=SHARDS),
        currency=SHARDS,
        user_id=event.seller_user_id,
        source_id=event.listing_id,
        held=Held.GAME,
    )
    _record(tx, earning)


def _fee(money: Money, *, field: str, currency: str) -> Decimal:
    """Reads a fee ≥ 0; an unset one is 0."""
    if not money.amount or parse_decimal(money.amount, field=f"{field}.amount") == 0:
        return Decimal(0)
    return parse_money(money, field=field, currency=currency)


def _record(tx: Tx, earning: Earning) -> None:
    """Books an earning and tells of it, once for its trade or listing; nothing for 0."""
    delivery = tx.context.delivery
    if earning.amount == 0 or delivery is None or sql.was_earned(tx, earning):
        return
    revenue_id = sql.book(tx, earning.transfer)
    sql.insert_revenue(tx, revenue_id, earning, earn_ms=delivery.ms)
    tx.record(
        RevenueRecorded(
            revenue_id=revenue_id,
            user_id=earning.user_id,
            stream=RevenueStreamProto.Name(earning.stream),
            mode=RevenueModeProto.Name(earning.mode),
            amount=to_money(earning.amount, earning.currency),
        )
    )


GROUPS = (
    Group(
        name="revenue_trackers",
        consumers=1,
        reactions={TradeExecuted: record_trading_fee, MarketplaceSale: record_marketplace_fee},
    ),
)
