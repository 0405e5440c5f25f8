"""The shards ledger: double entry, never below 0, once a request for ever."""

import asyncio

import grpc
import pytest
from astra.gamification.v1 import gamification_service_pb2 as pb
from astra.type.v1.money_pb2 import Money

from services.runtime.request_ids import REQUEST_RETENTION_MS
from tests.serving import as_service, as_user, reason_of
from tests.unit_gamification.conftest import Game

NFT = as_service("nft")


def shards(amount: int | str) -> Money:
    return Money(currency_code="SHARDS", amount=str(amount))


async def credit(game: Game, amount: int, request_id: str, user_id: str = "alice") -> int:
    request = pb.CreditShardsRequest(user_id=user_id, request_id=request_id, amount=shards(amount), purpose="nft sale")
    return int((await game.stub.CreditShards(request, metadata=NFT)).shard_account.balance.amount)


async def debit(game: Game, amount: int, request_id: str, user_id: str = "alice") -> int:
    request = pb.DebitShardsRequest(user_id=user_id, request_id=request_id, amount=shards(amount))
    return int((await game.stub.DebitShards(request, metadata=NFT)).shard_account.balance.amount)


async def accounts(game: Game) -> dict[str, int]:
    """Returns every balance, after comparing each with its entries and every transfer with zero."""
    rows = await game.domain.store.read(
        lambda db: (
            db.all("SELECT account, balance FROM shard_account"),
            db.all("SELECT account, sum(amount) AS balance FROM shard_entry GROUP BY account"),
            db.all("SELECT transfer_id, sum(amount) AS total, count(*) AS n FROM shard_entry GROUP BY transfer_id"),
        )
    )
    balances, entries, transfers = rows
    assert {row["account"]: row["balance"] for row in balances} == {row["account"]: row["balance"] for row in entries}
    assert all((row["total"], row["n"]) == (0, 2) for row in transfers)
    return {row["account"]: row["balance"] for row in balances}


async def test_a_sale_conserves_shards(game: Game) -> None:
    assert await credit(game, 500, "grant") == 500
    assert await debit(game, 200, "buy-1") == 300
    assert await credit(game, 185, "sell-1", "bob") == 185
    assert await accounts(game) == {"alice": 300, "bob": 185, "service:nft": -485}


async def test_a_user_sees_its_own_shards_alone(game: Game) -> None:
    await credit(game, 5, "grant")
    for caller in (as_user("alice"), as_user("root", "admin"), NFT):
        response = await game.stub.GetShards(pb.GetShardsRequest(user_id="alice"), metadata=caller)
        assert response.shard_account.balance == shards(5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await game.stub.GetShards(pb.GetShardsRequest(user_id="alice"), metadata=as_user("bob"))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_more_than_there_is_is_refused_and_moves_nothing(game: Game) -> None:
    await credit(game, 10, "grant")
    with pytest.raises(grpc.aio.AioRpcError, match="has 10 shards and needs 11") as caught:
        await debit(game, 11, "buy")
    assert (caught.value.code(), reason_of(caught.value)) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "INSUFFICIENT_SHARDS",
    )
    assert await accounts(game) == {"alice": 10, "service:nft": -10}
    assert await debit(game, 10, "buy") == 0  # what was refused may be tried again under the same id


@pytest.mark.parametrize("later_ms", [0, REQUEST_RETENTION_MS + 1])
async def test_a_repeat_moves_nothing_more_even_after_the_inbox_forgot_it(game: Game, later_ms: int) -> None:
    await credit(game, 100, "grant")
    assert await debit(game, 30, "buy") == 70
    game.now[0] += later_ms
    assert await debit(game, 30, "buy") == 70
    assert await credit(game, 30, "buy") == 100  # another rpc's ids are others
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await debit(game, 31, "buy")
    assert reason_of(caught.value) == "REQUEST_ID_REUSED"
    other = pb.DebitShardsRequest(user_id="alice", request_id="buy", amount=shards(30))
    response = await game.stub.DebitShards(other, metadata=as_service("social"))  # and another service's
    assert response.shard_account.balance == shards(70)
    assert await accounts(game) == {"alice": 70, "service:nft": -100, "service:social": 30}


@pytest.mark.parametrize(
    ("amount", "field"),
    [
        (Money(currency_code="USD", amount="1"), "amount.currency_code"),
        (shards("1.5"), "amount.amount"),
        (shards(0), "amount.amount"),
        (shards(-5), "amount.amount"),
        (shards("1e3"), "amount.amount"),
    ],
)
async def test_what_is_no_amount_of_shards_is_refused(game: Game, amount: Money, field: str) -> None:
    request = pb.CreditShardsRequest(user_id="alice", request_id="r", amount=amount)
    with pytest.raises(grpc.aio.AioRpcError, match=field) as caught:
        await game.stub.CreditShards(request, metadata=NFT)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await accounts(game) == {}


async def test_a_user_moves_no_shards(game: Game) -> None:
    for call, request in (
        (game.stub.CreditShards, pb.CreditShardsRequest(user_id="alice", request_id="r", amount=shards(1))),
        (game.stub.DebitShards, pb.DebitShardsRequest(user_id="alice", request_id="r", amount=shards(1))),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(request, metadata=as_user("root", "admin"))
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_64_callers_on_one_account_take_exactly_what_is_there(game: Game) -> None:
    await credit(game, 100, "grant")
    taken = await asyncio.gather(*(debit(game, 7, f"buy-{n}") for n in range(64)), return_exceptions=True)
    assert sum(isinstance(each, int) for each in taken) == 14
    refused = [each for each in taken if isinstance(each, grpc.aio.AioRpcError)]
    assert {reason_of(each) for each in refused} == {"INSUFFICIENT_SHARDS"}
    assert await accounts(game) == {"alice": 2, "service:nft": -2}
