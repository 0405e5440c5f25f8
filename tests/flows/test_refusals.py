"""What the mesh refuses, through the real gateway and Envoy: the right code, a reason, and nothing stored."""

import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import aiohttp
import grpc
import jwt
import pytest
import pytest_asyncio
from astra.event.v1.outbox_service_pb2 import TailRequest
from astra.trading.v1.trade_pb2 import Direction
from astra.trading.v1.trading_service_pb2 import ExecuteTradeRequest, GetPortfolioRequest, GrantPracticeFundsRequest
from astra.type.v1.money_pb2 import Money
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import Message
from grpc_health.v1.health_pb2 import HealthCheckRequest

from tests.story.play import UNRELATED, Stage
from tests.story.rest import Session

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRADE = {"symbol": "ETH", "amount": {"currencyCode": "USD", "amount": "100.00"}, "direction": "DIRECTION_LONG"}
TRADING = "/astra.trading.v1.TradingService"
TAIL = "/astra.event.v1.OutboxService/Tail"
DEADLINE_SECONDS = 10.0


def usd_trade(amount: str) -> dict[str, Any]:
    return {**TRADE, "amount": {"currencyCode": "USD", "amount": amount}}


def registration(username: str) -> dict[str, Any]:
    return {"username": username, "email": "someone@example.com", "password": "long enough it is"}


class Users:
    """Two users, one of them with a token that nobody should believe."""

    def __init__(self, ada: Session, bob: Session) -> None:
        self.ada = ada
        self.bob = bob
        header, claims = (
            jwt.get_unverified_header(ada.token),
            jwt.decode(ada.token, options={"verify_signature": False}),
        )
        key = ec.generate_private_key(ec.SECP256R1())
        token = jwt.encode(claims, key, algorithm="ES256", headers={"kid": header["kid"]})
        self.forged = Session(user_id=ada.user_id, token=token)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def users(stage: Stage) -> Users:
    for name in ("refused-ada", "refused-bob"):
        await stage.rest.register(name)
    await quiet(stage)
    return Users(await stage.rest.login("refused-ada"), await stage.rest.login("refused-bob"))


@asynccontextmanager
async def nothing_stored(stage: Stage, *sessions: Session) -> AsyncIterator[None]:
    """Fails when the block leaves an event in any stream, or changes the portfolio or the trades of these users.

    The streams are quiet before it: the fixtures and every test leave them so.
    """
    before = await stored(stage, sessions)
    yield
    await quiet(stage)
    assert await stored(stage, sessions) == before


async def quiet(stage: Stage) -> None:
    assert await stage.onlooker.look_until_quiet(time.monotonic() + DEADLINE_SECONDS, ignore=UNRELATED)


async def stored(stage: Stage, sessions: tuple[Session, ...]) -> Mapping[str, Any]:
    lengths: dict[str, Any] = {}
    for entry in stage.onlooker.seen:
        if entry.stream not in UNRELATED:
            lengths[entry.stream] = entry.ordinal
    for session in sessions:
        for path in ("portfolio", "trades"):
            answer = await stage.rest.get(f"/v1/users/{session.user_id}/{path}", session=session)
            lengths[f"{path} of {session.user_id}"] = answer.get("balance", answer)
    return lengths


def reason_of(body: Mapping[str, Any]) -> str:
    status = body.get("error", body)
    return next((detail["reason"] for detail in status.get("details", []) if "reason" in detail), "")


async def send(stage: Stage, method: str, path: str, session: Session | None, data: bytes) -> tuple[int, str]:
    """Sends one request as it is; returns status and reason."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {session.token}"} if session else {})
    url = f"http://{stage.running.mesh.addresses['gateway']}{path}"
    timeout = aiohttp.ClientTimeout(total=DEADLINE_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout) as http,
        http.request(method, url, data=data, headers=headers) as answer,
    ):
        return answer.status, reason_of(await answer.json(content_type=None))


@pytest.mark.parametrize(
    ("who", "path", "body", "refusal"),
    [
        ("ada", "/v1/users/{ada}/trades", b'{"symbol": "ETH"', (400, "INVALID_JSON")),
        ("ada", "/v1/users/{ada}/trades", b"symbol=ETH&amount=100", (400, "INVALID_JSON")),
        ("ada", "/v1/users/{ada}/trades", {**TRADE, "leverage": 100}, (400, "UNKNOWN_FIELD")),
        ("ada", "/v1/users/{ada}/trades", {**TRADE, "direction": "DIRECTION_UP"}, (400, "INVALID_FIELD")),
        ("ada", "/v1/users/{ada}/trades", {**TRADE, "symbol": "DOGE"}, (404, "MARKET_NOT_FOUND")),
        ("ada", "/v1/users/{ada}/trades", {"symbol": "ETH"}, (400, "FIELD_REQUIRED")),
        ("ada", "/v1/users/{ada}/trades", usd_trade("-5.00"), (400, "INVALID_FIELD")),
        ("ada", "/v1/users/{ada}/trades", usd_trade("0.001"), (400, "INVALID_FIELD")),
        ("ada", "/v1/users/{ada}/trades", usd_trade("10000.00"), (400, "INSUFFICIENT_BALANCE")),
        ("ada", "/v1/users/{ada}/trades", {**TRADE, "requestId": "a/b"}, (400, "INVALID_FIELD")),
        ("bob", "/v1/users/{ada}/trades", TRADE, (403, "NOT_YOURSELF")),
        ("bob", "/v1/users/{ada}/trades", {**TRADE, "userId": "{bob}"}, (400, "FIELD_SET_TWICE")),
        ("forged", "/v1/users/{ada}/trades", TRADE, (401, "")),
        ("nobody", "/v1/users/{ada}/trades", TRADE, (401, "")),
        ("ada", "/v1/users/{ada}/portfolio:grantPracticeFunds", {"amount": TRADE["amount"]}, (403, "ROLE_REQUIRED")),
        ("ada", "/v1/users/{ada}/progression:awardXp", {"xp": "1000"}, (403, "ROLE_REQUIRED")),
        ("nobody", "/v1/sessions", {"username": "no-such-user", "password": "x" * 12}, (401, "WRONG_CREDENTIALS")),
        ("nobody", "/v1/sessions", {"username": "refused-ada", "password": "x" * 12}, (401, "WRONG_CREDENTIALS")),
        ("nobody", "/v1/users", registration("Refused-ADA"), (409, "USERNAME_TAKEN")),
        ("nobody", "/v1/users", {**registration("refused-eve"), "password": "short"}, (400, "INVALID_FIELD")),
        ("admin", "/v1/users/no-such-user", None, (404, "USER_NOT_FOUND")),
        ("ada", "/v1/users/{bob}", None, (403, "NOT_YOURSELF")),
        ("nobody", "/v1/nowhere", None, (404, "UNKNOWN_PATH")),
    ],
)
async def test_a_bad_request_is_refused_and_leaves_nothing(
    stage: Stage, users: Users, who: str, path: str, body: bytes | Mapping[str, Any] | None, refusal: tuple[int, str]
) -> None:
    callers = {"ada": users.ada, "bob": users.bob, "forged": users.forged, "admin": stage.admin, "nobody": None}
    text = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    ids = {b"{ada}": users.ada.user_id, b"{bob}": users.bob.user_id}
    for mark, user_id in ids.items():
        text, path = text.replace(mark, user_id.encode()), path.replace(mark.decode(), user_id)
    async with nothing_stored(stage, users.ada, users.bob):
        method = "GET" if body is None else "POST"
        assert await send(stage, method, path, callers[who], text) == refusal


async def test_a_repeated_request_returns_the_first_result_and_trades_once(stage: Stage, users: Users) -> None:
    request_id = uuid.uuid4().hex
    body = {**TRADE, "requestId": request_id}
    path = f"/v1/users/{users.ada.user_id}/trades"
    first = await stage.rest.post(path, body, session=users.ada)
    await quiet(stage)
    async with nothing_stored(stage, users.ada):
        assert await stage.rest.post(path, body, session=users.ada) == first
        other = json.dumps({**body, "symbol": "BTC"}).encode()
        assert await send(stage, "POST", path, users.ada, other) == (409, "REQUEST_ID_REUSED")


async def test_anothers_request_id_shows_nothing_of_its_reply(stage: Stage, users: Users) -> None:
    request_id = uuid.uuid4().hex
    amount = Decimal(100)
    hers = await stage.rest.trade(users.ada, "ETH", amount, correlation_id="hers", request_id=request_id)
    await quiet(stage)
    async with nothing_stored(stage, users.ada):
        body = json.dumps({**TRADE, "requestId": request_id}).encode()
        path = f"/v1/users/{users.ada.user_id}/trades"
        assert await send(stage, "POST", path, users.bob, body) == (403, "NOT_YOURSELF")
    his = await stage.rest.trade(users.bob, "ETH", amount, correlation_id="his", request_id=request_id)
    assert his["tradeId"] != hers["tradeId"]
    assert his["userId"] == users.bob.user_id
    await quiet(stage)


@pytest.mark.parametrize(
    ("who", "path", "code"),
    [
        ("bob", f"{TRADING}/ExecuteTrade", grpc.StatusCode.PERMISSION_DENIED),
        ("forged", f"{TRADING}/ExecuteTrade", grpc.StatusCode.UNAUTHENTICATED),
        ("nobody", f"{TRADING}/ExecuteTrade", grpc.StatusCode.UNAUTHENTICATED),
        ("bob", f"{TRADING}/GetPortfolio", grpc.StatusCode.PERMISSION_DENIED),
        ("ada", f"{TRADING}/GrantPracticeFunds", grpc.StatusCode.PERMISSION_DENIED),
        ("ada", TAIL, grpc.StatusCode.UNIMPLEMENTED),
        ("admin", TAIL, grpc.StatusCode.UNIMPLEMENTED),
        ("nobody", "/grpc.health.v1.Health/Check", grpc.StatusCode.UNIMPLEMENTED),
    ],
)
async def test_a_bad_call_is_refused_and_leaves_nothing(
    stage: Stage, users: Users, who: str, path: str, code: grpc.StatusCode
) -> None:
    callers = {"ada": users.ada, "bob": users.bob, "forged": users.forged, "admin": stage.admin, "nobody": None}
    requests: Mapping[str, Message] = {
        f"{TRADING}/ExecuteTrade": ExecuteTradeRequest(
            user_id=users.ada.user_id,
            symbol="ETH",
            amount=Money(currency_code="USD", amount="100.00"),
            direction=Direction.DIRECTION_LONG,
        ),
        f"{TRADING}/GetPortfolio": GetPortfolioRequest(user_id=users.ada.user_id),
        f"{TRADING}/GrantPracticeFunds": GrantPracticeFundsRequest(
            user_id=users.ada.user_id, amount=Money(currency_code="USD", amount="100.00")
        ),
        TAIL: TailRequest(),
        "/grpc.health.v1.Health/Check": HealthCheckRequest(),
    }
    session = callers[who]
    metadata = (("authorization", f"Bearer {session.token}"),) if session else ()
    async with nothing_stored(stage, users.ada, users.bob), public_channel(stage) as channel:
        # As a stream: that shows the status of either kind of answer.
        call: Any = channel.unary_stream(path, request_serializer=lambda request: request.SerializeToString())
        answers = call(requests[path], metadata=metadata, timeout=DEADLINE_SECONDS)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await anext(aiter(answers))
        assert refused.value.code() is code, refused.value.details()


async def test_headers_that_state_an_identity_are_not_believed(stage: Stage, users: Users) -> None:
    metadata = (("x-astra-user", users.ada.user_id), ("x-astra-roles", "admin"), ("x-astra-service", "service:bridge"))
    async with nothing_stored(stage, users.ada), public_channel(stage) as channel:
        call: Any = channel.unary_unary(
            f"{TRADING}/GetPortfolio", request_serializer=GetPortfolioRequest.SerializeToString
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(GetPortfolioRequest(user_id=users.ada.user_id), metadata=metadata, timeout=DEADLINE_SECONDS)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def public_channel(stage: Stage) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(stage.running.mesh.addresses["envoy-public"])
