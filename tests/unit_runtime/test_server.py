"""The server: access, request checks, correlation ids, statuses. Through TradingService."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from astra.trading.v1 import trading_service_pb2 as pb
from astra.trading.v1.trading_service_pb2_grpc import TradingServiceStub
from astra.type.v1.money_pb2 import Money
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from services import trading
from services.contracts import rpcs
from services.mesh import Mesh
from services.runtime.call import authorize
from services.runtime.context import Caller
from services.runtime.errors import MeshError
from services.runtime.reflection import NAMES
from services.runtime.revocations import Revocations
from services.runtime.server import handlers_of
from tests.serving import Metadata, as_service, as_user, reason_of, serving

TRADE = pb.ExecuteTradeRequest(
    user_id="alice", symbol="STRK", amount=Money(currency_code="USD", amount="100"), direction="DIRECTION_LONG"
)


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(trading.build(Mesh.at(tmp_path))) as channel:
        yield channel


NOBODY, ALICE, ADMIN, SERVICE = (
    Caller(),
    Caller(user_id="alice"),
    Caller(user_id="root", roles=frozenset({"admin"})),
    (Caller(service="service:bridge")),
)


@pytest.mark.parametrize(
    ("rpc", "acting", "caller", "refusal"),
    [
        ("trading.v1.TradingService/GetQuote", None, NOBODY, None),
        ("trading.v1.TradingService/GetTrade", "alice", NOBODY, "UNAUTHENTICATED"),
        ("trading.v1.TradingService/GetTrade", "alice", ALICE, None),
        ("trading.v1.TradingService/GetTrade", "", ALICE, None),
        ("trading.v1.TradingService/GetTrade", "bob", ALICE, "NOT_YOURSELF"),
        ("trading.v1.TradingService/GetTrade", "bob", ADMIN, None),
        ("trading.v1.TradingService/GetTrade", "bob", SERVICE, "ROLE_REQUIRED"),
        ("trading.v1.TradingService/GrantPracticeFunds", "alice", ALICE, "ROLE_REQUIRED"),
        ("trading.v1.TradingService/GrantPracticeFunds", "alice", ADMIN, None),
        ("trading.v1.TradingService/GrantPracticeFunds", "alice", SERVICE, "ROLE_REQUIRED"),
        ("gamification.v1.GamificationService/GetProgression", "bob", ALICE, None),
        ("gamification.v1.GamificationService/GetProgression", "bob", NOBODY, "UNAUTHENTICATED"),
        ("gamification.v1.GamificationService/GetProgression", "bob", SERVICE, "ROLE_REQUIRED"),
        ("gamification.v1.GamificationService/AwardXp", "alice", ALICE, "ROLE_REQUIRED"),
        ("gamification.v1.GamificationService/AwardXp", "alice", ADMIN, None),
        ("gamification.v1.GamificationService/AwardXp", "alice", SERVICE, None),
        ("event.v1.OutboxService/Tail", None, ADMIN, "ROLE_REQUIRED"),
        ("event.v1.OutboxService/Tail", None, SERVICE, None),
    ],
)
def test_access_is_what_the_option_says(rpc: str, acting: str | None, caller: Caller, refusal: str | None) -> None:
    declared = rpcs()[f"/astra.{rpc}"]
    request = declared.request() if acting is None else declared.request(user_id=acting)
    if refusal is not None:
        with pytest.raises(MeshError) as caught:
            authorize(declared, caller, request)
        assert caught.value.reason == refusal
        return
    authorize(declared, caller, request)
    if acting == "":
        assert request.user_id == caller.user_id  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "metadata", "code", "reason", "field"),
    [
        ({"user_id": "bob"}, as_user("alice"), "PERMISSION_DENIED", "NOT_YOURSELF", ""),
        ({}, (), "UNAUTHENTICATED", "UNAUTHENTICATED", ""),
        ({"symbol": ""}, as_user("alice"), "INVALID_ARGUMENT", "FIELD_REQUIRED", "symbol"),
        ({"direction": 0}, as_user("alice"), "INVALID_ARGUMENT", "FIELD_REQUIRED", "direction"),
        ({"request_id": "a b"}, as_user("alice"), "INVALID_ARGUMENT", "INVALID_FIELD", "request_id"),
        ({"battle_id": "x" * 65}, as_user("alice"), "INVALID_ARGUMENT", "INVALID_FIELD", "battle_id"),
        ({"symbol": "DOGE"}, as_user("alice"), "NOT_FOUND", "MARKET_NOT_FOUND", ""),
    ],
)
async def test_a_refused_call_says_why(
    channel: grpc.aio.Channel, change: dict[str, object], metadata: Metadata, code: str, reason: str, field: str
) -> None:
    request = pb.ExecuteTradeRequest()
    request.CopyFrom(TRADE)
    for name, value in change.items():
        setattr(request, name, value)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await TradingServiceStub(channel).ExecuteTrade(request, metadata=metadata)
    assert (caught.value.code().name, reason_of(caught.value)) == (code, reason)
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    violations = error_details_pb2.BadRequest()
    fields = [
        violation.field
        for detail in status.details
        if detail.Unpack(violations)
        for violation in violations.field_violations
    ]
    assert fields == ([field] if field else [])


@pytest.mark.parametrize(("given", "kept"), [("my-chain.1", True), ("bad id", False), ("x" * 65, False), ("", False)])
async def test_a_correlation_id_comes_back_and_a_malformed_one_is_replaced(
    channel: grpc.aio.Channel, given: str, kept: bool
) -> None:
    call = TradingServiceStub(channel).GetQuote(
        pb.GetQuoteRequest(symbol="BTC"), metadata=(("x-correlation-id", given),) if given else ()
    )
    await call
    returned = dict(await call.trailing_metadata())["x-correlation-id"]
    assert (returned == given) is kept
    assert returned


async def test_a_refusal_carries_the_correlation_id_too(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await TradingServiceStub(channel).ExecuteTrade(TRADE, metadata=(("x-correlation-id", "c-1"),))
    assert dict(caught.value.trailing_metadata())["x-correlation-id"] == "c-1"


async def test_an_answer_does_not_begin_before_its_outcome_is_known(
    channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise Envoy could neither retry it nor end it at the deadline with anything but a reset."""
    goes_on = asyncio.Event()

    async def slow(*_: object) -> list[object]:
        await goes_on.wait()
        return []

    monkeypatch.setattr("services.runtime.store.Store.read", slow)
    call = TradingServiceStub(channel).ListTrades(pb.ListTradesRequest(), metadata=as_user("alice"))
    headers = asyncio.ensure_future(call.initial_metadata())
    done, _ = await asyncio.wait([headers], timeout=0.2)
    assert not done
    goes_on.set()
    await asyncio.wait_for(headers, 5)
    assert "x-correlation-id" in dict(await call.trailing_metadata())


async def test_what_nobody_expected_is_internal_and_tells_nothing(
    channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr("services.trading.market.SimulatedMarket.prices", broken)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await TradingServiceStub(channel).GetQuote(pb.GetQuoteRequest(symbol="BTC"))
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "hunter2" not in (caught.value.details() or "")


async def test_health_is_serving(channel: grpc.aio.Channel) -> None:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    for service in ("", "astra.trading.v1.TradingService"):
        response = await check(health_pb2.HealthCheckRequest(service=service))
        assert response == health_pb2.HealthCheckResponse(status="SERVING")


@pytest.mark.parametrize("name", NAMES)
async def test_reflection_lists_every_public_service_in_both_versions(channel: grpc.aio.Channel, name: str) -> None:
    listing = channel.stream_stream(
        f"/{name}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    response = await listing.read()
    assert isinstance(response, reflection_pb2.ServerReflectionResponse)
    listed = {service.name for service in response.list_services_response.service}
    assert listed == {rpc.service for rpc in rpcs().values() if rpc.public} | set(NAMES)


def test_an_rpc_without_a_method_fails_at_start() -> None:
    with pytest.raises(TypeError, match=r"does not serve /astra\.trading"):
        handlers_of("astra.trading.v1.TradingService", object(), Revocations())


async def test_a_service_token_is_no_user(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await TradingServiceStub(channel).GetPortfolio(pb.GetPortfolioRequest(user_id="a"), metadata=as_service("x"))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
