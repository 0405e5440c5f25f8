"""FinancialService: proto in, model call, proto out."""

from astra.financial.v1 import financial_service_pb2 as pb
from astra.financial.v1.account_pb2 import Account
from google.protobuf.timestamp_pb2 import Timestamp

from services.financial import store as sql
from services.runtime.call import Call
from services.runtime.errors import InvalidArgument
from services.runtime.money import to_money
from services.runtime.store import Store

FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799
"""What a Timestamp may hold: the years 1 to 9999."""


class FinancialApi:
    """Serves the rpcs of financial."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get_account(self, request: pb.GetAccountRequest, call: Call) -> pb.GetAccountResponse:
        balances = await self._store.read(lambda db: sql.load_balances(db, request.user_id))
        return pb.GetAccountResponse(
            account=Account(
                user_id=request.user_id,
                balances=[to_money(amount, currency) for currency, amount in balances],
            )
        )

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
