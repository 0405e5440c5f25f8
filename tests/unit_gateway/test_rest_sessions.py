"""Sessions of browsers: no script sees the token, a write needs the CSRF token, and signing out ends it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from typing import Any

import grpc
import pytest_asyncio

from gateway.sessions import csrf_token
from gateway.settings import SessionRules, Settings
from tests.unit_gateway.backend import Served, served
from tests.unit_gateway.schema import with_rules

RULES = with_rules(
    ("SignIn", "POST", {"path": "/v1/sessions", "body": "*"}),
    ("SignIn", "POST", {"path": "/v1/sessions:refresh", "body": "*"}),
    ("SignIn", "POST", {"path": "/v1/sessions:end", "body": "*"}),
    ("SignIn", "GET", {"path": "/read"}),
    ("SignIn", "POST", {"path": "/write", "body": "*"}),
    response="SignedIn",
)
SETTINGS = Settings(
    sessions=SessionRules(
        login_rpc="/cases.Cases/Call0", refresh_rpc="/cases.Cases/Call1", logout_rpc="/cases.Cases/Call2"
    )
)
ADA = {"username": "ada", "password": "correct horse"}


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[Served]:
    async with served(RULES, SETTINGS) as running:

        async def answer(request: Any, context: Any) -> Any:
            if request.username == "nobody":
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong credentials")
            token = "token-2" if request.refresh_token else "token-1"
            expires = (datetime.now(UTC) + timedelta(minutes=15)).isoformat().replace("+00:00", "Z")
            values = (
                f'{{"accessToken": "{token}", "userId": "ada", "refreshToken": "again", "expireTime": "{expires}"}}'
            )
            return running.type("SignedIn").from_json(values)

        running.backend.answer = answer
        yield running


def _cookies(headers: Any) -> SimpleCookie:
    read = SimpleCookie()
    for line in headers.getall("Set-Cookie"):
        read.load(line)
    return read


def _cookie(token: str, **others: str) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{k}={v}" for k, v in {"astra_session": token, **others}.items())}


async def test_token_is_in_a_cookie_that_scripts_cannot_read(gateway: Served) -> None:
    status, headers, body = await gateway.ask("POST", "/session", json=ADA)
    assert (status, body["userId"], headers["Cache-Control"]) == (200, "ada", "no-store")
    assert "token-1" not in str(body)
    assert "again" not in str(body)
    cookies = _cookies(headers)
    session, csrf, refresh = cookies["astra_session"], cookies["astra_csrf"], cookies["astra_refresh"]
    assert (session.value, session["httponly"], session["samesite"], session["secure"]) == (
        "token-1", True, "Strict", True,
    )  # fmt: skip
    assert 800 < int(session["max-age"]) <= 900
    assert (csrf.value, csrf["httponly"], csrf["samesite"]) == (body["csrfToken"], "", "Strict")
    assert (refresh["path"], refresh["httponly"]) == ("/session", True)


async def test_session_speaks_for_its_user(gateway: Served) -> None:
    assert (await gateway.ask("GET", "/read", headers=_cookie("token-1")))[0] == 200
    assert gateway.backend.metadata["authorization"] == "Bearer token-1"
    own = {**_cookie("token-1"), "Authorization": "Bearer own"}
    assert (await gateway.ask("POST", "/write", json={}, headers=own))[0] == 200
    assert gateway.backend.metadata["authorization"] == "Bearer own"


async def test_write_needs_the_csrf_token_of_its_session(gateway: Served) -> None:
    for given in ({}, {"X-CSRF-Token": "guess"}, {"X-CSRF-Token": csrf_token("token-2")}):
        status, _, body = await gateway.ask("POST", "/write", json={}, headers={**_cookie("token-1"), **given})
        assert (status, body["details"][0]["reason"]) == (403, "CSRF")
    assert not gateway.backend.seen
    headers = {**_cookie("token-1"), "X-CSRF-Token": csrf_token("token-1")}
    assert (await gateway.ask("POST", "/write", json={}, headers=headers))[0] == 200


async def test_refused_sign_in_sets_nothing(gateway: Served) -> None:
    status, headers, _ = await gateway.ask("POST", "/session", json={"username": "nobody"})
    assert (status, "Set-Cookie" in headers) == (401, False)
    # A form of another site cannot send JSON.
    status, headers, _ = await gateway.ask("POST", "/session", data=ADA)
    assert (status, "Set-Cookie" in headers) == (415, False)


async def test_session_is_refreshed_from_its_other_cookie(gateway: Served) -> None:
    assert (await gateway.ask("POST", "/session/refresh"))[0] == 401
    status, headers, _ = await gateway.ask("POST", "/session/refresh", headers={"Cookie": "astra_refresh=again"})
    assert (status, _cookies(headers)["astra_session"].value) == (200, "token-2")
    assert gateway.backend.seen[-1].refresh_token == "again"


async def test_signing_out_ends_the_session_and_clears_the_cookies(gateway: Served) -> None:
    assert (await gateway.ask("DELETE", "/session", headers=_cookie("token-1")))[0] == 403
    headers = {**_cookie("token-1", astra_refresh="again"), "X-CSRF-Token": csrf_token("token-1")}
    status, answered, _ = await gateway.ask("DELETE", "/session", headers=headers)
    assert status == 204
    assert gateway.backend.metadata["authorization"] == "Bearer token-1"
    assert gateway.backend.seen[-1].refresh_token == "again"
    assert {cookie["max-age"] for cookie in _cookies(answered).values()} == {"0"}


async def test_session_ends_although_its_token_has_run_out_or_it_has_ended_before(gateway: Served) -> None:
    status, answered, _ = await gateway.ask("DELETE", "/session", headers={"Cookie": "astra_refresh=again"})
    assert (status, gateway.backend.seen[-1].refresh_token) == (204, "again")
    assert {cookie["max-age"] for cookie in _cookies(answered).values()} == {"0"}

    codes = iter((grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE))

    async def refuse(request: Any, context: Any) -> Any:
        await context.abort(next(codes), "no")

    gateway.backend.answer = refuse
    for wanted in ((204, True), (503, False)):
        got, answered, _ = await gateway.ask("DELETE", "/session", headers={"Cookie": "astra_refresh=again"})
        assert (got, "Set-Cookie" in answered) == wanted


async def test_token_in_a_query_is_no_token(gateway: Served) -> None:
    assert (await gateway.ask("GET", "/read?access_token=token-1"))[0] == 400
    assert (await gateway.ask("PUT", "/session"))[1]["Allow"] == "DELETE, POST"


async def test_there_are_no_sessions_unless_set() -> None:
    async with served(RULES) as gateway:
        assert (await gateway.ask("POST", "/session", json=ADA))[0] == 404
        await gateway.ask("GET", "/read", headers=_cookie("token-1"))
        assert "authorization" not in gateway.backend.metadata
