"""FinancialService: proto in, model call, proto out."""

from astra.financial.v1 import financial_service_pb2 as pb
from astra.financial.v1.account_pb2 import Account, Kyc
from google.protobuf.timestamp_pb2 import Timestamp

from services.financial import payment_rows
from services.financial import store as sql
from services.financial.model_payments import DAY_MS, KYC_DAYS
from services.financial.payment_calls import PaymentCalls
from services.financial.processor import Processor
from services.financial.subscription_calls import SubscriptionCalls
from services.runtime.call import Call
from services.runtime.errors import InvalidArgument
from services.runtime.money import to_money
from services.runtime.paging import page_key, page_size, page_token
from services.runtime.sagas import Sagas
from services.runtime.store import Store
from services.runtime.transaction import Reader, Tx

FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799
"""What a Timestamp may hold: the years 1 to 9999."""


class FinancialApi:
    """Serves the rpcs of financial."""

    def __init__(self, store: Store, processor: Processor, sagas: Sagas) -> None:
        self._store = store
        paying = PaymentCalls(store, processor, sagas)
        subscribing = SubscriptionCalls(store, paying)
        self.deposit, self.withdraw = paying.deposit, paying.withdraw
        self.create_payment, self.refund_payment = paying.create_payment, paying.refund_payment
        self.subscribe, self.cancel_subscription = subscribing.subscribe, subscribing.cancel_subscription
        self.get_subscription = subscribing.get_subscription

    async def get_account(self, request: pb.GetAccountRequest, call: Call) -> pb.GetAccountResponse:
        def query(db: Reader) -> Account:
            account = Account(
                user_id=request.user_id,
                balances=[to_money(amount, currency) for currency, amount in sql.load_balances(db, request.user_id)],
            )
            kyc = sql.load_kyc(db, request.user_id)
            if kyc is not None:
                account.kyc_expire_time.FromMilliseconds(kyc["expire_ms"])
            return account

        return pb.GetAccountResponse(account=await self._store.read(query))

    async def list_transactions(self, request: pb.ListTransactionsRequest, call: Call) -> pb.ListTransactionsResponse:
        size, key = page_size(request.page_size), page_key(request.page_token, str)

        def query(db: Reader) -> pb.ListTransactionsResponse:
            ids = payment_rows.list_ids(
                db,
                request.user_id,
                purpose=request.purpose,
                state=request.state,
                before=key[0] if key else None,
                limit=size + 1,
            )
            return pb.ListTransactionsResponse(
                transactions=[payment_rows.message(payment_rows.load(db, id_)) for id_ in ids[:size]],
                next_page_token=page_token(ids[size - 1]) if len(ids) > size else "",
            )

        return await self._store.read(query)

    async def verify_kyc(self, request: pb.VerifyKycRequest, call: Call) -> pb.VerifyKycResponse:
        def work(tx: Tx) -> pb.VerifyKycResponse:
            expire_ms = tx.now_ms + KYC_DAYS * DAY_MS
            sql.verify_kyc(tx, request.user_id, expire_ms=expire_ms)
            kyc = Kyc(user_id=request.user_id)
            kyc.verify_time.FromMilliseconds(tx.now_ms)
            kyc.expire_time.FromMilliseconds(expire_ms)
            return pb.VerifyKycResponse(kyc=kyc)

        return await call.write(self._store, work)

    async def get_revenue(self, request: pb.GetRevenueRequest, call: Call) -> pb.GetRevenueResponse:
        start_ms = _ms(request.start_time, "start_time") if request.HasField("start_time") else None
        end_ms = _ms(request.end_time, "end_time") if request.HasField("end_time") else None
        if start_ms is not None and end_ms is not None and end_ms < start_ms:
            raise InvalidArgument(
                "end_time is before start_time; the period is [start_time, end_time)", field="end_time"
            )
        revenues = await self._store.read(lambda db: sql.sum_revenue(db, start_ms=start_ms, end_ms=end_ms))
        return pb.GetRevenueResponse(revenues=revenues)


def _ms(time: Timestamp, field: str) -> int:
    """Returns the first whole millisecond at or after a time: revenue is kept by the millisecond."""
    if not (FIRST_SECOND <= time.seconds <= LAST_SECOND and 0 <= time.nanos < 10**9):
        raise InvalidArgument(f"{field} must be in the years 1 to 9999", field=field)
    return int(time.seconds * 1000 + -(-time.nanos // 10**6))
