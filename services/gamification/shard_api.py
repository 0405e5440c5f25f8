"""The rpcs about shards. Other domains move them in the name of their users; each has an account of its own."""

from astra.gamification.v1 import gamification_service_pb2 as pb

from services.gamification.shards import SHARDS, account_message, transfer
from services.runtime.call import Call
from services.runtime.errors import InvalidArgument
from services.runtime.money import parse_money
from services.runtime.store import Store
from services.runtime.transaction import Tx

MAX_PURPOSE_CHARACTERS = 100


class ShardApi:
    """Serves the part of GamificationService that is about shards."""

    _store: Store

    async def get_shards(self, request: pb.GetShardsRequest, call: Call) -> pb.GetShardsResponse:
        if not request.user_id:
            raise InvalidArgument("user_id is required from a service", field="user_id", reason="FIELD_REQUIRED")
        account = await self._store.read(lambda db: account_message(db, request.user_id))
        return pb.GetShardsResponse(shard_account=account)

    async def debit_shards(self, request: pb.DebitShardsRequest, call: Call) -> pb.DebitShardsResponse:
        amount = _amount(request)

        def work(tx: Tx) -> pb.DebitShardsResponse:
            _move(tx, request, call, source=request.user_id, target=call.caller.service, amount=amount)
            return pb.DebitShardsResponse(shard_account=account_message(tx, request.user_id))

        return await call.write(self._store, work)

    async def credit_shards(self, request: pb.CreditShardsRequest, call: Call) -> pb.CreditShardsResponse:
        amount = _amount(request)

        def work(tx: Tx) -> pb.CreditShardsResponse:
            _move(tx, request, call, source=call.caller.service, target=request.user_id, amount=amount)
            return pb.CreditShardsResponse(shard_account=account_message(tx, request.user_id))

        return await call.write(self._store, work)


def _amount(request: pb.DebitShardsRequest | pb.CreditShardsRequest) -> int:
    """Returns the whole shards of a request. Raises `InvalidArgument` for what is no such amount, or a long purpose."""
    if len(request.purpose) > MAX_PURPOSE_CHARACTERS:
        raise InvalidArgument(f"purpose has more than {MAX_PURPOSE_CHARACTERS} characters", field="purpose")
    return int(parse_money(request.amount, field="amount", currency=SHARDS))


def _move(
    tx: Tx,
    request: pb.DebitShardsRequest | pb.CreditShardsRequest,
    call: Call,
    *,
    source: str,
    target: str,
    amount: int,
) -> None:
    """Moves shards once for each request id of a service and rpc: sagas may come back after the inbox's 24 h."""
    transfer(
        tx,
        transfer_id=f"{call.caller.service}/{call.rpc.name}/{request.request_id}",
        source=source,
        target=target,
        amount=amount,
        purpose=request.purpose,
    )
