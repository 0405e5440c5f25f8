"""Subscriptions: what tiers cost, what may follow on what, and that periods end on time."""

import asyncio
from decimal import Decimal
from typing import Any

import grpc
import pytest
from astra.financial.v1 import financial_service_pb2 as pb
from astra.financial.v1.events_pb2 import PaymentCompleted, PaymentFailed, RevenueRecorded, SubscriptionChanged
from astra.financial.v1.revenue_pb2 import RevenueStream
from astra.financial.v1.subscription_pb2 import Subscription, SubscriptionState, SubscriptionTier
from astra.user.v1.events_pb2 import AccountStatusChanged

from services.financial.model_subscriptions import Cycle, Period, State, Tier, price, upgrade_price
from services.runtime.sagas import RETRY_CAP_MS
from tests.reacting import START_MS, Streams, react, recorded
from tests.serving import as_service, as_user
from tests.settling import deliver_own, settle
from tests.unit_financial.paying import ADMIN, ALICE, DAY_MS, Bank, a_card
from tests.unit_financial.test_payments import refused

DECLINED = a_card("4000000000000002")


async def subscribe(
    bank: Bank, tier: str, cycle_days: int = 0, *, card: Any = None, **more: Any
) -> pb.SubscribeResponse:
    request = pb.SubscribeRequest(tier=f"SUBSCRIPTION_TIER_{tier}", cycle_days=cycle_days, card=card, **more)
    response: pb.SubscribeResponse = await bank.stub.Subscribe(request, metadata=ALICE)
    return response


async def subscribed(bank: Bank, tier: str, cycle_days: int = 0, *, card: Any = None) -> Subscription:
    await subscribe(bank, tier, cycle_days, card=card or a_card())
    await settle(bank.domain)
    return await now(bank)


async def now(bank: Bank) -> Subscription:
    response: pb.GetSubscriptionResponse = await bank.stub.GetSubscription(pb.GetSubscriptionRequest(), metadata=ALICE)
    return response.subscription


def shown(subscription: Subscription) -> tuple[str, str, bool]:
    return (
        SubscriptionTier.Name(subscription.tier).removeprefix("SUBSCRIPTION_TIER_"),
        SubscriptionState.Name(subscription.state).removeprefix("SUBSCRIPTION_STATE_"),
        subscription.real_trading,
    )


@pytest.mark.parametrize(
    ("tier", "month", "quarter", "year"),
    [
        ("FREE", "0", "0", "0"),
        ("BASIC", "9.95", "29.85", "99.50"),
        ("PRO", "29.99", "89.97", "299.99"),
        ("PREMIUM", "39.95", "119.85", "399.50"),
        ("ENTERPRISE", "99.95", "299.85", "999.50"),
    ],
)
def test_prices(tier: str, month: str, quarter: str, year: str) -> None:
    assert [price(Tier[tier], cycle) for cycle in Cycle] == [Decimal(month), Decimal(quarter), Decimal(year)]


@pytest.mark.parametrize(
    ("old", "new", "cycle", "days", "amount"),
    [
        ("BASIC", "PRO", 30, 30, "20.04"),
        ("BASIC", "PRO", 30, 15, "10.02"),
        ("BASIC", "PRO", 30, 1, "0.67"),
        ("PRO", "ENTERPRISE", 365, 100, "191.65"),
        ("PRO", "PREMIUM", 90, 45, "14.94"),
    ],
)
def test_an_upgrade_costs_the_difference_for_the_days_left(
    old: str, new: str, cycle: int, days: int, amount: str
) -> None:
    assert upgrade_price(Tier[old], Tier[new], Cycle(cycle), days) == Decimal(amount)


@pytest.mark.parametrize(
    ("passed_ms", "left"), [(0, 30), (1, 30), (DAY_MS, 29), (DAY_MS + 1, 29), (30 * DAY_MS - 1, 1)]
)
def test_a_day_that_has_begun_counts_as_left(passed_ms: int, left: int) -> None:
    period = Period(tier=Tier.BASIC, cycle=Cycle.MONTH, state=State.ACTIVE, end_ms=30 * DAY_MS)
    assert period.days_left(passed_ms) == left


@pytest.mark.parametrize(
    ("tier", "real_trading"), [("BASIC", False), ("PRO", True), ("PREMIUM", True), ("ENTERPRISE", True)]
)
@pytest.mark.parametrize("cycle", Cycle)
async def test_a_paid_subscription_is_active_for_its_cycle(
    bank: Bank, tier: str, real_trading: bool, cycle: Cycle
) -> None:
    assert shown(await now(bank)) == ("FREE", "ACTIVE", False)
    response = await subscribe(bank, tier, int(cycle), card=a_card())
    assert shown(response.subscription) == (tier, "PENDING", False)
    assert Decimal(response.payment.amount.amount) == price(Tier[tier], cycle)
    await settle(bank.domain)
    subscription = await now(bank)
    assert shown(subscription) == (tier, "ACTIVE", real_trading)
    assert subscription.end_time.ToMilliseconds() == START_MS + int(cycle) * DAY_MS
    completed, earned, changed = await recorded(bank.domain)
    assert (earned.causation_id, changed.causation_id) == (completed.id, completed.id)
    assert {e.correlation_id for e in (completed, earned, changed)} == {completed.correlation_id}
    [revenue] = await bank.events(RevenueRecorded)
    assert revenue.stream == RevenueStream.REVENUE_STREAM_SUBSCRIPTIONS
    assert Decimal(revenue.amount.amount) == price(Tier[tier], cycle)
    assert await bank.ledger_sum() == 0


async def test_trading_may_ask_for_any_user_by_name(bank: Bank) -> None:
    await subscribed(bank, "PRO")
    request = pb.GetSubscriptionRequest(user_id="alice")
    response = await bank.stub.GetSubscription(request, metadata=as_service("trading"))
    assert response.subscription.real_trading
    call = bank.stub.GetSubscription(pb.GetSubscriptionRequest(), metadata=as_service("trading"))
    assert await refused(call) == ("INVALID_ARGUMENT", "FIELD_REQUIRED")
    assert (await refused(bank.stub.GetSubscription(request, metadata=as_user("bob"))))[1] == "NOT_YOURSELF"


async def test_the_balance_pays_where_no_card_is_named(bank: Bank) -> None:
    await bank.deposit("40")
    response = await subscribe(bank, "PRO")
    assert (response.payment.card_last_four, await bank.balance()) == ("", "10.01")
    await settle(bank.domain)
    assert shown(await now(bank)) == ("PRO", "ACTIVE", True)
    assert await refused(subscribe(bank, "ENTERPRISE")) == ("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS")


async def test_a_declined_card_subscribes_to_nothing(bank: Bank) -> None:
    assert await refused(subscribe(bank, "PRO", card=DECLINED)) == ("FAILED_PRECONDITION", "CARD_DECLINED")
    await settle(bank.domain)
    assert shown(await now(bank)) == ("FREE", "ACTIVE", False)
    assert shown(await subscribed(bank, "PRO")) == ("PRO", "ACTIVE", True)


@pytest.mark.parametrize(
    ("tier", "cycle_days", "reason"),
    [
        ("PRO", 0, "ALREADY_SUBSCRIBED"),
        ("PRO", 30, "ALREADY_SUBSCRIBED"),
        ("BASIC", 0, "DOWNGRADE_NOT_POSSIBLE"),
        ("PREMIUM", 365, "CYCLE_CHANGE_NOT_POSSIBLE"),
        ("FREE", 0, "INVALID_FIELD"),
        ("PREMIUM", 31, "INVALID_FIELD"),
    ],
)
async def test_what_cannot_follow_on_a_subscription_is_refused(
    bank: Bank, tier: str, cycle_days: int, reason: str
) -> None:
    await subscribed(bank, "PRO")
    assert (await refused(subscribe(bank, tier, cycle_days, card=a_card())))[1] == reason
    assert len(await bank.payments()) == 1


async def test_an_upgrade_is_prorated_and_keeps_its_period(bank: Bank) -> None:
    before = await subscribed(bank, "BASIC")
    bank.now[0] += 15 * DAY_MS
    response = await subscribe(bank, "PRO", card=a_card())
    assert response.payment.amount.amount == "10.02"
    assert shown(response.subscription) == ("BASIC", "ACTIVE", False)
    await settle(bank.domain)
    after = await now(bank)
    assert (after.subscription_id, after.end_time) == (before.subscription_id, before.end_time)
    assert shown(after) == ("PRO", "ACTIVE", True)


async def test_64_subscriptions_at_once_are_paid_once(bank: Bank) -> None:
    outcomes = await asyncio.gather(*(subscribe(bank, "PRO", card=a_card()) for _ in range(64)), return_exceptions=True)
    assert sum(not isinstance(outcome, grpc.aio.AioRpcError) for outcome in outcomes) == 1
    await settle(bank.domain)
    assert (await refused(subscribe(bank, "PRO", card=a_card())))[1] == "ALREADY_SUBSCRIBED"
    assert bank.processor.taken == Decimal("29.99")
    assert len(await bank.events(SubscriptionChanged)) == 1


async def test_a_cancelled_subscription_lasts_to_the_end_of_its_period(bank: Bank) -> None:
    subscription = await subscribed(bank, "PRO")
    for _ in range(2):
        cancelled = await bank.stub.CancelSubscription(pb.CancelSubscriptionRequest(), metadata=ALICE)
        assert shown(cancelled.subscription) == ("PRO", "CANCELLED", True)
    bank.now[0] = subscription.end_time.ToMilliseconds() - 1
    await settle(bank.domain)
    assert shown(await now(bank)) == ("PRO", "CANCELLED", True)
    bank.now[0] += 1
    assert shown(await now(bank)) == ("FREE", "EXPIRED", False), "on time, even if its timer is late"
    await settle(bank.domain)
    assert shown(await now(bank)) == ("FREE", "ACTIVE", False)
    changes = [(event.tier, event.state) for event in await bank.events(SubscriptionChanged)]
    assert changes == [("pro", "active"), ("pro", "cancelled"), ("free", "expired")]
    assert bank.processor.taken == Decimal("29.99")
    call = bank.stub.CancelSubscription(pb.CancelSubscriptionRequest(), metadata=ALICE)
    assert (await refused(call))[1] == "NOT_SUBSCRIBED"


async def test_a_cancelled_subscription_asked_for_again_goes_on_unpaid(bank: Bank) -> None:
    await subscribed(bank, "PRO")
    await bank.stub.CancelSubscription(pb.CancelSubscriptionRequest(), metadata=ALICE)
    response = await subscribe(bank, "PRO", card=a_card())
    assert shown(response.subscription) == ("PRO", "ACTIVE", True)
    assert not response.HasField("payment")
    assert len(await bank.payments()) == 1


@pytest.mark.parametrize("by", ["card", "balance"])
async def test_a_subscription_renews_itself_on_time(bank: Bank, by: str) -> None:
    if by == "balance":
        await bank.deposit("60")
        await subscribe(bank, "PRO")
        await settle(bank.domain)
    first = await subscribed(bank, "PRO") if by == "card" else await now(bank)
    bank.now[0] = first.end_time.ToMilliseconds()
    await settle(bank.domain)
    renewed = await now(bank)
    assert shown(renewed) == ("PRO", "ACTIVE", True)
    assert renewed.end_time.ToMilliseconds() - first.end_time.ToMilliseconds() == 30 * DAY_MS
    paid = [event for event in await bank.events(PaymentCompleted) if event.purpose == "subscription"]
    assert [event.amount.amount for event in paid] == ["29.99", "29.99"]
    assert await bank.ledger_sum() == 0


@pytest.mark.parametrize(("by", "reason"), [("card", "CARD_EXPIRED"), ("balance", "INSUFFICIENT_FUNDS")])
async def test_a_renewal_that_is_not_paid_ends_the_subscription(bank: Bank, by: str, reason: str) -> None:
    if by == "balance":
        await bank.deposit("30")
        await subscribe(bank, "PRO")
        await settle(bank.domain)
    else:
        await subscribed(bank, "PRO", card=a_card(expire_year=2027, expire_month=1))
        bank.processor._clock = lambda: bank.now[0]
    bank.now[0] += 30 * DAY_MS
    await settle(bank.domain)
    assert shown(await now(bank)) == ("FREE", "ACTIVE", False)
    [failed] = await bank.events(PaymentFailed)
    assert (failed.purpose, failed.reason) == ("subscription", reason)
    assert [event.state for event in await bank.events(SubscriptionChanged)] == ["active", "expired"]


async def test_while_a_renewal_is_on_its_way_the_subscription_lasts(bank: Bank) -> None:
    first = await subscribed(bank, "PRO")
    bank.processor.loses_answers = True
    bank.now[0] = first.end_time.ToMilliseconds()
    await settle(bank.domain)
    assert shown(await now(bank)) == ("PRO", "ACTIVE", True)
    assert (await refused(subscribe(bank, "PREMIUM", card=a_card())))[1] == "SUBSCRIPTION_PAYMENT_PENDING"
    bank.processor.loses_answers = False
    bank.now[0] += RETRY_CAP_MS
    await settle(bank.domain)
    assert (await now(bank)).end_time.ToMilliseconds() == START_MS + 60 * DAY_MS
    assert bank.processor.taken == 2 * Decimal("29.99")


async def test_the_next_period_can_be_paid_ahead(bank: Bank) -> None:
    pay = pb.CreatePaymentRequest(purpose="PAYMENT_PURPOSE_SUBSCRIPTION", card=a_card())
    assert (await refused(bank.stub.CreatePayment(pay, metadata=ALICE)))[1] == "NOT_SUBSCRIBED"
    await subscribed(bank, "PRO")
    payment = (await bank.stub.CreatePayment(pay, metadata=ALICE)).payment
    await settle(bank.domain)
    assert payment.amount.amount == "29.99"
    assert (await now(bank)).end_time.ToMilliseconds() == START_MS + 60 * DAY_MS
    bank.now[0] += 30 * DAY_MS
    await settle(bank.domain)
    assert bank.processor.taken == 2 * Decimal("29.99"), "the old end renews nothing"


async def test_a_subscriptions_payment_is_refunded_by_an_admin_alone(bank: Bank) -> None:
    paid = (await subscribe(bank, "PRO", card=a_card())).payment
    assert await refused(bank.refund(paid.payment_id)) == ("PERMISSION_DENIED", "ROLE_REQUIRED")
    await bank.refund(paid.payment_id, "10", caller=ADMIN, user_id="alice")
    assert (bank.processor.taken, await bank.ledger_sum()) == (Decimal("19.99"), 0)


async def suspend(bank: Bank, streams: Streams, *suspended: bool, backwards: bool = False) -> None:
    states = ["USER_STATE_SUSPENDED" if s else "USER_STATE_ACTIVE" for s in suspended]
    events = [streams.add(AccountStatusChanged(user_id="alice", state=state)) for state in states]
    await react(bank.domain, "subscription_processors", *(reversed(events) if backwards else events))


async def test_a_suspended_account_suspends_its_subscription_and_takes_it_up_again(bank: Bank) -> None:
    streams = Streams()
    await subscribed(bank, "PRO")
    await bank.stub.CancelSubscription(pb.CancelSubscriptionRequest(), metadata=ALICE)
    await suspend(bank, streams, True)
    assert shown(await now(bank)) == ("PRO", "SUSPENDED", False)
    await suspend(bank, streams, False, False)
    assert shown(await now(bank)) == ("PRO", "CANCELLED", True)
    assert [e.state for e in await bank.events(SubscriptionChanged)][2:] == ["suspended", "cancelled"]


async def test_of_several_account_changes_the_newest_counts_in_whatever_order(bank: Bank) -> None:
    await subscribed(bank, "PRO")
    await suspend(bank, Streams(), False, True, backwards=True)
    assert shown(await now(bank)) == ("PRO", "SUSPENDED", False)


async def test_what_is_paid_by_a_suspended_account_starts_suspended_and_is_not_renewed(bank: Bank) -> None:
    await suspend(bank, Streams(), True)
    assert shown(await subscribed(bank, "PRO")) == ("PRO", "SUSPENDED", False)
    bank.now[0] += 30 * DAY_MS
    await settle(bank.domain)
    assert shown(await now(bank)) == ("FREE", "ACTIVE", False)
    assert bank.processor.taken == Decimal("29.99")


async def test_events_delivered_again_and_backwards_change_nothing_more(bank: Bank) -> None:
    await subscribe(bank, "BASIC", card=a_card())
    await settle(bank.domain)
    await subscribe(bank, "PRO", card=a_card())
    for _ in range(3):
        await deliver_own(bank.domain, backwards=True)
        assert shown(await now(bank)) == ("PRO", "ACTIVE", True)
    assert not await deliver_own(bank.domain, backwards=True)
    assert len(await bank.events(SubscriptionChanged)) == 2
