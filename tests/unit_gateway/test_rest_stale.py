"""Old answers while a service is down: for reads that allow it, marked, and never another caller's (rule 14)."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from gateway.refusal import refusal
from gateway.settings import Settings
from gateway.stale import LastAnswers
from tests.unit_gateway.backend import Served, served
from tests.unit_gateway.schema import find, with_rules

RULES = (("Named", "GET", {"path": "/read"}), ("Named", "POST", {"path": "/write", "body": "*"}))
ALLOWED = with_rules(*RULES, stale_ok=True)
ADA = {"Authorization": "Bearer ada"}


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[Served]:
    async with served(ALLOWED) as running:
        yield running


def _down(gateway: Served, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
    async def answer(request: Any, context: Any) -> Any:
        await context.abort(code, "down")

    gateway.backend.answer = answer


async def test_last_answer_stands_in_and_says_so(gateway: Served) -> None:
    assert "Age" not in (await gateway.ask("GET", "/read?name=a", headers=ADA))[1]
    _down(gateway)
    status, headers, body = await gateway.ask("GET", "/read?name=a", headers=ADA)
    assert (status, body) == (200, {"name": "a"})
    assert (headers["X-Astra-Stale"], headers["Cache-Control"]) == ("true", "no-store")
    assert (int(headers["Age"]) < 60, headers["Warning"]) == (True, '110 - "Response is Stale"')


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer eve"}])
async def test_nobody_gets_another_callers_answer(gateway: Served, headers: dict[str, str]) -> None:
    await gateway.ask("GET", "/read?name=a", headers=ADA)
    _down(gateway)
    assert (await gateway.ask("GET", "/read?name=a", headers=headers))[0] == 503


async def test_another_request_or_a_write_gets_no_answer(gateway: Served) -> None:
    await gateway.ask("GET", "/read?name=a")
    await gateway.ask("POST", "/write", json={"name": "a"})
    _down(gateway)
    assert (await gateway.ask("GET", "/read?name=b"))[0] == 503
    assert (await gateway.ask("POST", "/write", json={"name": "a"}))[0] == 503


async def test_rpc_that_does_not_allow_it_has_no_last_answer() -> None:
    async with served(with_rules(*RULES)) as gateway:
        await gateway.ask("GET", "/read?name=a")
        _down(gateway)
        assert (await gateway.ask("GET", "/read?name=a"))[0] == 503


@pytest.mark.parametrize("code", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND])
async def test_what_the_service_took_back_is_forgotten(gateway: Served, code: grpc.StatusCode) -> None:
    await gateway.ask("GET", "/read?name=a")
    _down(gateway, code)
    assert (await gateway.ask("GET", "/read?name=a"))[0] in (403, 404)
    _down(gateway)
    assert (await gateway.ask("GET", "/read?name=a"))[0] == 503


def test_answers_are_bounded_in_age_number_and_bytes() -> None:
    now = 0.0
    settings = Settings(stale_max_age_seconds=10, stale_entries=3, stale_max_bytes=100, stale_total_bytes=150)
    last = LastAnswers(settings, lambda: now)
    route = find(ALLOWED, "GET", "/read", settings)[1].target
    outage = refusal(503, "DOWN", "down").failure

    def key(name: bytes) -> bytes:
        made = last.key("GET", route, name, "")
        assert made is not None
        return made

    for name in (b"a", b"b", b"c", b"d"):
        last.keep(key(name), name)
    assert last.instead_of(outage, key(b"a")) is None
    assert last.instead_of(outage, key(b"d")) is not None
    now = 11.0
    assert last.instead_of(outage, key(b"d")) is None
    last.keep(key(b"large"), b"x" * 101)
    assert last.instead_of(outage, key(b"large")) is None
    last.keep(key(b"e"), b"x" * 90)
    last.keep(key(b"f"), b"x" * 90)
    assert last.instead_of(outage, key(b"e")) is None
    assert last.instead_of(outage, key(b"f")) is not None
