"""What financial does about events: it records what is earned, keeps subscriptions, and looks for what is odd."""

from decimal import Decimal

from astra.financial.v1.events_pb2 import ComplianceFlagRaised, PaymentCompleted
from astra.nft.v1.events_pb2 import MarketplaceSale
from astra.trading.v1.events_pb2 import TradeExecuted
from astra.trading.v1.trade_pb2 import TradingMode
from astra.type.v1.money_pb2 import Money
from astra.user.v1.events_pb2 import AccountStatusChanged
from astra.user.v1.user_pb2 import UserState

from bridge.groups import Group
from services.financial import payment_rows, subscriptions
from services.financial.compliance import check_compliance
from services.financial.earnings import record_earning
from services.financial.model import Earning, Held, RevenueMode, RevenueStream
from services.financial.model_payments import Purpose
from services.runtime.money import USD, parse_decimal, parse_money
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
    record_earning(tx, earning)


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
    record_earning(tx, earning)


def change_subscription(tx: Tx, event: PaymentCompleted) -> None:
    """Activates, raises or renews the subscription that was paid for."""
    payment = payment_rows.load(tx, event.payment_id)
    if payment.purpose is Purpose.SUBSCRIPTION:
        subscriptions.apply_payment(tx, payment)


def suspend_subscription(tx: Tx, event: AccountStatusChanged) -> None:
    """Suspends the subscription of a suspended account, and takes it up again with the account."""
    delivery = tx.context.delivery
    assert delivery is not None  # noqa: S101 - reactions have one
    suspended = event.state == UserState.USER_STATE_SUSPENDED
    subscriptions.set_account_status(tx, event.user_id, suspended=suspended, ordinal=delivery.ordinal)


def _fee(money: Money, *, field: str, currency: str) -> Decimal:
    """Reads a fee ≥ 0; an unset one is 0."""
    if not money.amount or parse_decimal(money.amount, field=f"{field}.amount") == 0:
        return Decimal(0)
    return parse_money(money, field=field, currency=currency)


GROUPS = (
    Group(
        name="revenue_trackers",
        consumers=1,
        reactions={TradeExecuted: record_trading_fee, MarketplaceSale: record_marketplace_fee},
    ),
    Group(
        name="subscription_processors",
        consumers=1,
        reactions={PaymentCompleted: change_subscription, AccountStatusChanged: suspend_subscription},
    ),
    Group(
        name="financial_compliance",
        consumers=1,
        reactions={"financial.*": check_compliance},
        excluding=frozenset({ComplianceFlagRaised}),
    ),
)
