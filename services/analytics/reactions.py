"""What analytics does about events: it counts them, keeps their chains, and audits those about money and assets."""

from astra.financial.v1.events_pb2 import RevenueRecorded
from astra.financial.v1.revenue_pb2 import RevenueMode
from astra.social.v1.events_pb2 import SocialInteraction
from astra.social.v1.interaction_pb2 import InteractionKind
from astra.trading.v1.events_pb2 import TradeExecuted
from astra.type.v1.money_pb2 import Money
from astra.user.v1.events_pb2 import UserRegistered
from google.protobuf.message import Message

from bridge.groups import Group
from services.analytics import audit
from services.analytics import store as sql
from services.analytics.activity import who_acted
from services.analytics.model import Counter
from services.runtime.delivery import Delivery
from services.runtime.money import USD, parse_decimal, to_minor
from services.runtime.transaction import Tx


def collect_metrics(tx: Tx, event: Message) -> None:
    """Counts an event in its stream and in the KPIs, and keeps its place in its chain."""
    delivery = _delivery(tx)
    sql.count_arrival(tx, delivery)
    sql.keep_trace(tx, delivery)
    if user_id := who_acted(event):
        sql.count_active_user(tx, delivery.ms, user_id)
    match event:
        case TradeExecuted():
            sql.count_trade(tx, delivery.ms)
            sql.add_to_day(tx, delivery.ms, Counter.VOLUME_CENTS, _cents(event.amount))
        case RevenueRecorded() if event.mode == RevenueMode.REVENUE_MODE_LIVE:
            sql.add_to_day(tx, delivery.ms, Counter.REVENUE_CENTS, _cents(event.amount))
        case SocialInteraction() if event.kind != InteractionKind.INTERACTION_KIND_TRADE_SHARE:
            sql.add_to_day(tx, delivery.ms, Counter.INTERACTIONS)
        case UserRegistered():
            sql.add_to_day(tx, delivery.ms, Counter.REGISTRATIONS)


def append_audit_entry(tx: Tx, event: Message) -> None:
    """Appends an event to the audit trail."""
    audit.append(tx, _delivery(tx))


def _delivery(tx: Tx) -> Delivery:
    if tx.context.delivery is None:
        raise RuntimeError("a reaction runs through Store.react, which sets the delivery")
    return tx.context.delivery


def _cents(money: Money) -> int:
    """Returns an amount of USD in cents; 0 for another currency."""
    return to_minor(parse_decimal(money.amount, field="amount")) if money.currency_code == USD else 0


GROUPS = (
    Group(name="metrics_collectors", consumers=2, reactions={"*": collect_metrics}),
    Group(
        name="audit_trail_recorders",
        consumers=1,
        reactions={"financial.*": append_audit_entry, "trading.*": append_audit_entry, "nft.*": append_audit_entry},
    ),
)
