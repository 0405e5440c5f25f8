"""The rpcs of subscriptions."""

from astra.financial.v1 import financial_service_pb2 as pb

from services.financial import payment_rows as rows
from services.financial import payments, subscriptions
from services.financial.model_subscriptions import order, requested_cycle, requested_tier
from services.financial.payment_calls import PaymentCalls, check_no_payment_on_its_way, current_subscription
from services.runtime.call import Call
from services.runtime.errors import InvalidArgument
from services.runtime.store import Store
from services.runtime.transaction import Tx


class SubscriptionCalls:
    """Serves Subscribe, CancelSubscription and GetSubscription."""

    def __init__(self, store: Store, paying: PaymentCalls) -> None:
        self._store = store
        self._paying = paying

    async def subscribe(self, request: pb.SubscribeRequest, call: Call) -> pb.SubscribeResponse:
        tier, cycle = requested_tier(request.tier), requested_cycle(request.cycle_days)
        card = await self._paying.token_of(request.card) if request.HasField("card") else rows.NO_CARD
        begun: list[str] = []

        def work(tx: Tx) -> pb.SubscribeResponse:
            check_no_payment_on_its_way(tx, request.user_id)
            row = subscriptions.current(tx, request.user_id)
            ordered = order(subscriptions.period_of(row) if row is not None else None, tier, cycle, now_ms=tx.now_ms)
            response = pb.SubscribeResponse()
            if ordered is None:
                assert row is not None  # noqa: S101 - only what there is can go on
                subscriptions.resume(tx, row)
            else:
                subscription_id = row["subscription_id"] if row is not None else tx.new_id()
                payment_id, to_carry_on = payments.begin_subscription_payment(
                    tx, request.user_id, subscription_id, ordered, card, leased=True
                )
                if to_carry_on:
                    begun.append(payment_id)
                response.payment.CopyFrom(rows.message(rows.load(tx, payment_id)))
            response.subscription.CopyFrom(subscriptions.message(tx, request.user_id, tx.now_ms))
            return response

        noted = await call.write(self._store, work)
        if not noted.HasField("payment"):
            return noted
        payment = await self._paying.outcome(noted.payment.payment_id, begun=bool(begun))
        return pb.SubscribeResponse(subscription=noted.subscription, payment=payment)

    async def cancel_subscription(
        self, request: pb.CancelSubscriptionRequest, call: Call
    ) -> pb.CancelSubscriptionResponse:
        def work(tx: Tx) -> pb.CancelSubscriptionResponse:
            subscriptions.cancel(tx, current_subscription(tx, request.user_id))
            return pb.CancelSubscriptionResponse(subscription=subscriptions.message(tx, request.user_id, tx.now_ms))

        return await call.write(self._store, work)

    async def get_subscription(self, request: pb.GetSubscriptionRequest, call: Call) -> pb.GetSubscriptionResponse:
        if not request.user_id:
            raise InvalidArgument("user_id is required from a service", field="user_id", reason="FIELD_REQUIRED")
        now_ms = self._store.clock()
        return pb.GetSubscriptionResponse(
            subscription=await self._store.read(lambda db: subscriptions.message(db, request.user_id, now_ms))
        )
