"""One suite over every service, in process: what each rpc owes its callers whatever the domain."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api import field_behavior_pb2
from google.protobuf.message import Message

from services import process
from services.contracts import Rpc, rpcs
from services.mesh import SERVICES, Mesh
from tests.serving import Metadata, as_service, as_user, reason_of, serving

NAMES = [service.name for service in SERVICES]
UNARY = [rpc for rpc in rpcs().values() if not rpc.server_streaming]
GATED = [rpc for rpc in UNARY if "OPEN" not in rpc.allow]
CARD = {"number": "4242424242424242", "expire_month": 12, "expire_year": 2090, "cvc": "123"}
WRITES: dict[str, dict[str, Any]] = {
    "ExecuteTrade": {
        "user_id": "alice",
        "symbol": "BTC",
        "amount": {"currency_code": "USD", "amount": "10"},
        "direction": 1,
    },
    "GrantPracticeFunds": {"user_id": "alice", "amount": {"currency_code": "USD", "amount": "10"}},
    "AwardXp": {"user_id": "alice", "xp": 10},
    "CheckIn": {"user_id": "alice"},
    "CreditShards": {"user_id": "alice", "amount": {"currency_code": "SHARDS", "amount": "10"}},
    "Interact": {"user_id": "alice", "target_user_id": "bob", "kind": 1},
    "CreateClan": {"user_id": "alice", "name": "The Ants"},
    "Deposit": {"user_id": "alice", "amount": {"currency_code": "USD", "amount": "10"}, "card": CARD},
    "CreatePayment": {
        "user_id": "alice",
        "purpose": 1,
        "amount": {"currency_code": "USD", "amount": "10"},
        "card": CARD,
    },
    "Subscribe": {"user_id": "alice", "tier": 3, "card": CARD},
    "VerifyKyc": {"user_id": "alice"},
    "RegisterUser": {"username": "alice", "email": "alice@example.com", "password": "correct horse"},
}
"""A good request for each write that needs no other first."""
NEED_A_PAYMENT = {"Withdraw", "RefundPayment", "CancelSubscription"}
NEED_AN_NFT = {"MintNft", "ListForSale", "Unlist", "BuyNft"}
NEED_A_CLAN = {
    "JoinClan",
    "LeaveClan",
    "SetClanRole",
    "RemoveClanMember",
    "ChallengeClan",
    "AcceptBattle",
    "DeclineBattle",
}
CHANGEABLE = {"battle_id", "text", "display_name", "xp", "user_id"}
"""Fields, one of which makes another body of a write."""


@pytest.fixture
async def channel(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the service of the test's rpc."""
    rpc: Rpc = request.getfixturevalue("rpc")
    async with serving(process.build(rpc.domain, Mesh.at(tmp_path, free_ports=True))) as channel:
        yield channel


async def call(channel: grpc.aio.Channel, rpc: Rpc, request: Message, metadata: Metadata) -> Any:
    return await channel.unary_unary(
        rpc.path, request_serializer=rpc.request.SerializeToString, response_deserializer=rpc.response.FromString
    )(request, metadata=metadata, timeout=10)


def caller_of(rpc: Rpc) -> Metadata:
    """Returns a caller that the rpc lets in."""
    if rpc.allow <= {"OPEN"}:
        return ()
    if rpc.allow == {"SERVICE"}:
        return as_service("nft")
    return as_user("alice", *(["admin"] if "ADMIN" in rpc.allow else []))


def acting_as(rpc: Rpc, user_id: str) -> Message:
    return rpc.request(**({rpc.acting_user: user_id} if rpc.acting_user else {}))


def required_of(rpc: Rpc) -> list[str]:
    """Returns the names of the fields that a request must have."""
    return [
        field.name
        for field in rpc.request.DESCRIPTOR.fields
        if field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    ]


@pytest.mark.parametrize("rpc", GATED, ids=lambda rpc: rpc.name)
async def test_without_an_identity_it_is_unauthenticated(rpc: Rpc, channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, rpc, acting_as(rpc, "alice"), ())
    assert (caught.value.code().name, reason_of(caught.value)) == ("UNAUTHENTICATED", "UNAUTHENTICATED")


@pytest.mark.parametrize("rpc", [rpc for rpc in UNARY if "SELF" in rpc.allow], ids=lambda rpc: rpc.name)
async def test_nobody_acts_for_another(rpc: Rpc, channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, rpc, acting_as(rpc, "bob"), as_user("alice"))
    assert (caught.value.code().name, reason_of(caught.value)) == ("PERMISSION_DENIED", "NOT_YOURSELF")


@pytest.mark.parametrize(
    "rpc", [rpc for rpc in UNARY if not rpc.allow & {"OPEN", "PUBLIC", "SELF"}], ids=lambda rpc: rpc.name
)
async def test_a_user_is_no_admin_and_no_service(rpc: Rpc, channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, rpc, acting_as(rpc, "alice"), as_user("alice"))
    assert (caught.value.code().name, reason_of(caught.value)) == ("PERMISSION_DENIED", "ROLE_REQUIRED")


@pytest.mark.parametrize("rpc", [rpc for rpc in GATED if "SERVICE" not in rpc.allow], ids=lambda rpc: rpc.name)
async def test_a_service_is_no_user(rpc: Rpc, channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, rpc, acting_as(rpc, "alice"), as_service("bridge"))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("rpc", [rpc for rpc in UNARY if required_of(rpc)], ids=lambda rpc: rpc.name)
async def test_a_missing_required_field_is_named(rpc: Rpc, channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, rpc, acting_as(rpc, "alice"), caller_of(rpc))
    assert (caught.value.code().name, reason_of(caught.value)) == ("INVALID_ARGUMENT", "FIELD_REQUIRED")
    assert (caught.value.details() or "").split()[0] in required_of(rpc)


@pytest.mark.parametrize(
    "rpc", [rpc for rpc in UNARY if "page_token" in rpc.request.DESCRIPTOR.fields_by_name], ids=lambda rpc: rpc.name
)
@pytest.mark.parametrize(("field", "value"), [("page_token", "made-up"), ("page_size", -1)])
async def test_a_made_up_page_is_refused(rpc: Rpc, channel: grpc.aio.Channel, field: str, value: object) -> None:
    request = rpc.request(**{field: value})
    for name in ("user_id", "board"):
        if name in rpc.request.DESCRIPTOR.fields_by_name:
            setattr(request, name, "alice" if name == "user_id" else 1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, rpc, request, caller_of(rpc))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in (caught.value.details() or "")


@pytest.mark.parametrize("rpc", [rpc for rpc in UNARY if rpc.name in WRITES], ids=lambda rpc: rpc.name)
async def test_a_repeated_write_returns_the_first_result_and_another_body_is_refused(
    rpc: Rpc, channel: grpc.aio.Channel
) -> None:
    request = rpc.request(**WRITES[rpc.name], request_id=uuid.uuid4().hex)
    first = await call(channel, rpc, request, caller_of(rpc))
    assert await call(channel, rpc, request, caller_of(rpc)) == first
    changed = next(field for field in request.DESCRIPTOR.fields if field.name in CHANGEABLE)
    setattr(request, changed.name, 7 if changed.name == "xp" else "alice2")
    caller = as_user("alice", "admin") if changed.name == "user_id" and "SELF" in rpc.allow else caller_of(rpc)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, rpc, request, caller)
    assert (caught.value.code().name, reason_of(caught.value)) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")


def test_every_write_is_tried_here_or_needs_another_first() -> None:
    needs_another = {"CloseTrade", "DebitShards", *NEED_A_CLAN, *NEED_A_PAYMENT, *NEED_AN_NFT}
    takes_no_request_id = {"Login"}
    writes = {rpc.name for rpc in UNARY if not rpc.read_only}
    assert writes == set(WRITES) | needs_another | takes_no_request_id
