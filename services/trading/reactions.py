"""What trading does about events: risk alerts, and the read models of its own trades."""

from decimal import Decimal

from astra.trading.v1.events_pb2 import PositionClosed, RiskAlertRaised, RiskLevel, TradeExecuted

from bridge.groups import Group
from services.runtime.money import decimal_text
from services.runtime.transaction import Tx
from services.trading.model import Risk, position_pct, risk_of
from services.trading.performance import keep_performance


def raise_risk_alert(tx: Tx, event: TradeExecuted | PositionClosed) -> None:
    """Raises an alert for an amount above 5 % of the portfolio."""
    amount, worth = Decimal(event.amount.amount), Decimal(event.portfolio_value.amount)
    risk = risk_of(amount, worth)
    if risk is Risk.LOW:
        return
    tx.record(
        RiskAlertRaised(
            trade_id=event.trade_id,
            user_id=event.user_id,
            level=RiskLevel.Name(risk),
            position_pct=decimal_text(position_pct(amount, worth)),
        )
    )


GROUPS = (
    Group(name="trading_internal", consumers=2, reactions={"trading.*": keep_performance}),
    Group(
        name="trading_risk_management",
        consumers=3,
        reactions={TradeExecuted: raise_risk_alert, PositionClosed: raise_risk_alert},
    ),
)
