"""Clients that say they are Google's get what those read: whole replies, AIP-193's errors, arrays that fail open."""

import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from tests.unit_gateway.backend import Served, served
from tests.unit_gateway.schema import with_rules

RULES = with_rules(
    ("OnShelf", "GET", {"path": "/shown/{shelf}", "response_body": "book"}),
    ("EchoBody", "POST", {"path": "/raw", "body": "nested.content", "response_body": "nested"}),
)
STREAM = with_rules(("Watched", "GET", {"path": "/watch"}), streaming="server")
GOOGLE = {"X-Goog-Api-Client": "gl-python/3.11 gapic/1.44 rest/2.34"}


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[Served]:
    async with served(RULES) as running:
        yield running


async def test_reply_is_whole_whatever_the_rule_shows(gateway: Served) -> None:
    path = "/shown/1?book.title=Emma"
    assert (await gateway.ask("GET", path))[2] == {"title": "Emma"}
    _, headers, whole = await gateway.ask("GET", path, headers=GOOGLE)
    assert whole == {"shelf": "1", "book": {"title": "Emma"}}
    assert "X-Goog-Api-Client" in headers["Vary"]


@pytest.mark.parametrize(
    ("code", "status", "name"),
    [(grpc.StatusCode.NOT_FOUND, 404, "NOT_FOUND"), (grpc.StatusCode.FAILED_PRECONDITION, 400, "FAILED_PRECONDITION")],
)
async def test_failure_is_an_error_of_aip_193(gateway: Served, code: grpc.StatusCode, status: int, name: str) -> None:
    async def fail(request: Any, context: Any) -> Any:
        await context.abort(code, "it is so")

    gateway.backend.answer = fail
    got, _, body = await gateway.ask("GET", "/shown/1", headers=GOOGLE)
    assert (got, body) == (
        status,
        {"error": {"code": status, "message": "it is so", "status": name, "details": []}},
    )
    # Whatever a client is, it gets a problem where it asks for one.
    _, _, body = await gateway.ask("GET", "/shown/1", headers={**GOOGLE, "Accept": "application/problem+json"})
    assert body["title"]


async def test_what_fails_before_any_rpc_has_the_same_form(gateway: Served) -> None:
    for target, status in (("/nothing", 404), ("/shown/1?x=1", 400), ("/shown/%ff", 400)):
        head = f"GET {target} HTTP/1.1\r\nHost: x\r\nX-Goog-Api-Client: rest/1\r\nConnection: close\r\n\r\n"
        answer = await gateway.raw(head.encode())
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == status


async def test_stream_that_fails_stays_open_at_its_error() -> None:
    async with served(STREAM) as gateway:

        async def stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            yield gateway.type("Watched")(text="1")
            await context.abort(grpc.StatusCode.DATA_LOSS, "broke off")

        gateway.backend.stream = stream
        async with gateway.client.get("/watch", headers=GOOGLE) as response:
            body = await response.text()
        with pytest.raises(json.JSONDecodeError):
            json.loads(body)
        assert json.loads(body + "}]")[1]["error"]["status"] == "DATA_LOSS"
